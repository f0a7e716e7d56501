"""Do the preference methods learn? People like responses that repeat the prompt's first token, and said so on other prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import END, FP32, llama, rng

from accord.algorithms import dpo, kto
from accord.algorithms.dpo import RankedResponses, ranked_responses
from accord.algorithms.kto import ThumbRow, thumb_row
from accord.data.token_rows import RowWindow
from accord.runtime.runs import Run
from accord.settings import DpoConfig, KtoConfig

pytestmark = pytest.mark.learning


def ranking(seed: int) -> RankedResponses:
    """Four responses of one length, with as many right tokens as 3 minus the rank, in a random order."""
    draws = torch.randint(10, 30, (20,), generator=rng(seed)).tolist()
    prompt, noise = draws[:3], draws[3:]
    ranks = (torch.randperm(4, generator=rng(seed)) + 1).tolist()
    return ranked_responses(
        prompt, [[*[prompt[0]] * (4 - rank), *noise[4 * rank - 4 : 5 * rank - 5], END] for rank in ranks], ranks, RowWindow(64), str(seed)
    )


RANKINGS = [ranking(seed) for seed in range(200)]
FAST: dict[str, Any] = {"lr": 5e-3, "epochs": 3, "save_every": 1000}


@pytest.mark.parametrize("loss", ["sigmoid", "robust", "ipo", "orpo", "simpo", "plackett-luce"])
def test_what_people_preferred_gets_the_larger_implied_reward_on_other_prompts(loss: str, tmp_path: Path) -> None:
    config = DpoConfig(loss=loss, label_smoothing=0.1 if loss == "robust" else 0.0, **FAST)
    run = Run.start(tmp_path, stage="dpo", config=config, inputs={}, resume=False)
    figures = dpo.train(
        config, policy=llama(0, std=0.1, hidden=32), rankings=RANKINGS[:160], validation=RANKINGS[160:], run=run, dtype=FP32
    )
    assert figures["validation_accuracy"] > 0.85


def test_kto_learns_from_thumbs_alone_what_people_like(tmp_path: Path) -> None:
    thumbs: list[ThumbRow] = []
    for made in RANKINGS:
        thumbs += [thumb_row(row[:3], row[3:], rank <= 2, RowWindow(64), "") for row, rank in zip(made.rows, made.ranks, strict=True)]
    config = KtoConfig(**FAST)
    run = Run.start(tmp_path, stage="kto", config=config, inputs={}, resume=False)
    policy = llama(0, std=0.1, hidden=32)
    figures = kto.train(config, policy=policy, thumbs=thumbs[:640], validation=thumbs[640:], run=run, dtype=FP32)
    assert figures["validation_accuracy"] > 0.85
