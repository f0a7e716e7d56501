"""Run by torchrun in two processes: models whose weights are sharded, against the same models whole. Writes its figures as JSON."""

from __future__ import annotations

import copy
import json
import os
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX2"  # Muon's products in bfloat16 would make rounding large

import torch
from tiny import FP32, llama, rng, same, sampled, scalar, sequences

from accord.algorithms.optim import make_optimizers, optimizer_states, restore_optimizers, update
from accord.engine.local import LocalSampler
from accord.models.adapters import add_lora, restore_trained, sharing, trained_state
from accord.models.decoder import recomputing
from accord.models.folders import prepared, save_model
from accord.models.packing import pack
from accord.models.paths import path_of
from accord.models.policy import logprobs
from accord.models.quantised import quantised
from accord.models.qvalues import QNetwork
from accord.models.scalar import scores
from accord.models.sharding import Unadapted, full, gathered, sharded, twin
from accord.records import Sampling
from accord.runtime import ranks
from accord.settings import SftConfig

ROWS = sequences([9, 12, 7, 15, 5, 11, 8])
STEPS = 3
Loss = Callable[[Any, Sequence[list[int]]], torch.Tensor]
Figures = dict[str, Any]


def other(kind: str) -> Any:
    """A model of another architecture than Llama, of tiny's sizes."""
    import transformers as t

    torch.manual_seed(3)
    sizes: dict[str, Any] = {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "head_dim": 8}
    sizes |= {"num_key_value_heads": 2, "intermediate_size": 24, "max_position_embeddings": 64, "initializer_range": 0.3}
    config: Any = getattr(t, f"{kind}Config")(**sizes, bos_token_id=1, eos_token_id=1, pad_token_id=0)
    return prepared(getattr(t, f"{kind}ForCausalLM")(config))


def token_loss(model: Any, rows: Sequence[list[int]]) -> torch.Tensor:
    return -logprobs(model, pack(rows), dtype=FP32)[0].sum() / sum(len(row) - 1 for row in ROWS)


def score_loss(model: Any, rows: Sequence[list[int]]) -> torch.Tensor:
    return scores(model, pack(rows), dtype=FP32).square().sum() / len(ROWS)


def value_loss(network: Any, rows: Sequence[list[int]]) -> torch.Tensor:
    batch = pack(rows)
    states = network.states(batch, FP32).index_select(0, batch.targets - 1)
    said = batch.tokens[batch.targets]
    learned = network.taken(states, said).square().sum() + network.unlikely(states, said, FP32).sum()
    return (learned + (network.value(states) - 1).square().sum() + network.best(states).sum()) / len(ROWS)


@contextmanager
def alone() -> Generator[None]:
    """This process by itself, as if no other had been started."""
    processes = os.environ.pop("WORLD_SIZE")
    try:
        yield
    finally:
        os.environ["WORLD_SIZE"] = processes


def steps(model: Any, passes: Sequence[Sequence[list[int]]], loss: Loss, muon: float = 0.0) -> tuple[list[float], list[float], Any]:
    """Losses and gradient norms of a few steps, the loss of all processes, and the optimisers."""
    optimizers = make_optimizers(model, SftConfig(weight_decay=0.01), lr=3e-4, muon_lr=muon)
    losses, norms = list[float](), list[float]()
    for _ in range(STEPS):
        total = torch.zeros(())
        for rows in passes:
            part = loss(model, rows)
            part.backward()
            total += part.detach()
        norms.append(float(update(optimizers, 1.0)))
        losses.append(float(total))
    return losses, norms, optimizers


def apart(one: Any, other: Any) -> float:
    """The largest difference between the weights of two models."""
    first: list[torch.Tensor] = list(one.parameters())
    second: list[torch.Tensor] = list(other.parameters())
    return max(float((a - b).abs().max()) for a, b in zip(first, second, strict=True))


def compared(make: Callable[[], Any], loss: Loss = token_loss, muon: float = 0.0) -> tuple[Figures, Any, Any]:
    """How far a sharded model is from the same model whole after a few steps; the sharded one's weights gathered, and itself."""
    single = make()
    with alone():
        losses, norms, _ = steps(single, [ROWS[:4], ROWS[4:]], loss, muon)
    model = sharded(make())
    own = ROWS[rank::2]
    theirs, others, _ = steps(model, [own[:2], own[2:], []] if rank else [own[:2], own[2:3], own[3:]], loss, muon)  # one pass is empty
    both = ranks.summed(torch.tensor(theirs, dtype=torch.float64))
    plain = gathered(model)
    figures = {
        "path": path_of(model.base_model),
        "loss": max(abs(one - two) for one, two in zip(losses, both.tolist(), strict=True)),
        "norm": max(abs(one / two - 1) for one, two in zip(norms, others, strict=True)),
        "weights": apart(single, plain),
        "moved": apart(make(), plain),
        "share": sum(p.to_local().numel() for p in model.parameters()) / sum(p.numel() for p in single.parameters()),
    }
    return figures, plain, model


def learns(make: Callable[[], Any], loss: Loss = token_loss, muon: float = 0.0) -> Callable[[Path], Figures]:
    return lambda _: compared(make, loss, muon)[0]


def adapters(make: Callable[[], Any]) -> Callable[[], Any]:
    return lambda: add_lora(make(), 4, rng(0))


def recompute(_: Path) -> Figures:
    """The bits of the weights with and without recomputation."""
    bits: list[list[torch.Tensor]] = []
    for make in (llama, lambda: recomputing(llama()), lambda: other("Qwen3"), lambda: recomputing(other("Qwen3"))):
        bits.append([p.detach() for p in compared(make)[1].parameters()])
    return {"fused": same(bits[0], bits[1]), "own": same(bits[2], bits[3])}


