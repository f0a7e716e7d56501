"""DPO, robust DPO, IPO, ORPO, SimPO and KTO against TRL: the same weights and the same batch give the same loss and gradients."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import FP32, chat, llama, sequences, weights
from torch import Tensor

from accord.algorithms import dpo, kto
from accord.algorithms.dpo import Known, ranked_responses
from accord.algorithms.kto import ThumbRow
from accord.data.token_rows import RowWindow
from accord.models.responses import all_response_logprobs
from accord.settings import DpoConfig, KtoConfig

pytestmark = pytest.mark.filterwarnings("ignore")  # the peer's own
EXACT = {"rel": 1e-5, "abs": 1e-5}
SPOKEN = chat()
VOCAB = len(SPOKEN.tokenizer)
PAIRS = [(sequences([3 + i], seed=i, vocab=VOCAB)[0], *sequences([4 + i % 3, 2 + i % 4], seed=50 + i, vocab=VOCAB)) for i in range(5)]


def plain(seed: int) -> Any:
    """Our tiny model's weights in transformers' own forward pass."""
    from transformers import LlamaForCausalLM

    ours = llama(seed, vocab=VOCAB)
    config = ours.config.__class__.from_dict({**ours.config.to_dict()})
    config._attn_implementation = "eager"
    model = LlamaForCausalLM(config)
    model.load_state_dict(ours.state_dict())
    return model


def padded(rows: list[tuple[list[int], list[int]]]) -> dict[str, Tensor]:
    """Prompts and responses as TRL's collators give them, right-padded."""
    width = max(len(prompt) + len(response) for prompt, response in rows)
    ids, attend, counts = (torch.zeros(len(rows), width, dtype=torch.long) for _ in range(3))
    for row, (prompt, response) in enumerate(rows):
        both = len(prompt) + len(response)
        ids[row, :both] = torch.tensor([*prompt, *response])
        attend[row, :both] = 1
        counts[row, len(prompt) : both] = 1
    return {"input_ids": ids, "attention_mask": attend, "completion_mask": counts}


QUIET: dict[str, Any] = {
    "report_to": "none", "use_cpu": True, "bf16": False, "gradient_checkpointing": False, "disable_dropout": True, "max_length": 128,
}  # fmt: skip


def trainer(kind: str, folder: Path, seeds: tuple[int, int] = (1, 2), **asked: Any) -> Any:
    from datasets import Dataset

    columns: dict[str, Any] = {"prompt": ["a b", "c"], "chosen": [" d", " e"], "rejected": [" f", " g"]}
    if kind == "KTO":
        columns = {"prompt": ["a b", "c"], "completion": [" d", " e"], "label": [True, False]}
    if kind in ("ORPO", "CPO"):
        import importlib

        room = importlib.import_module(f"trl.experimental.{kind.lower()}")
    else:
        import trl as room
    kept = {key: value for key, value in QUIET.items() if key in getattr(room, f"{kind}Config").__dataclass_fields__}
    config = getattr(room, f"{kind}Config")(output_dir=str(folder), **kept, **asked)
    reference = {"ref_model": plain(seeds[1])} if kind in ("DPO", "KTO") else {}
    with contextlib.redirect_stderr(io.StringIO()):
        return getattr(room, f"{kind}Trainer")(
            model=plain(seeds[0]), args=config, train_dataset=Dataset.from_dict(columns), processing_class=SPOKEN.tokenizer, **reference
        )


def gradients(model: Any) -> dict[str, Tensor]:
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}


def same_gradients(ours: Any, theirs: Any) -> None:
    mine, other = gradients(ours), gradients(theirs)
    assert mine.keys() == other.keys()
    for name, grad in mine.items():
        assert torch.allclose(grad, other[name], rtol=1e-4, atol=1e-5), name


def our_loss(config: DpoConfig, pairs: list[Any]) -> tuple[float, Any]:
    """One pass of dpo.py's own loss, its gradients left in the policy."""
    policy, reference = llama(1, vocab=VOCAB), llama(2, vocab=VOCAB)
    rankings = [ranked_responses(prompt, [worse, better], [2, 1], RowWindow(128), "pair") for prompt, better, worse in pairs]
    known = [Known(row, dpo.reference_logprobs(config, reference, [row], dtype=FP32)) for row in rankings]
    total = 0.0
    for part in dpo._passes(config, policy, known, FP32):
        part.loss.backward()
        total += part.loss.item()
    return total, policy


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({}, {"loss_type": ["sigmoid"]}),
        ({"beta": 0.7}, {"loss_type": ["sigmoid"], "beta": 0.7}),
        ({"normalise": "mean"}, {"loss_type": ["sigmoid_norm"]}),
        ({"loss": "robust", "label_smoothing": 0.2}, {"loss_type": ["robust"], "label_smoothing": 0.2}),
        ({"loss": "ipo", "beta": 0.3}, {"loss_type": ["ipo"], "beta": 0.3}),
    ],
    ids=lambda asked: str(asked.get("loss_type", "")),
)
def test_dpo_robust_and_ipo_give_trls_loss_and_gradients(ours: dict[str, Any], theirs: dict[str, Any], tmp_path: Path) -> None:
    loss, policy = our_loss(DpoConfig(**ours), PAIRS)
    peer = trainer("DPO", tmp_path, **theirs)
    batch = padded([(p, better) for p, better, _ in PAIRS] + [(p, worse) for p, _, worse in PAIRS])
    found = peer.compute_loss(peer.model, batch)
    assert loss == pytest.approx(found.item(), **EXACT)
    found.backward()
    same_gradients(policy, peer.model)


