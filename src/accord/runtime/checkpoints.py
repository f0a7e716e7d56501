"""Checkpoints, replaced atomically: after a kill, either the old or the new one is intact. Pickle is never trusted.

One process writes one file, state.pt. Of several each writes its part at the same time: of a tensor that is divided over them (a DTensor)
what it has, of all others a share. The parts are safetensors with offsets as torch.distributed.checkpoint writes and reads them (its
HuggingFaceStorageReader), and a sum over the bytes of each tensor:

latest                                the name of the folder that is the checkpoint; replaced once every part is on disk
step-00000012/state.json              numbers, words and lists of the state, and where its tensors stand in it
step-00000012/shard-00001-of-00002.safetensors
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import zlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from accord.errors import AccordError, RunError
from accord.runtime import ranks
from accord.runtime.files import clean, disk_errors, replacing, sync, write_atomic

if TYPE_CHECKING:
    import torch

STATE = "state.pt"
LATEST = "latest"
_TREE = "state.json"
_KEPT = 2
"""Folders of several processes that are kept: the last, and the one before."""
_OFFSETS, _SUMS = "DCP_SHARDING_INFO", "crc32"
"""Keys of a part's header: torch's own for the place of its tensors in the whole ones, and ours."""
_DTYPES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
    "int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8", "uint8": "U8", "bool": "BOOL",
}  # fmt: skip
_AGAIN = "start the run again under another --name"


def save(folder: Path, state: Mapping[str, object], step: int = 0) -> None:
    """Replace the folder's checkpoint by nested dicts, lists and tuples of tensors, numbers, strings and None.

    Every process of a run must come here; each may have other parts of the divided tensors, and has the same of everything else.

    Raises:
        RunError: the disk is full for one of the processes; the last checkpoint is whole.
        TypeError: something else stands in the state; the message names where.
    """
    Snapshot(folder, state, step).save()


class Snapshot:
    """A state on its way to the disk: ``write`` this process's part of it, then ``complete`` it together with the others."""

    def __init__(self, folder: Path, state: Mapping[str, object], step: int, *, copied: bool = False) -> None:
        """Take a state as it is now. With ``copied``, in the host's memory, so that the training may go on meanwhile.

        Raises:
            TypeError: something stands in the state that a checkpoint cannot hold; the message names where.
        """
        _require_plain(state, "state")
        self.folder, self.step, self.alone = folder, step, ranks.world() == 1
        self.error: Exception | None = None
        if self.alone:
            self.state = _copied(state) if copied else dict(state)
            return
        tree = _Tree()
        self.tree = tree.encoded(state, "")
        self.chunks = tree.chunks(copied=copied)
        self.tensors = {name: [str(tensor.dtype).removeprefix("torch."), list(tensor.shape)] for name, tensor in tree.tensors.items()}
        ranks.from_first(self._clear)

    @property
    def _target(self) -> Path:
        return self.folder / f"step-{self.step:08d}"

    def save(self) -> None:
        """Write and complete it at once. Raises RunError when the disk is full for one of the processes."""
        self.write()
        self.complete()

    def write(self) -> None:
        """Write this process's part and flush it to disk, without a message to the others. An error is kept for ``complete``."""
        try:
            with disk_errors(self.folder):
                self._write_alone() if self.alone else self._write_part()
        except Exception as error:
            self.error = error

    def complete(self) -> None:
        """Make the state the folder's checkpoint, once every process has written its part; all come here.

        Raises:
            RunError: one of them could not, which is said on all; the last checkpoint is whole.
        """
        if self.alone:
            if self.error is not None:
                raise self.error
            return _only(self.folder, STATE)
        failures = ranks.gathered(_told(self.error))
        for number, failure in enumerate(failures):
            if failure is not None:
                what, where, hint = failure
                raise RunError(f"process {number} of {len(failures)}: {what}", where=where, hint=hint) from self.error
        ranks.from_first(self._name_latest)

    def _clear(self) -> None:
        """Remove parts that a killed run left at this step: it may have had another number of processes."""
        if _latest(self.folder) != self._target.name:
            shutil.rmtree(self._target, ignore_errors=True)

    def _write_alone(self) -> None:
        import torch

        self.folder.mkdir(parents=True, exist_ok=True)
        clean(self.folder)
        with replacing(self.folder / STATE) as unfinished, unfinished.open("wb") as file:
            torch.save(self.state, file)
            file.flush()
            os.fsync(file.fileno())

    def _write_part(self) -> None:
        self._target.mkdir(parents=True, exist_ok=True)
        world = ranks.world()
        with replacing(self._target / _part(ranks.rank(), world)) as unfinished, unfinished.open("wb") as file:
            _write_safetensors(file, self.chunks)
            file.flush()
            os.fsync(file.fileno())
        if ranks.first():
            parts = [_part(rank, world) for rank in range(world)]
            record = {"step": self.step, "parts": parts, "tensors": self.tensors, "state": self.tree}
            write_atomic(self._target / _TREE, json.dumps(record))
        self.chunks = {}

    def _name_latest(self) -> None:
        sync(self.folder)
        write_atomic(self.folder / LATEST, self._target.name + "\n")
        _only(self.folder, self._target.name)


