"""The machine of a run: device, number format, memory, and the environment to record."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from accord.errors import UsageError
from accord.runtime.version import __version__

if TYPE_CHECKING:
    import torch

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
"""Parameters of glibc's mallopt (malloc.h)."""
_TOP_PAD = 64 << 20
_KERNELS = "64"
"""Enough for one step of these models. With this limit 120 reward steps of the demo took 0.78 GB instead of 1.09
(docs/notebook.md)."""
_NAMES = {"fp32": "float32", "float32": "float32", "bf16": "bfloat16", "bfloat16": "bfloat16", "fp16": "float16", "float16": "float16"}
_NATIVE_BF16 = {"avx512_bf16", "amx_bf16", "bf16"}
"""Flags of /proc/cpuinfo; the last is ARM's."""
_BELOW_BF16 = {"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI"}
"""Values of oneDNN's ONEDNN_MAX_CPU_ISA that keep it from the processor's bfloat16 instructions."""


def pick_device(name: str = "auto") -> torch.device:
    """Return the device of that name; ``auto`` picks the GPU if there is one. Raises UsageError if it is not available."""
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"{name!r} is not a device", where="device", hint="use auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"{name} is not available: torch sees {torch.cuda.device_count()} GPUs", where="device", hint="use auto or cpu")
    return device


def matmul_dtype(device: torch.device, requested: str = "auto") -> torch.dtype:
    """Return the dtype for matrix products: bfloat16 where the hardware supports it, else float32.

    Raises:
        UsageError: float16 on a CPU, or an unknown dtype.
    """
    import torch

    if requested == "auto":
        native = torch.cuda.is_bf16_supported(including_emulation=False) if device.type == "cuda" else _cpu_multiplies_bf16()
        return torch.bfloat16 if native else torch.float32
    if requested not in _NAMES:
        raise UsageError(f"{requested!r} is not a dtype", where="dtype", hint="use auto, float32, bfloat16 or float16")
    dtype: torch.dtype = getattr(torch, _NAMES[requested])
    if dtype is torch.float16 and device.type == "cpu":
        raise UsageError("float16 on a CPU is about 300 times slower than float32", where="dtype", hint="use auto, bfloat16 or float32")
    return dtype


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


def peak_rss_mb() -> float:
    """Return this process's peak memory, in MB."""
    peak = _proc("self/status", "VmHWM")
    if peak:  # getrusage would count what the parent held before exec
        return int(peak.split()[0]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)


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
    gpu = {"gpu": torch.cuda.get_device_name(0)} if torch.cuda.is_available() else {}
    return {
        "accord": __version__,
        "python": platform.python_version(),
        **packages,
        "cpu": _proc("cpuinfo", "model name") or platform.machine(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "dtype": str(matmul_dtype(pick_device())).removeprefix("torch."),
        **gpu,
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
