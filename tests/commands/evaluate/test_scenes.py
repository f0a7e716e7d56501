"""A project with three scenes: figures by scene beside one model for all, and the router's mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from evaluated import Answered, Typed

from accord.commands.evaluate.answers import Answers
from accord.commands.evaluate.probe_scenes import table_of
from accord.commands.scenes import router_of, staged_prompts
from accord.data.scenes import Choice, Router
from accord.evaluation.systems import parse_system
from accord.feedback.store import Store
from accord.records import Message, Prompt, Sampling
from accord.runtime.project import Project
from accord.settings.scenes import read

FEW = ("--prompts", "30", "--max-tokens", "12", "--bootstrap", "200", "--dtype", "float32")
SCENES = """
[scenes.questions]
use_cases = "open_qa, closed_qa, unanswerable, false_premise"
classifier = "learned"
above = 0.4

[scenes.care]
use_cases = "harmful, high_stakes"
classifier = "learned"
above = 0.4
model = "ppo"
system = "Help where help does no harm."

[scenes.writing]
use_cases = "generation, rewrite, summarise, brainstorm"
classifier = "learned"
above = 0.4
temperature = 0.7
"""


@pytest.fixture
def staged(town: Path) -> Path:
    with (town / "accord.toml").open("a") as file:
        file.write(SCENES)
    return town


def test_figures_by_scene_stand_beside_one_model_for_all(staged: Path, answered: Answered) -> None:
    found = answered("compare", staged, "sft", "sft+scenes", "--by", "gold", *FEW)
    scores = found["score_by_scene"]
    assert set(scores) <= {"questions", "care", "writing", "none"}
    assert {"questions", "writing"} <= set(scores)
    for each in scores.values():
        assert set(each) == {"sft", "sft+scenes"}
        assert all(low <= mean <= high for mean, low, high in each.values())
    assert set(found["win_rate_by_scene"]["sft+scenes_vs_sft"]) == set(scores)
    # In the scene without a model, a system prompt or a sampling of its own both systems say the same.
    assert scores["questions"]["sft"] == scores["questions"]["sft+scenes"]
    assert found["win_rate_by_scene"]["sft+scenes_vs_sft"]["questions"][0] == 0.5
    assert answered("compare", staged, "sft", "sft+scenes", "--by", "gold", *FEW, "--again")["generated"] == 0


def test_a_scenes_model_answers_in_it(staged: Path, answered: Answered) -> None:
    """What the scene's model says with the scene's system prompt is what the same model says when it is given that prompt by hand."""
    project = Project.open(staged)
    with Store.open(project.store_url) as store:
        careful = [prompt for prompt in store.prompts() if prompt.use_case == "harmful"][:3]
    asked = Answers(project, Sampling(temperature=0.0, max_tokens=8), 0, torch.float32)
    by_hand = [Prompt(p.id, (Message("system", "Help where help does no harm."), *p.messages)) for p in careful]
    assert asked.of_system(parse_system("sft+scenes"), careful) == asked.of_system(parse_system("ppo"), by_hand)


def test_evaluate_shows_utility_by_scene(staged: Path, typed: Typed) -> None:
    few = ("--prompts", "24", "--max-tokens", "8", "--bootstrap", "50", "--draws", "1", "--best-of", "2")
    code, out, err = typed("evaluate", staged, *few)
    assert code == 0, err
    assert "utility by scene" in out
    summary = json.loads((staged / "summary.json").read_text())["utility_by_scene"]
    assert set(summary["questions"]) == {"base", "sft", "ppo", "best-of-n"}


def test_the_routers_mistakes_are_counted_on_held_out_prompts(staged: Path, answered: Answered) -> None:
    found = answered("probe", staged, "--measure", "scenes", "--prompts", "0", "--again")
    table = found["scenes"]
    assert found["systems"] == []
    assert sum(sum(row.values()) for row in table["routed"].values()) == table["prompts"]
    assert 0.5 < table["right"]["value"] <= 1  # four kinds; the town's use cases are told apart by their forms
    with Store.open(Project.open(staged).store_url) as store:
        tagged = [prompt for split in ("validation", "test") for prompt in store.prompts(split=split) if prompt.use_case != "other"]
    assert table["prompts"] == len(tagged)


def test_the_table_counts_what_went_where() -> None:
    router = Router(read({"a": {"classifier": "learned"}, "b": {"classifier": "learned"}}))
    true = ["a", "a", "b", "none", "b"]
    went = [Choice(name, "classifier") for name in ("a", "b", "b", "a")] + [Choice("", "none")]
    went[1] = Choice("b", "classifier", ("a",))
    found = table_of(true, went, router)
    assert found["routed"] == {
        "a": {"a": 1, "b": 1, "none": 0},
        "b": {"a": 0, "b": 1, "none": 1},
        "none": {"a": 1, "b": 0, "none": 0},
    }
    assert (found["right"]["value"], found["several"]) == (0.4, 1)
    assert (found["by_scene"]["a"]["recall"]["value"], found["by_scene"]["a"]["precision"]["value"]) == (0.5, 0.5)


def test_a_project_without_scenes_says_so(town: Path, typed: Typed) -> None:
    assert router_of(Project.open(town)) is None
    assert "the project has no scenes" in typed("probe", town, "--measure", "scenes")[2]
    assert "the project has no scenes" in typed("compare", town, "sft", "sft+scenes", *FEW)[2]
    prompts = [Prompt("p", (Message("user", "Hi"),))]
    assert staged_prompts(Project.open(town), prompts) == prompts


def test_own_conditions_are_put_around_each_prompt(town: Path, typed: Typed, answered: Answered) -> None:
    with (town / "accord.toml").open("a") as file:
        file.write('\n[conditions.polite]\nprefix = "Please."\nsystem = "Be kind."\n')
    assert set(answered("compare", town, "sft", "sft+polite", "sft+concise", *FEW)["win_rate"]) == {
        "sft+polite_vs_sft", "sft+concise_vs_sft", "sft+concise_vs_sft+polite",
    }  # fmt: skip
    refused = typed("compare", town, "sft", "sft+rude", *FEW)[2]
    assert "there is no prompting condition called 'rude'" in refused
    assert "polite" in refused
