"""Every script and notebook in examples/ runs to its end, and prints what it promises."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parent.parent / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
SCRIPTS = ("own_reward", "dpo_from_dataframe", "rank_in_code", "judge_two_models")


def run(script: str, *arguments: object) -> str:
    """What a script prints, run as a reader would run it."""
    command = [sys.executable, str(EXAMPLES / f"{script}.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def small_town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project that each script makes when none is named, made once."""
    folder = re.match(r"(.+) has the models base, sft", run("small_town"))
    assert folder
    return Path(shutil.move(folder[1], tmp_path_factory.mktemp("examples") / "town"))


@pytest.fixture
def town(small_town: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_town, tmp_path / "town"))


def numbers(pattern: str, text: str) -> list[float]:
    return [float(found) for found in re.findall(pattern, text, re.MULTILINE)]


def test_own_reward_rises(town: Path) -> None:
    rewards = numbers(r"^ *\d+ +(-?[\d.]+)  [\d.]+$", run("own_reward", "--project", town))
    assert len(rewards) == 5
    assert max(rewards[2:]) > rewards[0] + 0.2


def test_rules_tell_good_answers_from_others() -> None:
    printed = run("rule_rewards")
    good, bad, *_ = numbers(r"^ *([\d.]+)  ", printed)
    assert (good, bad) == (3.0, 0.0)
    assert re.search(r"none  ''", printed)


def test_dpo_prefers_the_better_side_of_pairs_it_never_saw(town: Path) -> None:
    printed = run("dpo_from_dataframe", "--project", town)
    assert "pandas is not installed" not in printed
    (share,) = numbers(r"^on comparisons that it did not learn from: (\d+)%", printed)
    assert share > 70


def test_a_reward_model_learns_the_rule(town: Path) -> None:
    printed = run("rank_in_code", "--project", town)
    (share,) = numbers(r"^orders (\d+)%", printed)
    assert share > 60
    better, worse = numbers(r"^ *(-?[\d.]+)  (?:The market|I like)", printed)
    assert better > worse


def test_both_judges_see_what_dpo_learned(town: Path) -> None:
    printed = run("judge_two_models", "--project", town)
    by_reward, by_function = numbers(r"^(?:reward model|function) +(\d+)%", printed)
    assert by_function > 60
    assert by_reward > 50
    assert re.search(r"the two agree on \d+ of the \d+ prompts", printed)


def test_the_formulas_alone_teach_a_model_of_ones_own() -> None:
    grpo, dpo = run("bare_objectives").split("DPO:")
    rising = numbers(r"^ *\d+  ([\d.]+)  [\d.]+$", grpo)
    assert rising[-1] > rising[0] + 0.2
    rising = numbers(r"^ *\d+  [\d.]+  ([\d.]+)$", dpo)
    assert rising[-1] > rising[0] + 0.1


def test_no_example_is_left_out() -> None:
    tested = {
        *SCRIPTS,
        "bare_objectives",
        "small_town",
        "feedback_app",
        "open_webui_action",
        "rule_rewards",
    }  # the two of apps: tests/serving/apps
    assert {path.stem for path in EXAMPLES.glob("*.py")} == tested
    listed = (EXAMPLES / "README.md").read_text("utf-8")
    assert not [path.name for path in (*EXAMPLES.glob("*.py"), *NOTEBOOKS) if path.name not in listed]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("default")  # of the notebook's own tools
def test_a_notebook_runs_top_to_bottom(path: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    kept = [output.output_type for cell in notebook.cells for output in cell.get("outputs", ())]
    assert kept, "the notebook holds no outputs: execute it"
    assert "error" not in kept
    NotebookClient(notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
