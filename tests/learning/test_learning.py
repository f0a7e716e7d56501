"""Does it learn? Each algorithm on a task whose answer is known, in seconds."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import END, FP32, ByFunction, learn, llama, metrics, rng, scalar

from accord.algorithms import pretrain, reward, sft
from accord.algorithms.reward import RankedRows
from accord.algorithms.sft import Example
from accord.data.corpus import write_corpus
from accord.data.tokenizers import train_tokenizer
from accord.models.policy import mean_loss
from accord.runtime.runs import Run
from accord.settings import PretrainConfig, RewardConfig, SftConfig

pytestmark = pytest.mark.learning

PEOPLE = ["Anna", "Bela", "Cora", "Dora", "Emil", "Fritz", "Gerd", "Hanna"]
PLACES = ["mill", "market", "tower", "bridge", "shop", "school", "harbour", "farm"]


def started(folder: Path, stage: str, config: Any) -> Run:
    return Run.start(folder, stage=stage, config=config, inputs={}, resume=False)


def test_pretraining_gets_well_below_the_entropy_of_single_tokens(tmp_path: Path) -> None:
    texts = [f"{PEOPLE[i % 8]} is at the {PLACES[(i * 3) % 8]}, and {PEOPLE[(i * 5) % 8]} is at the {PLACES[i % 7]}." for i in range(400)]
    tokenizer = train_tokenizer(texts, 320)
    text = write_corpus(tmp_path / "c", texts, tokenizer, 64)
    config = PretrainConfig(
        vocab_size=320, hidden_size=32, layers=2, heads=2, intermediate_size=64, context=64, tokens=30_000, batch_tokens=500, warmup_steps=5
    )
    model = pretrain.fresh(config, len(tokenizer), tokenizer.eos_token_id, tokenizer.pad_token_id)
    run = started(tmp_path / "r", "pretrain", config)
    pretrain.train(config, model=model, corpus=text, run=run, dtype=FP32)
    held_out = text.held_out()
    counts = Counter(token for i in range(len(text)) for token in text.document(i)[1:])
    total = sum(counts.values())
    entropy = -sum(n / total * math.log(n / total) for n in counts.values())
    assert metrics(run)[0]["loss"] > entropy
    assert mean_loss(model, held_out, dtype=FP32) < 0.4 * entropy


def rows_of(lengths: list[int], seed: int) -> list[list[int]]:
    return [[*torch.randint(2, 60, (n,), generator=rng(seed * 31 + i)).tolist(), END] for i, n in enumerate(lengths)]


def test_fine_tuning_learns_what_the_demonstrations_say(tmp_path: Path) -> None:
    """A response is the prompt's first token twice."""
    prompts = [torch.randint(10, 30, (4,), generator=rng(i)).tolist() for i in range(420)]
    examples = [Example([*p, p[0], p[0], END], 3) for p in prompts]
    config = SftConfig(epochs=20, batch_size=16, lr=5e-3, save_every=1000)
    model = llama(0, std=0.1, hidden=32)
    sft.train(config, model=model, examples=examples[:400], validation=examples[400:], run=started(tmp_path, "sft", config), dtype=FP32)
    assert sft.response_loss(model, examples[400:], dtype=FP32) < 0.5 < math.log(20)


def test_a_reward_model_learns_that_shorter_is_better(tmp_path: Path) -> None:
    def ranking(seed: int) -> RankedRows:
        lengths = (torch.randperm(10, generator=rng(seed))[:4] + 1).tolist()
        order = sorted(lengths)
        return RankedRows([[2, 3, 4, *row] for row in rows_of(lengths, seed)], [order.index(n) + 1 for n in lengths])

    rankings = [ranking(seed) for seed in range(200)]
    config = RewardConfig(batch_size=8, epochs=2, lr=5e-3, save_every=1000)
    model = scalar(llama(0, std=0.1))
    before = reward.accuracy(model, rankings[160:], dtype=FP32)
    reward.train(
        config, model=model, rankings=rankings[:160], validation=[], demonstrations=[], run=started(tmp_path, "reward", config), dtype=FP32
    )
    assert before < 0.8
    assert reward.accuracy(model, rankings[160:], dtype=FP32) > 0.9


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_ppo_raises_a_planted_reward_on_every_seed(seed: int, tmp_path: Path) -> None:
    """A response is worth its share of tokens from the upper half of the vocabulary: one half by chance."""

    def upper(row: list[int]) -> float:
        return sum(token >= 30 for token in row) / len(row)

    asked = {
        "steps": 40,
        "batch_size": 32,
        "minibatch_size": 16,
        "epochs": 2,
        "lr": 3e-3,
        "value_lr": 3e-3,
        "truncation": "terminate",
        "save_every": 100,
    }
    rows = learn(tmp_path, scorer=ByFunction(upper), stop=(END,), seed=seed, kl_coef=0.01, max_tokens=8, **asked).metrics
    assert sum(row["reward"] for row in rows[-3:]) / 3 > rows[0]["reward"] + 0.2
    assert rows[-1]["kl_k1"] > 0.1


def test_a_strong_penalty_holds_the_policy_near_the_reference(tmp_path: Path) -> None:
    asked = {"steps": 10, "batch_size": 32, "minibatch_size": 16, "lr": 3e-3, "truncation": "terminate", "save_every": 100}
    loose, held = (learn(tmp_path / str(coef), kl_coef=coef, **asked).metrics[-1]["kl_k3"] for coef in (0.0, 5.0))
    assert held < loose / 2