def test_simpo_gives_trls_loss_by_token_means(tmp_path: Path) -> None:
    loss, _ = our_loss(DpoConfig(loss="simpo", beta=2.0, margin=0.4), PAIRS)
    peer = trainer("CPO", tmp_path, loss_type="simpo", beta=2.0, simpo_gamma=0.8, cpo_alpha=0.0)
    better, worse = (torch.tensor([_mean(p, pair[side]) for p, *pair in PAIRS]) for side in (0, 1))
    losses, _, _ = peer.cpo_loss(better, worse)
    assert loss == pytest.approx(losses.mean().item(), **EXACT)


def test_orpo_gives_trls_odds_ratio_and_likelihood(tmp_path: Path) -> None:
    loss, _ = our_loss(DpoConfig(loss="orpo", beta=0.3), PAIRS)
    peer = trainer("ORPO", tmp_path, beta=0.3)
    better, worse = (torch.tensor([_mean(p, pair[side]) for p, *pair in PAIRS]) for side in (0, 1))
    weighed, *_ = peer.odds_ratio_loss(better, worse)
    assert loss == pytest.approx((-better - weighed).mean().item(), **EXACT)


def _mean(prompt: list[int], response: list[int]) -> float:
    """Mean log-probability a token, by transformers."""
    batch = padded([(prompt, response)])
    with torch.no_grad():
        said = plain(1)(input_ids=batch["input_ids"]).logits[0, :-1].log_softmax(-1)
    return said.gather(1, batch["input_ids"][0, 1:, None])[len(prompt) - 1 :].mean().item()


@pytest.mark.parametrize("seeds", [(1, 2), (2, 1)], ids=["reference point 0", "reference point above 0"])
def test_kto_gives_trls_loss_and_gradients(seeds: tuple[int, int], tmp_path: Path) -> None:
    config = KtoConfig(beta=0.4, up_weight=1.5, down_weight=0.5)
    thumbs = [ThumbRow([*prompt, *better], len(better), i % 2 == 0) for i, (prompt, better, _) in enumerate(PAIRS)]
    strangers = [ThumbRow([*prompt, *worse], len(worse), True) for prompt, _, worse in PAIRS]
    policy, reference = (llama(seed, vocab=VOCAB) for seed in seeds)
    ahead = kto.said(config, policy, strangers, FP32) - kto.said(config, reference, strangers, FP32)
    kl, up = ahead.mean().clamp(min=0), torch.tensor([thumb.up for thumb in thumbs])
    assert (kl > 0.1) == (seeds == (2, 1))
    (ours,), _, _ = kto._accumulate(
        config, policy, thumbs, kto.said(config, reference, thumbs, FP32), kto.thumb_weights(config, up), kl, FP32
    )

    peer = trainer("KTO", tmp_path, seeds, beta=0.4, desirable_weight=1.5, undesirable_weight=0.5, per_device_train_batch_size=2)
    batch = padded([(p, better) for p, better, _ in PAIRS]) | {"label": up}
    batch |= {f"KL_{name}": value for name, value in padded([(p, worse) for p, _, worse in PAIRS]).items()}
    found = peer.compute_loss(peer.model, batch)
    assert ours.item() == pytest.approx(found.item(), **EXACT)
    found.backward()
    same_gradients(policy, peer.model)


def test_the_two_forward_passes_agree() -> None:
    rows = [[*prompt, *better] for prompt, better, _ in PAIRS]
    ours = all_response_logprobs(llama(1, vocab=VOCAB), rows, [len(better) for _, better, _ in PAIRS], dtype=FP32)
    theirs = [_mean(prompt, better) * len(better) for prompt, better, _ in PAIRS]
    assert ours.tolist() == pytest.approx(theirs, **EXACT)
    assert weights(plain(1)).keys() == weights(llama(1, vocab=VOCAB)).keys()
