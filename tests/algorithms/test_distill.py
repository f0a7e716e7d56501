"""Distillation on tiny models: the divergence against hand sums and its limits, what a step learns, whose responses, resuming, settings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from conformance_run import Doomed, Killed
from groups import READ_BY_THE_COMMAND, STOPS
from hypothesis import given
from hypothesis import strategies as st
from tiny import FP32, PROMPTS, VOCAB, llama, metrics, same, sequences, weights

from accord.algorithms import distill
from accord.algorithms.distill import Answered, differences, is_on_policy
from accord.algorithms.objectives import generalised_jsd, kl_divergence
from accord.engine.local import LocalSampler
from accord.models.distributions import compared
from accord.models.packing import pack
from accord.models.policy import logprobs
from accord.records import Sampling
from accord.runtime.runs import Run
from accord.runtime.seeds import generator
from accord.settings import DistillConfig

BETAS = st.floats(0, 1)
SMALL: dict[str, Any] = {
    "steps": 3,
    "batch_size": 4,
    "max_tokens": 6,
    "lr": 3e-3,
    "warmup_steps": 1,
    "warmup_share": 0.0,
    "save_every": 1,
    "on_policy": 1.0,
}
WRITTEN = [Answered(prompt, response) for prompt, response in zip(PROMPTS, sequences([4, 2, 5, 3, 6, 4, 2, 3], seed=50), strict=True)]


def two(logits: Sequence[float], others: Sequence[float]) -> tuple[torch.Tensor, torch.Tensor]:
    width = min(len(logits), len(others))
    first, second = (torch.tensor([list(each)[:width]], dtype=torch.float64).log_softmax(-1) for each in (logits, others))
    return first, second


LOGITS = st.lists(st.floats(-6, 6), min_size=2, max_size=5)


@given(LOGITS, LOGITS, BETAS)
def test_the_divergence_is_the_sum_over_the_vocabulary(logits: list[float], others: list[float], beta: float) -> None:
    """Agarwal et al. 2024, equation 1, added up word by word."""
    student, teacher = two(logits, others)
    s, t = student[0].exp().tolist(), teacher[0].exp().tolist()
    if beta == 0:
        expected = sum(q * math.log(q / p) for p, q in zip(s, t, strict=True))
    elif beta == 1:
        expected = sum(p * math.log(p / q) for p, q in zip(s, t, strict=True))
    else:
        mixed = [beta * q + (1 - beta) * p for p, q in zip(s, t, strict=True)]
        forward = sum(q * math.log(q / m) for q, m in zip(t, mixed, strict=True))
        reverse = sum(p * math.log(p / m) for p, m in zip(s, mixed, strict=True))
        expected = beta * forward + (1 - beta) * reverse
    found = generalised_jsd(student, teacher, beta).item()
    assert found == pytest.approx(expected, abs=1e-9)
    assert found >= -1e-12


@given(LOGITS, LOGITS)
def test_the_divergence_of_equals_is_0_and_beta_and_1_minus_beta_change_sides(logits: list[float], others: list[float]) -> None:
    student, teacher = two(logits, others)
    for beta in (0.0, 0.3, 1.0):
        assert generalised_jsd(student, student, beta).item() == pytest.approx(0, abs=1e-12)
        assert generalised_jsd(student, teacher, beta).item() == pytest.approx(
            generalised_jsd(teacher, student, 1 - beta).item(), abs=1e-12
        )


def test_at_the_ends_it_tends_to_the_kl_of_one_side() -> None:
    student, teacher = two([0.3, -1.0, 2.0], [1.0, 0.5, -0.7])
    small = 1e-6
    assert generalised_jsd(student, teacher, small).item() / small == pytest.approx(kl_divergence(teacher, student).item(), rel=1e-3)
    assert generalised_jsd(student, teacher, 1 - small).item() / small == pytest.approx(kl_divergence(student, teacher).item(), rel=1e-3)


def test_words_that_are_impossible_give_no_nan() -> None:
    student = torch.tensor([[0.5, 0.5, 0.0]]).log()
    assert generalised_jsd(student, student, 0.5).item() == pytest.approx(0, abs=1e-7)
    assert kl_divergence(student, torch.tensor([[0.25, 0.25, 0.5]]).log()).item() == pytest.approx(math.log(2))


def plain(seed: int) -> Any:
    """Our tiny model's weights in transformers' own forward pass."""
    from transformers import LlamaForCausalLM

    ours = llama(seed)
    config = ours.config.__class__.from_dict({**ours.config.to_dict()})
    config._attn_implementation = "eager"
    model = LlamaForCausalLM(config)
    model.load_state_dict(ours.state_dict())
    return model


def rows_of(batch: Sequence[Answered]) -> Any:
    return pack([[*row.prompt, *row.response] for row in batch], [len(row.response) for row in batch])


@pytest.mark.parametrize("tile", [VOCAB * 3, 10**6])
def test_distributions_are_compared_where_each_token_is_predicted(tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same numbers from transformers' own logits, whole, whatever the tiles are; gradients reach the first model alone."""
    from accord.models import distributions

    monkeypatch.setattr(distributions, "TILE", tile)
    student, teacher, own, its = llama(1), llama(3), plain(1), plain(3)
    table = compared(student, teacher, rows_of(WRITTEN), lambda s, t: differences(0.3, s, t), dtype=FP32, temperature=0.7)
    expected = list[torch.Tensor]()
    for row in WRITTEN:
        ids, start = torch.tensor([[*row.prompt, *row.response]]), len(row.prompt) - 1
        s, t = (model(ids).logits[0, start:-1].div(0.7).log_softmax(-1) for model in (own, its))
        expected.append(differences(0.3, s, t))
    assert torch.allclose(table, torch.cat(expected), atol=1e-5)
    table[:, 0].sum().backward()
    mine = {name: p.grad.clone() for name, p in student.named_parameters()}
    assert all(p.grad is None for p in teacher.parameters())
    torch.cat(expected)[:, 0].sum().backward()
    for name, parameter in own.named_parameters():
        assert torch.allclose(mine[name], parameter.grad, rtol=1e-4, atol=1e-5), name


