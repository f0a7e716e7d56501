"""Shares of the work, and what several processes are refused; the processes themselves are in tests/processes."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from accord.commands import TOGETHER
from accord.commands.app import RunFlags, main
from accord.errors import UsageError
from accord.models.packing import by_tokens, divided
from accord.runtime import device, ranks
from accord.runtime.runs import Run
from accord.settings import SftConfig

LENGTHS = st.lists(st.integers(1, 40), max_size=25)


def among(monkeypatch: pytest.MonkeyPatch, world: int, rank: int = 0) -> None:
    monkeypatch.setenv("WORLD_SIZE", str(world))
    monkeypatch.setenv("RANK", str(rank))


def passes(lengths: list[int], limit: int, world: int) -> list[list[list[int]]]:
    """Every process's groups of rows."""
    with pytest.MonkeyPatch.context() as patch:
        found: list[list[list[int]]] = []
        for rank in range(world):
            among(patch, world, rank)
            found.append(list(divided(lengths, limit)))
        return found


@given(LENGTHS, st.integers(1, 60))
def test_one_process_has_the_passes_that_it_had(lengths: list[int], limit: int) -> None:
    assert passes(lengths, limit, 1) == [list(by_tokens(lengths, limit))]


@given(LENGTHS, st.integers(1, 60), st.integers(2, 5))
def test_passes_of_several_hold_every_row_once_and_are_equally_many(lengths: list[int], limit: int, world: int) -> None:
    dealt = passes(lengths, limit, world)
    assert sorted(row for groups in dealt for group in groups for row in group) == list(range(len(lengths)))
    assert len({len(groups) for groups in dealt}) == 1
    for group in (group for groups in dealt for group in groups):
        assert len(group) <= 1 or sum(lengths[row] for row in group) <= limit


@given(st.lists(st.integers(1, 40), min_size=1, max_size=25), st.integers(1, 5))
def test_shares_weigh_about_the_same(lengths: list[int], world: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        among(patch, world)
        loads = [sum(lengths[row] for row in share) for share in ranks.shares(lengths)]
    assert len(loads) == world
    assert max(loads) - min(loads) <= max(lengths), "the lightest could take no row from the heaviest and be better off"


def test_shares_take_the_longest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    among(monkeypatch, 2)
    assert ranks.shares([3, 9, 1, 5]) == [[1], [0, 2, 3]]
    assert ranks.shares([7]) == [[0], []]


def test_alone_every_exchange_gives_back_what_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.distributed", None)  # any use of it fails
    table, parameter = torch.randn(3), torch.nn.Parameter(torch.ones(2))
    parameter.grad = gradient = torch.randn(2)
    ranks.sum_gradients([parameter])
    ranks.barrier()
    ranks.same({"lr": 1}, where="run")
    assert parameter.grad is gradient
    assert ranks.summed(table) is table
    assert ranks.joined({"loss": table}, "norm")["loss"] is table
    assert ranks.gathered("a") == ["a"]
    assert ranks.from_first(lambda: 3) == 3
    assert (ranks.rank(), ranks.world(), ranks.first(), ranks.news()) == (0, 1, True, [])


@pytest.mark.parametrize("words", [["compare", "."], ["evaluate", "."], ["config", "."], ["lineage", ".", "sft"], ["label", "."]])
def test_a_command_that_does_not_divide_its_work_refuses_several(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert words[0] not in TOGETHER
    for rank in (0, 1):
        among(monkeypatch, 2, rank)
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.count("2 processes: each would do all of the work") == 1, "rank 0 says it for all"


def test_a_run_that_met_no_other_process_is_refused_among_several(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What torchrun starts without `flags.start()` must not train the same model twice into one folder."""
    among(monkeypatch, 2, 1)
    with pytest.raises(UsageError, match="does not run as 2 processes"):
        Run.start(tmp_path / "run", stage="sft", config=SftConfig(), inputs={}, resume=False)


def test_another_number_than_was_started_is_refused() -> None:
    with pytest.raises(UsageError, match="2 processes are asked for, and 1 started"):
        RunFlags(processes=2, device="cpu").start()
    with pytest.raises(UsageError, match="above 0"):
        RunFlags(process_timeout=0, device="cpu").start()


@pytest.mark.parametrize(
    ("name", "world", "part"),
    [("cuda", 3, "3 processes on a machine with 2 of cuda"), ("cuda:1", 2, "each needs a device of its own")],
)
def test_processes_share_no_gpu(name: str, world: int, part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus: Any = lambda: {"cpu": 1, "cuda": 2}  # noqa: E731
    monkeypatch.setattr(device, "_devices", gpus)
    monkeypatch.setattr(device, "_PROCESS", {})
    among(monkeypatch, world)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(world))
    with pytest.raises(UsageError, match=part):
        device.choose_device(name)


def test_each_process_takes_the_gpu_of_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus: Any = lambda: {"cpu": 1, "cuda": 2}  # noqa: E731
    monkeypatch.setattr(device, "_devices", gpus)
    monkeypatch.setattr(device, "_PROCESS", {})
    chosen: list[int] = []
    monkeypatch.setattr(torch.accelerator, "set_device_index", chosen.append)
    among(monkeypatch, 4, 3)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert device.choose_device("auto") == torch.device("cuda", 1)
    assert chosen == [1]


def test_a_process_does_not_end_before_its_watch_came_back_from_the_store() -> None:
    """A thread that returns from the store's code into an interpreter which is ending takes the whole process down by SIGABRT."""

    class SlowStore:
        asked = threading.Event()

        def set(self, *_: str) -> None:
            self.asked.set()
            time.sleep(0.5)

    group = ranks._Group(SlowStore(), wait=1.0)
    group.watch = threading.Thread(target=ranks._watch, args=(group,), daemon=True)
    group.watch.start()
    assert SlowStore.asked.wait(60)
    group.rest()
    assert not group.watch.is_alive()
