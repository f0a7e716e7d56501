"""Training on pictures: the loss is plain transformers' own, the tower that reads pixels stays, and any tool opens what is saved."""

from __future__ import annotations

import base64
import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from seeing import picture, seeing
from tiny import weights

from accord.algorithms import sft as sft_algorithm
from accord.commands.app import RunFlags
from accord.commands.models import TextScorer, load_model
from accord.commands.pictures import picture_files
from accord.commands.train.dpo import dpo
from accord.commands.train.grpo import grpo
from accord.commands.train.kto import kto
from accord.commands.train.reward import reward
from accord.commands.train.sft import sft
from accord.commands.train.star import star
from accord.data.token_rows import RowWindow
from accord.engine.local import LocalSampler
from accord.engine.remote import RemoteSpeaker
from accord.errors import InputError
from accord.feedback.store import Store
from accord.models.folders import load_causal_lm
from accord.models.pictures import tower_of
from accord.records import Demonstration, Guideline, Labeler, Prompt, Ranking, Response, Sampling, composed
from accord.runtime.project import Project
from accord.settings import DpoConfig, GrpoConfig, KtoConfig, RewardConfig, SftConfig, StarConfig

FLAGS = RunFlags(dtype="float32")
FILES = [picture(seed, (24 + 8 * (seed % 2), 32)) for seed in range(6)]
QUESTION = "What is it?"
ANSWERS = ["At the market.", "A river runs.", "Bread."]
PROMPTS = [
    Prompt(f"p{i}", (composed("user", [file.named(), QUESTION]),), user=f"u{i}", split="validation" if i == 5 else "train")
    for i, file in enumerate(FILES)
]
BETA = 0.5


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a vision-language base, an SFT model, and rankings of three answers to each picture."""
    made = Project.create(tmp_path_factory.mktemp("vision") / "project")
    with Store.open(made.store_url) as store:
        store.add(
            labelers=[Labeler("ann", "person", "near")],
            media=FILES,
            demonstrations=[Demonstration(f"d{i}", prompt, ANSWERS[0], "ann") for i, prompt in enumerate(PROMPTS)],
            responses=[Response(f"{p.id}-{i}", p.id, text, "sft") for p in PROMPTS for i, text in enumerate(ANSWERS)],
        )
        for prompt in PROMPTS:
            ids = tuple(f"{prompt.id}-{i}" for i in range(3))
            store.add_rankings(
                [Ranking(f"r-{prompt.id}", prompt.id, "ann", ids, (1, 2, 3), Guideline("training", "1"), "2025-01-01T00:00:00Z")]
            )
    seeing(made.path / "base")
    config = SftConfig(epochs=2, ptx_tokens=0, lr=1e-3, batch_size=3, select="last")
    sft(made, base=str(made.path / "base"), flags=FLAGS, config=config)
    return made


def plainly(folders: Sequence[Path], project: Project) -> dict[str, Any]:
    """What plain transformers says of the pictures, in a process without our code."""
    rows: list[dict[str, Any]] = []
    for file in (FILES[0], FILES[5]):
        path = project.path / f"{file.digest}.png"
        path.write_bytes(file.content)
        rows.append({"picture": str(path), "question": QUESTION, "answers": ANSWERS})
    script = Path(__file__).parents[2] / "plain_seeing.py"
    given = json.dumps({"folders": [str(folder) for folder in folders], "rows": rows})
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([sys.executable, str(script)], input=given, capture_output=True, text=True, timeout=300, env=clean)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def tower(folder: Path) -> dict[str, torch.Tensor]:
    return {name: parameter.detach() for name, parameter in tower_of(load_causal_lm(folder).base_model)}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_losses_are_those_of_transformers_and_any_tool_opens_what_is_saved(project: Project) -> None:
    run = dpo(project, flags=FLAGS, config=DpoConfig(batch_size=2, epochs=2, lr=1e-3, beta=BETA))
    told = plainly([project.model("sft"), project.model("dpo")], project)
    before, after = (told[str(project.model(name))] for name in ("sft", "dpo"))

    validation = project.run("sft") / "summary.json"
    assert json.loads(validation.read_text())["validation_loss"] == pytest.approx(before["losses"][1][0], abs=1e-4)

    ahead = [BETA * (now - then) for now, then in zip(after["sums"][1], before["sums"][1], strict=True)]
    pairs = [math.log1p(math.exp(ahead[worse] - ahead[better])) for better, worse in ((0, 1), (0, 2), (1, 2))]
    assert run.summary["validation_loss"] == pytest.approx(fmean(pairs), abs=1e-4)
    assert abs(fmean(pairs) - math.log(2)) > 1e-3, "the policy has left the reference"

    model = load_model(project, "dpo")
    sampler = LocalSampler(model.lm, stop=model.format.stop, dtype=torch.float32)
    prompts = [model.format.prompt(PROMPTS[i].messages) for i in (0, 5)]
    drawn = sampler.sample(prompts, n=1, sampling=Sampling(temperature=0.0, max_tokens=8), generator=torch.Generator())
    assert [model.format.text(row) for row in drawn.rows()] == after["drawn"]


def test_gradients_are_those_of_transformers_labels(project: Project) -> None:
    model = load_model(project, "sft")
    window = RowWindow(512)
    examples: list[sft_algorithm.Example] = []
    for prompt in PROMPTS[:3]:
        rows = model.format.prompt(prompt.messages), model.format.response(prompt.messages, ANSWERS[0])
        examples.append(sft_algorithm.example(*rows, window, prompt.id))
    sft_algorithm._accumulate(model.lm, examples, 100_000, torch.float32)  # pyright: ignore[reportPrivateUsage]
    ours = {name: parameter.grad.clone() for name, parameter in model.lm.named_parameters() if parameter.grad is not None}

    model.lm.zero_grad()
    gallery = model.lm.base_model.gallery
    takes = ("pixel_values",)
    for example in examples:
        given = gallery.inputs(torch.tensor([example.tokens]), takes, together=True)
        labels = given["input_ids"].clone()
        labels[:, : -example.kept] = -100
        (model.lm(**given, labels=labels).loss / len(examples)).backward()
    for name, parameter in model.lm.named_parameters():
        if parameter.grad is not None:
            assert torch.allclose(ours[name], parameter.grad, atol=1e-5), name
    assert any("vision_tower" in name and ours[name].abs().max() > 1e-6 for name in ours)


def test_the_vision_tower_stays_unless_it_is_asked_for(project: Project) -> None:
    given: dict[str, Any] = {"batch_size": 3, "epochs": 1, "lr": 1e-2}
    base = tower(project.path / "base")
    assert same(tower(project.model("sft")), base)
    dpo(project, name="adapters", flags=FLAGS, config=DpoConfig(**given, lora_rank=2))
    assert same(tower(project.model("adapters")), base)
    dpo(project, name="whole", flags=FLAGS, config=DpoConfig(**given, train_vision=True))
    assert not same(tower(project.model("whole")), base)
    dpo(project, name="all-adapters", flags=FLAGS, config=DpoConfig(**given, lora_rank=2, train_vision=True))
    assert not same(tower(project.model("all-adapters")), base)
    for name in ("adapters", "whole"):
        old, new = weights(load_causal_lm(project.model("sft"))), weights(load_causal_lm(project.model(name)))
        assert any(not torch.equal(old[key], new[key]) for key in old if "language_model" in key)


def test_a_reward_model_sees_what_it_scores(project: Project) -> None:
    reward(project, flags=FLAGS, config=RewardConfig(batch_size=3, epochs=2, lr=1e-2))
    scorer = TextScorer.open(project, "reward", torch.float32)
    scores = scorer.scores(PROMPTS[:2], [ANSWERS[0]] * 2)
    assert abs(scores[0] - scores[1]) > 1e-4, "the pictures differ and nothing else"

    from transformers import LlavaModel

    body = LlavaModel.from_pretrained(project.model("reward")).float().eval()
    head = load_file(project.model("reward") / "model.safetensors")["score.weight"]
    row = [*scorer.format.prompt(PROMPTS[0].messages), *scorer.format.response(PROMPTS[0].messages, ANSWERS[0])]
    given = scorer.model.model.base_model.gallery.inputs(torch.tensor([row]), ("pixel_values",), together=True)
    with torch.no_grad():
        state = body(**given).last_hidden_state[0, -1]
    assert scores[0] == pytest.approx(float(head[0] @ state) + scorer.model.model.config.reward_bias, abs=1e-4)

    run = grpo(project, flags=FLAGS, config=GrpoConfig(steps=1, batch_size=4, minibatch_size=4, group_size=2, max_tokens=6, lr=1e-3))
    assert run.summary["kl_k1"] == pytest.approx(0.0, abs=1e-4)
    assert json.loads((project.run("grpo") / "metrics.jsonl").read_text().splitlines()[0])["logprob_gap"] < 1e-4
    assert same(tower(project.model("grpo")), tower(project.path / "base"))


def test_thumbs_are_learned_from(project: Project) -> None:
    run = kto(project, flags=FLAGS, config=KtoConfig(batch_size=6, epochs=1, lr=1e-3))
    assert run.summary["thumbs_up"]
    assert run.summary["thumbs_down"]
    assert same(tower(project.model("kto")), tower(project.path / "base"))


def test_a_server_is_sent_the_picture(project: Project) -> None:
    speaker = RemoteSpeaker("http://127.0.0.1:9/v1", "any", show=picture_files(project))
    body = speaker._body(PROMPTS[0].messages, 1, Sampling(), 0)  # pyright: ignore[reportPrivateUsage]
    image, text = body["messages"][0]["content"]
    head, _, data = image["image_url"]["url"].partition(",")
    assert (head, base64.b64decode(data)) == ("data:image/png;base64", FILES[0].content)
    assert text == {"type": "text", "text": QUESTION}
    blind = RemoteSpeaker("http://127.0.0.1:9/v1", "any")
    with pytest.raises(InputError, match="a picture"):
        blind._body(PROMPTS[0].messages, 1, Sampling(), 0)  # pyright: ignore[reportPrivateUsage]


def test_a_run_reads_the_pictures_that_it_keeps(project: Project) -> None:
    kept = project.run("sft") / "media"
    assert {path.stem for path in kept.iterdir()} == {file.digest for file in FILES}
    assert (project.model("sft") / "processor_config.json").read_bytes() == (project.path / "base" / "processor_config.json").read_bytes()


def test_problems_with_pictures_are_learned_by_majority(project: Project) -> None:
    asked = StarConfig(rounds=1, batch_size=2, attempts=2, max_tokens=3, majority=True)
    assert star(project, name="voted", flags=FLAGS, config=asked).summary["problems"] == 5
    rows = [json.loads(line) for line in (project.run("voted") / "samples.jsonl").read_text().splitlines()]
    assert QUESTION in str(rows[0])


def test_a_swap_of_groups_keeps_the_picture(project: Project) -> None:
    """No word names a group here, so nothing has a twin; a twin without its picture would be another text."""
    reward(project, name="swapped", flags=FLAGS, config=RewardConfig(epochs=1, lr=1e-3, warmup_steps=0, swap_axes="gender"))
    rows = [json.loads(line) for line in (project.run("swapped") / "metrics.jsonl").read_text().splitlines()]
    assert rows
    assert not any("swap_gap" in row for row in rows)
