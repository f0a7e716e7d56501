"""`accord agreement` and `accord plan` on a project that the world's labelers answered, without any model."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from accord.commands.app import main
from accord.feedback import answers, tasks
from accord.feedback.guidelines import reference
from accord.feedback.store import Store
from accord.runtime.project import Project
from accord.settings import PlanConfig
from accord.stages.asking import world_of
from accord.stages.measuring import simulated
from accord.world import labelers

WORLD = ["--documents", "60", "--prompts", "150", "--demonstrations", "24", "--users", "20"]
Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A town whose labelers ranked four responses to each of 100 prompts, half of them twice."""
    path = tmp_path_factory.mktemp("measuring") / "town"
    main(["init", str(path), "--world", *WORLD])
    project = Project.open(path)
    world = world_of(project)
    ranked, rankings = simulated(world, PlanConfig(k=4, pilot=100, overlap=0.5))
    with Store.open(project.store_url) as store:
        people = [person.record for person in labelers(world)]
        responses = {response.id: response for row in ranked for response in row.responses}
        store.add(labelers=people, responses=responses.values(), rankings=rankings)
    return path


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str]) -> Iterator[Typed]:
    pipes = signal.getsignal(signal.SIGPIPE)

    def run(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            main([str(word) for word in words])
        except SystemExit as end:
            return int(end.code or 0), *capsys.readouterr()
        return 0, *capsys.readouterr()

    yield run
    signal.signal(signal.SIGPIPE, pipes)


def answer(typed: Typed, *words: object) -> dict[str, Any]:
    code, out, err = typed(*words, "--json")
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def test_agreement_has_every_figure_and_finds_people_as_the_world_made_them(typed: Typed, town: Path) -> None:
    found = answer(typed, "agreement", town, "--resamples", "200")
    assert 0.6 < found["figures"]["pairwise_dropped"][0] < 0.85
    assert found["figures"]["rating_alpha_ordinal"][0] > 0.1
    for name, (mean, low, high) in found["figures"].items():
        assert mean is None or low <= mean <= high, name
    assert 0 < found["in_doubt"]["pairs"] <= found["in_doubt"]["of"]
    assert found["in_doubt"]["first"][0]["probability"] < 0.9


def test_groups_are_shown_beside_each_other(typed: Typed, town: Path) -> None:
    found = answer(typed, "agreement", town, "--by", "group", "--resamples", "50", "--contested", "3")
    assert set(found["by"]) == {"plain", "strict", "brisk", "caring"}
    assert "brisk | caring" in found["between"]
    assert sum(part["rankings"] for part in found["by"].values()) == found["rankings"]
    assert len(found["contested"]) == 3 <= found["contested_pairs"]
    assert found["contested"][0]["gap"] == 1.0


def test_by_version_and_by_kind_are_parts_of_the_whole(typed: Typed, town: Path) -> None:
    whole = answer(typed, "agreement", town, "--by", "version", "--resamples", "20")
    (version,) = whole["by"]
    assert version.startswith("training ")
    assert whole["by"][version]["figures"] == whole["figures"]
    assert answer(typed, "agreement", town, "--by", "kind", "--resamples", "20")["by"] == {"rank": whole["by"][version]}


def test_by_kind_knows_what_was_asked_in_the_site(typed: Typed, town: Path, tmp_path: Path) -> None:
    project = Project(Path(shutil.copytree(town, tmp_path / "town")))
    with Store.open(project.store_url) as store:
        prompts = {prompt.id: prompt for prompt in store.prompts()}
        people = [person.id for person in store.labelers()][:2]
        before = sum(1 for _ in store.rankings())
        tasks.add(store, list(tasks.from_responses(prompts, store.responses(), kind="compare", overlap=2, priority=1.0))[:20])
        for who in people:
            while leased := tasks.next_task(store, who, now=datetime.now(UTC), lease_seconds=60, kinds=["compare"]):
                rest = {"key": leased.task.id, "revision": 0, "seconds": 1.0, "guideline": reference("training"), "now": datetime.now(UTC)}
                answers.submit(store, who, leased.task.id, {"choice": "tie"}, **rest)
    parts = answer(typed, "agreement", project.path, "--by", "kind", "--resamples", "20")["by"]
    assert {kind: part["rankings"] for kind, part in parts.items()} == {"compare": 40, "rank": before}
    assert parts["compare"]["figures"]["pairwise_disagreement"][0] == 1.0


def test_tables_name_figures_and_intervals(typed: Typed, town: Path) -> None:
    code, out, _ = typed("agreement", town, "--by", "group", "--resamples", "20")
    assert code == 0
    for words in ("pairwise_dropped", "rank_tau_b", "groups against each other", "see differently", "in doubt"):
        assert words in out


@pytest.mark.parametrize("source", ["answers", "world"])
def test_a_budget_is_told_what_it_reaches(typed: Typed, town: Path, source: str) -> None:
    found = answer(typed, "plan", town, "--by", source, "--labels", "1200", "--pilot", "100")
    assert found["from"] == source
    assert (found["labels"], found["prompts"]) == (1200, 1000)
    assert 0.5 < found["reward_accuracy"] < found["ceiling"] < 1
    assert 0 < found["agreement_width"] < 0.1
    assert [row["labels_a_prompt"] for row in found["redundancy"]] == [1, 3, 5, 7]


def test_a_width_is_told_what_it_takes(typed: Typed, town: Path) -> None:
    wide, narrow = (answer(typed, "plan", town, "--width", width) for width in (0.08, 0.04))
    for key in ("labels_for_agreement", "labels_for_reward_accuracy", "prompts_for_win_rate"):
        assert narrow[key] == pytest.approx(4 * wide[key], rel=0.02), key
    assert "plan, from" in typed("plan", town, "--width", "0.05")[1]


@pytest.mark.parametrize(
    ("words", "code", "part"),
    [
        (["plan", "TOWN"], 2, "--width 0.04"),
        (["plan", "TOWN", "--labels", "9", "--width", "0.1"], 2, "either"),
        (["plan", "TOWN", "--labels", "-5"], 2, "labels is -5"),
        (["plan", "TOWN", "--labels", "9", "--overlap", "0"], 2, "overlap is 0"),
        (["agreement", "TOWN", "--by", "weather"], 2, "weather"),
        (["agreement", "TOWN", "--resamples", "0"], 2, "resamples is 0"),
        (["agreement", "EMPTY"], 1, "label with an overlap"),
        (["plan", "EMPTY", "--labels", "9", "--by", "answers"], 1, "--by world"),
        (["plan", "EMPTY", "--labels", "9"], 2, "no built-in world"),
    ],
)
def test_what_cannot_be_said_is_one_line(typed: Typed, town: Path, tmp_path: Path, words: list[str], code: int, part: str) -> None:
    empty = Project.create(tmp_path / "empty").path
    found, _, complaint = typed(*[{"TOWN": str(town), "EMPTY": str(empty)}.get(word, word) for word in words])
    assert found == code
    assert complaint.startswith("accord: ")
    assert part in complaint
    assert complaint.count("\n") == 1
