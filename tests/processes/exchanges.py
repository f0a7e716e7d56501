"""What two processes exchange, each call with an outcome that is known beforehand: run by torchrun, it ends with 1 where one is another."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import nn

from accord.algorithms.optim import update
from accord.errors import InputError, RunError
from accord.runtime import ranks
from accord.runtime.device import choose_device
from accord.runtime.runs import Run
from accord.settings import SftConfig


def expect(found: object, wanted: object) -> None:
    if found != wanted:
        raise AssertionError(f"rank {ranks.rank()}: {found} is not {wanted}")


def exchange(rank: int) -> None:
    expect(ranks.gathered({"rank": rank}), [{"rank": 0}, {"rank": 1}])
    expect(ranks.summed(torch.tensor([1.0, 10.0]) * (rank + 1)).tolist(), [3.0, 30.0])
    found = ranks.joined({"loss": torch.arange(2.0 - rank) + 10 * rank, "norm": torch.tensor(7.0)}, "norm")
    expect({name: value.tolist() for name, value in found.items()}, {"loss": [0.0, 1.0, 10.0], "norm": 7.0})
    expect(ranks.from_first(lambda: {"made by": rank}), {"made by": 0})


def learn(rank: int) -> None:
    """One step of plain SGD on a sum of gradients: 1 + 3 for one weight, 2 from rank 1 alone for another, none for the third."""
    both, second, none = (nn.Parameter(torch.zeros(1)) for _ in range(3))
    both.grad = torch.tensor([1.0 + 2 * rank])
    second.grad = torch.tensor([2.0]) if rank else None
    seen: list[bool] = []
    optimizer = torch.optim.SGD([both, second, none], lr=1.0)
    optimizer.register_step_pre_hook(lambda *_: seen.append(none.grad is None))
    norm = update({optimizer: 1.0}, max_norm=0.0)
    expect((both.item(), second.item(), seen), (-4.0, -2.0, [True]))
    expect(round(norm.item(), 5), round(math.hypot(4, 2), 5))


def fall_ill(rank: int, folder: Path) -> None:
    """Rank 1 has a gradient that is not a number: it is named once, on the terminal and in the run's log."""
    run = Run.start(folder, stage="sft", config=SftConfig(), inputs={}, resume=False)
    weight = nn.Parameter(torch.zeros(1))
    for step in (1, 2):
        weight.grad = torch.tensor([math.nan if rank else 1.0])
        ranks.sum_gradients([weight])
        run.log(step, loss=0.0)
    ranks.barrier()
    log = (folder / "log.txt").read_text("utf-8")
    expect(log.count("process 1 of 2: its gradient is not finite"), 1)
    expect("step 1: process 1" in log, True)


def refuse(rank: int, folder: Path) -> None:
    """An error of rank 0 is an error of all, and so is a difference."""
    for make, kind, text in (
        (lambda: ranks.from_first(lambda: fail("nothing to learn from")), InputError, "nothing to learn from"),
        (lambda: ranks.same({"a": {"b": rank}}, where="here"), RunError, "a.b is 0 on rank 0 and 1 on rank 1"),
        (
            lambda: Run.start(folder, stage="sft", config=SftConfig(lr=rank), inputs={}, resume=False),
            RunError,
            "config.lr is 0 on rank 0",
        ),
        (lambda: Run.start(folder, stage="sft", config=SftConfig(), inputs={"sft": "ab"[rank]}, resume=False), RunError, "inputs.sft is"),
    ):
        try:
            make()
        except kind as error:
            expect(text in str(error), True)
        else:
            raise AssertionError(f"rank {rank}: {text} was not raised")


def fail(what: str) -> None:
    raise InputError(what)


def check(folder: Path) -> None:
    """Run all of it."""
    ranks.start(choose_device("cpu"))
    exchange(ranks.rank())
    learn(ranks.rank())
    fall_ill(ranks.rank(), folder / "ill")
    refuse(ranks.rank(), folder / "refused")
