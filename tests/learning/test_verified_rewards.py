"""On the town's arithmetic in GSM8K's form: GRPO against `math`, and against a Python function that reads the column `answer`, raises
exact answers on other pupils' problems from a measured start, on three seeds each."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tiny import FP32, llama

from accord.algorithms import grpo, sft
from accord.algorithms.rewards import Mixture, Rows, Term, TextPart
from accord.data.templates import ChatFormat, chat_format, give_chat_template
from accord.data.token_rows import RowWindow
from accord.data.tokenizers import train_tokenizer
from accord.engine.local import LocalSampler
from accord.evaluation.majority import right
from accord.records import PromptTokens, Sampling, final_answer
from accord.rewards.functions import FunctionReward
from accord.rewards.isolated import Verified
from accord.runtime.runs import Run
from accord.runtime.seeds import generator
from accord.settings import GrpoConfig, SftConfig
from accord.world.arithmetic import Problem, problems

pytestmark = pytest.mark.slow
MADE = list(problems(0, 900, most=5, steps=1))
TRAIN = [replace(each.prompt, extra={"answer": each.solution}) for each in MADE if each.prompt.split == "train"]
SHOWN = [each for each in MADE if each.prompt.split == "train"][:160]
TEST = [each for each in MADE if each.prompt.split == "test"][:120]


def right_number(prompts: Any, responses: Any, answer: Any) -> list[float]:
    """The reward that a user writes: the number behind #### is that of the column."""
    return [float(final_answer(own) == final_answer(wanted)) for own, wanted in zip(responses, answer, strict=True)]


def accuracy(spoken: ChatFormat, model: Any, asked: list[Problem]) -> float:
    sampler, sampling = LocalSampler(model, stop=spoken.stop, dtype=FP32), Sampling(max_tokens=28)
    rows = sampler.sample([spoken.prompt(p.prompt.messages) for p in asked], n=1, sampling=sampling, generator=generator(9)).rows()
    found = right([[final_answer(spoken.text(row))] for row in rows], [Decimal(p.answer) for p in asked])
    return sum(found) / len(found)


def taught(spoken: ChatFormat, folder: Path, seed: int) -> Any:
    """A model that was shown the way in words, and gets the sums right only now and then."""
    model = llama(seed, vocab=len(spoken.tokenizer), hidden=48, heads=4, kv_heads=4, std=0.05)
    config = SftConfig(epochs=7, batch_size=16, lr=6e-3, ptx_tokens=0, save_every=10_000, select="last", seed=seed)
    rows: list[sft.Example] = []
    for p in SHOWN:
        prompt, response = spoken.prompt(p.prompt.messages), spoken.response(p.prompt.messages, p.solution)
        rows.append(sft.example(prompt, response, RowWindow(128), p.prompt.id))
    run = Run.start(folder, stage="sft", config=config, inputs={}, resume=False)
    sft.train(config, model=model, examples=rows, validation=(), run=run, dtype=FP32)
    return model


@pytest.mark.parametrize("name", ["math", "right_number"])
def test_a_verified_answer_is_learned_from_a_column(name: str, tmp_path: Path) -> None:
    tokenizer = train_tokenizer([f"{p.prompt.messages[0].content} {p.solution}" for p in MADE], 400)
    give_chat_template(tokenizer)
    spoken = chat_format(tokenizer)
    asked = [PromptTokens(spoken.prompt(prompt.messages), prompt) for prompt in TRAIN]
    reward = Verified("math", "math", column="answer") if name == "math" else FunctionReward(name, right_number)
    gains: list[tuple[float, float]] = []
    for seed in range(3):
        model, reference = (taught(spoken, tmp_path / f"sft-{seed}-{which}", seed) for which in "pr")
        before = accuracy(spoken, model, TEST)
        config = GrpoConfig(
            steps=60, batch_size=128, group_size=8, minibatch_size=64, lr=5e-4, max_tokens=28, kl_coef=0.0, truncation="terminate",
            rewards=name, save_every=100, seed=seed,
        )  # fmt: skip
        run = Run.start(tmp_path / f"grpo-{seed}", stage="grpo", config=config, inputs={}, resume=False)
        grpo.train(
            config, policy=model, reference=reference, sampler=LocalSampler(model, stop=spoken.stop, dtype=FP32),
            rewards=Mixture([Term(name)], {name: TextPart(reward, Rows([], [], spoken.text))}), prompts=asked,
            decode=str, run=run, dtype=FP32,
        )  # fmt: skip
        gains.append((before, accuracy(spoken, model, TEST)))
        print(name, seed, gains[-1])
    assert all(0.02 < before < 0.8 for before, _ in gains), gains
    assert all(after > before for before, after in gains), gains
    assert sum(after - before for before, after in gains) / 3 > 0.08, gains
