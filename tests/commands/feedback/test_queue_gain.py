"""`accord queue --by`: what would teach most comes first, what waits is moved, and only so many are asked."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tiny import SENTENCES, chat, llama, scalar

from accord.commands.app import main
from accord.commands.feedback.queue import queue
from accord.commands.feedback.queue_gain import by_rewards, gain_by
from accord.feedback import tasks
from accord.feedback.store import Store
from accord.models.folders import save_model
from accord.records import Guideline, Labeler, Message, Prompt, Ranking, Response
from accord.runtime.project import Project

NOW = datetime(2026, 1, 1, tzinfo=UTC)
K = 4
PROMPTS = [Prompt(f"p{n}", (Message("user", f"Where is bread number {n}?"),)) for n in range(8)]


def ranked(n: int, who: str, ranks: tuple[int, ...]) -> Ranking:
    ids = tuple(f"p{n}-{k}" for k in range(len(ranks)))
    return Ranking(f"{who}-{n}", f"p{n}", who, ids, ranks, Guideline("training", "1"), NOW.isoformat())


def sampled(project: Project) -> Project:
    """Eight prompts with four responses each; the first three are ranked, again and again alike."""
    with Store.open(project.store_url) as store:
        people = [Labeler(f"l{n}", "person") for n in range(6)]
        responses = [Response(f"{p.id}-{k}", p.id, SENTENCES[k], "sft") for p in PROMPTS for k in range(K)]
        store.add(prompts=PROMPTS, labelers=people, responses=responses)
        store.add_rankings(ranked(n, person.id, (1, 2, 3, 4)) for n in range(3) for person in people)
    return project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return sampled(Project.create(tmp_path / "p"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The same with two reward models."""
    project = sampled(Project.create(tmp_path_factory.mktemp("choosing") / "p"))
    tokenizer = chat().tokenizer
    for seed, name in enumerate(("reward", "other")):
        save_model(project.model(name), scalar(llama(seed, vocab=len(tokenizer)), seed), tokenizer)
    return project


def order(project: Project, **options: Any) -> list[str]:
    """The prompts in the order in which a new labeler gets them."""
    with Store.open(project.store_url) as store:
        store.add_labelers([Labeler("ann", "person")])
        found = list[str]()
        while leased := tasks.next_task(store, "ann", now=NOW, lease_seconds=60, **options):
            found.append(leased.task.prompt.id)
            tasks.release(store, "ann", leased.task.id)
            with store.write() as connection:
                connection.exec_driver_sql(f"UPDATE tasks SET open = false WHERE id = '{leased.task.id}'")
    return found


def said(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    capsys.readouterr()
    main([*map(str, words), "--json"])
    return json.loads(capsys.readouterr().out)


def test_what_nobody_ranked_tells_more_than_what_all_agree_on(project: Project) -> None:
    assert queue(project, k=K, by="information") == {"tasks": 8, "new": 8, "moved": 0}
    first = order(project)
    assert set(first[:5]) == {"p3", "p4", "p5", "p6", "p7"}
    assert set(first[5:]) == {"p0", "p1", "p2"}


def test_what_waits_is_moved_when_more_is_known(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "queue", project.path, "--k", K, "--again") == {"tasks": 8, "new": 8}
    with Store.open(project.store_url) as store:
        store.add_rankings(ranked(n, f"l{m}", (1, 2, 3, 4)) for n in (3, 4, 5, 6) for m in range(6))
    found = said(capsys, "queue", project.path, "--k", K, "--by", "information", "--count", 1)
    assert found == {"tasks": 1, "new": 0, "moved": 1}
    assert order(project)[0] == "p7"


def test_of_pairs_the_close_and_little_known_ones_are_asked(project: Project) -> None:
    """p0's four responses are far apart after six rankings, p7's are not known at all."""
    assert queue(project, kind="compare", by="information", count=30)["new"] == 30
    with Store.open(project.store_url) as store, store.read() as connection:
        ids = set(connection.exec_driver_sql("SELECT id FROM tasks").scalars())
        assert {task.prompt.id for task in tasks.load_all(connection, ids)} == {"p3", "p4", "p5", "p6", "p7"}, "6 pairs of each"


def test_by_chance_follows_from_the_seed(project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = sampled(Project.create(tmp_path / "other"))
    for each in (project, other):
        assert said(capsys, "queue", each.path, "--k", K, "--by", "random", "--count", 5, "--seed", 3)["new"] == 5
    assert order(project) == order(other) != sorted(order(other))


def test_a_reward_models_doubts_come_first(trained: Project, capsys: pytest.CaptureFixture[str]) -> None:
    with Store.open(trained.store_url) as store:
        made = list(tasks.from_responses({p.id: p for p in PROMPTS}, store.responses(), kind="rank", k=K))
        one = by_rewards(trained, ["reward"], made)
        two = by_rewards(trained, ["reward", "other"], made)
        same = by_rewards(trained, ["reward", "reward"], made)
    assert all(0 < gain < 0.7 for gain in one.values())
    assert len(set(one.values())) == 8
    assert max(map(abs, same.values())) < 1e-9 < max(two.values()), "models that say the same have nothing to settle"
    found = said(capsys, "queue", trained.path, "--k", K, "--by", "uncertainty", "--reward", "reward", "--count", 3)
    assert found == {"tasks": 3, "new": 3, "moved": 0}
    prompts = {task.id: task.prompt.id for task in made}
    assert order(trained) == [prompts[id] for id in sorted(one, key=lambda id: -one[id])[:3]]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--by", "uncertainty"], "names no reward model"),
        (["--by", "random", "--reward", "reward"], "asks no reward model"),
        (["--by", "uncertainty", "--reward", "nobody"], "no such model"),
        (["--by", "information", "--kind", "correct"], "compare nothing"),
        (["--count", "-1"], "count -1"),
    ],
)
def test_what_cannot_be_chosen_so_is_said(project: Project, words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["queue", str(project.path), *words])
    assert says in capsys.readouterr().err
    assert gain_by(project, "order") is None
