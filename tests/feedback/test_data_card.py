"""The data card: every figure of it is counted a second time, from the records that the test stored itself."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import accord
from accord.commands.data.import_ import import_
from accord.commands.data.remove import remove
from accord.commands.data.undo import undo
from accord.feedback import accounts, answers, data_card, erasure, questions, tasks, written
from accord.feedback.agreement import pairwise_agreement
from accord.feedback.labeler_kinds import said_by
from accord.feedback.provenance import Provenance, record
from accord.feedback.question_agreement import flag_agreement
from accord.feedback.snapshot import write_snapshot
from accord.feedback.tasks import Task
from accord.records import Demonstration, Guideline, Labeler, Media, Message, Prompt, Ranking, Rating, Response, Thumb, composed
from accord.runtime.project import Project

NOW = datetime(2026, 1, 1, tzinfo=UTC)
USE_CASES = ("open_qa", "open_qa", "chat", "rewrite", "open_qa", "chat")
SPLITS: tuple[Any, ...] = ("train", "train", "train", "validation", "test", "train")
PROMPTS = [
    Prompt(f"p{n}", (Message("user", f"Question {n}?"),), use_case, f"reader-{n}", split, "own.jsonl")
    for n, (use_case, split) in enumerate(zip(USE_CASES, SPLITS, strict=True))
]
PEOPLE = [
    Labeler("ann", "person", "near"),
    Labeler("bob", "person", "near"),
    Labeler("cat", "person", "far"),
    Labeler("dan", "person", "silent"),
    Labeler("machine", "model", "ai"),
    Labeler("u-jane", "user", "jane's"),
]
RESPONSES = [Response(f"{prompt.id}-{n}", prompt.id, f"Answer {n}.", f"sft-{n}") for prompt in PROMPTS[:5] for n in range(3)]


def ranked(labeler: str, prompt: int, ranks: tuple[int, ...], version: str = "v1", flag: bool = False) -> Ranking:
    ids = tuple(f"p{prompt}-{n}" for n in range(3))
    ratings = tuple(Rating(id, 8 - 2 * rank, ("hallucination",) if flag and rank == 3 else ()) for id, rank in zip(ids, ranks, strict=True))
    return Ranking(f"{labeler}-{prompt}", f"p{prompt}", labeler, ids, ranks, Guideline("training", version), "2026-01-01", ratings)


RANKINGS = [
    *(ranked("ann", n, (1, 2, 3), flag=True) for n in range(5)),
    *(ranked("bob", n, (1, 3, 2), version="v2", flag=n == 0) for n in range(3)),
    ranked("cat", 0, (3, 2, 1)),
    ranked("machine", 0, (1, 2, 3)),
    ranked("u-jane", 1, (1, 2, 3)),
]


@pytest.fixture
def project(tmp_path: Path, url: str) -> Project:
    """Six prompts of our own, one of them with no answer, and an imported one; one ranking is removed."""
    made = accord.create(tmp_path / "project", settings={"store": {"url": url}})
    rows = [{"prompt": "1 + 1?", "chosen": "2", "rejected": "3", "labeler": "eve", "split": "train"}]
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    import_(made, file, quiet=True)
    with accord.store(made) as store:
        store.add(prompts=PROMPTS, labelers=PEOPLE, responses=RESPONSES, rankings=RANKINGS)
        languages = ("en", "en", "zh", "en", "", "fr")
        papers = [Provenance(f"p{n}", "own.jsonl", language=each, consent="public", terms="CC BY 4.0") for n, each in enumerate(languages)]
        record(store, papers[:4] + papers[5:])
    remove(made, "cat-0", why="a slip")
    return made


def learned(project: Project, kinds: str = "person", **more: Any) -> str:
    """Snapshot the rankings as a run does, and write its card."""
    folder = project.run("dpo")
    with accord.store(project) as store:
        digest = write_snapshot(said_by(store, store.ranked_prompts(), kinds), folder / "rankings.jsonl")
    data_card.write(project, folder, stage="dpo", data={"rankings": digest, "rollouts": "0"}, kinds=kinds, **more)
    return (folder / data_card.DATA_CARD).read_text("utf-8")


def tables(card: str) -> dict[str, list[list[str]]]:
    """Read a card's tables back, by the titles of their sections."""
    found: dict[str, list[list[str]]] = {}
    for part in card.split("\n## ")[1:]:
        lines = [line for line in part.split("\n") if line.startswith("| ")]
        found[part.split("\n")[0]] = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]
    return found