def load(folder: Path) -> dict[str, Any]:
    """Return the folder's checkpoint, its tensors on the CPU, bit for bit as they were saved, and whole.

    Tensors of several processes are read when they are asked for: a mapping of them has one at a time in memory.

    Raises:
        RunError: there is none, or it is damaged; of several parts the error names which.
    """
    if name := _latest(folder):
        return _load_parts(folder / name)
    path = folder / STATE
    if not path.is_file():
        raise RunError("there is no checkpoint", where=str(folder), hint="start a new run under another --name, without --resume")
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = (str(error).splitlines() or ["it ends too early"])[0]
        raise RunError(f"the checkpoint is damaged ({reason})", where=str(path), hint=_AGAIN) from error


def exists(folder: Path) -> bool:
    """Return whether the folder holds a checkpoint."""
    return (folder / STATE).is_file() or (folder / LATEST).is_file()


def _latest(folder: Path) -> str:
    """Return the name of the folder that several processes saved last; empty where they saved none."""
    try:
        return (folder / LATEST).read_text("utf-8").strip()
    except FileNotFoundError:
        return ""


def _only(folder: Path, name: str) -> None:
    """Remove what is older than the checkpoint of this name: a file of one process, folders of several but the last two."""
    if name == STATE:
        (folder / LATEST).unlink(missing_ok=True)
    else:
        (folder / STATE).unlink(missing_ok=True)
    older = sorted(path for path in folder.glob("step-*") if path.name != name)
    for path in older if name == STATE else older[: -(_KEPT - 1)]:
        shutil.rmtree(path, ignore_errors=True)


def _told(error: Exception | None) -> tuple[str, str, str] | None:
    """Return an error as the other processes are told it."""
    if error is None or isinstance(error, AccordError):
        return None if error is None else (error.what, error.where, error.hint)
    return f"{type(error).__name__}: {error}", "", "mend that, then continue with --resume"


def _part(rank: int, world: int) -> str:
    return f"shard-{rank + 1:05d}-of-{world:05d}.safetensors"


def _copied(value: Any) -> Any:
    """Return a value with all tensors copied into the host's memory."""
    import torch

    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: _copied(item) for key, item in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        items = [_copied(item) for item in cast("Sequence[Any]", value)]
        return tuple(items) if isinstance(value, tuple) else items
    return value


# --- the state as a tree, and the tensors in it ---


