"""Many processes that train one model, started by torchrun: who this one is, its share of the work, sums over all of them.

One process is the rule, and there every function here is the identity, bit for bit, without torch.distributed. With several (WORLD_SIZE
above 1) every process runs the same command and the same loop. You can rely on this:

- The number of processes is no hyperparameter. Batches, normalisers and random numbers are those of the whole run: seed by purpose, never
  by rank. Results differ by the order of sums alone.
- ``shares`` deals rows out alike everywhere, without a message. ``models.packing.divided`` is ``by_tokens`` for this process's share, and
  gives every process equally many passes, some of them without rows: a pass may hold collective calls of the model (FSDP).
- ``optim.update`` sums gradients before it clips, once; parameters that FSDP shards are left out, which has summed theirs. So scale a loss
  by the rows of the whole batch, and let nothing else sum gradients.
- Every call that waits for others (``summed``, ``most``, ``joined``, ``gathered``, ``from_first``, ``same``, ``barrier``,
  ``sum_gradients``) must be made by every process in the same order. Tensors on an accelerator go by NCCL, those on the CPU by gloo.
- Rank 0 writes: ``Run`` and ``save`` see to the run's and the model's folder. Everything is read by all from a shared folder.
- An AccordError that ``from_first`` meets on rank 0 is raised on every process. Elsewhere a process that fails ends the others: torchrun
  stops them, and a wait of theirs raises RunError, which names the last stage of the missing process. Only one of them prints.
"""

from __future__ import annotations

import atexit
import json
import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from accord.errors import AccordError, RunError, UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Value = TypeVar("Value")
WAIT = 1800.0
"""Seconds that a process waits for another by default; writing a large model takes minutes on rank 0 alone."""
GRACE = 30.0
"""What PyTorch's own time-out comes later than ours, which names the missing process."""
REST = 10.0
"""Seconds that the end of a process waits for its watch, which may just be asking the others' store."""
STAGES = "ACCORD_STAGES"
"""The folder in which each process notes its stage, for whoever started it; set by ``launch``."""
BUCKET = 1 << 23
"""Numbers of gradients that are summed in one message."""


@dataclass
class _Group:
    """The process group of this process, once it is started."""

    store: Any
    wait: float
    stage: str = "start"
    arrived: int = 0
    """Waits for others that this process has entered."""
    since: float = field(default_factory=time.monotonic)
    waiting: bool = False
    news: list[str] = field(default_factory=list[str])
    sick: set[int] = field(default_factory=set[int])
    ended: threading.Event = field(default_factory=threading.Event)
    watch: threading.Thread | None = None

    def rest(self) -> None:
        """Stop the watch, within a bounded time: a thread that comes back from the store into an ending interpreter aborts the process."""
        self.ended.set()
        if self.watch is not None:
            self.watch.join(REST)


_PROCESS: dict[str, _Group] = {}


def world() -> int:
    """Return how many processes train together."""
    return int(os.environ.get("WORLD_SIZE") or 1)


def rank() -> int:
    """Return the number of this process, from 0."""
    return int(os.environ.get("RANK") or 0) if world() > 1 else 0


def first() -> bool:
    """Return whether this is the process that writes and reports."""
    return rank() == 0


def local() -> tuple[int, int]:
    """Return the number of this process on its machine, and how many there are."""
    return int(os.environ.get("LOCAL_RANK") or rank()), int(os.environ.get("LOCAL_WORLD_SIZE") or world())


def started() -> bool:
    """Return whether the processes have found each other."""
    return "group" in _PROCESS


def start(device: torch.device, wait: float = WAIT) -> None:
    """Meet the other processes by torchrun's environment; one process alone has nothing to meet.

    Args:
        wait: seconds after which a process that does not come is given up.

    Raises:
        RunError: the others do not come in time.
    """
    if world() == 1 or started():
        return
    import torch.distributed as dist
    from torch.distributed.rendezvous import rendezvous

    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if missing:
        hint = "start it with torchrun, or with --processes"
        raise UsageError(f"WORLD_SIZE is {world()}, but {', '.join(missing)} is not set", where="environment", hint=hint)
    backend = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl", "xpu": "cpu:gloo,xpu:xccl"}.get(device.type)
    if backend is None:
        raise UsageError(f"several processes on {device.type} are not supported", where="--device", hint="use cpu, cuda or xpu")
    limit = timedelta(seconds=wait + GRACE)
    try:
        store, _, _ = next(cast("Any", rendezvous)("env://", rank(), world(), timeout=timedelta(seconds=wait)))
        dist.init_process_group(backend, store=store, rank=rank(), world_size=world(), timeout=limit)
    except (RuntimeError, ValueError, OSError) as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        hint = "look for the error of another process above; --process-timeout waits longer"
        raise RunError(f"the {world()} processes did not meet ({reason})", where=where, hint=hint) from error
    _PROCESS["group"] = group = _Group(cast("Any", dist).PrefixStore("accord", store), wait)
    _tell(group)
    barrier()
    group.watch = threading.Thread(target=_watch, args=(group,), daemon=True, name="accord-ranks")
    group.watch.start()
    atexit.register(group.rest)


