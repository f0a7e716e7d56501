"""A run that was stopped and resumed leaves the very files of one that was not."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.errors import RunError
from accord.runtime.runs import Run
from accord.settings import DpoConfig, SampleConfig


@dataclass(frozen=True)
class Config:
    lr: float = 0.5
    steps: int = 9
    shape: tuple[int, ...] = (1, 2)


INPUTS = {"base": "a1", "snapshot": "b2"}


def train(folder: Path, *, resume: bool = False, stop_after: int = 99, save_every: int = 3) -> None:
    """A stage in small: a number that depends on every step before it."""
    run = Run.start(folder, stage="toy", config=Config(), inputs=INPUTS, resume=resume, seed=7)
    if run.done:
        return
    begun, state = run.restore() or (0, {"x": torch.ones(1)})
    x = state["x"]
    for step in range(begun + 1, Config().steps + 1):
        x = x * 1.5 + step
        run.log(step, x=x.item(), even=step % 2)
        run.samples(step, [{"text": f"响应 {step}\u2028"}, {"text": "b"}])
        if step >= stop_after:
            return
        if step % save_every == 0:
            run.checkpoint(step, {"x": x})
    run.finish(x=x.item())


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name != "log.txt"}


@settings(max_examples=25)
@given(stop=st.integers(1, 9), torn=st.text('{}"abc:1é', max_size=9), save_every=st.integers(2, 5))
def test_stopped_anywhere_and_resumed_the_files_are_those_of_an_uninterrupted_run(
    stop: int, torn: str, save_every: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole, stopped = tmp_path_factory.mktemp("whole") / "run", tmp_path_factory.mktemp("stopped") / "run"
    train(whole, save_every=save_every)
    train(stopped, stop_after=stop, save_every=save_every)
    with (stopped / "metrics.jsonl").open("ab") as file:
        file.write(torn.encode()[:-1])
    train(stopped, resume=True, save_every=save_every)
    assert contents(stopped) == contents(whole)


def test_a_resume_is_remarked_in_the_log(tmp_path: Path) -> None:
    train(tmp_path / "run", stop_after=5)
    train(tmp_path / "run", resume=True)
    assert "resumed after step 3" in (tmp_path / "run" / "log.txt").read_text()


def test_resuming_what_is_done_changes_nothing(tmp_path: Path) -> None:
    train(tmp_path / "run")
    before = contents(tmp_path / "run")
    train(tmp_path / "run", resume=True)
    assert contents(tmp_path / "run") == before


def test_resuming_what_was_never_begun_begins_it(tmp_path: Path) -> None:
    train(tmp_path / "run", resume=True)
    assert Run.start(tmp_path / "run", stage="toy", config=Config(), inputs=INPUTS, resume=True, seed=7).summary["x"] > 1


def test_a_summary_is_json_where_a_metric_is_undefined(tmp_path: Path) -> None:
    run = Run.start(tmp_path / "run", stage="toy", config=Config(), inputs=INPUTS, resume=False, seed=7)
    run.finish(accuracy=math.nan, loss=0.5, parts={"ratio": math.inf, "count": 2}, interval=(0.5, math.nan))

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    text = (tmp_path / "run" / "summary.json").read_text()
    assert json.loads(text, parse_constant=refuse) == {"loss": 0.5, "parts": {"count": 2}, "interval": [0.5, None]}


def test_a_run_is_not_overwritten(tmp_path: Path) -> None:
    train(tmp_path / "run", stop_after=4)
    before = contents(tmp_path / "run")
    with pytest.raises(RunError, match="stopped run of this name exists") as caught:
        train(tmp_path / "run")
    assert "--resume" in caught.value.hint
    assert "--name" in caught.value.hint
    assert contents(tmp_path / "run") == before


def test_a_resume_with_other_settings_or_data_names_what_differs_and_cuts_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train(folder, stop_after=5)
    before = contents(folder)
    with pytest.raises(RunError) as caught:
        Run.start(folder, stage="toy", config=Config(lr=0.25), inputs={**INPUTS, "snapshot": "c3"}, resume=True, seed=8)
    for words in ("config.lr was 0.5, is 0.25", 'inputs.snapshot was "b2", is "c3"', "seed was 7, is 8"):
        assert words in str(caught.value)
    assert "steps" not in caught.value.what
    assert contents(folder) == before


def test_a_run_of_the_former_length_goes_on_with_it(tmp_path: Path) -> None:
    """Older versions gave 512 tokens where nobody named a length; 0 is the default now."""
    for done in (False, True):
        folder = tmp_path / str(done)
        begun = Run.start(folder, stage="sample", config=SampleConfig(max_tokens=512), inputs={}, resume=True)
        if done:
            begun.finish(responses=1)
        again = Run.start(folder, stage="sample", config=SampleConfig(), inputs={}, resume=True)
        assert again.done is done
        if not done:
            assert again.settle(SampleConfig(), max_tokens=64).max_tokens == 512
            again = Run.start(folder, stage="sample", config=SampleConfig(), inputs={}, resume=True)
            assert again.settle(SampleConfig(), max_tokens=64).max_tokens == 512
    Run.start(tmp_path / "named", stage="sample", config=SampleConfig(max_tokens=40), inputs={}, resume=True)
    with pytest.raises(RunError, match="max_tokens was 40, is 0"):
        Run.start(tmp_path / "named", stage="sample", config=SampleConfig(), inputs={}, resume=True)
    Run.start(tmp_path / "window", stage="dpo", config=DpoConfig(max_tokens=512), inputs={}, resume=True)
    with pytest.raises(RunError, match="max_tokens was 512, is 0"):
        Run.start(tmp_path / "window", stage="dpo", config=DpoConfig(), inputs={}, resume=True)


@dataclass(frozen=True)
class LaterConfig(Config):
    """The settings of a later version, which knows one more."""

    bits: int = 0


def test_a_run_of_an_older_version_goes_on_where_the_new_setting_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train(folder, stop_after=5)
    Run.start(folder, stage="toy", config=LaterConfig(), inputs=INPUTS, resume=True, seed=7)
    with pytest.raises(RunError, match=r"config\.bits was 0, is 4"):
        Run.start(folder, stage="toy", config=LaterConfig(bits=4), inputs=INPUTS, resume=True, seed=7)


def test_the_folder_says_what_was_asked(tmp_path: Path) -> None:
    train(tmp_path / "run", stop_after=1)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["config"] == {"lr": 0.5, "steps": 9, "shape": [1, 2]}
    assert config["inputs"] == INPUTS
    assert config["versions"]["torch"] == torch.__version__


def test_what_is_not_finite_is_null_and_every_line_is_json(tmp_path: Path) -> None:
    run = Run.start(tmp_path / "run", stage="toy", config=Config(), inputs={}, resume=False)
    run.log(1, loss=math.nan, kl=math.inf, tokens=3, ratio=1.5)
    assert json.loads((tmp_path / "run" / "metrics.jsonl").read_text()) == {"step": 1, "loss": None, "kl": None, "tokens": 3, "ratio": 1.5}