class _Tree:
    """A state as JSON, in which a tensor is its name; tensors that share their memory are one."""

    def __init__(self) -> None:
        self.tensors: dict[str, torch.Tensor] = {}
        self._names: dict[tuple[Any, ...], str] = {}

    def encoded(self, value: Any, path: str) -> Any:
        import torch

        if isinstance(value, torch.Tensor):
            return {"tensor": self._named(value.detach(), path)}
        if isinstance(value, Mapping):
            pairs = cast("Mapping[Any, Any]", value).items()
            return {"dict": [[key, self.encoded(item, f"{path}/{key}" if path else str(key))] for key, item in pairs]}
        if isinstance(value, list | tuple):
            items, kind = cast("Sequence[Any]", value), "tuple" if isinstance(value, tuple) else "list"
            return {kind: [self.encoded(item, f"{path}/{number}") for number, item in enumerate(items)]}
        return value

    def _named(self, tensor: torch.Tensor, path: str) -> str:
        own = _local(tensor)
        memory = (own.data_ptr(), own.dtype, tuple(tensor.shape), own.stride()) if own.numel() else (path,)
        if memory not in self._names:
            name = path if path not in self.tensors else f"{path}~{len(self.tensors)}"
            self._names[memory], self.tensors[name] = name, tensor
        return self._names[memory]

    def chunks(self, *, copied: bool) -> dict[str, _Chunk]:
        """Return what this process writes."""
        found = dict[str, _Chunk]()
        whole = [name for name, tensor in self.tensors.items() if not _is_divided(tensor)]
        mine = {whole[i] for i in ranks.share([self.tensors[name].nbytes for name in whole])}
        for name, tensor in self.tensors.items():
            if _is_divided(tensor):
                chunk = _divided_chunk(name, tensor)
            else:
                chunk = _Chunk(tensor, [0] * tensor.dim()) if name in mine else None
            if chunk is not None:
                found[name] = _Chunk(chunk.tensor.to("cpu", copy=True), chunk.offsets) if copied else chunk
        return found


@dataclass(frozen=True)
class _Chunk:
    """A part of a tensor, and where in the whole it begins."""

    tensor: torch.Tensor
    offsets: list[int]


def _is_divided(tensor: torch.Tensor) -> bool:
    return hasattr(tensor, "device_mesh")


def _local(tensor: torch.Tensor) -> torch.Tensor:
    return cast("Any", tensor).to_local() if _is_divided(tensor) else tensor


def _divided_chunk(name: str, tensor: Any) -> _Chunk | None:
    """Return this process's part of a divided tensor; None where it has nothing, or another process has the same."""
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    if any(placement.is_partial() for placement in tensor.placements):
        raise TypeError(f"{name} is a sum that is not summed yet ({tensor.placements})")
    place = tensor.device_mesh.get_coordinate()
    copies = [at for at, placement in zip(place or [], tensor.placements, strict=False) if placement.is_replicate()]
    if place is None or any(copies):
        return None
    shape, offsets = compute_local_shape_and_global_offset(tensor.shape, tensor.device_mesh, tensor.placements)
    local: torch.Tensor = tensor.to_local()
    if tuple(local.shape) != tuple(shape):
        raise TypeError(f"{name} is divided in a way that a checkpoint does not know ({tensor.placements})")
    return _Chunk(local, list(offsets)) if local.numel() else None


# --- parts on disk ---


def _write_safetensors(file: BinaryIO, chunks: Mapping[str, _Chunk]) -> None:
    """Write tensors one after another, so that no second copy of them all is made; the header is filled in at the end."""
    sums = dict.fromkeys(chunks, "00000000")
    file.write(_header(chunks, sums))
    for name, chunk in chunks.items():
        data = _bytes_of(chunk.tensor)
        sums[name] = f"{zlib.crc32(data):08x}"
        file.write(data)
    file.seek(0)
    file.write(_header(chunks, sums))