def end() -> None:
    """Take leave of the other processes."""
    if not started():
        return
    import torch.distributed as dist

    _PROCESS.pop("group").rest()
    with suppress(RuntimeError):
        dist.destroy_process_group()


def stage(text: str) -> None:
    """Note what this process is at, to be named if it is missing later."""
    if started():
        _PROCESS["group"].stage = text
        _tell(_PROCESS["group"])


def exit_stage(code: int) -> str:
    """Return the stage of a process that leaves with an exit code."""
    return f"its end, with exit code {code}"


def news() -> list[str]:
    """Return what was noticed about single processes since the last call, such as a loss that is not finite on one of them."""
    if not started():
        return []
    group = _PROCESS["group"]
    told, group.news = group.news, []
    return told


# --- shares ---


def shares(costs: Sequence[int]) -> list[list[int]]:
    """Deal numbered items over the processes, and return each one's: the dearest first, to whoever has the least so far.

    Every process finds the same. With fewer items than processes some get none.
    """
    dealt, loads = [list[int]() for _ in range(world())], [(0, 0)] * world()
    for item in sorted(range(len(costs)), key=lambda i: -costs[i]):
        to = min(range(world()), key=lambda r: loads[r])
        dealt[to].append(item)
        loads[to] = loads[to][0] + costs[item], loads[to][1] + 1
    return [sorted(items) for items in dealt]


def share(costs: Sequence[int]) -> list[int]:
    """Return the items that are this process's, in their order."""
    return shares(costs)[rank()]


# --- sums and exchanges ---


def sum_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Replace each parameter's gradient by its sum over the processes; one that no process has stays None.

    Parameters that FSDP shards are left out. A process whose gradient is not finite is named.
    """
    if world() == 1:
        return
    import torch
    import torch.distributed as dist

    own = [p for p in parameters if not hasattr(p, "device_mesh")]
    if not own:
        return
    there = torch.tensor([p.grad is not None for p in own], dtype=torch.int32)
    sick = torch.zeros(world(), dtype=torch.int32)
    sick[rank()] = not _finite([p.grad for p in own if p.grad is not None])
    with _together("the sum of gradients"):
        facts = torch.cat([there, sick])
        dist.all_reduce(facts)
        there, sick = torch.split(facts, [len(own), world()])
        learned = [p for p, processes in zip(own, cast("list[int]", there.tolist()), strict=True) if processes]
        for bucket in _buckets(learned):
            gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in bucket]
            flat = torch.cat([gradient.flatten() for gradient in gradients])
            dist.all_reduce(flat)
            for p, total in zip(bucket, torch.split(flat, [p.numel() for p in bucket]), strict=True):
                p.grad = total.view_as(p).clone(memory_format=torch.preserve_format)
    _name_sick(cast("list[int]", sick.tolist()), "its gradient")


def summed(values: Tensor) -> Tensor:
    """Return the sum of a tensor over the processes, a new one. Zeros from all but one process gather a table without rounding."""
    if world() == 1:
        return values
    import torch.distributed as dist

    total = values.detach().clone()
    with _together("a sum"):
        dist.all_reduce(total)
    return total


def most(values: Sequence[int]) -> list[int]:
    """Return the largest of each number over the processes."""
    if world() == 1:
        return list(values)
    import torch
    import torch.distributed as dist

    largest = torch.tensor(values)
    with _together("an agreement"):
        dist.all_reduce(largest, op=dist.ReduceOp.MAX)
    return cast("list[int]", largest.tolist())


def gathered(value: Value) -> list[Value]:
    """Return every process's value, in the order of the ranks."""
    if world() == 1:
        return [value]
    import torch.distributed as dist

    everyone: list[Value | None] = [None] * world()
    with _together("an exchange"):
        dist.all_gather_object(everyone, value)
    return cast("list[Value]", everyone)


