"""Checkpoints of two processes: exact on two, near on one, read by torch's own reader, and named where a part is missing or damaged."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import parts_of_two as two
import pytest
import torch
from torch import Tensor

from accord.errors import RunError
from accord.runtime import checkpoints

Found = tuple[Path, dict[str, dict[str, Tensor]], list[str]]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """The folder that two processes leave, the weights at the end of each of their runs, and what each printed."""
    folder = tmp_path_factory.mktemp("two")
    model = two.model_of(1)
    optimizer = two.adam(model)
    two.train(model, optimizer, range(two.SAVED), summed=False)
    checkpoints.save(folder / "alone", two.state_of(model, optimizer, two.SAVED), two.SAVED)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    told = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, two.__file__, str(folder)]
    started = [subprocess.Popen(command, env=told | {"RANK": str(rank)}, stdout=subprocess.PIPE, text=True) for rank in range(2)]
    try:
        said = [process.communicate(timeout=200)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0, 0]
    return folder, torch.load(folder / "ends.pt"), said


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def apart(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return max(float((value - other[name]).abs().max()) for name, value in one.items())


def test_two_divided_processes_resume_to_the_same_bits(found: Found) -> None:
    _, ends, _ = found
    assert same(ends["divided, resumed"], ends["divided"])


def alone_from(folder: Path) -> dict[str, Tensor]:
    model = two.model_of(2)
    optimizer = two.adam(model)
    two.restore(model, optimizer, checkpoints.load(folder))
    two.train(model, optimizer, range(two.SAVED, two.STEPS), summed=False)
    return two.whole(model)


def test_any_number_of_processes_resumes_what_another_saved(found: Found) -> None:
    folder, ends, _ = found
    reached = alone_from(folder / "alone")
    moved = apart(reached, dict(two.model_of(1).state_dict()))
    assert moved > 0.1
    assert apart(reached, dict(checkpoints.load(folder / "alone")["model"])) > 0.01, "the steps after the checkpoint count"
    for name in ("divided", "replicated"):
        assert apart(alone_from(folder / name), reached) < 1e-6
        assert apart(ends[f"{name}, resumed"], reached) < 1e-6
    assert apart(ends["alone, resumed"], reached) < 1e-6


def test_what_stands_beside_the_tensors_comes_back_as_it_was(found: Found) -> None:
    folder, _, _ = found
    state, alone = checkpoints.load(folder / "divided"), checkpoints.load(folder / "alone")
    assert dict(state["beside"]).keys() == {"limits", 3, "table", "lm_head"}
    for key in ("limits", 3):
        assert state["beside"][key] == alone["beside"][key]
    assert torch.equal(state["beside"]["table"], torch.arange(6).reshape(2, 3))
    assert torch.equal(state["beside"]["lm_head"], state["model"]["0.weight"])
    assert state["optimizers"][0]["param_groups"] == alone["optimizers"][0]["param_groups"]


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*/*.safetensors"))


def test_each_tensor_is_written_once_by_halves_and_a_tied_one_not_again(found: Found) -> None:
    folder, _, _ = found
    weights = sum(p.numel() for p in two.model_of(1).parameters())
    expected = 4 * (3 * weights + 6) + 8 * 6  # weights, two moments, six counts of steps, the table of integers
    for name in ("divided", "replicated"):
        sizes = [_numbers(path) for path in shards(folder / name)]
        assert len(sizes) == 2
        assert sum(sizes) == expected
        assert min(sizes) > 0.3 * expected, sizes


def _numbers(path: Path) -> int:
    from safetensors.torch import load_file

    return sum(tensor.nbytes for tensor in load_file(path).values())


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_torchs_own_reader_finds_the_same(found: Found) -> None:
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    folder, _, _ = found
    ours: dict[str, Tensor] = {f"model/{name}": value for name, value in checkpoints.load(folder / "divided")["model"].items()}
    theirs = {name: torch.zeros_like(value) for name, value in ours.items()}
    load(theirs, storage_reader=HuggingFaceStorageReader(str(shards(folder / "divided")[0].parent)), no_dist=True)
    assert same(theirs, ours)


def test_a_full_disk_on_one_process_is_said_on_both_and_the_last_checkpoint_is_whole(found: Found) -> None:
    folder, _, said = found
    assert [each.count("told: ") for each in said] == [1, 1]
    assert all("process 1 of 2: the disk is full" in each for each in said), said
    state = checkpoints.load(folder / "full")
    assert torch.equal(state["weights"], torch.full((100,), 3.0))
    assert torch.equal(state["more"], torch.full((90,), 3.0))
    assert sorted(path.name for path in (folder / "full").glob("step-*"))[:2] == ["step-00000002", "step-00000003"]


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "words"), [(Path.unlink, "lacks this part"), (_cut, "damaged"), (_flip, "other bytes than were written")]
)
@pytest.mark.parametrize("number", [0, 1])
def test_a_part_that_is_missing_or_damaged_is_named(damage: Any, words: str, number: int, found: Found, tmp_path: Path) -> None:
    folder, _, _ = found
    shutil.copytree(folder / "divided", tmp_path / "copy")
    path = shards(tmp_path / "copy")[number]
    damage(path)
    with pytest.raises(RunError, match=words) as caught:
        _read(tmp_path / "copy")
    assert caught.value.where == str(path)


def _read(folder: Path) -> None:
    state = checkpoints.load(folder)
    for part in (state["model"], state["beside"], *state["optimizers"][0]["state"].values()):
        for value in part.values():
            assert value is not None


def test_no_pickle_is_read(found: Found) -> None:
    folder, _, _ = found
    assert {path.suffix for path in (folder / "divided").rglob("*") if path.is_file()} == {"", ".json", ".safetensors"}


def test_a_folder_changes_between_one_process_and_several(found: Found, tmp_path: Path) -> None:
    folder, _, _ = found
    shutil.copytree(folder / "divided", tmp_path / "copy")
    checkpoints.save(tmp_path / "copy", {"x": 1})
    assert [path.name for path in (tmp_path / "copy").iterdir()] == ["state.pt"]
    assert checkpoints.load(tmp_path / "copy") == {"x": 1}
