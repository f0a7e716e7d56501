"""`accord plan-memory`: how much memory a method takes for a model, and what to change when that is too much.

Needs a model's config.json, of the project, of a folder or of a hub; loads no weights. The formula is in models/memory.py, and
docs/memory.md compares it with measured peaks.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from accord.commands.app import Device, Precision, shows
from accord.commands.models import locate
from accord.commands.train.run import own_length
from accord.errors import UsageError
from accord.models.memory import PROMPT_TOKENS, RESPONSES, Load, Plan, gigabytes, plan, shape_of
from accord.runtime.device import choose_device, matmul_dtype, memory_bytes
from accord.runtime.jsonable import jsonable
from accord.runtime.progress import table
from accord.runtime.project import Project, sections

PlannedMethod = Literal[
    "sft", "reward", "process", "dpo", "kto", "ppo", "grpo", "rloo", "reinforce", "raft", "online-dpo", "star", "distill"
]
UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}


def _show(found: dict[str, Any]) -> None:
    parts = [(name, gigabytes(size)) for name, size in found["parts"].items()]
    table(f"{found['method']}: {found['moment']}", ["part", "memory"], [*parts, ("in all", gigabytes(found["total"]))])
    if "fits" in found:
        verdict = "it fits" if found["fits"] else "it does not fit"
        table(f"a device of {gigabytes(found['device_memory'])}: {verdict}", ["moment", "memory"], _moments(found))
    rows = [(number, row["change"], gigabytes(row["saves"])) for number, row in enumerate(found["advice"], 1)]
    if rows:
        table("to take less, in this order; each by itself", ["", "change", "saves"], rows)


def _moments(found: dict[str, Any]) -> list[tuple[str, str]]:
    return [(name, gigabytes(size)) for name, size in found["moments"].items()]


@shows(_show, failed=lambda found: found.get("fits") is False)
def plan_memory(
    method: PlannedMethod,
    *,
    model: Annotated[str, Parameter(help="A model: a folder, a hub name, or with --project one of its names.")],
    project: Annotated[str, Parameter(help="The project whose settings and models are meant.")] = "",
    teacher: Annotated[str, Parameter(help="The teacher of distill; by default it is taken to be as large as the model.")] = "",
    lora_rank: Annotated[int | None, Parameter(help="Rank of the adapters; 0 trains all weights.")] = None,
    lora_bits: Annotated[int | None, Parameter(help="4 quantises the frozen weights; 0 does not.")] = None,
    recompute: Annotated[bool | None, Parameter(help="Recompute activations in the backward pass.")] = None,
    micro_tokens: Annotated[int | None, Parameter(help="Tokens per forward pass.")] = None,
    max_tokens: Annotated[int | None, Parameter(help="Longest text, or longest response of a method that samples.")] = None,
    batch_size: Annotated[int | None, Parameter(help="Rows per optimiser step, or responses per rollout.")] = None,
    prompt_tokens: Annotated[int, Parameter(help="Longest prompt, for a method that samples.")] = PROMPT_TOKENS,
    responses: Annotated[int, Parameter(help="Responses per ranking, for reward and dpo.")] = RESPONSES,
    optimizer: Annotated[Literal["", "adamw", "muon"], Parameter(help="Optimiser of the matrices; by default as set.")] = "",
    processes: Annotated[int, Parameter(help="Processes that train together; the plan is one process's.")] = 1,
    shard: Annotated[Literal["", "auto", "replicate", "full"], Parameter(help="Whether they shard the weights; by default as set.")] = "",
    dtype: Precision = "auto",
    device: Device = "auto",
    device_memory: Annotated[str, Parameter(help="Memory of the device, such as 24GB; exit code 1 when it is not enough.")] = "",
) -> dict[str, Any]:
    """Plan the memory that a method takes for a model: by part, at the moment that takes most, with what to change.

    Settings that are not given are those of accord.toml with --project, else the defaults.

    Example: accord plan-memory ppo --model HuggingFaceTB/SmolLM2-135M --device-memory 24GB

    Raises:
        ModelError: there is no such model, or its architecture is unknown.
        UsageError: the settings cannot work, or the device's memory is not a size.
    """
    room = size_of(device_memory) if device_memory else 0.0
    if processes < 1:
        raise UsageError(f"{processes} processes train nothing", where="--processes", hint="1 or more")
    opened = Project.open(project) if project else None
    kind: Any = sections()[method]
    given = {"lora_rank": lora_rank, "lora_bits": lora_bits, "recompute": recompute, "micro_tokens": micro_tokens}
    given |= {"max_tokens": max_tokens, "batch_size": batch_size, "shard": shard or None}
    asked: dict[str, Any] = dict(opened.settings.get(method, {})) if opened else {}
    asked |= {name: value for name, value in given.items() if value is not None}
    if batch_size is not None and "minibatch_size" in kind.__dataclass_fields__:
        rows = (
            batch_size // asked.get("group_size", kind.group_size) if method == "online-dpo" else batch_size
        )  # its minibatches are of pairs
        asked["minibatch_size"] = min(max(rows, 1), asked.get("minibatch_size", kind.minibatch_size))
    if asked.get("lora_bits") and not asked.get("lora_rank"):
        asked["lora_rank"] = 16
    config, where = kind(**asked), choose_device(device)
    bytes_of = matmul_dtype(where, dtype).itemsize
    shape = shape_of(locate(opened, model) if opened else model)
    config = dataclasses.replace(config, **own_length(method, config, shape.context))
    load = Load(
        method, config, bytes_of, where.type, prompt_tokens, responses, optimizer=optimizer, processes=processes,
        teacher=shape_of(locate(opened, teacher) if opened else teacher) if teacher else None,
        room=room or memory_bytes() / (processes if where.type == "cpu" else 1),  # processes share a machine's memory, and no GPU's
    )  # fmt: skip
    return _plain(plan(shape, load, advise=True), room, dataclasses.asdict(shape) | {"weights": shape.weights})


def size_of(text: str) -> float:
    """Return a size such as 24GB in bytes.

    Raises:
        UsageError: it is none.
    """
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([kmgt]?)(i?)b?", text.strip().lower())
    if not found or not float(found[1]):
        raise UsageError(f"{text!r} is not a size", where="--device-memory", hint="write 24GB, or 16GiB")
    number, unit, binary = found.groups()
    return float(number) * (2.0 ** (10 * list(UNITS).index(unit)) if binary else UNITS[unit])


def _plain(found: Plan, room: float, sizes: dict[str, Any]) -> dict[str, Any]:
    fits = {"device_memory": room, "fits": found.total <= room} if room else {}
    advice = [{"change": change, "saves": round(saves)} for change, saves in found.advice]
    parts = {name: round(size) for name, size in found.parts.items()}
    moments = {name: round(size) for name, size in found.moments.items()}
    summed = {"method": found.method, "total": round(found.total), "moment": found.moment, "parts": parts, "moments": moments}
    return jsonable(summed | fits | {"advice": advice, "shape": sizes})