def joined(found: Mapping[str, Tensor], *same: str) -> dict[str, Tensor]:
    """Return a step's figures of all processes: of each vector on the CPU the processes' parts, end to end in the order of the ranks.

    Call it once a step. A process with a figure that is not finite is named.

    Args:
        same: figures that every process has alike already, such as a gradient's norm; they stay as they are.
    """
    if world() == 1:
        return dict(found)
    import torch

    everyone = gathered({name: values for name, values in found.items() if name not in same})
    for name in everyone[0]:
        _name_sick([not bool(each[name].isfinite().all()) for each in everyone], f"its {name}")
    return {name: values if name in same else torch.cat([each[name] for each in everyone]) for name, values in found.items()}


def barrier() -> None:
    """Wait until every process is here."""
    gathered(None)


def from_first(make: Callable[[], Value]) -> Value:
    """Return on every process what rank 0 makes; the others do not call ``make``. An AccordError of its is raised on all."""
    if world() == 1:
        return make()
    import torch.distributed as dist

    made: list[Any] = [None, None]
    if first():
        try:
            made[0] = make()
        except AccordError as error:
            made[1] = error, (error.what, error.where, error.hint)
    with _together("rank 0"):
        parcel: list[Any] = [made[0], None if made[1] is None else (type(made[1][0]), made[1][1])]
        dist.broadcast_object_list(parcel, src=0)
    if first() and made[1] is not None:
        raise made[1][0]
    if parcel[1] is not None:
        kind, (what, where, hint) = parcel[1]
        raise kind(what, where=where, hint=hint)
    return parcel[0]


def same(facts: Mapping[str, object], where: str) -> None:
    """Refuse processes that do not agree on these facts: settings, digests of data and models, versions.

    Raises:
        RunError: they differ; names the facts, and the process, against rank 0.
    """
    everyone = gathered(_flat(facts))
    for other, theirs in enumerate(everyone[1:], 1):
        keys = [*everyone[0], *(key for key in theirs if key not in everyone[0])]
        differing = [f"{k} is {everyone[0].get(k, 'missing')} on rank 0" for k in keys if everyone[0].get(k) != theirs.get(k)]
        if differing:
            key = differing[0].partition(" is ")[0]
            what = f"the processes differ: {differing[0]} and {theirs.get(key, 'missing')} on rank {other}"
            more = f", and {len(differing) - 1} more" if len(differing) > 1 else ""
            hint = "start all with the same command, versions and shared project folder"
            raise RunError(what + more, where=where, hint=hint)


def _flat(facts: Mapping[str, object], before: str = "") -> dict[str, str]:
    flat = dict[str, str]()
    for key, value in facts.items():
        if isinstance(value, Mapping):
            flat |= _flat(cast("Mapping[str, object]", value), f"{before}{key}.")
        else:
            flat[f"{before}{key}"] = json.dumps(value, default=str)
    return flat


def _finite(gradients: Sequence[Tensor]) -> bool:
    import torch

    return not gradients or math.isfinite(float(torch.nn.utils.get_total_norm(gradients)))


def _buckets(parameters: Sequence[torch.nn.Parameter]) -> Generator[list[torch.nn.Parameter]]:
    """Group parameters of one kind whose gradients are summed in one message."""
    bucket, size = list[Any](), 0
    for p in parameters:
        unlike = bucket and (bucket[0].dtype, bucket[0].device) != (p.dtype, p.device)
        if bucket and (unlike or size + p.numel() > BUCKET):
            yield bucket
            bucket, size = [], 0
        bucket.append(p)
        size += p.numel()
    if bucket:
        yield bucket


def _name_sick(sick: Sequence[int | bool], what: str) -> None:
    """Say once of each process that something of its is not finite."""
    group = _group()
    for number, is_sick in enumerate(sick):
        if is_sick and number not in group.sick:
            group.sick.add(number)
            line = f"process {number} of {world()}: {what} is not finite"
            group.news.append(line)
            if first():
                print(f"{line} ({group.stage})", file=sys.stderr, flush=True)


# --- a process that is missing ---


@contextmanager
def _together(what: str) -> Generator[None]:
    """Note that this process waits for the others, and name the missing one where that fails."""
    group = _group()
    group.arrived += 1
    group.waiting = True
    _tell(group)
    try:
        yield
    except RuntimeError as error:
        raise RunError(_missing(group, what), hint="its own message tells why; continue with --resume") from error
    finally:
        group.waiting, group.since = False, time.monotonic()


