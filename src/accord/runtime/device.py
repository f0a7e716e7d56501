"""The machine of a run: device, number format, memory, and the environment to record."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, cast

from accord.errors import UsageError
from accord.runtime import ranks
from accord.runtime.threads import choose_threads
from accord.runtime.version import __version__

if TYPE_CHECKING:
    import torch

ENVIRONMENT = "ACCORD_DEVICE"
"""The variable that names the device where no flag does."""
_PROCESS: dict[str, torch.device] = {}
"""The device of this process, once it is chosen: one for all that it computes."""
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
"""Parameters of glibc's mallopt (malloc.h)."""
_TOP_PAD = 64 << 20
_KERNELS = "64"
"""Enough for one step of these models. With this limit 120 reward steps of the demo took 0.78 GB instead of 1.09
(docs/notebook.md)."""
_NAMES = {"fp32": "float32", "float32": "float32", "bf16": "bfloat16", "bfloat16": "bfloat16", "fp16": "float16", "float16": "float16"}
_EXHAUSTED = ("DefaultCPUAllocator", "not enough memory", "out of memory", "std::bad_alloc")
"""Signs in a RuntimeError that memory ran out."""
_NATIVE_BF16 = {"avx512_bf16", "amx_bf16", "bf16"}
"""Flags of /proc/cpuinfo; the last is ARM's."""
_BELOW_BF16 = {"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI"}
"""Values of oneDNN's ONEDNN_MAX_CPU_ISA that keep it from the processor's bfloat16 instructions."""


def choose_device(name: str = "auto") -> torch.device:
    """Choose the device that this process computes on, and return it: every model that is opened from now on goes there.

    A CPU computes with as many threads as it has to spare; see ``threads``. Of several processes on a machine with GPUs each has one.

    Args:
        name: cpu, cuda, cuda:1, xpu, mps, or another device that torch knows. ``auto`` keeps what was chosen before; at first it takes
            that of ACCORD_DEVICE, else a GPU (cuda, xpu) when there is one. Apple's (mps) is taken when it is asked for.

    Raises:
        UsageError: there is no such device; names those that are there. Or there are more processes than GPUs.
    """
    if name != "auto" or "device" not in _PROCESS:
        _PROCESS["device"] = _own(_named(name))
    if _PROCESS["device"].type == "cpu":
        choose_threads()
    return _PROCESS["device"]


def pick_device() -> torch.device:
    """Return the device of this process. Raises UsageError when ACCORD_DEVICE names one that is not there."""
    return choose_device()


def _named(name: str) -> torch.device:
    import torch

    where, asked = "--device", name
    if name == "auto":
        where, asked = ENVIRONMENT, os.environ.get(ENVIRONMENT, "") or "auto"
    there = _devices()
    if asked == "auto":
        return torch.device(next((gpu for gpu in ("cuda", "xpu") if gpu in there), "cpu"))
    hint = f"this machine has {', '.join(sorted(there))}; auto chooses"
    try:
        device = torch.device(asked)
    except RuntimeError as error:
        raise UsageError(f"{asked!r} is not a device", where=where, hint=hint) from error
    if device.type not in there or (device.index or 0) >= there[device.type]:
        raise UsageError(f"{asked} is not available", where=where, hint=hint)
    return device


def _own(device: torch.device) -> torch.device:
    """Return the one of a machine's accelerators that is this process's, where several processes train together."""
    if ranks.world() == 1 or device.type == "cpu":
        return device
    import torch

    number, processes = ranks.local()
    count = _devices()[device.type]
    if ":" in str(device) and processes > 1:
        what = f"{device} for {processes} processes: each needs a device of its own"
        raise UsageError(what, where="--device", hint=f"say {device.type}, and every process takes its own")
    if processes > count:
        hint = f"start {count}, or choose --device cpu"
        raise UsageError(f"{processes} processes on a machine with {count} of {device.type}", where="--processes", hint=hint)
    own = device if ":" in str(device) else torch.device(device.type, number)
    torch.accelerator.set_device_index(own.index)
    return own


def _devices() -> dict[str, int]:
    """The kinds of devices of this machine with how many of each there are: the CPU, and the accelerator that this torch is built for."""
    import torch

    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return {"cpu": 1} if accelerator is None else {"cpu": 1, accelerator.type: torch.accelerator.device_count()}


def matmul_dtype(device: torch.device, requested: str = "auto") -> torch.dtype:
    """Return the dtype for matrix products: bfloat16 where the hardware supports it, else float32.

    Raises:
        UsageError: float16 on a CPU, or an unknown dtype.
    """
    import torch

    if requested == "auto":
        return torch.bfloat16 if _multiplies_bf16(device) else torch.float32
    if requested not in _NAMES:
        raise UsageError(f"{requested!r} is not a dtype", where="dtype", hint="use auto, float32, bfloat16 or float16")
    dtype: torch.dtype = getattr(torch, _NAMES[requested])
    if dtype is torch.float16 and device.type == "cpu":
        raise UsageError("float16 on a CPU is about 300 times slower than float32", where="dtype", hint="use auto, bfloat16 or float32")
    return dtype


