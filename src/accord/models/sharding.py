"""A model whose weights are sharded over the processes of a run: PyTorch's FSDP2, one group a decoder block and one for the rest.

Each process keeps its part of every tensor, of its gradient and of what the optimiser remembers of it. A block's weights are gathered
just before they are used and dropped after; whoever reads weights does so within ``whole``, which gathers those of the module it names.
Gradients are summed over the processes as they arrive, never averaged: losses are normalised over the whole batch. A model that is not
sharded takes the same way, and nothing is done to it.
"""

from __future__ import annotations

import copy
import sys
from collections import OrderedDict
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from types import MethodType
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

Returned = TypeVar("Returned")


def blocks(body: nn.Module) -> list[nn.Module]:
    """Return a decoder's blocks in their order."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    marked: list[nn.Module] = [module for module in body.modules() if isinstance(module, GradientCheckpointingLayer)]
    stacks: list[nn.ModuleList] = [module for module in body.modules() if isinstance(module, nn.ModuleList)]
    return marked or list(max(stacks, key=len, default=nn.ModuleList()))


def sharded(model: Any, *, offload: bool = False) -> Any:
    """Shard a model's weights over all processes, in place, and return it. Within one process it stays as it is.

    Everything that changes its modules comes before: adapters, four bits, recomputation. Four-bit weights are buffers, and every
    process keeps all of them.

    Args:
        offload: keep the parts in the host's memory, where the optimiser then works too, and move a block's to the device while it
            computes. On a CPU they are there already.
    """
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return model
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import CPUOffloadPolicy, OffloadPolicy, fully_shard, register_fsdp_forward_method

    device: torch.device = model.device
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    policy = CPUOffloadPolicy() if offload and device.type != "cpu" else OffloadPolicy()
    skeleton = _skeleton(model)
    for module in (*reversed(blocks(model.base_model)), model):  # an inner block before the one around it
        # The outermost group is dropped after the forward pass too, so that outside of ``whole`` a weight is always a part.
        shard: Any = fully_shard(module, mesh=mesh, reshard_after_forward=True, offload_policy=policy)
        shard.set_gradient_divide_factor(1.0)
        shard.set_force_sum_reduction_for_comms(True)  # gloo can add, but not scale while it adds
        vars(shard).update(compute=MethodType(_compute, shard), computing=False)
        register_fsdp_forward_method(shard, "compute")
    model.set_reduce_scatter_unused_params(True)  # a process may meet an expert that no other one meets
    vars(model).update(skeleton=skeleton, computes_on=device, offload=offload)  # in its dict, so that no part is a module of its own
    type(model).device = property(_device)
    return model


def _device(model: Any) -> torch.device:
    """Return where a sharded model computes; its parts may lie in the host's memory."""
    return model.computes_on


def twin(model: Any) -> Any:
    """Return a copy of a model with weights of its own, sharded as the model is."""
    return sharded(gathered(model), offload=model.offload) if is_sharded(model) else copy.deepcopy(model)


def is_sharded(model: Any) -> bool:
    """Return whether a model's weights are sharded over processes."""
    return "skeleton" in vars(model)


def pass_tokens(model: Any, limit: int) -> int:
    """Return how many tokens a pass may have before the rows of one loss are cut apart (``packing.in_parts``).

    There is no limit for a sharded model: its processes make their passes together, and one ranking is on one process.
    """
    return sys.maxsize if is_sharded(model) else limit


def _compute(module: Any, function: Callable[..., Returned], *inputs: Tensor) -> Returned:
    module.computing = True
    try:
        return function(*inputs)
    finally:
        module.computing = False


def whole(module: Any, function: Callable[..., Returned], *inputs: Tensor) -> Returned:
    """Return what a function computes of these inputs while it sees a module's own weights whole, not those of the blocks inside.

    Every process must come here equally often and in the same order: it waits for the others.
    """
    if isinstance(module, Unadapted):
        with module.adapters_off():
            return whole(module.model, function, *inputs)
    if "compute" not in vars(module) or module.computing:
        return function(*inputs)
    return cast("Returned", module.compute(function, *inputs))


