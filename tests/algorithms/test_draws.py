"""Recorded rollouts: what was drawn is learned from after a kill too, and again without a sampler; draws one step ahead."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from groups import STOPS
from rolled import STEPS, Dice, Fatal, run
from tiny import FP32, same

from accord.algorithms.draws import Remembered, Replayed
from accord.engine.local import LocalSampler
from accord.errors import RunError
from accord.runtime.recordings import FOLDER, Recordings

TESTS = Path(__file__).parents[1]


def recorded(folder: Path) -> Recordings:
    return Recordings(folder / FOLDER)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / FOLDER).glob("*.safetensors"))}


def here(policy: Any) -> LocalSampler:
    return LocalSampler(policy, stop=STOPS, dtype=FP32)


def state(left: Any) -> Any:
    value = getattr(left, "value", None)
    return left.policy.state_dict(), None if value is None else value.state_dict()


def killed(kind: str, folder: Path, staleness: int, step: int) -> None:
    """Run in a process of its own that is killed once the responses of a step are drawn."""
    environment = os.environ | {"PYTHONPATH": f"{TESTS}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    command = [sys.executable, str(TESTS / "rolled.py"), kind, str(folder), str(staleness), str(step)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr


@pytest.mark.parametrize(("kind", "staleness"), [("grpo", 0), ("ppo", 1), ("raft", 0)])
def test_a_killed_run_goes_on_with_what_was_drawn_before_and_a_replay_gives_the_same_weights(
    kind: str, staleness: int, tmp_path: Path
) -> None:
    """The sampler draws by the system's own chance: nothing but the record can make the two alike."""
    late = {"staleness": staleness} if staleness else {}
    killed(kind, tmp_path / "killed", staleness, step=4)
    before = files(tmp_path / "killed")
    assert {name[:6] for name in before} >= {"000001", "000002", "000003", "000004"}
    resumed = run(kind, tmp_path / "killed", resume=True, **late)
    after = files(tmp_path / "killed")
    assert {name: after[name] for name in before} == before
    assert [line["step"] for line in recorded(tmp_path / "killed").learned()] == list(range(1, STEPS + 1))

    replay = run(kind, tmp_path / "replay", lambda policy: Replayed(recorded(tmp_path / "killed")), **late)
    assert same(state(replay), state(resumed))
    assert [row["reward"] for row in replay.metrics] == [row["reward"] for row in resumed.metrics]
    assert recorded(tmp_path / "replay").digest() == recorded(tmp_path / "killed").digest() != ""
    other = run(kind, tmp_path / "other", **late)
    assert not same(state(other), state(resumed))


def test_a_foreign_samplers_draws_say_where_they_came_from(tmp_path: Path) -> None:
    from safetensors import safe_open

    run("grpo", tmp_path / "run")
    (first, *_) = sorted((tmp_path / "run" / FOLDER).glob("*.safetensors"))
    with safe_open(first, framework="pt") as file:
        told = file.metadata()
        assert set(file.keys()) == {"prompts", "prompt_lengths", "tokens", "lengths", "logprobs", "finished"}
    assert (told["step"], told["policy_step"], told["foreign"]) == ("1", "0", "yes")
    assert json.loads(told["sampling"])["temperature"] == 1.0
    assert set(json.loads(told["seconds"])) == {"prefill", "decode"}


def test_the_own_engine_records_nothing_unless_it_is_asked(tmp_path: Path) -> None:
    plain = run("grpo", tmp_path / "plain", here)
    kept = run("grpo", tmp_path / "kept", here, record_rollouts="all")
    assert not (tmp_path / "plain" / FOLDER).exists()
    assert same(state(plain), state(kept))
    replay = run("grpo", tmp_path / "replay", lambda policy: Replayed(recorded(tmp_path / "kept")))
    assert same(state(replay), state(plain))


def test_a_replay_refuses_other_prompts_seeds_and_steps_that_were_not_recorded(tmp_path: Path) -> None:
    run("grpo", tmp_path / "kept", here, record_rollouts="all")

    def again(folder: str, **asked: Any) -> None:
        run("grpo", tmp_path / folder, lambda policy: Replayed(recorded(tmp_path / "kept")), **asked)

    with pytest.raises(RunError, match="was drawn for other prompts, settings or seed"):
        again("seed", seed=1)
    with pytest.raises(RunError, match="was drawn for other prompts, settings or seed"):
        again("warm", temperature=0.9)
    with pytest.raises(RunError, match="no such rollout was recorded"):
        again("long", steps=STEPS + 1)
    with pytest.raises(RunError, match="the run kept no rollouts"):
        Replayed(recorded(tmp_path / "nothing"))