def _multiplies_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is native there; on a device that nobody has measured for us (mps among them) it is taken not to be."""
    import torch

    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "xpu":
        return torch.xpu.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and _cpu_multiplies_bf16()


def _cpu_multiplies_bf16() -> bool:
    """Return whether the processor has bfloat16 instructions and oneDNN may use them."""
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or ""
    if limit.upper() in _BELOW_BF16:
        return False
    words = _proc("cpuinfo", "flags") or _proc("cpuinfo", "Features")
    return bool(_NATIVE_BF16 & set(words.split()))


def keep_freed_memory() -> str:
    """Tell glibc's malloc to keep freed memory rather than return it and fetch fresh pages in every step. Return
    a log line.

    Fresh pages cost about ten times as much as kept ones. Memory maps are turned off altogether because glibc caps their
    threshold at 32 MB, which is less than an activation. The log line says what was done, or why nothing was.
    """
    if platform.libc_ver()[0] != "glibc":
        return f"malloc left as it is: no glibc on this {sys.platform}"
    if not all(_mallopt(parameter, value) for parameter, value in ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1), (_M_TOP_PAD, _TOP_PAD))):
        return "malloc left as it is: mallopt refused"
    return "malloc keeps freed memory (mallopt: no mmap, no trim)"


def keep_few_kernels() -> None:
    """Bound oneDNN's cache of compiled matrix products, which by default holds 1,024 of them.

    Padding-free batches have a different number of tokens in every step, so most products are compiled, cached and never
    used again. This takes effect only before the process's first product. A value set by the user stays.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", _KERNELS)


def _mallopt(parameter: int, value: int) -> bool:
    return ctypes.CDLL(None).mallopt(parameter, value) == 1


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out: Python's, a device's, or that of the allocator of a CPU."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _EXHAUSTED)


def to_host(values: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return tensors without their gradients on the CPU, all moved at once: the host waits for a device once, however many there are.

    Takes floats of one dtype. A training step calls it once, after its update.
    """
    import torch

    detached = {name: value.detach() for name, value in values.items()}
    if all(value.device.type == "cpu" for value in detached.values()):
        return detached
    flat = torch.cat([value.flatten() for value in detached.values()]).cpu()
    parts = torch.split(flat, [value.numel() for value in detached.values()])
    return {name: part.view(value.shape) for (name, value), part in zip(detached.items(), parts, strict=True)}


def on_device(values: Sequence[int] | Sequence[float], device: torch.device) -> torch.Tensor:
    """Return numbers as a vector on a device. The host does not wait until the device has come to it, as ``torch.tensor`` would."""
    import torch

    made = torch.tensor(values)
    return made if device.type == "cpu" else made.to(device, non_blocking=True)


def added(values: torch.Tensor) -> float:
    """Return the sum of a vector's numbers in their order, in Python's precision: the same on every device once they are on the host."""
    numbers = cast("list[float]", values.tolist())
    return sum(numbers)


def peak_rss_mb() -> float:
    """Return this process's peak memory, in MB."""
    peak = _proc("self/status", "VmHWM")
    if peak:  # getrusage would count what the parent held before exec
        return int(peak.split()[0]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def peak_device_mb() -> float:
    """Return the peak memory of this process on its accelerator, in MB; 0 on a CPU and where PyTorch does not count it."""
    import torch

    device = pick_device()
    if device.type == "cpu":
        return 0.0
    try:
        return torch.accelerator.max_memory_allocated(device) / (1 << 20)
    except (RuntimeError, ValueError, NotImplementedError):  # mps, and accelerators whose makers count otherwise
        return 0.0


def memory_bytes() -> int:
    """Return the memory that a process may plan with: its accelerator's, or on a CPU its share of the machine's with the others there."""
    import torch

    device = pick_device()
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    if device.type == "xpu":
        return torch.xpu.get_device_properties(device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // ranks.local()[1]


def _proc(file: str, key: str) -> str:
    """Return the first value of a key in a file of /proc, or an empty string if there is none."""
    try:
        lines = (Path("/proc") / file).read_text().splitlines()
    except OSError:
        return ""
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""


def environment() -> dict[str, str | int]:
    """Return everything besides the code that a metric depends on: versions, processor, threads and dtype."""
    import torch

    packages = {name: _version(name) for name in ("torch", "transformers", "tokenizers", "numpy", "peft")}
    device = pick_device()
    gpu = {"gpu": torch.cuda.get_device_name(device)} if device.type == "cuda" else {}
    return {
        "accord": __version__,
        "python": platform.python_version(),
        **packages,
        "cpu": _proc("cpuinfo", "model name") or platform.machine(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "device": str(device) if ranks.world() == 1 else device.type,
        "dtype": str(matmul_dtype(device)).removeprefix("torch."),
        **gpu,
        **({"processes": ranks.world()} if ranks.world() > 1 else {}),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
