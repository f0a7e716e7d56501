"""Streams of numbers do not depend on one another; the machine is described as it is."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from accord.errors import UsageError
from accord.runtime import device
from accord.runtime.seeds import derive, generator

labels = st.lists(st.text(max_size=4) | st.integers(-5, 5), max_size=3).map(tuple)


def test_a_seed_is_what_it_was_when_the_first_figures_were_made() -> None:
    assert derive(1, "rollout", 3) == 1912556253448922149


@given(one=st.tuples(st.integers(0, 3), labels), other=st.tuples(st.integers(0, 3), labels))
def test_streams_are_one_only_when_seed_and_labels_are(one: tuple[int, tuple], other: tuple[int, tuple]) -> None:
    assert (derive(one[0], *one[1]) == derive(other[0], *other[1])) == (one == other)


def test_a_generator_repeats_and_leaves_the_global_one_alone() -> None:
    before = torch.get_rng_state()
    assert torch.equal(torch.rand(9, generator=generator(1, "a")), torch.rand(9, generator=generator(1, "a")))
    assert torch.equal(torch.get_rng_state(), before)


def test_half_precision_is_refused_on_a_cpu() -> None:
    with pytest.raises(UsageError, match="300 times slower"):
        device.matmul_dtype(torch.device("cpu"), "fp16")
    assert device.matmul_dtype(torch.device("cpu"), "fp32") is torch.float32
    assert device.matmul_dtype(torch.device("cpu")) in (torch.float32, torch.bfloat16)


PRODUCTS = """
import time, torch
from accord.runtime.device import matmul_dtype

def fastest(dtype):
    matrix, spent = torch.ones(384, 384, dtype=dtype), []
    for _ in range(12):
        began = time.perf_counter()
        matrix @ matrix
        spent.append(time.perf_counter() - began)
    return min(spent)

torch.set_num_threads(1)
print(str(matmul_dtype(torch.device("cpu"))), fastest(torch.bfloat16) / fastest(torch.float32), sep="|")
"""


@pytest.mark.parametrize("limit", ["", "AVX2"])
def test_products_are_bfloat16_only_where_they_are_no_slower(limit: str) -> None:
    code = [sys.executable, "-c", PRODUCTS]
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": limit}
    found, ratio = subprocess.run(code, capture_output=True, text=True, check=True, env=environment).stdout.split("|")
    if limit:
        assert found == "torch.float32"
    if found == "torch.bfloat16":
        assert float(ratio) < 2


@pytest.mark.parametrize("name", ["cuda:99", "toaster"])
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=name):
        device.choose_device(name)


KEEPS = """
import resource, torch
from accord.runtime.device import keep_freed_memory
torch.set_num_threads(1)
said = keep_freed_memory()
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for turn in range(24):
    before = faults()
    for _ in range(4):
        torch.empty(1 << 24).fill_(1.0)
    last = faults() - before
print(said, last, sep="|")
"""


def test_freed_memory_is_kept_where_it_says_so() -> None:
    said, faults = subprocess.run([sys.executable, "-c", KEEPS], capture_output=True, text=True, check=True).stdout.split("|")
    pages = 4 * (1 << 26) // 4096
    assert (int(faults) < pages / 100) == said.startswith("malloc keeps")


def test_the_peak_counts_this_process_alone() -> None:
    held = bytearray(200 << 20)
    code = "from accord.runtime.device import peak_rss_mb; x = bytearray(50 << 20); print(peak_rss_mb())"
    child = float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert 50 < child < 150
    assert device.peak_rss_mb() > len(held) / (1 << 20)


def test_the_environment_is_plain_and_names_the_versions() -> None:
    found = device.environment()
    assert found["torch"] == torch.__version__
    assert found["threads"] == torch.get_num_threads()
    assert all(isinstance(value, str | int) for value in found.values())
