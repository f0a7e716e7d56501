"""LoRA (Hu et al. 2021) by peft, put into the model's own modules, and merged into plain weights before a model is saved."""

from __future__ import annotations

import copy
import json
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from accord.errors import ModelError, RunError, UsageError
from accord.models.pictures import tower_of
from accord.models.quantised import is_plain, restored
from accord.models.sharding import take_up
from accord.models.weights import named
from accord.runtime import packages
from accord.runtime.lineage import digest_weights
from accord.runtime.model_files import ADAPTER, ADAPTER_WEIGHTS, read_json

IN_PEFT = "base_model.model."
"""What peft writes before the names of a model's own modules."""

BASE = "base.json"
"""Says beside an adapter which weights it was trained on. peft and vLLM look past it."""
NAMES = re.compile(r"[\w.]+([\s,]+[\w.]+)*")
"""Layers by name. Anything else is a regular expression."""


def add_lora(
    model: Any, rank: int, generator: torch.Generator, *, alpha: float = 0.0, targets: str = "all-linear", vision: bool = False
) -> Any:
    """Freeze the model and add adapters of this rank to its projections. Fresh adapters change no output.

    There is no dropout in them: the log-probabilities of a policy must not depend on a random mask.

    Args:
        alpha: adapters are scaled by alpha / rank; 0 is twice the rank.
        targets: ``all-linear``, names of layers separated by commas or spaces, or a regular expression that matches their whole names.
        vision: put adapters into the tower that reads pixels too.

    Raises:
        UsageError: peft is not installed, or no layer has such a name, or one of them takes no adapter.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise UsageError("LoRA needs peft", hint=packages.install("peft")) from error
    left_out = _left_out(model)
    chosen, scale = _named(targets, model, left_out), cast("int", alpha or 2 * rank)  # peft divides it by the rank, whole or not
    left_out += [] if vision else _in_tower(model)
    config = LoraConfig(r=rank, lora_alpha=scale, lora_dropout=0.0, target_modules=chosen, exclude_modules=left_out or None)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to")  # peft finds out by itself which layers are Conv1D
        warnings.filterwarnings("ignore", message="The following (rank|alpha)_pattern keys")  # peft's own, for weights of fused experts
        model = inject_adapter_in_model(config, model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name or name.startswith("score"))
        if "lora_A" in name:
            with torch.no_grad():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * parameter.shape[1] ** -0.5)
    return model.eval()


def _left_out(model: Any) -> list[str]:
    """Return the names of linear layers that get no adapters.

    These are a scalar head, layers that do something of their own with the product (a router that returns a choice of experts), and two
    projections of Mamba layers, whose weights are read without calling the layer: an adapter there would be merged but never heard.
    """
    found = list[str](["score"] if hasattr(model, "score") else [])
    modules: list[tuple[str, nn.Module]] = list(model.named_modules())
    for name, module in modules:
        if hasattr(module, "A_log"):
            found += [f"{name}.out_proj", f"{name}.dt_proj"]
        elif isinstance(module, nn.Linear) and not is_plain(module):
            found.append(name)
    return found


def _in_tower(model: Any) -> list[str]:
    """Return the names of the linear layers in what reads the pixels of a vision-language model."""
    weights = {id(parameter) for _, parameter in tower_of(model.base_model)}
    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear)] if weights else []
    return [name for name, module in layers if id(module.weight) in weights]


def _named(targets: str, model: Any, left_out: list[str]) -> str | list[str]:
    """Return targets as peft takes them: the word all-linear, a list of names, or a regular expression.

    Raises:
        UsageError: they match no layer, or one that is no inner projection: an embedding, a norm, the head.
    """
    if targets == "all-linear":
        return targets
    plain = NAMES.fullmatch(targets.strip())
    chosen = re.split(r"[\s,]+", targets.strip()) if plain else targets
    output = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    layers = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D)}
    inner = {name for name, module in layers.items() if module is not output and name not in left_out}
    try:
        matched = {name for name, _ in model.named_modules() if _matches(name, chosen)}
    except re.error as error:
        raise UsageError(f"{targets!r} is no regular expression: {error}", where="lora_targets") from error
    known = ", ".join(sorted({name.rpartition(".")[2] for name in inner}))
    if not matched:
        raise UsageError(f"no layer of the model matches {targets!r}", where="lora_targets", hint=f"it has {known}, or use all-linear")
    if wrong := sorted(matched - inner):
        raise UsageError(f"{wrong[0]} takes no adapter", where="lora_targets", hint=f"choose among {known}")
    return chosen


def _matches(name: str, targets: str | list[str]) -> bool:
    """Whether peft puts an adapter on a layer: a list names the ends of names, a regular expression the whole name."""
    if isinstance(targets, str):
        return re.fullmatch(targets, name) is not None
    return any(name == target or name.endswith(f".{target}") for target in targets)


def with_adapter(model: Any, folder: Path) -> Any:
    """Return a plain model: the base with a peft adapter merged into it.

    Raises:
        UsageError: peft is not installed.
        ModelError: the adapter does not belong to this model, or is of a kind that cannot be merged.
    """
    try:
        from peft import PeftModel, get_peft_model_state_dict
    except ImportError as error:
        raise UsageError("an adapter needs peft", where=str(folder), hint=packages.install("peft")) from error
    hint = f"it says it was trained on {model.config.name_or_path}: give base_model_name_or_path in {folder / ADAPTER} that very model"
    try:
        shapes = _shapes(folder / ADAPTER_WEIGHTS)
        _fit_embedding(model, shapes)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of missing weights, which are named below
            adapted: Any = PeftModel.from_pretrained(model, str(folder))
        expected: dict[str, Any] = get_peft_model_state_dict(adapted, save_embedding_layers=False)
        whole: dict[str, Any] = adapted.state_dict()
        different = sorted((expected.keys() - shapes) | (shapes.keys() - expected - whole.keys()))
        merged: Any = None if different else adapted.merge_and_unload()
    except Exception as error:  # peft, safetensors and torch each raise their own kinds
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"the adapter cannot be put on its base model: {reason}", where=str(folder), hint=hint) from error
    if different:
        raise ModelError(f"the adapter and its base model differ in {named(different)}", where=str(folder), hint=hint)
    check_base(folder, model.config.name_or_path)
    return merged.requires_grad_(True)  # peft froze the base


def check_base(folder: Path, base: str | Path) -> None:
    """Compare the weights of a base model with those that an adapter was trained on, where its folder says which these were.

    Args:
        base: the base's folder; the name of one on a hub is not looked at.

    Raises:
        ModelError: they are others. Shapes would fit after the base was trained again, and the answers would be of neither model.
    """
    if not (folder / BASE).is_file() or not base or not Path(base).is_dir():
        return
    told = str(read_json(folder / BASE).get("weights") or "")
    found = digest_weights(Path(base))
    if told and found and told != found:
        what = f"the adapter was trained on a base whose weights have the digest {told[:12]}; those of {base} have {found[:12]}"
        hint = f"give the base that it was trained on, or train the adapter again; without {folder / BASE} nothing is compared"
        raise ModelError(what, where=str(folder), hint=hint)


def _shapes(file: Path) -> dict[str, list[int]]:
    from safetensors import safe_open

    with safe_open(file, framework="pt") as opened:
        return {name: opened.get_slice(name).get_shape() for name in cast("list[str]", opened.keys())}


def _fit_embedding(model: Any, shapes: Mapping[str, list[int]]) -> None:
    """Give the model as many rows for tokens as an adapter brings that was trained with new ones."""
    embedding = model.get_input_embeddings().weight
    name = next(name for name, parameter in model.named_parameters() if parameter is embedding)
    brought = [shape[0] for key, shape in shapes.items() if key.removeprefix(IN_PEFT) == name]
    if brought and brought[0] != embedding.shape[0]:
        model.resize_token_embeddings(brought[0], mean_resizing=False)


def sharing(model: nn.Module) -> Any:
    """Return a copy of the model's modules that shares its parameters; only a head named ``score`` is copied.

    Adapters put into the copy leave the model as it is, and the two take hardly more memory than one. Merging
    them changes both.
    """
    shared = {id(tensor): tensor for name, tensor in (*model.named_parameters(), *model.named_buffers()) if not name.startswith("score")}
    return copy.deepcopy(model, shared)


def save_adapter(folder: Path, model: Any, base: str, tokenizer: Any) -> None:
    """Write a model's adapters as peft does, with the tokenizer, before they are merged: adapter_config.json and its safetensors.

    A head named ``score`` goes with them, since it learns as well. The digest of the base's weights lies beside them.

    Args:
        base: folder or hub name of the model without adapters.
    """
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    config = adapter_config(model, base)
    weights = {
        f"{IN_PEFT}{name}": tensor.contiguous() for name, tensor in get_peft_model_state_dict(model, save_embedding_layers=False).items()
    }
    if hasattr(model, "score"):
        weights[f"{IN_PEFT}score.weight"] = model.score.weight.detach().contiguous()
    folder.mkdir(parents=True)
    config.save_pretrained(str(folder))
    save_file({name: tensor.cpu() for name, tensor in weights.items()}, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    tokenizer.save_pretrained(folder)
    if Path(base).is_dir():
        told = {"base": base, "weights": digest_weights(Path(base))}
        (folder / BASE).write_text(json.dumps(told, indent=2) + "\n", "utf-8")


def adapter_config(model: Any, base: str) -> Any:
    """Return peft's configuration of a model's adapters, as other tools open it on the model ``base``.

    Layers are named by the last part of their names where that says the same, as servers of adapters ask for.
    """
    config = copy.copy(model.peft_config["default"])
    wrapped = [(name, module) for name, module in model.named_modules() if hasattr(module, "get_base_layer")]
    adapted: list[str] = [name for name, module in wrapped if not hasattr(module, "parameter_name")]  # fused experts: target_parameters
    ends = {name.rpartition(".")[2] for name in adapted}
    alike = {name for name, module in model.named_modules() if name.rpartition(".")[2] in ends and _linear(module)}
    config.target_modules = ends if alike == set(adapted) else set(adapted)
    config.fan_in_fan_out = any(type(model.get_submodule(name).get_base_layer()).__name__ == "Conv1D" for name in adapted)
    config.base_model_name_or_path, config.inference_mode, config.exclude_modules = base, True, None
    config.task_type, config.modules_to_save = ("SEQ_CLS", ["score"]) if hasattr(model, "score") else ("CAUSAL_LM", None)
    return config


def _linear(module: nn.Module) -> bool:
    return hasattr(module, "get_base_layer") or isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def merge_lora(model: Any) -> Any:
    """Merge the adapters into the weights they adapt and remove them. A model without adapters is returned as it is.

    Four-bit weights are restored to float32 first, so that the saved model computes exactly what was trained.
    """
    restored(model)
    adapted = [(name, module) for name, module in model.named_modules() if hasattr(module, "merge") and hasattr(module, "get_base_layer")]
    for _, module in adapted:
        module.merge()
    for name, module in adapted:
        if not name.endswith(".base_layer"):  # an adapter of experts may hold another; the outermost makes way for the layer itself
            parent = model.get_submodule(name.rpartition(".")[0])
            setattr(parent, name.rpartition(".")[2], module.get_base_layer())
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    if hasattr(model, "peft_config"):
        del model.peft_config
    if hasattr(model, "_hf_peft_config_loaded"):
        model._hf_peft_config_loaded = False
    return model


def trained_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the tensors that a checkpoint must hold: adapters and head over frozen weights, or all when none is frozen."""
    frozen = {name for name, parameter in model.named_parameters(remove_duplicate=False) if not parameter.requires_grad}
    if not frozen:
        return model.state_dict()
    learns = {name for name, parameter in model.named_parameters(remove_duplicate=False) if parameter.requires_grad}
    return {name: value for name, value in model.state_dict().items() if name in learns}


def restore_trained(model: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Load what ``trained_state`` returned. A checkpoint of an earlier version, which holds the frozen weights too, loads as well.

    Raises:
        RunError: the state is of another model.
    """
    missing, unknown = trained_state(model).keys() - state.keys(), state.keys() - model.state_dict().keys()
    if missing or unknown:
        hint = "resume with the model and the settings that it was started with, or start a new run under another --name"
        raise RunError(f"the checkpoint is of another model: {min(missing | unknown)} is in only one of them", hint=hint)
    take_up(model, state)


def trainable(model: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
