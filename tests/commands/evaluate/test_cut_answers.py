"""An answer that was cut at the length limit is scored as cut, without a stop token, by whatever reads it with a reward model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from accord.commands.evaluate.answers import Answers
from accord.commands.evaluate.compare_judges import by_reward
from accord.commands.evaluate.frontier_points import open_judges
from accord.commands.evaluate.held_out import held_out_prompts
from accord.commands.models import TextScorer, load_model
from accord.records import Response, Sampling
from accord.runtime.project import Project
from accord.settings import CompareConfig


def test_cut_answers_are_known_kept_and_scored_as_cut(town: Path) -> None:
    project, few = Project.open(town), CompareConfig(prompts=12, max_tokens=3)
    prompts, sampling = held_out_prompts(project, few.prompts), Sampling(max_tokens=few.max_tokens)
    answered = Answers(project, sampling, 0, torch.float32).of(["sft", "base"], prompts)
    assert not all(answered.finished[0])
    again = Answers(project, sampling, 0, torch.float32).of(["sft", "base"], prompts)
    assert (again.generated, again.finished, again.texts) == (0, answered.finished, answered.texts)

    scorer, chat = TextScorer.open(project, "reward", torch.float32), load_model(project, "sft").format
    asked = [chat.prompt(prompt.messages) for prompt in prompts]
    written = [chat.response(prompt.messages, text) for prompt, text in zip(prompts, answered.texts[0], strict=True)]
    whole = scorer.model.score(asked, written).tolist()
    cut = scorer.model.score(asked, [ids[:-1] for ids in written]).tolist()
    expected = [one if done else other for one, other, done in zip(whole, cut, answered.finished[0], strict=True)]
    judged = by_reward(project, answered, few, "reward", torch.float32)
    assert judged.scores is not None
    assert judged.scores[:, 0].tolist() == pytest.approx(expected, abs=1e-5)
    assert judged.scores[:, 0].tolist() != pytest.approx(whole, abs=1e-5)

    responses = [
        Response(f"r{i}", prompt.id, text, "sft", finished=done)
        for i, (prompt, text, done) in enumerate(zip(prompts, answered.texts[0], answered.finished[0], strict=True))
    ]
    judges = open_judges(project, "reward", "", torch.float32)
    assert judges.proxy_rewards(prompts, responses).tolist() == pytest.approx(expected, abs=1e-5)
    groups = scorer.score_groups([(prompt, [said]) for prompt, said in zip(prompts, responses, strict=True)])
    assert [group[0] for group in groups] == pytest.approx(expected, abs=1e-5)