def explained(error: BaseException) -> AccordError | None:
    """Return the error of a broken process group in one sentence, naming the missing process; None for any other error."""
    if not started() or isinstance(error, AccordError) or not isinstance(error, RuntimeError):
        return None
    text = str(error)
    broken = type(error).__name__.startswith("Dist") or any(mark in text for mark in ("gloo/", "NCCL", "Connection closed by peer"))
    hint = "its own message tells why; continue with --resume"
    return RunError(_missing(_PROCESS["group"], "the model's own sums"), hint=hint) if broken else None


def speaks() -> bool:
    """Return whether this process is the first to fail, whose message is the one to print."""
    if not started():
        return first()
    try:
        return int(_PROCESS["group"].store.add("failed", 1)) == 1
    except RuntimeError:  # whoever kept the store is gone, and cannot have printed what this process knows
        return True


def _group() -> _Group:
    if not started():
        hint = "start one process: without torchrun, and with WORLD_SIZE unset"
        raise UsageError(f"this does not run as {world()} processes", where="WORLD_SIZE", hint=hint)
    return _PROCESS["group"]


def _tell(group: _Group) -> None:
    """Publish where this process is."""
    group.since = time.monotonic()
    record = {"arrived": group.arrived, "stage": group.stage, "host": socket.gethostname(), "pid": os.getpid()}
    with suppress(RuntimeError):  # a lost store is noticed by the next wait
        group.store.set(f"at/{rank()}", json.dumps(record))
    if folder := os.environ.get(STAGES):
        with suppress(OSError):
            Path(folder, str(rank())).write_text(group.stage, "utf-8")


def _behind(group: _Group) -> dict[int, dict[str, Any]]:
    """Return the records of the processes that have entered fewer waits than this one."""
    records = {other: json.loads(group.store.get(f"at/{other}")) for other in range(world()) if other != rank()}
    return {other: record for other, record in records.items() if record["arrived"] < group.arrived}


def _missing(group: _Group, what: str) -> str:
    """Return a sentence that names the processes which did not come, each with its last stage."""
    begun = f"process {rank()} of {world()} waited for {what} at {group.stage}"
    try:
        behind = _behind(group) or {o: json.loads(group.store.get(f"at/{o}")) for o in range(world()) if o != rank()}
    except (RuntimeError, ValueError):
        return f"{begun}, and the process that keeps the others together is gone"
    names = ", ".join(f"process {o} ({r['host']}, pid {r['pid']}) was last at {r['stage']}" for o, r in behind.items())
    return f"{begun}, in vain: {names}"


def _watch(group: _Group) -> None:
    """End this process when it has waited too long for one that still exists but does not come, or let it save and end when the command
    that started all of them was killed."""
    every, number = min(max(group.wait / 10, 0.2), 5.0), 0
    parent = os.getppid() if os.environ.get(STAGES) else 0
    while not group.ended.wait(every):
        number += 1
        if parent and os.getppid() != parent:
            parent = 0
            os.kill(os.getpid(), signal.SIGTERM)
        with suppress(RuntimeError, ValueError):  # the store is gone: the wait itself fails
            group.store.set(f"beat/{rank()}", str(number))
            if time.monotonic() - group.since <= group.wait:
                continue
            late = _behind(group) or _silent(group, 2 * every)
            if not late or time.monotonic() - group.since <= group.wait:
                continue
            names = ", ".join(f"process {o} ({r['host']}, pid {r['pid']}), last at {r['stage']}," for o, r in late.items())
            waited = f"{names} has not come for {time.monotonic() - group.since:.0f} s to where process {rank()} waits, {group.stage}"
            if speaks():
                hint = "continue with --resume; --process-timeout waits longer"
                print(f"accord: {waited} ({hint})", file=sys.stderr, flush=True)
            os._exit(AccordError.exit_code)


def _silent(group: _Group, seconds: float) -> dict[int, dict[str, Any]]:
    """Return the records of the processes without a heartbeat for so long, such as one that was stopped within a sum."""
    others = [other for other in range(world()) if other != rank()]
    before = {other: group.store.get(f"beat/{other}") for other in others if group.store.check([f"beat/{other}"])}
    group.ended.wait(seconds)
    return {other: json.loads(group.store.get(f"at/{other}")) for other, beat in before.items() if group.store.get(f"beat/{other}") == beat}
