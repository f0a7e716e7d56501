"""`accord benchmark` on files in the formats of RewardBench, RM-Bench and MT-bench; the harnesses are in tests/adapters."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from evaluated import Answered, Typed

from accord.commands.evaluate.benchmark import add, change, side_by_side
from accord.errors import UsageError
from accord.settings import BenchmarkConfig

SMALL = ("--bootstrap", "200", "--dtype", "float32", "--max-tokens", "8")


def lines(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return str(path)


@pytest.fixture
def rewardbench(tmp_path: Path) -> str:
    rows: list[dict[str, Any]] = []
    for number in range(12):
        subset = ("alpacaeval-easy", "math-prm", "hep-go")[number % 3]
        rows.append({"id": number, "prompt": f"Who is number {number}?", "chosen": "A baker.", "rejected": "No.", "subset": subset})
    return lines(tmp_path / "rewardbench.jsonl", rows)


def test_reward_models_are_scored_before_and_after_by_section(answered: Answered, typed: Typed, town: Path, rewardbench: str) -> None:
    found = answered("benchmark", town, "reward", "--tasks", rewardbench, *SMALL)
    figures = found["tasks"]["rewardbench"]
    assert figures["accuracy"]["items"] == 12
    assert set(found["sections"]["rewardbench"]["reward"]) == {"Chat", "Reasoning", "score"}
    # A copy under another name is another model with the same scores, so nothing changed, item by item.
    folder = str(town / "models" / "reward")
    again = answered("benchmark", town, "reward", folder, "--tasks", rewardbench, *SMALL, "--again")
    mean, low, high = again["tasks"]["rewardbench"]["accuracy"]["change"][folder]
    assert mean == 0
    assert low < 0 < high, "twelve items cannot show that nothing changed"
    printed = typed("benchmark", town, "reward", folder, "--tasks", rewardbench, *SMALL, "--again")[1]
    assert "too small" in " ".join(printed.split())
    assert len((town / "runs" / "benchmark" / "samples.jsonl").read_text("utf-8").splitlines()) == 2


def test_rm_bench_has_three_levels(answered: Answered, town: Path, tmp_path: Path) -> None:
    rows = [{"prompt": "Two and two?", "chosen": ["4", "It is 4.", "**4**"], "rejected": ["5", "It is 5.", "**5**"], "domain": "math"}] * 3
    file = tmp_path / "rm.json"
    file.write_text(json.dumps(rows), "utf-8")
    figures = answered("benchmark", town, "reward", "--tasks", file, *SMALL)["tasks"]["rm"]
    assert {"accuracy", "easy", "normal", "hard", "accuracy, math"} == set(figures)
    levels = [figures[name]["by_model"]["reward"][0] for name in ("easy", "normal", "hard")]
    assert figures["accuracy"]["by_model"]["reward"][0] == pytest.approx(sum(levels) / 3, abs=1e-3)


def grade(request: BaseHTTPRequestHandler) -> None:
    """A judge that gives the second turn more, whatever it says."""
    said = json.loads(request.rfile.read(int(request.headers["content-length"])))["messages"][-1]["content"]
    text = f"Fine.\nRating: {8 if said.count('user: ') > 1 else 5}"
    sent = json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode()
    request.send_response(200)
    request.send_header("content-length", str(len(sent)))
    request.end_headers()
    request.wfile.write(sent)


Grading = type("Grading", (BaseHTTPRequestHandler,), {"do_POST": grade, "log_message": lambda *_: None})


@pytest.fixture
def judge() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Grading)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    thread.join()
    server.server_close()


def test_mt_bench_grades_both_turns_of_both_models(answered: Answered, town: Path, tmp_path: Path, judge: str) -> None:
    rows = [{"question_id": 81 + i, "category": "writing", "turns": ["Where is bread sold?", "Say it again."]} for i in range(2)]
    words = ("--tasks", lines(tmp_path / "question.jsonl", rows), "--judge", judge, "--judge-model", "grader", *SMALL)
    found = answered("benchmark", town, "base", "sft", *words)["tasks"]["question"]
    assert found["rating"]["items"] == 4
    assert found["rating"]["by_model"]["sft"][0] == 6.5
    assert found["rating, turn 1"]["by_model"]["base"][0] == 5
    assert found["rating, turn 2"]["by_model"]["base"][0] == 8
    assert found["rating"]["change"]["sft"][0] == 0


@pytest.mark.parametrize(
    ("words", "code", "part"),
    [
        ([], 2, "no model is named"),
        (["sft", "--tasks", ","], 2, "no task is named"),
        (["sft", "--tasks", "nowhere.jsonl"], 2, "there is no such file"),
        (["nobody", "--tasks", "gsm8k"], 1, "no such model"),
        (["http://127.0.0.1:1/v1", "--tasks", "gsm8k"], 2, "does not name a model"),
    ],
)
def test_what_cannot_be_run_is_one_line(typed: Typed, trained: Path, words: list[str], code: int, part: str) -> None:
    found, _, complaint = typed("benchmark", trained, *words, *(() if "--tasks" in words else ("--tasks", "gsm8k")))
    assert found == code
    assert part in complaint
    assert complaint.count("\n") == 1


def test_files_of_no_benchmark_and_mt_bench_without_a_judge_are_refused(typed: Typed, trained: Path, tmp_path: Path) -> None:
    other = lines(tmp_path / "other.jsonl", [{"question": "?"}])
    assert "no known benchmark" in typed("benchmark", trained, "sft", "--tasks", other)[2]
    mt = lines(tmp_path / "mt.jsonl", [{"question_id": 1, "category": "x", "turns": ["a"]}])
    assert "needs a judge" in typed("benchmark", trained, "sft", "--tasks", mt)[2]


@pytest.mark.parametrize(("task", "package", "extra"), [("gsm8k", "lm_eval", "lm-eval"), ("task.py", "inspect_ai", "inspect")])
def test_a_harness_that_is_missing_is_named(typed: Typed, town: Path, tmp_path: Path, task: str, package: str, extra: str) -> None:
    assert find_spec(package) is None, "the development environment has no harness"
    if task.endswith(".py"):
        task = str(tmp_path / task)
        Path(task).touch()
    complaint = typed("benchmark", town, "sft", "--tasks", task)[2]
    assert f"pip install 'accord-rlhf[{extra}]'" in complaint


def test_changes_are_paired_item_by_item() -> None:
    """Two models of very different items, each item 0.1 better after: the change is certain though the means are not."""
    before = {str(i): i / 50 for i in range(40)}
    after = {key: value + 0.1 for key, value in before.items()} | {"only after": 1.0}
    found = side_by_side({"one": {"acc": before}, "two": {"acc": after}}, ["one", "two"], BenchmarkConfig())["acc"]
    assert found["change"]["two"] == pytest.approx([0.1, 0.1, 0.1], abs=1e-3)
    mean, low, high = found["by_model"]["one"]
    assert high - low > 0.1
    assert mean == pytest.approx(0.39)
    few = change([1.0, 1.0, 1.0], {"resamples": 100, "seed": 0})
    assert few.mean == 1
    assert few.low < 0, "three items of three are too few"


def test_two_tasks_of_one_name_are_refused() -> None:
    by_task = {"town": {"acc": {"1": 1.0}}}
    with pytest.raises(UsageError, match="two tasks are called 'town'"):
        add(by_task, {"other": {}, "town": {}})
    add(by_task, {"other": {"acc": {"1": 0.0}}})
    assert set(by_task) == {"town", "other"}
