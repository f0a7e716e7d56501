"""On the town's arithmetic, in words: GRPO and STaR raise exact answers from a measured start, on problems of other pupils too."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tiny import FP32, llama, metrics

from accord.algorithms import grpo, sft, star
from accord.algorithms.rewards import ExactAnswer, Mixture, Term, final_answer
from accord.data.templates import ChatFormat, chat_format, give_chat_template
from accord.data.token_rows import RowWindow
from accord.data.tokenizers import train_tokenizer
from accord.engine.local import LocalSampler
from accord.evaluation.majority import right
from accord.records import Sampling
from accord.runtime.runs import Run
from accord.runtime.seeds import generator
from accord.settings import GrpoConfig, SftConfig, StarConfig
from accord.world.arithmetic import Problem, problems

pytestmark = pytest.mark.learning
MADE = list(problems(0, 900, most=5, steps=1))
TRAIN = [problem for problem in MADE if problem.prompt.split == "train"]
TEST = [problem for problem in MADE if problem.prompt.split == "test"][:120]


@pytest.fixture(scope="module")
def spoken() -> ChatFormat:
    tokenizer = train_tokenizer([f"{p.prompt.messages[0].content} {p.solution}" for p in MADE], 400)
    give_chat_template(tokenizer)
    return chat_format(tokenizer)


def taught(spoken: ChatFormat, folder: Path) -> Any:
    """A model that was shown the way in words, and gets the sums right only now and then."""
    model = llama(0, vocab=len(spoken.tokenizer), hidden=48, heads=4, kv_heads=4, std=0.05)
    config = SftConfig(epochs=7, batch_size=16, lr=6e-3, ptx_tokens=0, save_every=10_000, select="last")
    rows: list[sft.Example] = []
    for p in TRAIN[:160]:
        prompt, response = spoken.prompt(p.prompt.messages), spoken.response(p.prompt.messages, p.solution)
        rows.append(sft.example(prompt, response, RowWindow(128), p.prompt.id))
    run = Run.start(folder / "sft", stage="sft", config=config, inputs={}, resume=False)
    sft.train(config, model=model, examples=rows, validation=(), run=run, dtype=FP32)
    return model


def accuracy(spoken: ChatFormat, model: Any, asked: list[Problem]) -> float:
    """The share of right answers among eight to each problem: its standard error is 0.016, a third of that of single answers."""
    sampler, sampling, n = LocalSampler(model, stop=spoken.stop, dtype=FP32), Sampling(max_tokens=28), 8
    rows = sampler.sample([spoken.prompt(p.prompt.messages) for p in asked], n=n, sampling=sampling, generator=generator(9)).rows()
    found = right([[final_answer(spoken.text(row))] for row in rows], [Decimal(p.answer) for p in asked for _ in range(n)])
    return sum(found) / len(found)


def keys(spoken: ChatFormat) -> ExactAnswer:
    return ExactAnswer({tuple(spoken.prompt(p.prompt.messages)): Decimal(p.answer) for p in TRAIN}, spoken.text)


def test_star_raises_accuracy_on_other_pupils_problems(spoken: ChatFormat, tmp_path: Path) -> None:
    model = taught(spoken, tmp_path)
    before = accuracy(spoken, model, TEST)
    config = StarConfig(rounds=4, batch_size=400, attempts=4, kept=2, epochs=3, lr=3e-3, max_tokens=28, hints=False)
    run = Run.start(tmp_path / "star", stage="star", config=config, inputs={}, resume=False)
    questions = [star.Question(spoken.prompt(p.prompt.messages), []) for p in TRAIN]
    sampler = LocalSampler(model, stop=spoken.stop, dtype=FP32)
    star.train(config, policy=model, sampler=sampler, scorer=keys(spoken), questions=questions, decode=str, run=run, dtype=FP32)
    assert 0.02 < before < 0.8
    assert accuracy(spoken, model, TEST) > before + 0.08, [row["accuracy"] for row in metrics(run)]


def test_grpo_raises_accuracy_on_other_pupils_problems(spoken: ChatFormat, tmp_path: Path) -> None:
    model = taught(spoken, tmp_path)
    before = accuracy(spoken, model, TEST)
    config = GrpoConfig(
        steps=100, batch_size=128, group_size=8, minibatch_size=64, lr=5e-4, max_tokens=28, kl_coef=0.0, truncation="terminate",
        rewards="exact", save_every=100,
    )  # fmt: skip
    run = Run.start(tmp_path / "grpo", stage="grpo", config=config, inputs={}, resume=False)
    grpo.train(
        config, policy=model, reference=taught(spoken, tmp_path / "reference"), sampler=LocalSampler(model, stop=spoken.stop, dtype=FP32),
        rewards=Mixture([Term("exact")], {"exact": keys(spoken)}), prompts=[spoken.prompt(p.prompt.messages) for p in TRAIN],
        decode=str, run=run, dtype=FP32,
    )  # fmt: skip
    assert accuracy(spoken, model, TEST) > before + 0.08, [row["reward.exact"] for row in metrics(run)]