def test_a_teacher_whose_logits_are_padded_is_compared_on_what_both_have() -> None:
    wide = llama(3, vocab=VOCAB + 4)
    with torch.no_grad():
        wide.get_input_embeddings().weight[:VOCAB] = llama(3).get_input_embeddings().weight
        for name, value in llama(3).state_dict().items():
            if "embed" not in name and "lm_head" not in name:
                wide.state_dict()[name].copy_(value)
    alone = compared(llama(1), llama(3), rows_of(WRITTEN), lambda s, t: differences(0.5, s, t), dtype=FP32)
    padded = compared(llama(1), wide, rows_of(WRITTEN), lambda s, t: differences(0.5, s, t), dtype=FP32)
    assert torch.allclose(alone, padded, atol=1e-5)


def settings(**asked: Any) -> DistillConfig:
    return DistillConfig(**{**SMALL, **asked})


def taught(
    folder: Path, *, run: Run | None = None, teacher: Any = None, held_out: Sequence[list[int]] = (), **asked: Any
) -> tuple[Any, Run]:
    """Distill ``llama(3)`` into ``llama(1)``."""
    config, policy, teacher = settings(**asked), llama(1), llama(3)
    run = run or Run.start(folder, stage="distill", config=config, inputs={}, resume=False)
    own = config.otherwise == "teacher"
    distill.train(
        config,
        policy=policy,
        teacher=teacher,
        sampler=LocalSampler(policy, stop=STOPS, dtype=FP32),
        teacher_sampler=LocalSampler(teacher, stop=STOPS, dtype=FP32) if own else None,
        prompts=PROMPTS,
        written=WRITTEN,
        decode=lambda ids: " ".join(map(str, ids)),
        run=run,
        dtype=FP32,
        held_out=held_out,
    )
    return policy, run


def test_the_first_step_is_on_the_students_own_draws_and_its_loss_is_their_mean_divergence(tmp_path: Path) -> None:
    """Drawn again with the same numbers, and added up from whole logits."""
    _, run = taught(tmp_path, steps=1, lr=0.0, beta=0.0)
    own, its = plain(1), plain(3)
    prompts = distill.next_prompts(PROMPTS, 0, 4, seed=0, stage="distill")
    drawn = LocalSampler(llama(1), stop=STOPS, dtype=FP32).sample(
        prompts, n=1, sampling=Sampling(max_tokens=6), generator=generator(0, "distill", "rollout", 1)
    )
    kls = list[torch.Tensor]()
    for prompt, response in zip(prompts, drawn.rows(), strict=True):
        ids = torch.tensor([[*prompt, *response]])
        s, t = (model(ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1) for model in (own, its))
        kls.append((t.exp() * (t - s)).sum(-1))
    (row,) = metrics(run)
    assert row["loss"] == pytest.approx(torch.cat(kls).mean().item(), rel=1e-4)
    assert row["loss"] == pytest.approx(row["forward_kl"])
    assert row["response_length"] == pytest.approx(len(torch.cat(kls)) / 4)


def test_supervised_forward_kl_has_the_gradient_of_the_cross_entropy_under_a_sure_teacher(tmp_path: Path) -> None:
    """A teacher that is sure of every written token gives the loss of SFT."""
    student, row = llama(1), WRITTEN[0]
    batch = rows_of([row])
    ce = -logprobs(student, batch, dtype=FP32)[0].mean()
    sure = torch.full((len(row.response), VOCAB), -1e9)
    sure[range(len(row.response)), row.response] = 0.0
    loss = compared(student, student, batch, lambda s, _: generalised_jsd(s, sure.log_softmax(-1), 0.0)[:, None], dtype=FP32).mean()
    assert loss.item() == pytest.approx(ce.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("on_policy", "otherwise", "beta"), [(1.0, "demonstrations", 1.0), (0.0, "demonstrations", 0.0), (0.5, "teacher", 0.5)]
)
def test_the_student_comes_nearer_to_its_teacher(on_policy: float, otherwise: Any, beta: float, tmp_path: Path) -> None:
    policy, run = taught(tmp_path, steps=40, lr=1e-2, on_policy=on_policy, otherwise=otherwise, beta=beta, batch_size=8, save_every=40)
    rows = metrics(run)
    assert sum(row["loss"] for row in rows[-5:]) < 0.8 * sum(row["loss"] for row in rows[:5])
    if on_policy != 0.5:
        assert {row["on_policy"] for row in rows} == {on_policy}
    apart = [kl_of(model) for model in (policy, llama(1))]
    assert apart[0] < apart[1]