def _header(chunks: Mapping[str, _Chunk], sums: Mapping[str, str]) -> bytes:
    offsets = {name: {"saved_offsets": chunk.offsets} for name, chunk in chunks.items()}
    header: dict[str, Any] = {"__metadata__": {"format": "pt", _OFFSETS: json.dumps(offsets), _SUMS: json.dumps(dict(sums))}}
    place = 0
    for name, chunk in chunks.items():
        dtype = _DTYPES[str(chunk.tensor.dtype).removeprefix("torch.")]
        header[name] = {"dtype": dtype, "shape": list(chunk.tensor.shape), "data_offsets": [place, place + chunk.tensor.nbytes]}
        place += chunk.tensor.nbytes
    text = json.dumps(header, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _bytes_of(tensor: torch.Tensor) -> memoryview:
    import torch

    flat = tensor.detach().to("cpu").contiguous().flatten()
    return memoryview(cast("Any", flat.view(torch.uint8).numpy())) if flat.numel() else memoryview(b"")


def _load_parts(folder: Path) -> dict[str, Any]:
    path = folder / _TREE
    try:
        record = json.loads(path.read_text("utf-8"))
        state, tensors, parts = record["state"], record["tensors"], [folder / name for name in record["parts"]]
    except FileNotFoundError as error:
        raise RunError("the checkpoint lacks this file", where=str(path), hint=_AGAIN) from error
    except (ValueError, KeyError, TypeError) as error:
        raise RunError("the checkpoint is damaged (not the JSON that it was)", where=str(path), hint=_AGAIN) from error
    return _decoded(state, _Parts(parts, tensors))


class _Parts:
    """The parts of a checkpoint, opened, and what each holds of every tensor."""

    def __init__(self, paths: Sequence[Path], tensors: Mapping[str, tuple[str, list[int]]]) -> None:
        from safetensors import safe_open

        self.folder, self.tensors = paths[0].parent, tensors
        self.chunks: dict[str, list[tuple[Path, Any, list[int], str]]] = {name: [] for name in tensors}
        for path in paths:
            with _damage(path):
                file = cast("Any", safe_open)(path, framework="pt")
                header = file.metadata()
                offsets, sums = json.loads(header[_OFFSETS]), json.loads(header[_SUMS])
                for name in sums:
                    self.chunks[name].append((path, file, offsets[name]["saved_offsets"], sums[name]))

    def whole(self, name: str) -> torch.Tensor:
        """Return a tensor of all its parts."""
        import torch

        dtype, shape = self.tensors[name]
        result, filled = torch.empty(shape, dtype=getattr(torch, dtype)), 0
        for path, file, offsets, crc in self.chunks[name]:
            with _damage(path):
                part: torch.Tensor = file.get_tensor(name)
                if f"{zlib.crc32(_bytes_of(part)):08x}" != crc:
                    raise ValueError(f"{name} has other bytes than were written")
                result[tuple(slice(at, at + size) for at, size in zip(offsets, part.shape, strict=True))] = part
                filled += part.numel()
        if filled != result.numel():
            raise RunError(f"the checkpoint holds {filled:,} of {result.numel():,} numbers of {name}", where=str(self.folder), hint=_AGAIN)
        return result


@contextmanager
def _damage(path: Path) -> Generator[None]:
    """Name the part of a checkpoint that is missing or damaged."""
    from safetensors import SafetensorError

    try:
        yield
    except FileNotFoundError as error:
        raise RunError("the checkpoint lacks this part", where=str(path), hint=_AGAIN) from error
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"this part of the checkpoint is damaged ({error})", where=str(path), hint=_AGAIN) from error


class _Tensors(Mapping[Any, Any]):
    """A dict of the state in which tensors stand, each read when it is asked for."""

    def __init__(self, pairs: Sequence[tuple[Any, Any]], parts: _Parts) -> None:
        self._nodes, self._parts = dict(pairs), parts

    def __getitem__(self, key: Any) -> Any:
        return _decoded(self._nodes[key], self._parts)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._nodes)

    def __len__(self) -> int:
        return len(self._nodes)


def _decoded(node: Any, parts: _Parts) -> Any:
    if not isinstance(node, dict):
        return node
    ((kind, content),) = cast("dict[str, Any]", node).items()
    if kind == "tensor":
        return parts.whole(content)
    if kind == "dict":
        pairs = [(key, item) for key, item in content]
        if any(isinstance(item, dict) and "tensor" in item for _, item in pairs):
            return _Tensors(pairs, parts)
        return {key: _decoded(item, parts) for key, item in pairs}
    items = [_decoded(item, parts) for item in content]
    return tuple(items) if kind == "tuple" else items


def _require_plain(value: object, where: str) -> None:
    """Refuse everything that ``weights_only`` could not read back: an error now costs less than one at the resume."""
    import torch

    if value is None or isinstance(value, bool | int | float | str | torch.Tensor):
        return
    if isinstance(value, Mapping):
        for key, item in cast("Mapping[object, object]", value).items():
            _require_plain(key, f"key of {where}")
            _require_plain(item, f"{where}[{key!r}]")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(cast("Sequence[object]", value)):
            _require_plain(item, f"{where}[{index}]")
    else:
        raise TypeError(f"{where} is a {type(value).__name__}; a checkpoint holds tensors, numbers, strings, lists and dicts")
