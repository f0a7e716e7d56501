"""inspect-ai itself on a task of our own: a small model before and after it was trained, with paired changes."""

from __future__ import annotations

from pathlib import Path

import pytest
from benched import FACTS, models, project

from accord.commands.evaluate.benchmark import benchmark
from accord.settings import BenchmarkConfig

pytestmark = pytest.mark.filterwarnings("ignore")  # the package's own dependencies warn

TASK = f"""
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import includes
from inspect_ai.solver import generate

FACTS = {FACTS!r}

@task
def town():
    samples = [Sample(id=number, input=question, target=right.strip()) for number, (question, right, _) in enumerate(FACTS)]
    return Task(dataset=samples, solver=generate(), scorer=includes())
"""


def test_before_and_after_training_item_by_item(tmp_path: Path) -> None:
    before, after = models(tmp_path)
    (tmp_path / "town_task.py").write_text(TASK, "utf-8")
    config = BenchmarkConfig(max_tokens=6, bootstrap=200)
    found = benchmark(project(tmp_path), before, after, tasks=str(tmp_path / "town_task.py@town"), config=config)
    figures = found["tasks"]["town"]["includes"]
    assert figures["items"] == len(FACTS)
    assert set(figures["by_model"]) == {before, after}
    assert figures["change"][after][0] == pytest.approx(figures["by_model"][after][0] - figures["by_model"][before][0], abs=1e-3)
    assert list((tmp_path / "town" / "runs" / "benchmark" / "inspect").iterdir()), "its own log is kept"