def kl_of(student: Any) -> float:
    with torch.no_grad():
        table = compared(student, llama(3), rows_of(WRITTEN), lambda s, t: kl_divergence(t, s)[:, None], dtype=FP32)
    return table.mean().item()


def test_the_share_of_steps_on_its_own_responses_is_lambda() -> None:
    config = settings(on_policy=0.3)
    assert sum(is_on_policy(config, step) for step in range(1000)) == pytest.approx(300, abs=60)
    assert all(is_on_policy(settings(on_policy=1.0), step) for step in range(100))
    assert not any(is_on_policy(settings(on_policy=0.0), step) for step in range(100))


def test_a_run_is_resumed_bit_for_bit_with_its_evaluations(tmp_path: Path) -> None:
    asked: dict[str, Any] = {"steps": 20, "save_every": 10, "on_policy": 0.5, "lr": 1e-2, "evaluate_every": 4, "patience": 9}
    config = settings(**asked)
    of: dict[str, Any] = {"stage": "distill", "config": config, "inputs": {}}
    expected, whole = taught(tmp_path, run=Run.start(tmp_path / "whole", **of, resume=False), held_out=PROMPTS[:3], **asked)
    with pytest.raises(Killed):
        taught(tmp_path, run=Doomed.start(tmp_path / "cut", **of, resume=False), held_out=PROMPTS[:3], **asked)
    cut = Run.start(tmp_path / "cut", **of, resume=True)
    assert (cut.restore() or (0,))[0] == 10
    assert same(weights(taught(tmp_path, run=cut, held_out=PROMPTS[:3], **asked)[0]), weights(expected))
    assert metrics(cut) == metrics(whole)
    assert {row["on_policy"] for row in metrics(whole)} == {0.0, 1.0}


def test_it_is_evaluated_by_minus_its_divergence(tmp_path: Path) -> None:
    _, run = taught(tmp_path, steps=2, held_out=PROMPTS[:3], evaluate_every=1, beta=1.0, lr=0.0)
    first, second = metrics(run)
    assert first["held_out_reward"] == second["held_out_reward"] < 0, "nothing was learned, and the same random numbers were drawn"
    assert first["held_out_win_rate"] == 0.5


CHANGES: dict[str, Any] = {
    "seed": 1, "steps": 4, "batch_size": 3, "on_policy": 0.0, "beta": 1.0, "temperature": 0.5, "max_tokens": 3,
    "lr": 1e-3, "muon_lr": 1e-2, "warmup_steps": 20, "warmup_share": 0.5, "max_grad_norm": 1e-2, "micro_tokens": 1, "save_every": 2,
    "adam_beta1": 0.5, "adam_beta2": 0.5, "adam_epsilon": 1e-2, "weight_decay": 0.5,
}  # fmt: skip
OF_THE_STAGE = READ_BY_THE_COMMAND | {"otherwise", "teacher_bits", "kinds"}


def outcome(folder: Path, **asked: Any) -> Any:
    policy, run = taught(folder, **{"lr": 2e-2, **asked})
    return [weights(policy), metrics(run), (run.folder / "samples.jsonl").read_text().count("\n")]


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return outcome(tmp_path_factory.mktemp("distill"))


@pytest.mark.parametrize("name", CHANGES)
def test_every_setting_changes_something(name: str, unchanged: Any, tmp_path: Path) -> None:
    assert {field.name for field in fields(DistillConfig)} <= CHANGES.keys() | OF_THE_STAGE
    if name == "warmup_share":  # it bounds a warm-up that is longer
        assert not same(*(outcome(tmp_path / str(share), warmup_steps=20, warmup_share=share) for share in (0.0, CHANGES[name])))
    else:
        assert not same(outcome(tmp_path, **{name: CHANGES[name]}), unchanged)


def test_the_steps_between_are_on_the_responses_that_were_asked_for(tmp_path: Path) -> None:
    written, own = (taught(tmp_path / how, on_policy=0.0, otherwise=how)[1] for how in ("demonstrations", "teacher"))
    lines = [(run.folder / "samples.jsonl").read_text() for run in (written, own)]
    assert " ".join(map(str, WRITTEN[0].response)) in lines[0]
    assert " ".join(map(str, WRITTEN[0].response)) not in lines[1]
