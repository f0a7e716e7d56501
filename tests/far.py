"""An accelerator for a machine that has none: tensors on ``far:0`` are computed by the CPU, and mixing them with CPU tensors fails as on a GPU.

Operations are caught above the devices: those of a far tensor run on the CPU tensor that it holds, and what comes out is far again.
Two things mix as they do with CUDA: numbers without a dimension, and CPU indices into far tensors. ``waits`` counts how often a value came
back to the host, where a GPU's host would wait. Operations that allocate inside of themselves are not seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

KIND = "far"
FAR = f"{KIND}:0"
INDEXED = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "copy_"}
"""Operations that take tensors of both devices."""
WHOLE = {"to", "item"}
"""Operations of others, which inference mode does not take apart by itself: the parts say where a tensor goes and whether the host waits."""
FETCHING = {"_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "unique_dim", "_unique2"}
"""Operations whose result, or its shape, the host must know."""


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
    """Makes a tensor of Python numbers on the CPU first: torch.tensor moves it to its device where no operation can be caught."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        device = kwargs.get("device")
        if func in (torch.tensor, torch.as_tensor) and device is not None and torch.device(device).type == KIND:
            return func(*args, **{**kwargs, "device": "cpu"}).to(device)
        return func(*args, **kwargs)


_there: list[bool] = []


@contextmanager
def accelerator() -> Iterator[type[Waits]]:
    """While it is open there is a device ``far:0``; gives the counter of waits."""
    if not _there:
        _setup_privateuseone_for_python_backend(KIND)
        _there.append(True)
    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)  # module.to() cannot write a far tensor into one of the CPU
    try:
        with _Making(), _Seeing():
            yield Waits
    finally:
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
    fetched = name == "_to_copy" and not goes_far or name == "copy_" and not isinstance(args[0], FarTensor)
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
    return FarTensor(value) if isinstance(value, torch.Tensor) and not isinstance(value, FarTensor) else value
