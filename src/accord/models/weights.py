"""A model's weights as they come from files: whether all are there, all are numbers, and the precision they are stored in."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, cast

import torch

from accord.errors import ModelError
from accord.runtime.model_files import ModelFiles

AGAIN = "copy or download the model folder again"
SHOWN = 3
"""Tensors that an error names."""
STORED = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
MOST_LAYERS = 10_000
"""Layers, or experts of a layer, that a configuration may name."""
DEQUANTISED = ("mxfp4",)
"""Quantisations that transformers undoes by itself where no kernels for them are installed."""


def check_config(config: Mapping[str, Any], where: str) -> None:
    """Refuse what a config.json says is more than weights and a known architecture.

    Raises:
        ModelError: its weights are quantised, or it needs code of its own.
    """
    check_sizes(config, where)
    method = (config.get("quantization_config") or {}).get("quant_method", "")
    if method and method not in DEQUANTISED:
        hint = "take the version that is not quantised; --lora-bits 4 packs it here, and a .gguf file is unpacked when it is opened"
        raise ModelError(f"its weights are quantised ({method}), which cannot be trained", where=where, hint=hint)
    from transformers import CONFIG_MAPPING

    kind = config.get("model_type")
    if config.get("auto_map") and kind not in CONFIG_MAPPING:
        what = f"its architecture, {kind!r}, is code that comes with it (auto_map), and code of a model is never run"
        raise ModelError(what, where=where, hint="use a model whose architecture transformers has itself")


def check_sizes(config: Mapping[str, Any], where: str) -> None:
    """Refuse a config.json that describes more than any model has, before anything is built, or that names code of a hub.

    Raises:
        ModelError: it has more than ``MOST_LAYERS`` layers or experts, or a kernel of a hub for its attention.
    """
    for part in (config, *(value for value in config.values() if isinstance(value, Mapping))):
        for name, value in cast("Mapping[str, Any]", part).items():
            name = str(name)  # the keys of id2label are numbers
            counts = name.startswith(("num_", "n_")) and name.endswith(("layer", "layers", "experts"))
            if counts and isinstance(value, int | float) and not 0 <= value <= MOST_LAYERS:
                raise ModelError(
                    f"config.json: {name} is {value}", where=where, hint=f"no model has more than {MOST_LAYERS}; is it damaged?"
                )
            if name.lstrip("_") in ("attn_implementation", "experts_implementation") and "/" in str(value):
                what = f"config.json: {name} names {str(value)[:80]!r}, code of a hub, and code of a model is never run"
                raise ModelError(what, where=where, hint=f"take {name} out of its config.json")


def check_loaded(told: Mapping[str, Collection[Any]], known: Collection[str], where: str, *, brought: Collection[str] = ()) -> None:
    """Refuse a model whose weights are not those of its configuration. transformers would draw the missing ones at random.

    Args:
        told: what transformers tells of loading: ``missing_keys`` (without heads tied to embeddings), ``unexpected_keys``.
        known: names of the model's own weights.
        brought: missing weights that come from elsewhere.

    Raises:
        ModelError: naming the tensors.
    """
    unexpected = sorted(told.get("unexpected_keys", ()))
    missing = sorted(set(told.get("missing_keys", ())) - set(brought))
    if missing == ["score.weight"]:
        raise ModelError(
            "this is a language model, not a reward model: it has no score.weight", where=where, hint="`accord reward` trains one"
        )
    if missing:
        what = f"the weights lack {named(missing)}, which config.json asks for"
        raise ModelError(what, where=where, hint="give a folder whose config.json and weights belong together, or download it again")
    if "score.weight" in unexpected:
        raise ModelError("this is a reward model, not a language model", where=where, hint="give the model that it was trained from")
    layers = {_pattern(name) for name in known}
    if beyond := [name for name in unexpected if _pattern(name) in layers]:
        what = f"the weights hold {named(beyond)}, which config.json knows nothing of"
        raise ModelError(what, where=where, hint="give a folder whose config.json and weights belong together, or download it again")


def check_finite(model: Any, where: str) -> None:
    """Refuse weights that are not all finite numbers.

    Raises:
        ModelError: naming the tensors.
    """
    broken: list[str] = []
    for name, tensor in model.named_parameters():
        if tensor.numel() and not all(bool(torch.isfinite(edge)) for edge in torch.aminmax(tensor.detach())):
            broken.append(name)
    if broken:
        what = f"the weights hold NaN or infinity in {named(broken)}"
        raise ModelError(what, where=where, hint=f"{AGAIN}, or train from an earlier model")


def stored_dtype(files: ModelFiles, config: Mapping[str, Any]) -> torch.dtype:
    """Return the precision that most weights are stored in; float32 for a .gguf file, whose weights are unpacked."""
    sizes: Counter[torch.dtype] = Counter()
    if not files.gguf:
        for file in Path(files.source).glob("*.safetensors"):
            sizes.update(_sizes(file))
    if sizes:
        return sizes.most_common(1)[0][0]
    told = config.get("dtype") or config.get("torch_dtype")  # a hub name's files lie elsewhere
    return {"float16": torch.float16, "bfloat16": torch.bfloat16}.get(str(told), torch.float32)


def rounded(weights: Mapping[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Return the weights in another precision. Those that share memory still do, as tied heads must when they are saved."""
    made: dict[tuple[int, torch.Size], torch.Tensor] = {}
    rounded: dict[str, torch.Tensor] = {}
    for name, tensor in weights.items():
        key = (tensor.data_ptr(), tensor.shape)
        if key not in made:
            made[key] = tensor.to(dtype) if tensor.is_floating_point() else tensor
        rounded[name] = made[key]
    return rounded


