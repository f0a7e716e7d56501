"""Picture town: what is drawn is what is true, answers are held to it, and a project goes from its store to a model that sees better."""

from __future__ import annotations

import io
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch
from PIL import Image

from accord.commands.app import RunFlags
from accord.commands.feedback.label import label
from accord.commands.models import load_model
from accord.commands.project.init import init
from accord.commands.train.dpo import dpo
from accord.commands.train.reward import reward
from accord.commands.train.sample import sample
from accord.commands.train.sft import sft
from accord.commands.world import world_of
from accord.engine.local import LocalSampler
from accord.errors import UsageError
from accord.feedback.store import Store
from accord.records import Guideline, Prompt, Response, Sampling
from accord.runtime.project import Project
from accord.settings import DpoConfig, LabelConfig, RewardConfig, SampleConfig, SftConfig, WorldConfig
from accord.world.picture_town import COLOURS, CORNERS, NOTHING, SIDE, PictureTown, Scene, Thing, gold, look, picture_labelers

TOWN = WorldConfig(pictures=True, prompts=60, demonstrations=40, users=20)
RED, BLUE = Thing("top left", "red", "circle"), Thing("bottom right", "blue", "square")
SCENE = Scene((RED, BLUE), 240)
FLAGS = RunFlags(dtype="float32")


def test_what_is_drawn_is_what_is_said() -> None:
    town = PictureTown.generate(3, TOWN)
    files = {file.digest: file for file in town.files}
    assert PictureTown.generate(3, TOWN) == town
    for prompt in town.prompts:
        scene = town.specs[prompt.id]
        image = Image.open(io.BytesIO(files[prompt.messages[0].media[0].digest].content))
        there = {thing.corner: thing.colour for thing in scene.things}
        for corner, (x, y) in CORNERS.items():
            middle = image.getpixel((x * SIDE // 2 + SIDE // 4, y * SIDE // 2 + SIDE // 4))
            assert middle == (COLOURS[there[corner]] if corner in there else (scene.background,) * 3)
        assert gold(scene, scene.caption) == 1.0


@pytest.mark.parametrize(
    ("text", "true", "made_up", "worth"),
    [
        ("a red circle at the top left and a blue square at the bottom right.", 2, 0, 1.0),
        ("a red circle at the top left.", 1, 0, 0.5),
        ("a red circle at the top left and a red circle at the top left.", 1, 0, 0.5),
        ("a red circle at the top left and a green square at the bottom right.", 1, 1, 0.25),
        ("a red circle at the bottom right.", 0, 1, 0.0),
        (NOTHING, 0, 0, 0.0),
        ("a red circle at the top left, I think.", 1, 0, 0.0),
    ],
)
def test_answers_are_held_to_the_truth(text: str, true: int, made_up: int, worth: float) -> None:
    seen = look(SCENE, text)
    assert (seen.true, seen.made_up) == (true, made_up)
    assert gold(SCENE, text) == worth


def test_labelers_mostly_see_the_truth() -> None:
    town = PictureTown.generate(0, TOWN)
    right = 0
    viewers = picture_labelers(town)
    for prompt in town.prompts:
        scene = town.specs[prompt.id]
        free = next(corner for corner in CORNERS if corner not in {thing.corner for thing in scene.things})
        adorned = f"{scene.caption.removesuffix('.')} and a red circle at the {free}."
        responses = [Response(f"{prompt.id}-{i}", prompt.id, text, "m") for i, text in enumerate((scene.caption, adorned))]
        ranking = viewers[0].rank(prompt, responses, guideline=Guideline("training", "1"), at="2026-01-01T00:00:00Z", id=prompt.id)
        best = ranking.response_ids[ranking.ranks.index(1)]
        right += best == f"{prompt.id}-0"
    assert 0.6 * len(town.prompts) < right < len(town.prompts), "noisily"


def test_a_ranking_of_answers_about_pictures_becomes_a_better_model(tmp_path: Path) -> None:
    folder = tmp_path / "town"
    init(folder, world=True, config=TOWN)
    project = Project.open(folder)
    given: dict[str, Any] = {"train_vision": True, "batch_size": 8}
    sft(project, flags=FLAGS, config=SftConfig(**given, ptx_tokens=0, epochs=12, lr=3e-3, select="last"))
    with Store.open(project.store_url) as store:
        prompts: list[Prompt] = list(store.prompts())
    sample(project, config=SampleConfig(k=4, prompts=36, held_out=4, max_tokens=40))
    assert label(project, by="world", config=LabelConfig())
    reward(project, flags=FLAGS, config=RewardConfig(**given, epochs=1, lr=1e-3))
    dpo(project, flags=FLAGS, config=DpoConfig(**given, epochs=3, lr=1e-3))
    town = PictureTown.generate(0, TOWN)
    found = {name: _readable(project, name, prompts, town) for name in ("sft", "dpo")}
    assert found["dpo"] > found["sft"] - 0.1
    with pytest.raises(UsageError, match="picture town"):
        world_of(project)


def _readable(project: Project, name: str, prompts: list[Prompt], town: PictureTown) -> float:
    """Mean gold of two answers drawn to each scene."""
    model = load_model(project, name)
    sampler = LocalSampler(model.lm, stop=model.format.stop, dtype=torch.float32)
    rows = [model.format.prompt(prompt.messages) for prompt in prompts]
    drawn = sampler.sample(rows, n=2, sampling=Sampling(max_tokens=40), generator=torch.Generator().manual_seed(0)).rows()
    return fmean(gold(town.specs[prompts[i // 2].id], model.format.text(row)) for i, row in enumerate(drawn))
