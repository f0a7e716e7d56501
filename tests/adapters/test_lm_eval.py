"""lm-evaluation-harness itself on a task of our own: a small model before and after it was trained, with paired changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benched import FACTS, models, project

from accord.commands.evaluate.benchmark import benchmark
from accord.errors import UsageError
from accord.settings import BenchmarkConfig

pytestmark = pytest.mark.filterwarnings("ignore")  # the package's own dependencies warn

TASK = """
task: town_facts
dataset_path: json
dataset_kwargs: {{data_files: {{test: "{file}"}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{answer}}}}"
metric_list: [{{metric: acc}}]
"""
SAID = """
task: town_says
dataset_path: json
dataset_kwargs: {{data_files: {{test: "{file}"}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{choices[answer]}}}}"
generation_kwargs: {{until: ["."], max_gen_toks: 6}}
metric_list: [{{metric: exact_match}}]
"""


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("tasks")
    rows = [{"question": question, "choices": [right.strip(), wrong.strip()], "answer": 0} for question, right, wrong in FACTS]
    (folder / "facts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    (folder / "facts.yaml").write_text(TASK.format(file=folder / "facts.jsonl"), "utf-8")
    (folder / "says.yaml").write_text(SAID.format(file=folder / "facts.jsonl"), "utf-8")
    return str(folder)


def test_before_and_after_training_item_by_item(tmp_path: Path, tasks: str) -> None:
    before, after = models(tmp_path)
    config = BenchmarkConfig(include=tasks, bootstrap=200)
    found = benchmark(project(tmp_path), before, after, tasks="town_facts,town_says", config=config)
    figures = found["tasks"]["town_facts"]["acc"]
    assert figures["items"] == len(FACTS)
    assert figures["by_model"][after][0] > 0.6 > figures["by_model"][before][0], "it was trained on these very sentences"
    gained = figures["by_model"][after][0] - figures["by_model"][before][0]
    assert figures["change"][after][0] == pytest.approx(gained, abs=1e-3)
    assert "exact_match" in found["tasks"]["town_says"]


def test_a_task_that_is_not_there_is_refused(tmp_path: Path, tasks: str) -> None:
    before, _ = models(tmp_path)
    with pytest.raises(UsageError, match="no task 'nowhere_at_all'"):
        benchmark(project(tmp_path), before, tasks="nowhere_at_all", config=BenchmarkConfig(include=tasks))