def reference(_: Path) -> Figures:
    """The sharded model with its adapters off against the model that adapters are put over in one process, before and after learning."""
    before = scalar(llama(), 5)
    expected = scores(before, pack(ROWS), dtype=FP32)
    learner = add_lora(sharing(before), 4, rng(0))
    with alone():
        steps(learner, [ROWS], score_loss)
    moved = scores(learner, pack(ROWS), dtype=FP32)
    model = add_lora(scalar(llama(), 5), 4, rng(0))
    unadapted = Unadapted(model)
    sharded(model)
    own = ROWS[rank::2]
    steps(model, [own], score_loss)
    with torch.no_grad():
        theirs = scores(unadapted, pack(ROWS), dtype=FP32)
        learned = scores(model, pack(ROWS), dtype=FP32)
    gap, again, change = (float((one - two).abs().max()) for one, two in ((theirs, expected), (learned, moved), (moved, expected)))
    return {"reference": gap, "learner": again, "learned": change}


def resumed(_: Path) -> Figures:
    """A sharded model that takes up the whole weights and moments of one that was not, then learns on, against the latter going on."""
    single = llama()
    with alone():
        _losses, _norms, optimizers = steps(single, [ROWS], token_loss, muon=1e-3)
    model = sharded(llama(7))
    fresh = make_optimizers(model, SftConfig(weight_decay=0.01), lr=3e-4, muon_lr=1e-3)
    restore_trained(model, trained_state(single))
    restore_optimizers(fresh, copy.deepcopy(optimizer_states(optimizers)))
    token_loss(model, ROWS[rank::2]).backward()
    update(fresh, 1.0)
    with alone():
        token_loss(single, ROWS).backward()
        update(optimizers, 1.0)
    return {"weights": apart(single, gathered(model))}


def sampling(_: Path) -> Figures:
    """The tokens and log-probabilities that a sharded policy draws, before and after an update, and what it keeps afterwards."""
    single, model = llama(), sharded(llama())
    sampler, same_tokens = LocalSampler(model, stop=(1,), dtype=FP32, keep=False), list[bool]()
    gaps = list[float]()
    for round_ in range(2):
        drawn = sampler.sample(ROWS[:3], n=2, sampling=Sampling(max_tokens=8), generator=rng(round_))
        known = sampled(single, ROWS[:3], n=2, seed=round_)
        same_tokens.append(same(drawn.tokens, known.tokens))
        gaps.append(float((drawn.logprobs - known.logprobs).abs().max()))
        with alone():
            steps(single, [ROWS], token_loss)
        steps(model, [ROWS[rank::2]], token_loss)
        sampler.refresh()
    return {"same": all(same_tokens), "gap": max(gaps), "dropped": sampler.model is model}


def files(folder: Path) -> Figures:
    """Write the gathered model from the first process, as a command does, beside the logits that the sharded one gives."""
    from accord.data.tokenizers import train_tokenizer

    torch.manual_seed(0)
    _, _, model = compared(lambda: llama(vocab=300))
    plain = gathered(model, everywhere=False)
    with torch.no_grad():
        ours, _ = logprobs(model, pack(ROWS), dtype=FP32)
    if rank == 0:
        save_model(folder / "model", plain, train_tokenizer(["one two three"] * 4, 300))
        torch.save({"rows": ROWS, "logprobs": ours}, folder / "expected.pt")
    return {"others_hold_nothing": rank == 0 or all(p.is_meta for p in plain.parameters())}


def four_bits(_: Path) -> Figures:
    figures, _, model = compared(lambda: add_lora(quantised(llama(hidden=32)), 4, rng(0)))
    codes = sum(buffer.numel() for name, buffer in model.named_buffers() if name.endswith("codes"))
    return figures | {"codes": codes}


def copies(_: Path) -> Figures:
    """A twin is sharded too, has the same weights, and stays as it was when the model moves."""
    model = sharded(llama())
    second = twin(model)
    before = [full(p).clone() for p in second.parameters()]
    steps(model, [ROWS[rank::2]], token_loss)
    after, moved = [full(p) for p in second.parameters()], [full(p) for p in model.parameters()]
    return {
        "kept": same(before, after),
        "moved": not same(before, moved),
        "share": sum(p.to_local().numel() for p in second.parameters()),
    }


CASES: dict[str, Callable[[Path], Figures]] = {
    "fused": learns(llama),
    "own": learns(lambda: other("Qwen3")),
    "plain": learns(lambda: other("Gemma2")),
    "experts": learns(lambda: other("Mixtral")),
    "scalar": learns(lambda: scalar(llama()), score_loss),
    "q values": learns(lambda: QNetwork(llama(), rng(2)), value_loss),
    "muon": learns(llama, muon=1e-3),
    "adapters": learns(adapters(llama)),
    "adapters, own path": learns(adapters(lambda: other("Qwen3"))),
    "four bits": four_bits,
    "recompute": recompute,
    "reference": reference,
    "resumed": resumed,
    "sampling": sampling,
    "files": files,
    "copies": copies,
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    ranks.start(torch.device("cpu"), 60)
    rank = ranks.rank()
    found: dict[str, Figures] = {}
    for name in sys.argv[2:] or CASES:
        found[name] = CASES[name](Path(sys.argv[1]))
    everyone = ranks.gathered(found)
    if ranks.first():
        (Path(sys.argv[1]) / "figures.json").write_text(json.dumps(everyone), "utf-8")
    ranks.end()