def test_every_figure_is_that_of_the_records(project: Project) -> None:
    card = learned(project, held_out_group="near")
    found = tables(card)
    heard = [each for each in RANKINGS if each.labeler in ("ann", "bob")]
    splits = Counter(PROMPTS[int(each.prompt_id[1:])].split for each in heard) + Counter(train=1)  # and the imported one
    digest = found["What"][0][-1]
    assert found["What"] == [["rankings", "9", "6", "1", str(splits["train"]), "1", "1", "8", digest]]
    assert splits["train"] == 7
    asked = Counter(PROMPTS[n].use_case for n in {int(each.prompt_id[1:]) for each in heard})
    assert {name: int(count) for name, count in found["Use cases"]} == {**asked, "other": 1}
    assert found["Languages"] == [["en", "3"], ["unknown", "2"], ["zh", "1"]]
    assert found["From whom"] == [["rankings", "person", "imported", "1", "1"], ["rankings", "person", "near", "2", "8"]]
    assert found["Models"] == [["pairs.jsonl", "2"], *([f"sft-{n}", "8"] for n in range(3))]
    assert found["Licence and terms"] == [["public", "CC BY 4.0", "4"], ["unknown", "unknown", "2"]]
    guidelines = Counter(each.guideline.version for each in heard) + Counter(imported=1)
    assert found["Guidelines"] == [["training", name, str(count)] for name, count in sorted(guidelines.items())]
    assert [row[-3:] for row in found["Imports"]] == [["1", "1", ""], ["5", "8", ""]]
    assert found["Imports"][0][:3] == ["1", "pairs.jsonl", "trl-preference"]
    agreed, flags = pairwise_agreement(heard, resamples=data_card.RESAMPLES), flag_agreement(heard, resamples=data_card.RESAMPLES)
    pair, flag = found["Agreement"]
    assert [pair[1], pair[3][:5]] == ["9", f"{2 / 3:.3f}"] == [str(agreed.untied_pairs), f"{agreed.dropped.mean:.3f}"]
    assert flag[:3] == ["flag hallucination", "9", "alpha"]
    assert flag[3].startswith(f"{flags[0].metrics['alpha'].mean:.3f} [")
    assert found["Who is missing"] == [
        ["labeler group", "model ai", "1"],
        ["labeler group", "person far", "1"],
        ["labeler group", "person silent", "1"],
        ["language", "fr", "1"],
    ]
    left = [["withdrawn: ranking", "1"], ["rankings by labelers of kind model", "1"], ["rankings by labelers of kind user", "1"]]
    assert found["Left out"] == left


def test_a_card_names_no_person(project: Project) -> None:
    card = learned(project, kinds="person user model")
    assert not [name for name in ("ann", "bob", "eve", "jane", "machine", "reader") if name in card]
    assert ["rankings", "user", "", "1", "1"] in tables(card)["From whom"]
    assert not [row for row in tables(card)["Left out"] if "kind" in row[0]]


def test_what_was_forgotten_undone_or_revised_meanwhile_is_said(project: Project) -> None:
    folder = project.run("dpo")
    with accord.store(project) as store:
        digest = write_snapshot(store.ranked_prompts(), folder / "rankings.jsonl")
    undo(project, 1, why="not ours")
    with accord.store(project) as store:
        erasure.forget(store, erasure.person(store, "u-jane"), by="lead", why="asked", now=NOW)
    data_card.write(project, folder, stage="dpo", data={"rankings": digest})
    card = (folder / data_card.DATA_CARD).read_text("utf-8")
    assert "jane" not in card
    assert tables(card)["Imports"][0][-3:] == ["1", "0", f"undone {datetime.now(UTC):%Y-%m-%d}"]
    gone = [row for row in tables(card)["Guidelines"] if row[0] == "no longer in the database"]
    assert [int(row[-1]) for row in gone] == [2]


