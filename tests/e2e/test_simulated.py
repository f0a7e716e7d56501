"""The world's labelers answer through the site: the reward model is bit for bit the one that trains on the same rankings directly."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from e2e.conftest import SEED, Server
from visitor import Visitor, ranking_form

from accord.commands.app import RunFlags
from accord.commands.train.pretrain import pretrain
from accord.commands.train.reward import reward
from accord.commands.train.sft import sft
from accord.data.corpus import write_documents
from accord.feedback import accounts, tasks
from accord.feedback.guidelines import reference
from accord.feedback.snapshot import write_snapshot
from accord.feedback.store import Store
from accord.records import Labeler, Prompt, Response
from accord.runtime.project import Project
from accord.settings import PretrainConfig, RewardConfig, SftConfig, WorldConfig
from accord.world import SimulatedLabeler, World, labelers

WORLD = World.generate(SEED, WorldConfig(documents=600, prompts=80, demonstrations=60, users=20))
PEOPLE = labelers(WORLD)[:4]
FLAGS = RunFlags(dtype="float32")
TINY: dict[str, Any] = {"vocab_size": 400, "hidden_size": 16, "layers": 1, "heads": 2, "intermediate_size": 24, "context": 256}


def sampled() -> list[tuple[Prompt, list[Response]]]:
    """Prompts with four responses each: what the world would write for this prompt and for others."""
    texts = [demonstration.text for demonstration in WORLD.demonstrations]
    asked = [prompt for prompt in WORLD.prompts if prompt.split == "train"][:12]
    return [
        (p, [Response(f"{p.id}-{k}", p.id, texts[(7 * n + 11 * k) % len(texts)], "sft") for k in range(4)]) for n, p in enumerate(asked)
    ]


def through_the_site(site: Server, person: SimulatedLabeler) -> int:
    """One simulated labeler's browser, until nothing is left."""
    prompts = {prompt.messages[-1].content: prompt for prompt in site.store.prompts()}
    known = {(response.prompt_id, response.text): response for response in site.store.responses()}
    token = accounts.invite(site.store, "labeler", person.record.id, by="tests", now=datetime.now(UTC), labeler=person.record.id)
    visitor, done = Visitor(site.address), 0
    assert visitor.join(token).status == 200
    while given := visitor.next():
        prompt = prompts[given["task"]["messages"][-1]["content"]]
        shown = [known[prompt.id, text] for text in given["task"]["responses"]]
        ranking = person.rank(prompt, shown, guideline=reference("training"), at="", id="")
        assert list(ranking.response_ids) == [response.id for response in shown], "the site shows the order that the labeler would see"
        assert visitor.answer(given, ranking_form(ranking)).status == 200
        done += 1
    visitor.close()
    return done


@pytest.fixture(scope="module")
def sft_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a small SFT model of this world's."""
    project = Project.create(tmp_path_factory.mktemp("simulated") / "sft")
    write_documents(project.path / "corpus" / "text.jsonl", WORLD.documents[:200])
    with Store.open(project.store_url) as store:
        store.add(labelers={d.labeler: Labeler(d.labeler, "person") for d in WORLD.demonstrations}.values())
        store.add_demonstrations(WORLD.demonstrations)
    pretrain(project, flags=FLAGS, config=PretrainConfig(**TINY, tokens=1000, batch_tokens=256))
    sft(project, flags=FLAGS, config=SftConfig(epochs=1, ptx_tokens=0))
    return project.path


def rewarded(folder: Path, url: str, sft_project: Path) -> bytes:
    """The weights of a reward model that was trained on what a store holds."""
    project = Project.create(folder, settings={"store": {"url": url}})
    shutil.copytree(sft_project / "models" / "sft", project.model("sft"))
    reward(project, flags=FLAGS, config=RewardConfig(lr=1e-3))
    return (project.model("reward") / "model.safetensors").read_bytes()


def test_a_reward_model_is_the_same_bit_for_bit_as_from_the_store_directly(site: Server, tmp_path: Path, sft_project: Path) -> None:
    groups = sampled()
    with Store.open(f"sqlite:///{tmp_path / 'direct.db'}") as direct:
        for store in (site.store, direct):
            store.add(
                prompts=[p for p, _ in groups], responses=[r for _, group in groups for r in group], labelers=[p.record for p in PEOPLE]
            )
        tasks.add(site.store, tasks.from_responses({p.id: p for p, _ in groups}, site.store.responses(), overlap=len(PEOPLE)))
        assert [through_the_site(site, person) for person in PEOPLE] == [len(groups)] * len(PEOPLE)
        at, guideline = datetime.now(UTC).isoformat(), reference("training")
        direct.add_rankings(
            person.rank(prompt, responses, guideline=guideline, at=at, id=f"{prompt.id} {person.record.id}")
            for prompt, responses in groups
            for person in PEOPLE
        )
        through, plain = tmp_path / "site.jsonl", tmp_path / "direct.jsonl"
        digest = write_snapshot(site.store.ranked_prompts(split="train"), through)
        assert write_snapshot(direct.ranked_prompts(split="train"), plain) == digest
        assert through.read_text().count("\n") == len(groups) * len(PEOPLE)
    first = rewarded(tmp_path / "one", site.url, sft_project)
    second = rewarded(tmp_path / "two", f"sqlite:///{tmp_path / 'direct.db'}", sft_project)
    assert first == second
    assert first != (sft_project / "models" / "sft" / "model.safetensors").read_bytes()
