"""Rewards of texts in a whole run: columns of the prompts, parts that do not apply, verifiers, servers, and what is refused before it."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from small_project import FLAGS, RESUME, SMALL, copied, rankings

from accord.algorithms.rewards import Term, parse_rewards
from accord.commands.train.grpo import grpo
from accord.errors import InputError, RunError, UsageError
from accord.feedback.store import Store
from accord.records import Message, Prompt
from accord.runtime.project import Project
from accord.settings import GrpoConfig

GROUPS: dict[str, Any] = {**SMALL, "group_size": 3, "truncation": "terminate", "steps": 2}
ANSWERS = """
import json, pathlib
SEEN = pathlib.Path(__file__).with_name("seen.jsonl")

def right(prompts, responses, answer):
    return [float(one == other) for one, other in zip(responses, answer)]

def parts(prompts, responses, answer=None, **columns):
    with SEEN.open("a") as file:
        for row in zip(prompts, answer or [None] * len(responses)):
            file.write(json.dumps(row) + chr(10))
    lengths = [float(len(response)) for response in responses]
    return {"length": lengths, "known": [None if each is None else 1.0 for each in answer or [None] * len(responses)]}

def nothing(prompts, responses, **columns):
    return [None] * len(responses)
"""


@pytest.fixture
def town(project: Project, tmp_path: Path) -> Project:
    """A project of which three of ten training prompts have an answer; two of them read alike."""
    made = copied(project, tmp_path / "with-answers")
    (made.path / "town_answers.py").write_text(ANSWERS)
    asked = [("a", "What is 2 + 2?", "4"), ("b", "What is 2 + 2?", "four"), ("c", "What is 3 + 3?", "6")]
    with Store.open(made.store_url) as store:
        store.add(prompts=[Prompt(id, (Message("user", text),), user=id, extra={"answer": answer}) for id, text, answer in asked])
    return made


def run(project: Project, rewards: str, **settings: Any) -> list[dict[str, Any]]:
    done = grpo(project, name="new", config=GrpoConfig(**{**GROUPS, "rewards": rewards, **settings}), flags=FLAGS)
    return [json.loads(line) for line in (done.folder / "metrics.jsonl").read_text().splitlines()]


def test_a_part_that_does_not_apply_is_left_out_of_its_mean_and_counted(town: Project) -> None:
    rows = run(town, "town_answers:parts, town_answers:nothing=0.5", steps=4)
    for row in rows:
        assert row["reward"] == pytest.approx(row["reward.town_answers:parts"], rel=1e-5)
        assert "reward.town_answers:nothing" not in row
        assert row["applies.town_answers:nothing"] == 0
    assert any(row.get("reward.town_answers:parts.known") == 1 for row in rows)
    seen = [json.loads(line) for line in (town.path / "seen.jsonl").read_text().splitlines()]
    alike = {answer for prompt, answer in seen if prompt[-1]["content"] == "What is 2 + 2?"}
    assert alike == {"4", "four"}, "prompts that read alike keep answers of their own"


def test_a_response_that_no_part_applies_to_is_counted(town: Project) -> None:
    assert {row["unrewarded"] for row in run(town, "town_answers:nothing")} == {1.0}


def test_a_column_that_prompts_lack_is_said_before_training_with_its_share(town: Project) -> None:
    with pytest.raises(InputError, match=r"asks for the column 'answer', which 7 of 10 prompts \(70%\) lack"):
        run(town, "town_answers:right")
    with pytest.raises(InputError, match=r"reads the column 'tests', which no prompt has.*there: answer"):
        run(town, "code(tests)")
    assert not (town.run("new") / "metrics.jsonl").exists()


@pytest.mark.parametrize("rewards", ["math", "exact(answer)", '"regex:[Tt]he"', "regex(answer)", "isolated(town_answers:parts)=0.1"])
def test_parts_that_read_text_train_a_model(rewards: str, town: Project) -> None:
    rows = run(town, rewards)
    assert len(rows) == 2
    log = (town.run("new") / "log.txt").read_text()
    if rewards in ("exact(answer)", "regex(answer)"):
        assert "7 of 10 prompts (70%) have nothing in 'answer'; it does not apply to them" in log


def test_a_schema_of_the_project_is_part_of_the_runs_inputs(town: Project) -> None:
    (town.path / "person.json").write_text('{"type": "object"}')
    run(town, "json_schema:person.json, length=-0.1")
    inputs = json.loads((town.run("new") / "config.json").read_text())
    assert "reward json_schema:person.json" in json.dumps(inputs)


@pytest.mark.parametrize(
    ("rewards", "kind", "part"),
    [
        ('"regex:("', UsageError, "no regular expression"),
        ("json_schema:nowhere.json", InputError, "there is no such file"),
        ("regex", UsageError, "regex of what"),
        ("http://me:pw@rm.example/score", UsageError, "a key in an address"),
        ("isolated(length)", UsageError, "only a Python function can be isolated"),
        ("isolated(__main__:f)", UsageError, "which another process cannot import"),
        ("http://127.0.0.1:9/score", RunError, "ConnectError"),
        ("towns_answers:right", UsageError, "cannot be imported"),
        ("exacct(answer)", UsageError, "there is no reward"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_before_the_first_step(rewards: str, kind: Any, part: str, town: Project) -> None:
    with pytest.raises(kind, match=part):
        run(town, rewards)
    assert not (town.run("new") / "metrics.jsonl").exists()


def test_a_run_whose_function_crashes_apart_goes_on_once_it_is_mended(town: Project) -> None:
    source = "import os, pathlib\nCALLS = pathlib.Path(__file__).with_name('calls')\n"
    source += "def short(prompts, responses):\n    CALLS.write_text((CALLS.read_text() if CALLS.exists() else '') + 'x')\n"
    source += "    if len(CALLS.read_text()) > 3: os.abort()\n    return [-float(len(each)) for each in responses]\n"
    (town.path / "town_abort.py").write_text(source)
    config = GrpoConfig(**{**GROUPS, "steps": 4, "save_every": 1, "rewards": "town_abort:short", "isolate_rewards": True})
    with pytest.raises(RunError, match=r"the reward town_abort:short: its process was killed by SIGABRT, for response 0"):
        grpo(town, name="new", config=config, flags=FLAGS)
    (town.path / "calls").unlink()
    (town.path / "town_abort.py").write_text(source.replace("> 3", "> 99"))
    done = grpo(town, name="new", config=config, flags=RESUME)
    assert "resumed after step 2" in (done.folder / "log.txt").read_text()


class Judge(BaseHTTPRequestHandler):
    """An OpenAI-compatible server whose model likes a long answer."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"][0]["content"]
        length = len(asked.split("[Answer]")[1].split("Say in a sentence")[0].split())
        said = {"choices": [{"message": {"content": f"It has {length} words.\nScore: {min(length, 10)}"}}]}
        content = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is logged."""


def test_a_judge_is_held_against_people_before_it_is_used(town: Project) -> None:
    (town.path / "rubric.md").write_text("Prefer what says more.")
    with Store.open(town.store_url) as store:
        store.add_rankings(rankings((3, 1, 2)))  # the second of the three sentences is the longest, the first the shortest
    with ThreadingHTTPServer(("127.0.0.1", 0), Judge) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}/v1"
        rows = run(town, "judge(rubric.md)", judge_model="long", judge_address=address)
        server.shutdown()
    assert all(0 <= row["reward.judge(rubric.md)"] <= 1 for row in rows)
    assert "the judge agrees with people on 100% of 18 pairs" in (town.run("new") / "log.txt").read_text()
    kept = len(list((town.path / "advice" / "judged").glob("*.json")))
    assert kept > 2


def test_a_judge_that_says_nothing_readable_or_has_no_rubric_is_refused_before_the_first_step(town: Project) -> None:
    (town.path / "rubric.md").write_text("Prefer what says more.")
    for rewards, settings, kind, what in [
        ("judge(rubric.md)", {"judge_model": "sft"}, RunError, "answers of the judge could not be read"),
        ("judge(rubric.md)", {}, UsageError, "a judge needs a model"),
        ("judge(nowhere.md)", {"judge_model": "sft"}, InputError, "there is no such rubric"),
        ("judge(rubric)", {"judge_model": "sft"}, InputError, "reads the column 'rubric', which no prompt has"),
    ]:
        with pytest.raises(kind, match=what):
            run(town, rewards, **settings)
    assert not (town.run("new") / "metrics.jsonl").exists()


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ('"regex:^a, b=c$"=0.5, length', [Term("regex:^a, b=c$", 0.5, 0.5), Term("length")]),
        (r"regex:\d{1,3}=2", [Term(r"regex:\d{1,3}", 2, 2)]),
        ("http://h:8000/score=1..0, verl+http://h/classify#models/rm", [Term("http://h:8000/score", 1, 0), Term("verl+http://h/classify#models/rm")]),
        ("'http://h/s?v=1'=0.5", [Term("http://h/s?v=1", 0.5, 0.5)]),
        ("judge(rubric, short.md)>=0.5, model", [Term("judge(rubric, short.md)", limit=0.5), Term("model")]),
        ("min(a+b)=2, math(answer)", [Term("min(a+b)", 2, 2), Term("math(answer)")]),
        ("isolated(my_rewards:f)=.1", [Term("isolated(my_rewards:f)", 0.1, 0.1)]),
    ],
)  # fmt: skip
def test_arguments_may_hold_commas_and_equals_signs(text: str, terms: Sequence[Term]) -> None:
    assert parse_rewards(text) == terms


@pytest.mark.parametrize("text", ["regex:(a", '"regex:a', "my_rewards:f=much", "http://h/s=x"])
def test_what_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="rewards"):
        parse_rewards(text)