@torch.no_grad()
def gathered(model: Any, *, everywhere: bool = True) -> Any:
    """Return an ordinary model with all of the weights as they are now. A model that is not sharded is returned as it is.

    Every process must come here. What is done to the result leaves the model as it was.

    Args:
        everywhere: give all processes the weights, on the device, for sampling. Otherwise the first one gets them, in the host's memory,
            for files, and the others a model without weights.
    """
    if not is_sharded(model):
        return model
    plain, made = _skeleton(model.skeleton), dict[int, nn.Parameter]()
    mine = everywhere or dist.get_rank() == 0
    device = model.device if everywhere else torch.device("cpu")
    places = dict(plain.named_parameters(remove_duplicate=False))
    parts: list[tuple[str, nn.Parameter]] = list(model.named_parameters(remove_duplicate=False))
    for name, part in parts:
        if id(part) not in made:
            tensor = full(part)
            place = places[name]
            made[id(part)] = nn.Parameter(tensor.to(device) if mine else torch.empty_like(place), place.requires_grad)
        owner, _, own = name.rpartition(".")
        setattr(plain.get_submodule(owner), own, made[id(part)])
    return plain


def is_part(tensor: Tensor) -> bool:
    """Return whether a tensor is this process's part of one that is sharded (a DTensor). Asking does not import what divides."""
    return hasattr(tensor, "device_mesh")


def full(tensor: Tensor) -> Tensor:
    """Return a tensor as it is, or the whole of one that is sharded over processes, all of which must come here."""
    return cast("Any", tensor).full_tensor() if is_part(tensor) else tensor


def like(tensor: Tensor, model: Tensor) -> Tensor:
    """Return a whole tensor sharded as ``model`` is, each process taking its part of its own copy; as it is where that is not sharded."""
    if not is_part(model) or is_part(tensor):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    pattern: Any = model
    part = distribute_tensor(tensor.to(model.device), pattern.device_mesh, pattern.placements, src_data_rank=None)
    return part.clone()  # or it would keep the whole one


def take_up(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load weights by their names, whole or sharded as the model's are, and leave its other weights as they are."""
    own = model.state_dict()
    model.load_state_dict({name: like(value, own[name]) for name, value in state.items()}, strict=False)


def _skeleton(model: Any) -> Any:
    """Return a copy of a model's modules without weights. It shares its buffers and its configuration."""
    memo: dict[int, Any] = {}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(torch.empty_like(parameter, device="meta"), parameter.requires_grad)
    memo |= {id(buffer): buffer for buffer in model.buffers()}
    configs: list[Any] = [vars(module)["config"] for module in model.modules() if "config" in vars(module)]
    memo |= {id(config): config for config in configs}
    return copy.deepcopy(model, memo)


class Unadapted:
    """A model as it is without its adapters: a reference over the weights of the model that learns. It reads as that model does.

    A head named ``score`` learns beside adapters. So the one from before is kept here.
    """

    def __init__(self, model: Any) -> None:
        """Take a model with fresh adapters, before it is sharded."""
        self.model = model
        if hasattr(model, "score"):
            self.score = copy.deepcopy(model.score).requires_grad_(False)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def eval(self) -> Unadapted:
        return self

    @contextmanager
    def adapters_off(self) -> Generator[None]:
        """Switch the adapters off, without peft's changes to what learns."""
        layers = [module for module in self.model.modules() if hasattr(module, "_disable_adapters")]
        before = [layer._disable_adapters for layer in layers]
        try:
            for layer in layers:
                layer._disable_adapters = True
            yield
        finally:
            for layer, switched in zip(layers, before, strict=True):
                layer._disable_adapters = switched


def without_hooks(model: Any) -> Any:
    """Return a shallow copy of a model whose call runs its forward pass and nothing around it."""
    kind: type[Any] = type(model)
    if is_sharded(model):
        kind = kind.__bases__[1]  # FSDP2 puts a class of its own before the model's, and such a one cannot be copied
    twin: Any = object.__new__(kind)
    vars(twin).update(vars(model))
    twin._forward_pre_hooks, twin._forward_hooks = OrderedDict[int, Any](), OrderedDict[int, Any]()
    return twin