def test_demonstrations_and_thumbs_are_counted_with_their_guideline_and_import(tmp_path: Path, url: str) -> None:
    project = accord.create(tmp_path / "p", settings={"store": {"url": url}})
    given = [Demonstration(f"d{n}", PROMPTS[n], "So it is.", "ann") for n in range(2)]
    liked = [Thumb(PROMPTS[n], RESPONSES[3 * n], n > 1, "u-jane") for n in range(4)]
    folder = project.run("kto")
    with accord.store(project) as store:
        store.add(labelers=PEOPLE, demonstrations=given, thumbs=liked)
        tasks.add(store, [Task("t", "demonstrate", PROMPTS[2]), Task("k", "rank", PROMPTS[2], tuple(RESPONSES[6:8]))])
        assert tasks.next_task(store, "bob", now=NOW, lease_seconds=60, kinds=("demonstrate",))
        rest: dict[str, Any] = {"key": "k", "revision": 0, "seconds": 1, "guideline": Guideline("training", "v7"), "now": NOW}
        answers.submit(store, "bob", "t", {"text": "Thus."}, **rest)
        data = {
            "demonstrations": write_snapshot(store.demonstrations(), folder / "demonstrations.jsonl"),
            "thumbs": write_snapshot(store.thumbs(), folder / "thumbs.jsonl"),
        }
    text = data_card.write(project, folder, stage="kto", data=data)
    found = tables(text.replace("###", "##"))
    assert found["Guidelines"] == [["none recorded", "", "6"], ["training", "v7", "1"]]
    assert found["Imports"] == [["none", "", "", "", "4", "7", ""]]
    assert found["From whom"] == [["demonstrations", "person", "near", "2", "3"], ["thumbs", "user", "", "1", "4"]]
    assert ["task kind", "rank", "1"] in found["Who is missing"]
    assert not [row for row in found["Who is missing"] if row[1] == "demonstrate"]
    assert "Agreement" not in found


def test_briefs_and_what_was_never_to_be_learned_from_are_told_apart(project: Project) -> None:
    brief = written.brief("plain", "1")
    with accord.store(project) as store:
        written.queue_all(store, [Task(f"t-{brief.id}", "prompt", brief)], now=NOW)
        accounts.exclude(store, "bob", by="lead", why="hurried", now=NOW)
        measured = replace(ranked("ann", 0, (1, 2, 3)), id="evaluation", guideline=Guideline("evaluation", "v1"))
        store.add_rankings([measured])
    left = tables(learned(project, kinds="person model user"))["Left out"]
    measured_row = ["rankings under the evaluation guideline by labelers of kind person", "1"]
    assert left == [["withdrawn: ranking", "1"], ["excluded labelers", "1"], measured_row]


def test_agreement_on_a_question_is_that_computed_by_hand(tmp_path: Path, url: str) -> None:
    project = accord.create(tmp_path / "p", settings={"store": {"url": url}})
    asked = questions.load({"clarity": {"kind": "scale", "most": 5, "text": "How clear is it?"}})
    shown = RESPONSES[:2]
    folder = project.run("reward")
    with accord.store(project) as store:
        store.add(labelers=PEOPLE)
        tasks.add(store, [Task("t", "rank", PROMPTS[0], tuple(shown), overlap=2)])
        questions.keep(store, asked, now=NOW)
        for who, values in {"ann": (2, 5), "bob": (3, 5)}.items():
            about = {one.id: {"clarity": value} for one, value in zip(shown, values, strict=True)}
            given = {"ranks": {"p0-0": 2, "p0-1": 1}, "ratings": {one.id: {"quality": 4} for one in shown}, "answers": {"responses": about}}
            assert tasks.next_task(store, who, now=NOW, lease_seconds=60)
            rest: dict[str, Any] = {"revision": 0, "seconds": 1, "guideline": Guideline("training", "v7"), "now": NOW}
            answers.submit(store, who, "t", given, key=who, questions=asked, **rest)
        digest = write_snapshot(store.ranked_prompts(), folder / "rankings.jsonl")
        version = asked.by_name["clarity"].version
    data_card.write(project, folder, stage="reward", data={"rankings": digest})
    found = tables((folder / data_card.DATA_CARD).read_text("utf-8"))
    assert found["Guidelines"] == [["training", "v7", "2"]]
    assert found["Agreement"][0] == ["pairs in the rows, ties excluded", "1", "alike", "1.000 [1.000, 1.000]"]
    # Krippendorff's interval alpha by hand, of units (2, 3) and (5, 5): squared differences within them are 1, 1, 0, 0; those of all
    # twelve ordered pairs of the values 2, 3, 5, 5 sum to 2 * (1 + 9 + 9 + 4 + 4 + 0).
    alpha = 1 - (2 / 4) / (54 / 12)
    interval = [row for row in found["Agreement"] if row[2] == "alpha_interval"]
    assert [row[:2] for row in interval] == [[f"question clarity {version[:8]}", "2"]]
    assert interval[0][3].startswith(f"{alpha:.3f} [")