def update_kept(model: Any, source: Path, dtype: torch.dtype) -> float:
    """Return the share of what the weights learned that this precision keeps: 1 is all, 0 nothing.

    It is the projection of the rounded change on the change. The weights of a bfloat16 base lie on bfloat16's steps, so that a change
    of less than half a step is rounded away.

    Args:
        source: the folder that training started from.
    """
    from safetensors import safe_open

    now: dict[str, torch.Tensor] = model.state_dict()
    moved = kept = 0.0
    for file in sorted(source.glob("*.safetensors")):
        with safe_open(file, framework="pt") as opened:
            for name in now.keys() & set(cast("list[str]", opened.keys())):
                before = cast("torch.Tensor", opened.get_tensor(name)).float()
                after = now[name].detach().cpu().float()
                if before.shape == after.shape:
                    change = after - before
                    moved += _dot(change, change)
                    kept += _dot(change, after.to(dtype).float() - before)
    return kept / moved if moved else 1.0


def _dot(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one.double() * other.double()).sum().item())


def fits(model: Any, dtype: torch.dtype) -> bool:
    """Whether no weight becomes infinite in this precision."""
    most = torch.finfo(dtype).max
    return all(tensor.numel() == 0 or max(map(abs, torch.aminmax(tensor.detach()))) <= most for tensor in model.parameters())


def mismatched(model_keys: Mapping[str, torch.Size], files: ModelFiles) -> str:
    """Name the weights of a folder whose shape is not the model's; transformers only says that there are some."""
    from safetensors import safe_open

    found: list[str] = []
    for file in sorted(Path(files.source).glob("*.safetensors")):
        with safe_open(file, framework="pt") as opened:
            for name, (_, shape) in _header(opened).items():
                if name in model_keys and model_keys[name] != shape:
                    found.append(f"{name} {list(shape)} for {list(model_keys[name])}")
    return named(found) if found else ""


def _sizes(file: Path) -> Counter[torch.dtype]:
    from safetensors import safe_open

    sizes: Counter[torch.dtype] = Counter()
    with safe_open(file, framework="pt") as opened:
        for stored, shape in _header(opened).values():
            if stored in STORED:
                sizes[STORED[stored]] += shape.numel()
    return sizes


def _header(opened: Any) -> dict[str, tuple[str, torch.Size]]:
    """Precision and shape of each tensor of an open file."""
    names: list[str] = list(opened.keys())
    parts = {name: opened.get_slice(name) for name in names}
    return {name: (str(part.get_dtype()), torch.Size(part.get_shape())) for name, part in parts.items()}


def _pattern(name: str) -> str:
    return re.sub(r"(?<=\.)\d+(?=\.)", "*", name)


def named(names: Collection[str]) -> str:
    """Return the first few names, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    return f"{', '.join(listed[:SHOWN])}{more}"