def test_damage_is_named(tmp_path: Path) -> None:
    run("grpo", tmp_path / "kept", here, record_rollouts="all")
    path = recorded(tmp_path / "kept").path(2)
    whole = path.read_bytes()
    for spoilt in (whole[:-5], b"", whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:]):
        path.write_bytes(spoilt)
        with pytest.raises(RunError, match=r"000002\.safetensors: the recorded rollout is damaged"):
            run("grpo", tmp_path / str(len(spoilt)), lambda policy: Replayed(recorded(tmp_path / "kept")))


def test_draws_that_no_resume_needs_are_removed(tmp_path: Path) -> None:
    run("grpo", tmp_path / "run", here, record_rollouts="checkpoint", steps=3, save_every=2)
    assert files(tmp_path / "run") == {}
    with pytest.raises(RuntimeError, match="here"):
        run("grpo", tmp_path / "stopped", here, fatal=Fatal(4, stop), record_rollouts="checkpoint", save_every=2)
    assert list(files(tmp_path / "stopped")) == ["000003.safetensors", "000004.safetensors"]
    assert [line["step"] for line in recorded(tmp_path / "stopped").learned()] == [1, 2, 3, 4]


def stop() -> None:
    raise RuntimeError("here")


class Chance:
    """A scorer that answers differently each time."""

    def score(self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> torch.Tensor:
        return torch.tensor([byte / 255 for byte in os.urandom(len(responses))])


class Then:
    """A scorer that asks one, and then another that may end the run."""

    def __init__(self, scorer: Any, fatal: Fatal) -> None:
        self.scorer, self.fatal = scorer, fatal

    def score(self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> torch.Tensor:
        scores = self.scorer.score(prompts, responses)
        self.fatal.score(prompts, responses)
        return scores


def test_a_reward_that_answers_differently_each_time_is_remembered(tmp_path: Path) -> None:
    stopped, replay = recorded(tmp_path / "stopped"), recorded(tmp_path / "replay")
    chance = Remembered("chance", Chance(), stopped)
    with pytest.raises(RuntimeError, match="here"):
        run("grpo", tmp_path / "stopped", scorer=Then(chance, Fatal(4, stop)))
    said = {path: path.read_bytes() for path in (stopped.folder / "rewards").iterdir()}
    assert len(said) == 4
    resumed = run("grpo", tmp_path / "stopped", resume=True, scorer=chance)
    assert all(path.read_bytes() == content for path, content in said.items())
    again = Remembered("chance", Chance(), replay, stopped)
    assert same(state(run("grpo", tmp_path / "replay", lambda policy: Replayed(stopped), scorer=again)), state(resumed))


# --- one step ahead --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["grpo", "ppo"])
def test_one_step_ahead_each_batch_is_drawn_by_the_weights_before_the_last_update(kind: str, tmp_path: Path) -> None:
    ahead = run(kind, tmp_path / "ahead", lambda policy: Dice(policy, 7), staleness=1)
    lines = recorded(tmp_path / "ahead").learned()
    assert [(line["step"], line["policy_step"]) for line in lines] == [(1, 0), (2, 0), (3, 1), (4, 2), (5, 3)]
    gaps = [row["logprob_gap"] for row in ahead.metrics]
    assert gaps[0] < 1e-5 < 1e-4 < min(gaps[1:])
    assert all("is_weight" in row for row in ahead.metrics)
    waits = run(kind, tmp_path / "waits", lambda policy: Dice(policy, 7))
    assert [line["policy_step"] for line in recorded(tmp_path / "waits").learned()] == list(range(STEPS))
    assert not same(state(ahead), state(waits))


def test_the_own_engine_one_step_ahead_resumes_to_the_same_weights(tmp_path: Path) -> None:
    whole = run("grpo", tmp_path / "whole", here, staleness=1)
    with pytest.raises(RuntimeError, match="here"):
        run("grpo", tmp_path / "stopped", here, fatal=Fatal(4, stop), staleness=1)
    resumed = run("grpo", tmp_path / "stopped", here, resume=True, staleness=1)
    assert same(state(resumed), state(whole))


def test_resampled_groups_are_recorded_draw_by_draw(tmp_path: Path) -> None:
    first = run("grpo", tmp_path / "run", resample=2, batch_size=6)
    replay = run("grpo", tmp_path / "replay", lambda policy: Replayed(recorded(tmp_path / "run")), resample=2, batch_size=6)
    assert same(state(replay), state(first))