def test_a_lost_database_costs_the_card_its_half_and_nothing_else(tmp_path: Path) -> None:
    project = accord.create(tmp_path / "p")
    digest = write_snapshot(PROMPTS, project.run("ppo") / "prompts.jsonl")
    Path(project.store_url.removeprefix("sqlite:///")).write_bytes(b"no database at all" * 99)
    card = data_card.write(project, project.run("ppo"), stage="ppo", data={"prompts": digest})
    assert "could not be read" in card
    assert "| prompts | 6 | 6 | 4 | 4 | 1 | 1 | 0 |" in card


def test_a_ranking_given_twice_counts_under_both_guidelines(tmp_path: Path) -> None:
    project, folder = accord.create(tmp_path / "p"), tmp_path / "p" / "runs" / "dpo"
    twice = [replace(ranked("ann", 0, (1, 2, 3), version), id=version) for version in ("v1", "v2")]
    with accord.store(project) as store:
        store.add(prompts=PROMPTS[:1], labelers=PEOPLE, responses=RESPONSES[:3], rankings=twice)
        digest = write_snapshot(store.ranked_prompts(), folder / "rankings.jsonl")
    card = data_card.write(project, folder, stage="dpo", data={"rankings": digest})
    assert "| training | v1 | 1 |\n| training | v2 | 1 |" in card


def test_a_snapshot_that_the_model_did_not_learn_from_is_not_counted(tmp_path: Path) -> None:
    project = accord.create(tmp_path / "p")
    digest = write_snapshot(PROMPTS, project.run("ppo") / "prompts.jsonl")
    write_snapshot(PROMPTS[:2], project.run("ppo") / "prompts.jsonl")
    assert data_card.write(project, project.run("ppo"), stage="ppo", data={"prompts": digest}) == ""


def test_a_run_without_snapshots_has_no_card(tmp_path: Path) -> None:
    project = accord.create(tmp_path / "p")
    assert data_card.write(project, project.run("pretrain"), stage="pretrain", data={"raw_text": "0"}) == ""
    assert not (project.run("pretrain") / data_card.DATA_CARD).exists()


def test_what_a_file_says_opens_no_tag_and_no_column(tmp_path: Path) -> None:
    project = accord.create(tmp_path / "p")
    prompt = Prompt("p", (Message("user", "?"),), "a|b<script>", source="<img>\n# x")
    digest = write_snapshot([prompt], project.run("ppo") / "prompts.jsonl")
    card = data_card.write(project, project.run("ppo"), stage="ppo", data={"prompts": digest})
    assert "| a\\|b&lt;script> | 1 |" in card
    assert "| &lt;img> # x | 1 |" in card


def test_pictures_and_recordings_are_counted_with_their_prompts(tmp_path: Path) -> None:
    cat, dog, voice = Media("image", "a" * 64), Media("image", "b" * 64), Media("audio", "c" * 64)
    asked = [[cat, "What?"], [cat, dog, "Which?"], [cat, voice, "Who?"], ["No picture."]]
    prompts = [Prompt(f"m{number}", (composed("user", parts),)) for number, parts in enumerate(asked)]
    project = accord.create(tmp_path / "town")
    digest = write_snapshot(prompts, project.run("ppo") / "prompts.jsonl")
    card = data_card.write(project, project.run("ppo"), stage="ppo", data={"prompts": digest})
    assert "| recordings | 1 | 1 |\n| pictures | 3 | 2 |" in card
    plain = write_snapshot(prompts[3:], project.run("sft") / "prompts.jsonl")
    assert "Pictures" not in data_card.write(project, project.run("sft"), stage="ppo", data={"prompts": plain})
