"""What two processes do with checkpoints, for test_checkpoints_of_several.py: they train a model that FSDP2 divides, save, and go on."""

from __future__ import annotations

import resource
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from accord.errors import RunError
from accord.runtime import checkpoints, ranks

STEPS, SAVED = 6, 3


def model_of(seed: int) -> nn.Sequential:
    """Odd sizes, so that the parts differ; one bias is shorter than there are processes."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3), nn.Tanh(), nn.Linear(3, 1))


def divided(model: nn.Sequential) -> nn.Sequential:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cpu", (ranks.world(),))
    for layer in (*(child for child in model if isinstance(child, nn.Linear)), model):
        part: Any = fully_shard(layer, mesh=mesh)
        part.set_gradient_divide_factor(1.0)
        part.set_force_sum_reduction_for_comms(True)
    return model


def adam(model: nn.Module) -> torch.optim.AdamW:
    return torch.optim.AdamW(model.parameters(), lr=0.05, weight_decay=0.1)


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range, *, summed: bool) -> None:
    """Steps on a batch of eight rows, of which each process takes its share."""
    for step in steps:
        rows = torch.randn(8, 5, generator=torch.Generator().manual_seed(step))
        mine = rows[ranks.rank() :: ranks.world()]
        (model(mine).sin().sum() / len(rows)).backward()
        if summed:
            ranks.sum_gradients(model.parameters())
        optimizer.step()
        optimizer.zero_grad()


def state_of(model: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> dict[str, Any]:
    weights = model.state_dict()
    beside = {"limits": (1.5, float("inf"), None), 3: "字", "table": torch.arange(6).reshape(2, 3), "lm_head": next(iter(weights.values()))}
    return {"model": weights, "optimizers": [optimizer.state_dict()], "beside": beside, "done": step}


def restore(model: nn.Module, optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    own = model.state_dict()
    model.load_state_dict({name: _as(own[name], value) for name, value in state["model"].items()})
    kept, parameters = state["optimizers"][0], list(model.parameters())
    moments = {i: {name: _as(parameters[i], v) if v.dim() else v for name, v in each.items()} for i, each in kept["state"].items()}
    optimizer.load_state_dict({**kept, "state": moments})


def _as(own: Any, value: Tensor) -> Tensor:
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value, own.device_mesh, own.placements, src_data_rank=None) if hasattr(own, "placements") else value


def whole(model: nn.Module) -> dict[str, Tensor]:
    own: dict[str, Any] = model.state_dict()
    return {name: value.full_tensor() if hasattr(value, "full_tensor") else value.clone() for name, value in own.items()}


def main(folder: Path) -> None:
    ranks.start(torch.device("cpu"), 60)
    ends = dict[str, dict[str, Tensor]]()

    for name in ("divided", "replicated"):
        model = divided(model_of(1)) if name == "divided" else model_of(1)
        optimizer = adam(model)
        train(model, optimizer, range(SAVED), summed=name == "replicated")
        checkpoints.save(folder / name, state_of(model, optimizer, SAVED), SAVED)
        train(model, optimizer, range(SAVED, STEPS), summed=name == "replicated")
        ends[name] = whole(model)

    for name in ("divided", "replicated", "alone"):  # the last was saved by one process
        state, model = checkpoints.load(folder / name), divided(model_of(2))
        optimizer = adam(model)
        restore(model, optimizer, state)
        train(model, optimizer, range(SAVED, STEPS), summed=False)
        ends[f"{name}, resumed"] = whole(model)

    _fill_a_disk(folder / "full")
    if ranks.first():
        torch.save(ends, folder / "ends.pt")
    ranks.end()


def _fill_a_disk(folder: Path) -> None:
    """Files of the second process cannot grow for a while: both are told, and the last checkpoint stays."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    for step in range(1, 4):
        checkpoints.save(folder, {"weights": torch.full((100,), float(step)), "more": torch.full((90,), float(step))}, step)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    if not ranks.first():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        checkpoints.save(folder, {"weights": torch.zeros(100_000), "more": torch.zeros(90_000)}, 4)
    except RunError as error:
        print(f"told: {error}", flush=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
