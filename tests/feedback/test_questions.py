"""A project's own questions: read with their faults named, stored with their version, exported, agreed upon, learned from."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from accord.errors import InputError, UsageError
from accord.feedback import answers, payloads, questions, tasks
from accord.feedback.answers import Conflict, Refused
from accord.feedback.criteria import ranked_by
from accord.feedback.export import values
from accord.feedback.question_agreement import flag_agreement, question_agreement
from accord.feedback.store import Store
from accord.feedback.tasks import Task
from accord.records import RESPONSE_FLAGS, Guideline, Labeler, Message, Prompt, Response
from accord.runtime.project import Project
from accord.settings.questions import Questions, line_of, said, usual

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TRAINING = Guideline("training", "v1")
OWN: dict[str, Any] = {
    "clarity": {"kind": "scale", "most": 5, "text": {"en": "How clear is it?", "zh": "是否清楚？"}},
    "style": {"kind": "choice", "options": ["plain", "flowery"], "text": "Which style?", "required": False},
    "on_topic": {"kind": "yes-no", "text": "Does it keep to the topic?"},
    "remark": {"kind": "text", "about": "prompt", "text": "Anything else?"},
    "errors": {"kind": "spans", "tasks": ["rank"], "options": {"wrong": "a wrong fact", "vague": "vague"}, "text": "Mark what is wrong."},
    "dosage": {"kind": "flag", "text": "names a dose", "definition": "It names an amount of a medicine."},
}
ASKED = questions.load(OWN)
PROMPT = Prompt("p", (Message("user", "How much?"),))
RESPONSES = tuple(Response(f"r{n}", "p", text, "sft") for n, text in enumerate(("Take 𝟚 pills.", "Ask a pharmacist.")))
TASK = Task("t", "rank", PROMPT, RESPONSES, overlap=3)


def payload(values: tuple[int, int] = (2, 5), **more: Any) -> dict[str, Any]:
    about = {f"r{n}": {"clarity": value, "on_topic": True} for n, value in enumerate(values)}
    about["r0"] |= more
    return {"ranks": {"r0": 1, "r1": 2}, "ratings": {"r0": {"quality": 6}, "r1": {"quality": 3}}, "answers": {"responses": about}}


def answered(store: Store, who: str, given: dict[str, Any], asked: Questions = ASKED, task: Task = TASK) -> answers.Saved:
    store.add_labelers([Labeler(who, "person")])
    tasks.add(store, [task])
    assert tasks.next_task(store, who, now=NOW, lease_seconds=60)
    questions.keep(store, asked, now=NOW)
    rest: dict[str, Any] = {"key": f"{who} {task.id}", "revision": 0, "seconds": 1, "guideline": TRAINING, "now": NOW}
    return answers.submit(store, who, task.id, given, **rest, questions=asked)


def test_the_usual_questions_are_instructgpts_flags() -> None:
    assert questions.load() == usual()
    assert usual().flags("response") == RESPONSE_FLAGS
    assert all(said(question.definition, "zh") != said(question.definition, "en") for question in usual().by_name.values())


@pytest.mark.parametrize(
    ("written", "line", "words"),
    [
        ('[label.questions.clarity]\nkind = "scale"\ntext = "?"\nmots = 5', 4, "no key 'mots' (did you mean 'most'?)"),
        ('[label.questions.clarity]\nkind = "scael"\ntext = "?"', 2, "kind is 'scael' (did you mean 'scale'?)"),
        ('[label]\nport = 1\n[label.questions]\nclarity = {kind = "scale"}', 4, "text is missing"),
        ('[label.questions.x]\nkind = "scale"\ntext = "?"\nmost = 12', 4, "a scale from 1 to 12"),
        ('[label.questions.x]\nkind = "choice"\ntext = "?"', 1, "options are missing"),
        (
            '[label.questions.x]\nkind = "flag"\n[label.questions.x.text]\nen = "a"\nfr = "b"',
            5,
            "'fr', which the labeling site does not speak",
        ),
        ('[label.questions.x]\nkind = "flag"\ntext = "?"\ntasks = ["rank", "demonstrate"]', 4, "cannot be asked in the task 'demonstrate'"),
        ('[label.questions.x]\nkind = "flag"\ntext = "?"\nrequired = true', 4, "a flag cannot be required"),
        ('[label.questions.X]\nkind = "flag"\ntext = "?"', 1, "'X' cannot name a question"),
        ('[label.questions.overall]\nkind = "flag"\ntext = "?"', 1, "'overall' already means something else"),
        ('[label.questions]\nsets = "instructgpt"', 2, "not a list of names"),
        ("[label.questions.x]\nkind = 3", 2, "kind is 3"),
    ],
)
def test_a_typo_is_named_with_its_line_and_key(tmp_path: Path, written: str, line: int, words: str) -> None:
    project = Project.create(tmp_path / "p")
    file = project.path / "accord.toml"
    file.write_text(f"{written}\n", "utf-8")
    with pytest.raises(UsageError) as caught:
        Project.open(project.path)
    assert str(caught.value).startswith(f"{file}:{line}: label.questions"), str(caught.value)
    assert words in str(caught.value)


def test_a_set_in_a_file_of_its_own_and_its_faults(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text('[clarity]\nkind = "scale"\ntext = "Clear?"\n', "utf-8")
    found = questions.load({"sets": ["instructgpt", "own.toml"], "without": ["hallucination"]}, tmp_path)
    assert "clarity" in found.by_name
    assert "hallucination" not in found.flags("response")
    (tmp_path / "own.toml").write_text('# ours\n[clarity]\nkind = "scale"\ntxet = "Clear?"\n', "utf-8")
    with pytest.raises(UsageError, match=r"own\.toml:4: clarity\.txet: a scale question has no key 'txet'"):
        questions.load({"sets": ["own.toml"]}, tmp_path)
    (tmp_path / "own.toml").write_text("[clarity\n", "utf-8")
    with pytest.raises(UsageError, match="line 1"):
        questions.load({"sets": ["own.toml"]}, tmp_path)
    with pytest.raises(InputError, match="is no file of questions"):
        questions.load({"sets": ["none.toml"]}, tmp_path)
    for wrong, words in ({"without": ["halucination"]}, "did you mean 'hallucination'"), ({"ambiguous": OWN["dosage"]}, "defined twice"):
        with pytest.raises(UsageError, match=words):
            questions.load(wrong, tmp_path)


def test_lines_are_found_in_toml_as_people_write_it() -> None:
    text = '# a\n[label]\nport = 1 # b\n\n[label.questions."x"]\nkind = "flag"\ntext.en = "a"\n  text.zh = "b"\n[other]\nkind = 1'
    assert line_of(text, ("label", "questions", "x", "kind")) == 6
    assert line_of(text, ("label", "questions", "x", "text", "zh")) == 8
    assert line_of(text, ("label", "questions", "x", "nothing")) == 5
    assert line_of(text, ("label", "port")) == 3
    assert line_of(text, ("nowhere",)) == 1


def test_answers_are_kept_with_the_version_of_what_was_asked(store: Store) -> None:
    marks = [{"start": 5, "end": 6, "kind": "wrong"}]
    answered(store, "ann", payload(errors=marks, style="plain") | {"prompt_flags": [], "reason": ""})
    (answer,) = answers.every(store)
    assert answer.payload["answers"]["responses"]["r0"] == {"clarity": 2, "on_topic": True, "errors": marks, "style": "plain"}
    assert RESPONSES[0].text[5:6] == "𝟚", "counted in characters, not in UTF-16"
    asked = ("clarity", "style", "on_topic", "errors")
    assert answer.payload["questions"] == {name: ASKED.by_name[name].version for name in asked}
    assert questions.kept(store)["clarity", ASKED.by_name["clarity"].version] == ASKED.by_name["clarity"]
    lines = [line for line in values(store, "questions") if line["question"] == "clarity"]
    assert [(line["value"], line["response"]) for line in lines] == [(2, RESPONSES[0].text), (5, RESPONSES[1].text)]
    assert lines[0]["wording"]["text"] == {"en": "How clear is it?", "zh": "是否清楚？"}
    assert json.loads(json.dumps(lines)) == lines


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"clarity": 6}, "malformed"),
        ({"clarity": True}, "malformed"),
        ({"clarity": "3"}, "malformed"),
        ({"clarity": None}, "question_missing"),
        ({"on_topic": 1}, "malformed"),
        ({"style": "purple"}, "malformed"),
        ({"nothing": 1}, "malformed"),
        ({"errors": [{"start": 5, "end": 5, "kind": "wrong"}]}, "span_misplaced"),
        ({"errors": [{"start": 0, "end": 99, "kind": "wrong"}]}, "span_misplaced"),
        ({"errors": [{"start": 0, "end": 4, "kind": "other"}]}, "span_misplaced"),
        ({"errors": "all of it"}, "span_misplaced"),
        ({"errors": {"start": 1}}, "malformed"),
    ],
)
def test_an_answer_that_does_not_fit_is_refused(given: dict[str, Any], key: str) -> None:
    with pytest.raises(Refused) as caught:
        payloads.clean(TASK, payload(**given), ASKED)
    assert caught.value.key == key


def test_an_answer_to_a_question_that_was_changed_meanwhile_is_recognised(store: Store) -> None:
    changed = questions.load(OWN | {"clarity": OWN["clarity"] | {"text": "How readable is it?"}})
    assert changed.version("rank") != ASKED.version("rank")
    assert changed.version("compare") == ASKED.version("compare"), "a page that does not ask it is not outdated"
    store.add_labelers([Labeler("ann", "person")])
    tasks.add(store, [TASK])
    tasks.next_task(store, "ann", now=NOW, lease_seconds=60)
    rest: dict[str, Any] = {"key": "k", "revision": 0, "seconds": 1, "guideline": TRAINING, "now": NOW}
    with pytest.raises(Conflict) as caught:
        answers.submit(store, "ann", "t", payload(), **rest, questions=changed, asked=ASKED.version("rank"))
    assert caught.value.key == "questions_changed"
    saved = answers.submit(store, "ann", "t", payload(), **rest, questions=ASKED, asked=ASKED.version("rank"))
    again = answers.submit(store, "ann", "t", payload(), **rest, questions=changed, asked=ASKED.version("rank"))
    assert again == saved, "what was stored before the change and is sent again is the same answer"


def test_agreement_on_each_question_is_that_of_the_formula(store: Store) -> None:
    given = {"ann": ((1, 5), 0), "bob": ((2, 5), 1), "cid": ((1, 4), 1)}
    for who, (clarity, start) in given.items():
        marks = [{"start": start, "end": 4, "kind": "wrong"}]
        answered(store, who, payload(clarity, errors=marks) | {"answers": payload(clarity, errors=marks)["answers"]})
    found = {each.name: each for each in question_agreement(store, resamples=10)}
    units = np.array([[value for value, _ in given.values()] for _ in range(1)])[0].T  # [responses, labelers]
    expected = 1 - _observed(units) / _chance(units)
    assert found["clarity"].metrics["alpha_interval"].mean == pytest.approx(expected)
    assert (found["clarity"].answers, found["clarity"].shared, found["clarity"].labelers) == (6, 2, 3)
    marked = np.array([[int(start <= at) for _, start in given.values()] for at in range(4)])
    assert found["errors"].metrics["alpha"].mean == pytest.approx(1 - _observed(marked) / _chance(marked)), "of characters"
    assert "remark" not in found


def _observed(units: Any) -> float:
    """The mean squared difference between two labelers of a unit."""
    return float(np.mean([np.mean([(a - b) ** 2 for i, a in enumerate(u) for j, b in enumerate(u) if i != j]) for u in units]))


def _chance(units: Any) -> float:
    every = units.ravel()
    return float(np.mean([(a - b) ** 2 for i, a in enumerate(every) for j, b in enumerate(every) if i != j]))


def test_answers_to_two_versions_are_not_compared(store: Store) -> None:
    answered(store, "ann", payload())
    changed = questions.load(OWN | {"clarity": OWN["clarity"] | {"text": "How readable is it?"}})
    answered(store, "bob", payload(), changed)
    assert [(each.name, each.shared) for each in question_agreement(store, resamples=10) if each.name == "clarity"] == [("clarity", 0)] * 2
    assert {each.name: each.shared for each in question_agreement(store, resamples=10)}["on_topic"] == 2, "which nobody changed"


def test_agreement_on_each_flag(store: Store) -> None:
    for who, flags in (("ann", ["dosage"]), ("bob", ["dosage"]), ("cid", [])):
        given = payload()
        given["ratings"]["r0"]["flags"] = flags
        answered(store, who, given)
    (dosage,) = flag_agreement(store.rankings(), resamples=10)
    units = np.array([[1, 1, 0], [0, 0, 0]])
    assert dosage.name == "dosage"
    assert dosage.metrics["alpha"].mean == pytest.approx(1 - _observed(units) / _chance(units))


def test_a_question_is_a_criterion_of_a_reward_model(store: Store) -> None:
    marks = [{"start": 0, "end": 4, "kind": "wrong"}]
    given = payload((2, 5), errors=marks)
    given["ratings"]["r0"]["flags"] = ["dosage"]
    given["answers"]["responses"]["r1"]["errors"] = []
    answered(store, "ann", given)

    def ranks(criterion: str, asked: Questions = ASKED) -> list[dict[str, int]]:
        found = ranked_by(store, criterion, asked)
        return [dict(zip((r.id for r in row.responses), row.ranks, strict=True)) for row in found]

    assert ranks("clarity") == ranks("errors") == ranks("dosage") == [{"r0": 2, "r1": 1}], "against the labeler's overall order"
    assert ranks("helpful") == [{"r0": 1, "r1": 2}]
    assert ranks("on_topic") == [], "both alike: nothing to learn"
    worse = Questions({name: replace(each, better="low") if name == "clarity" else each for name, each in ASKED.by_name.items()})
    assert ranks("clarity", worse) == [{"r0": 1, "r1": 2}]
    reworded = questions.load(OWN | {"clarity": OWN["clarity"] | {"text": "How readable is it?"}})
    assert ranks("clarity", reworded) == [{"r0": 2, "r1": 1}], "another wording, the same scale"
    rescaled = questions.load(OWN | {"clarity": OWN["clarity"] | {"most": 7}})
    assert ranks("clarity", rescaled) == [], "a 5 of 5 is no 5 of 7"
    for wrong, words in (("clarty", "no criterion 'clarty'"), ("style", "in no order"), ("remark", "in no order")):
        with pytest.raises(UsageError, match=words):
            ranks(wrong)


def test_a_correction_and_an_excluded_labeler_leave_no_answer(store: Store) -> None:
    answered(store, "ann", payload())
    assert len(list(questions.said(store))) == 4
    answers.submit(store, "ann", "t", payload((3, 3)), key="2", revision=1, seconds=1, guideline=TRAINING, now=NOW, questions=ASKED)
    assert [each.value for each in questions.said(store) if each.question == "clarity"] == [3, 3]


def test_marks_in_turns_are_compared_over_the_turns_own_length(tmp_path: Path) -> None:
    """Turns are numbered within a prompt: a mark far behind in another conversation adds no unmarked characters to this one."""
    asked = questions.load({"errors": OWN["errors"] | {"tasks": ["conversation"], "required": False}})
    texts = {"short": "Rye.", "long": "Rye. " * 40}
    for name in (("short",), ("short", "long")):
        with Store.open(f"sqlite:///{tmp_path / name[-1]}") as store:
            for id in name:
                turns = (Message("user", "Which bread?"), Message("assistant", texts[id]), Message("user", "Why?"))
                task = Task(f"t-{id}", "conversation", Prompt(id, turns), overlap=2)
                for who in ("ann", "bob"):
                    span = {"start": 0, "end": len(texts[id]), "kind": "wrong"}
                    given = {"turns": {"1": {"quality": 4}}, "answers": {"responses": {"1": {"errors": [span]}}}}
                    answered(store, f"{who}", given, asked, task)
            (found,) = question_agreement(store, resamples=10)
            assert found.shared == sum(len(texts[id]) for id in name)
