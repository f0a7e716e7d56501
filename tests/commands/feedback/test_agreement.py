"""`accord agreement` on a project that the world's labelers answered, without any model."""

from __future__ import annotations

import dataclasses
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from ranked_town import metrics, ranked_town, typed

from accord.feedback import answers, tasks
from accord.feedback.consensus import in_doubt
from accord.feedback.guidelines import reference
from accord.feedback.reliability import reliability
from accord.feedback.store import Store
from accord.records import Guideline, Labeler, Message, Prompt, Ranking, Response
from accord.runtime.jsonable import jsonable
from accord.runtime.project import Project


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ranked_town(tmp_path_factory.mktemp("town") / "town")


def test_agreement_has_every_figure_and_finds_people_as_the_world_made_them(capsys: pytest.CaptureFixture[str], town: Path) -> None:
    found = metrics(capsys, "agreement", town, "--resamples", "200")
    assert 0.6 < found["metrics"]["pairwise_dropped"][0] < 0.85
    assert found["metrics"]["rating_alpha_ordinal"][0] > 0.1
    for name, (mean, low, high) in found["metrics"].items():
        assert mean is None or low <= mean <= high, name
    assert 0 < found["in_doubt"]["pairs"] <= found["in_doubt"]["of"]
    assert found["in_doubt"]["first"][0]["probability"] < 0.9


def test_groups_are_shown_beside_each_other(capsys: pytest.CaptureFixture[str], town: Path) -> None:
    found = metrics(capsys, "agreement", town, "--by", "group", "--resamples", "50", "--contested", "3")
    assert set(found["by"]) == {"plain", "strict", "brisk", "caring"}
    assert "brisk | caring" in found["between"]
    assert sum(part["rankings"] for part in found["by"].values()) == found["rankings"]
    assert len(found["contested"]) == 3 <= found["contested_pairs"]
    assert found["contested"][0]["gap"] == 1.0


def test_by_version_and_by_kind_are_parts_of_the_whole(capsys: pytest.CaptureFixture[str], town: Path) -> None:
    whole = metrics(capsys, "agreement", town, "--by", "version", "--resamples", "20")
    (version,) = whole["by"]
    assert version.startswith("training ")
    assert whole["by"][version]["metrics"] == whole["metrics"]
    assert metrics(capsys, "agreement", town, "--by", "kind", "--resamples", "20")["by"] == {"rank": whole["by"][version]}


def test_by_kind_knows_what_was_asked_in_the_site(capsys: pytest.CaptureFixture[str], town: Path, tmp_path: Path) -> None:
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
    parts = metrics(capsys, "agreement", project.path, "--by", "kind", "--resamples", "20")["by"]
    assert {kind: part["rankings"] for kind, part in parts.items()} == {"compare": 40, "rank": before}
    assert parts["compare"]["metrics"]["pairwise_disagreement"][0] == 1.0


def test_what_one_labeler_alone_ranked_is_counted_but_not_read(capsys: pytest.CaptureFixture[str], town: Path, tmp_path: Path) -> None:
    """The figures are those of all rankings, with labelers of whom nothing else is known, and with another guideline set."""
    project = Project(Path(shutil.copytree(town, tmp_path / "town")))
    with Store.open(project.store_url) as store:
        one = next(store.rankings())
        alone = [Prompt(f"alone-{n}", (Message("user", "Anybody?"),)) for n in range(3)]
        shown = [Response(f"{prompt.id}-{k}", prompt.id, str(k), "m") for prompt in alone for k in range(2)]
        store.add_labelers([Labeler("hermit", "person")])
        store.add_prompts(alone)
        store.add_responses(shown)
        ids = [(f"{prompt.id}-0", f"{prompt.id}-1") for prompt in alone]
        sets = ("training", "evaluation", "evaluation")
        store.add_rankings(
            Ranking(f"k-{n}", prompt.id, "hermit", ids[n], (1, 2), Guideline(sets[n], "v"), "") for n, prompt in enumerate(alone)
        )
        everything, shared = list(store.rankings()), list(store.rankings(shared=True))
        assert sum(store.ranked_by().values()) == len(everything) > len(shared)
        assert not {prompt.id for prompt in alone} & {ranking.prompt_id for ranking in shared}
        assert one in everything
    found = metrics(capsys, "agreement", project.path, "--resamples", "20")
    expected = dataclasses.asdict(reliability(everything, resamples=20))
    assert {name: found[name] for name in expected if name != "metrics"} == {k: v for k, v in expected.items() if k != "metrics"}
    assert found["metrics"] == jsonable(expected["metrics"])
    doubts, judged = in_doubt(everything, sure=0.9)
    assert (found["in_doubt"]["pairs"], found["in_doubt"]["of"]) == (len(doubts), judged)


def test_tables_name_figures_and_intervals(capsys: pytest.CaptureFixture[str], town: Path) -> None:
    code, out, _ = typed(capsys, "agreement", town, "--by", "group", "--resamples", "20")
    assert code == 0
    for words in ("pairwise_dropped", "rank_tau_b", "groups against each other", "see differently", "in doubt"):
        assert words in out


@pytest.mark.parametrize(
    ("words", "code", "part"),
    [
        (["agreement", "TOWN", "--by", "weather"], 2, "weather"),
        (["agreement", "TOWN", "--resamples", "0"], 2, "resamples is 0"),
        (["agreement", "EMPTY"], 1, "label with an overlap"),
    ],
)
def test_a_refusal_is_one_line(
    capsys: pytest.CaptureFixture[str], town: Path, tmp_path: Path, words: list[str], code: int, part: str
) -> None:
    empty = Project.create(tmp_path / "empty").path
    folders: dict[str, str] = {"TOWN": str(town), "EMPTY": str(empty)}
    found, _, complaint = typed(capsys, *[folders.get(word, word) for word in words])
    assert found == code
    assert complaint.startswith("accord: ")
    assert part in complaint
    assert complaint.count("\n") == 1
