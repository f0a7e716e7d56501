"""An accelerator for a machine that has none: the CPU computes what is on ``far:0``, and mixing it with CPU tensors fails as on a GPU.

Operations are caught above the devices: those of a far tensor run on the CPU tensor that it holds, and what comes out is far again.
Two things mix as they do with CUDA: numbers without a dimension, and CPU indices into far tensors. ``waits`` counts how often a value came
back to the host, where a GPU's host would wait. Operations that allocate inside of themselves are not seen.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

KIND = "far"
FAR = f"{KIND}:0"
INDEXED = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "copy_"}
"""Operations that take tensors of both devices."""
WHOLE = {"to", "item"}
"""Operations that inference mode does not take apart by itself: their parts say where a tensor goes and whether the host waits."""
FETCHING = {"_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "unique_dim", "_unique2"}
"""Operations whose result, or its shape, the host must know."""


class _Module(_DummyBackendModule):
    """What torch asks of ``torch.far``."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


_setup_privateuseone_for_python_backend(KIND, _Module())  # at import: autograd asks at its first backward pass which devices there are


class Waits:
    """How often the host waited for the device."""

    count = 0


class FarTensor(torch.Tensor):
    """A tensor that says it is on far:0; ``held`` is what it holds, on the CPU."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> FarTensor:
        far = torch.Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype, device=torch.device(FAR)
        )
        far.held = held
        return far

    def __repr__(self) -> str:
        return f"far({self.held})"

    def __reduce_ex__(self, protocol: Any) -> Any:
        """What ``torch.save`` writes of it: a tensor that is loaded onto the CPU, as with ``map_location``."""
        return self.held.detach().__reduce_ex__(protocol)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) not in memo:
            copy = FarTensor(self.held.detach().clone()).requires_grad_(self.requires_grad)
            vars(copy).update(_is_param=getattr(self, "_is_param", False))  # how torch knows a parameter that is no Parameter
            memo[id(self)] = copy
        return memo[id(self)]

    def tolist(self) -> Any:
        Waits.count += 1
        return self.held.tolist()

    def untyped_storage(self) -> Any:
        return self.held.untyped_storage()

    def data_ptr(self) -> int:
        return self.held.data_ptr()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})


class _Seeing(TorchDispatchMode):
    """Sees operations without a far tensor too: what is made with ``device="far:0"``, and what is moved there."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})


class _Making(TorchFunctionMode):
    """Makes tensors of Python numbers on the CPU first: torch moves them to their device where no operation can be caught."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        device = kwargs.get("device")
        if func in (torch.tensor, torch.as_tensor) and device is not None and torch.device(device).type == KIND:
            return func(*args, **{**kwargs, "device": "cpu"}).to(device)
        if func in (torch.Tensor.__getitem__, torch.Tensor.__setitem__):
            args = (args[0], _indices(args[1]), *args[2:])
        return func(*args, **kwargs)


def _indices(index: Any) -> Any:
    if isinstance(index, tuple):
        return tuple(map(_indices, index))
    return torch.tensor(index) if isinstance(index, list) else index


@contextmanager
def accelerator() -> Iterator[type[Waits]]:
    """While it is open there is a device ``far:0``; gives the counter of waits."""
    before, begin = torch.__future__.get_swap_module_params_on_conversion(), threading.Thread._bootstrap_inner

    def begin_there(thread: threading.Thread) -> None:
        with _Making(), _Seeing():  # they hold in one thread alone
            begin(thread)

    torch.__future__.set_swap_module_params_on_conversion(True)  # module.to() cannot write a far tensor into one of the CPU
    threading.Thread._bootstrap_inner = begin_there
    try:
        with _Making(), _Seeing():
            yield Waits
    finally:
        threading.Thread._bootstrap_inner = begin
        torch.__future__.set_swap_module_params_on_conversion(before)


def _computed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    name, asked = func.overloadpacket.__name__, kwargs.get("device")
    if name in WHOLE:
        with _Seeing():
            return func.decompose(*args, **kwargs)
    tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, torch.Tensor)]
    far = any(isinstance(tensor, FarTensor) for tensor in tensors)
    near = any(not isinstance(tensor, FarTensor) and tensor.dim() > 0 for tensor in tensors)
    if far and near and name not in INDEXED:
        raise RuntimeError(f"Expected all tensors to be on the same device, but found at least two devices, {FAR} and cpu! ({func})")
    if asked is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    goes_far = far if asked is None else torch.device(asked).type == KIND
    fetched = (name == "_to_copy" and not goes_far) or (name == "copy_" and not isinstance(args[0], FarTensor))
    masked = name == "index" and any(index is not None and index.dtype is torch.bool for index in args[1])
    Waits.count += far and (fetched or masked or name in FETCHING)
    if torch.is_inference_mode_enabled():  # there a wrapper has no version counter, which a view of it needs
        with torch.inference_mode(False), torch.no_grad():
            return _run(func, args, kwargs, goes_far)
    return _run(func, args, kwargs, goes_far)


def _run(func: Any, args: Any, kwargs: dict[str, Any], goes_far: bool) -> Any:
    out = func(*tree_map(_held, args), **tree_map(_held, kwargs))
    if written := _written(func, args, kwargs):
        return written[0] if len(func._schema.returns) == 1 else tuple(written)
    return tree_map(_far, out) if goes_far else out


def _written(func: Any, args: Any, kwargs: dict[str, Any]) -> list[Any]:
    """The arguments that the operation changed and returns: the caller gets back the tensor that it gave."""

    def changes(argument: Any) -> bool:
        return argument.alias_info is not None and argument.alias_info.is_write

    if not any(map(changes, func._schema.returns)):
        return []
    given = {argument.name: value for argument, value in zip(func._schema.arguments, args, strict=False)} | kwargs
    return [given[argument.name] for argument in func._schema.arguments if changes(argument) and argument.name in given]


def _held(value: Any) -> Any:
    return value.held if isinstance(value, FarTensor) else value


def _far(value: Any) -> Any:
    if not isinstance(value, torch.Tensor) or isinstance(value, FarTensor):
        return value
    return FarTensor(value.conj().conj_physical() if value.is_conj() else value)  # here nothing would heed a conjugate that is only marked
