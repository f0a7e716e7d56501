"""A checkpoint comes back bit for bit, and is whole whenever its writer dies or its disk fills."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from accord.errors import RunError
from accord.runtime import checkpoints

WRITER = """
import sys, torch
from pathlib import Path
from accord.runtime import checkpoints
torch.set_num_threads(1)
step = 0
while True:
    step += 1
    checkpoints.save(Path(sys.argv[1]), {"step": step, "weights": torch.full((1_000_000,), float(step)), "more": [torch.full((7,), step)]})
    if step == 3:
        print("begun", flush=True)
"""
FILLER = """
import resource, signal, sys, torch
from pathlib import Path
from accord.errors import RunError
from accord.runtime import checkpoints
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder = Path(sys.argv[1])
checkpoints.save(folder, {"weights": torch.ones(1000)})
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    checkpoints.save(folder, {"weights": torch.zeros(1_000_000)})
except RunError as error:
    print(error)
"""


def test_killed_while_writing_the_checkpoint_is_whole(tmp_path: Path) -> None:
    seen = [_kill_a_writer(tmp_path, after=0.003 + 0.0071 * turn) for turn in range(4)]
    assert min(seen) >= 3
    checkpoints.save(tmp_path, {"step": 0})
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]


def _kill_a_writer(folder: Path, after: float) -> int:
    """Kills a process that does nothing but write checkpoints; returns the step of the one it left."""
    with subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "begun\n"
        time.sleep(after)
        writer.kill()
    state = checkpoints.load(folder)
    assert (state["weights"] == float(state["step"])).all()
    assert (state["more"][0] == state["step"]).all()
    return state["step"]


def test_a_file_that_cannot_grow_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FILLER, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "the disk is full" in done.stdout
    assert (checkpoints.load(tmp_path)["weights"] == 1).all()
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]


def test_an_optimiser_and_a_generator_go_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    def fresh() -> tuple[torch.nn.Linear, torch.optim.AdamW, torch.Generator]:
        model = torch.nn.Linear(4, 3)
        return model, torch.optim.AdamW(model.parameters(), lr=0.1), torch.Generator().manual_seed(5)

    def steps(model: torch.nn.Linear, optimiser: torch.optim.AdamW, generator: torch.Generator, n: int) -> None:
        for _ in range(n):
            optimiser.zero_grad()
            model(torch.randn(8, 4, generator=generator)).square().mean().backward()
            optimiser.step()

    model, optimiser, generator = fresh()
    steps(model, optimiser, generator, 3)
    checkpoints.save(tmp_path, {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "rng": generator.get_state()})
    steps(model, optimiser, generator, 3)
    again, other_optimiser, other_generator = fresh()
    saved = checkpoints.load(tmp_path)
    again.load_state_dict(saved["model"])
    other_optimiser.load_state_dict(saved["optimiser"])
    other_generator.set_state(saved["rng"])
    steps(again, other_optimiser, other_generator, 3)
    assert torch.equal(again.weight, model.weight)
    assert torch.equal(other_generator.get_state(), generator.get_state())


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3),
    max_leaves=8,
)


@given(state=st.dictionaries(st.text(max_size=5), plain, max_size=3))
def test_any_plain_state_comes_back(state: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("any")
    checkpoints.save(folder, state)
    assert checkpoints.load(folder) == state


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.uint8, torch.bool])
def test_tensors_keep_their_bits(dtype: torch.dtype, tmp_path: Path) -> None:
    tensor = torch.randn(5, 3).mul(3).to(dtype)
    checkpoints.save(tmp_path, {"a": {"b": (tensor, tensor.T)}})
    one, other = checkpoints.load(tmp_path)["a"]["b"]
    assert one.dtype == dtype
    assert torch.equal(one, tensor)
    assert torch.equal(other, tensor.T)


def test_what_would_need_pickle_is_refused_by_name_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"state\['a'\]\[1\] is a Path|state\['a'\]\[1\] is a PosixPath"):
        checkpoints.save(tmp_path / "c", {"a": [1, tmp_path]})
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("damage", [lambda whole: b"", lambda whole: whole[: len(whole) // 2], lambda whole: b"x" * len(whole)])
def test_a_damaged_checkpoint_is_said_to_be_one(damage, tmp_path: Path) -> None:
    checkpoints.save(tmp_path, {"weights": torch.ones(100)})
    path = tmp_path / "state.pt"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(RunError, match="damaged") as caught:
        checkpoints.load(tmp_path)
    assert str(path) in str(caught.value)


def test_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no checkpoint"):
        checkpoints.load(tmp_path)
