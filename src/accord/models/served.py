"""Write a model while it trains as another program loads it: whole weights in a plain folder, or its adapters alone.

The model stays as it is: adapters are added to copies of the weights that they adapt, four-bit weights are restored, and a head that is
tied to the embedding is written out under its own name. vLLM 0.32 reloads weights by name and leaves a tied head as it was.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from accord.errors import UsageError
from accord.models.adapters import IN_PEFT, adapter_config
from accord.models.quantised import Linear4
from accord.runtime.model_files import ADAPTER_WEIGHTS, CONFIG, read_json

CHUNK = 1 << 24
"""Bytes hashed at once."""


def plain_weights(model: nn.Module, dtype: torch.dtype) -> dict[str, Tensor]:
    """Return every weight by the name that it has without adapters, on the host, floating ones in ``dtype``. No two share memory.

    Raises:
        UsageError: adapters lie over fused experts, whose sum is not computed here.
    """
    modules: dict[str, Any] = dict(cast("Any", model).named_modules())
    changed: dict[str, Any] = {
        name: module for name, module in modules.items() if hasattr(module, "get_base_layer") or isinstance(module, Linear4)
    }
    outer = [name for name in changed if not any(name.startswith(f"{other}.") for other in changed if other != name)]
    found: dict[str, Tensor] = {}
    for name, value in model.state_dict().items():
        if not any(name.startswith(f"{other}.") for other in outer):
            found[name] = value
    for name in outer:
        module: Any = changed[name]
        found[f"{name}.weight"] = _added(name, module)
        bias: Tensor | None = (module.get_base_layer() if hasattr(module, "get_base_layer") else module).bias
        if bias is not None:
            found[f"{name}.bias"] = bias
    return {name: _own(value, dtype) for name, value in found.items()}


@torch.no_grad()
def _added(name: str, module: Any) -> Tensor:
    """Return the weight that a layer computes with."""
    if not hasattr(module, "lora_A"):
        return module.weight
    if hasattr(module, "parameter_name"):
        what = "adapters over fused experts cannot be written out as whole weights"
        raise UsageError(what, where=name, hint="--sampler-sync adapter, or --lora-targets without experts")
    weight: Tensor = module.get_base_layer().weight
    deltas: list[Tensor] = [] if module.merged else [module.get_delta_weight(adapter) for adapter in module.active_adapters]
    return sum(deltas, weight)


def _own(value: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a tensor as memory of its own on the host, whole where it is divided over processes."""
    gathered: Tensor = cast("Any", value).full_tensor() if hasattr(value, "full_tensor") else value
    kept = gathered.detach().to("cpu", dtype if gathered.is_floating_point() else gathered.dtype, copy=True)
    return kept.contiguous()


def adapter_weights(model: Any) -> dict[str, Tensor]:
    """Return a model's adapters by peft's names, on the host in float32."""
    from peft import get_peft_model_state_dict

    state: dict[str, Tensor] = get_peft_model_state_dict(model, save_embedding_layers=False)
    return {f"{IN_PEFT}{name}": _own(value, torch.float32) for name, value in state.items()}


def digest_of_weights(weights: Mapping[str, Tensor]) -> str:
    """Return 16 hexadecimal digits that tell these weights from others: SHA-256 of names, shapes, precisions and bytes."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        value = weights[name]
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        raw = value.reshape(-1).view(torch.uint8)
        for start in range(0, len(raw), CHUNK):
            digest.update(memoryview(cast("Any", raw[start : start + CHUNK].numpy())))
    return digest.hexdigest()[:16]


def write_whole(folder: Path, model: Any, tokenizer: Any, weights: dict[str, Tensor]) -> int:
    """Write weights, configuration and tokenizer into an empty folder, the head by its own name. Return the bytes of the weights."""
    from transformers import GenerationConfig

    size = sum(value.numel() * value.element_size() for value in weights.values())
    twin: Any = copy.copy(model)  # the modules are shared, the notes about them are its own
    twin.config, twin.generation_config, twin._hf_peft_config_loaded = copy.deepcopy(model.config), GenerationConfig(), False
    twin.save_pretrained(folder, state_dict=dict(weights))
    config = read_json(folder / CONFIG)
    dtype = next((value.dtype for value in weights.values() if value.is_floating_point()), torch.float32)
    for part in (config, *(config[name] for name in ("text_config",) if isinstance(config.get(name), dict))):
        part |= {"tie_word_embeddings": False, "dtype": str(dtype).removeprefix("torch.")}
    config.pop("quantization_config", None)
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")
    tokenizer.save_pretrained(folder)
    return size


def write_adapter(folder: Path, model: Any, base: str, weights: dict[str, Tensor]) -> int:
    """Write a model's adapters as peft does into an empty folder. Return their bytes.

    Args:
        base: folder or hub name of the model without adapters.
    """
    from safetensors.torch import save_file

    config = adapter_config(model, base)
    config.save_pretrained(str(folder))
    save_file(weights, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    return sum(value.numel() * value.element_size() for value in weights.values())
