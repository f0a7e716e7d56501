"""Several LoRA adapters over one body, each applied to the rows that ask for it, in one batch (as S-LoRA, Sheng et al. 2024, and vLLM).

The adapters of a layer lie side by side: one product with all their A matrices, then what a row has of others' ranks becomes zero, then
one product with all their B matrices. So every row meets products of the same shapes in whatever company it is, and adding the
zeros of others changes nothing: an answer is the same alone as among rows of other adapters, bit for bit.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from accord.errors import ModelError, UsageError
from accord.models.adapters import IN_PEFT, check_base
from accord.models.weights import named
from accord.runtime import packages
from accord.runtime.model_files import ADAPTER, ADAPTER_WEIGHTS, read_json

NONE = -1
"""The number of a row without an adapter."""
PLAIN_LORA = {"use_dora": False, "lora_bias": False, "bias": "none", "use_qalora": False}
"""Settings of peft under which an adapter adds a product of two matrices and nothing else; they may be missing."""
NOTHING = ("modules_to_save", "layer_replication", "target_parameters", "trainable_token_indices", "alora_invocation_tokens")
NOTHING_ELSE = (*NOTHING, "use_bdlora", "arrow_config", "monteclora_config", "velora_config", "megatron_config")
"""Settings that must be missing or empty."""
MERGE = "serve it merged: give its folder as a model of its own (--model)"


@dataclass(frozen=True)
class RowAdapter:
    """A LoRA adapter that is not merged: by the names of the layers, A [rank, inputs] and B [outputs, rank], B with its scale."""

    pairs: Mapping[str, tuple[Tensor, Tensor]]


def open_adapter(model: Any, folder: Path, *, base: str | Path = "") -> RowAdapter:
    """Read a peft adapter for rows of this model, which stays as it is.

    Args:
        base: the folder that the model came from, to be compared with the one that the adapter was trained on.

    Raises:
        UsageError: peft is not installed.
        ModelError: the adapter is of another base, or changes more than the products of some layers.
    """
    try:
        from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model_state_dict
    except ImportError as error:
        raise UsageError("an adapter needs peft", where=str(folder), hint=packages.install("peft")) from error
    from safetensors.torch import load_file

    if not (folder / ADAPTER).is_file() or not (folder / ADAPTER_WEIGHTS).is_file():
        what = f"this is no adapter: it has no {ADAPTER if not (folder / ADAPTER).is_file() else ADAPTER_WEIGHTS}"
        raise ModelError(what, where=str(folder), hint="give a folder that peft or --keep-adapter saved")
    _refuse_more(read_json(folder / ADAPTER), folder)
    hint = "serve it over the model that it was trained on"
    try:
        config = PeftConfig.from_pretrained(str(folder))
        weights = load_file(folder / ADAPTER_WEIGHTS)
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of fan_in_fan_out, which peft finds out by itself
            twin: Any = cast("Any", type(model))(copy.deepcopy(model.config))
            adapted: Any = cast("Any", PeftModel)(twin, config)
    except Exception as error:  # peft, safetensors and torch each raise their own kinds
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"the adapter cannot be put over its base model: {reason}", where=str(folder), hint=hint) from error
    if not isinstance(config, LoraConfig):
        raise ModelError(f"the adapter is of the kind {config.peft_type}, not LORA", where=str(folder), hint=MERGE)
    expected: dict[str, Tensor] = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    if different := sorted(expected.keys() ^ weights.keys()):
        raise ModelError(f"the adapter and this base model differ in {named(different)}", where=str(folder), hint=hint)
    shapes = [f"{key} {list(weights[key].shape)} for {list(value.shape)}" for key, value in expected.items()]
    if odd := [line for line, (key, value) in zip(shapes, expected.items(), strict=True) if weights[key].shape != value.shape]:
        raise ModelError(f"the adapter's shapes are of another base model: {named(odd)}", where=str(folder), hint=hint)
    check_base(folder, base)
    pairs = _pairs(adapted.base_model.model, weights, folder)
    if any(model.get_submodule(name) is model.get_output_embeddings() for name in pairs):
        raise ModelError("the adapter is on the language model head, which reads no row by itself", where=str(folder), hint=MERGE)
    return RowAdapter(pairs)


def _refuse_more(told: Mapping[str, Any], folder: Path) -> None:
    odd = [name for name, usual in PLAIN_LORA.items() if told.get(name, usual) not in (usual, None)]
    odd += [name for name in NOTHING_ELSE if told.get(name)]
    if odd:
        raise ModelError(f"the adapter does more than to add products to layers ({', '.join(odd)})", where=str(folder), hint=MERGE)


def _pairs(adapted: Any, weights: Mapping[str, Tensor], folder: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the matrices by layer, B multiplied by peft's own scale of this layer."""
    pairs: dict[str, tuple[Tensor, Tensor]] = {}
    for key, a in weights.items():
        name, is_a, _ = key.removeprefix(IN_PEFT).partition(".lora_A.")
        if not is_a:
            continue
        if ".experts." in f"{name}.":
            raise ModelError("the adapter is on experts, which see a part of the rows", where=str(folder), hint=MERGE)
        b = weights[key.replace(".lora_A.", ".lora_B.")]
        if not (bool(torch.isfinite(a).all()) and bool(torch.isfinite(b).all())):
            raise ModelError(f"the adapter holds NaN or infinity in {key}", where=str(folder), hint="copy or train it again")
        scale = float(adapted.get_submodule(name).scaling["default"])
        pairs[name] = (a.float(), scale * b.float())
    if len(weights) != 2 * len(pairs):
        odd = [key for key in weights if ".lora_A." not in key and ".lora_B." not in key]
        raise ModelError(f"the adapter brings {named(odd)} beside its matrices", where=str(folder), hint=MERGE)
    return pairs


@dataclass(frozen=True)
class RankedProduct:
    """The adapters of one product, side by side."""

    a: Float[Tensor, "ranks inputs"]
    b: Float[Tensor, "outputs ranks"]
    owners: tuple[int, ...]
    """Which adapter each rank belongs to."""


class AdapterBank:
    """The adapters over one model. ``choose`` says which rows have which; ``added`` is what they add to a product.

    Args:
        dtype: of the products.
    """

    def __init__(self, model: Any, dtype: torch.dtype) -> None:
        self.model, self.dtype = model, dtype
        self.numbers: dict[str, int] = {}
        self._adapters: list[RowAdapter] = []
        self._sites: dict[str, RankedProduct] = {}
        self._rows: Tensor | None = None
        self._masks: dict[tuple[int, ...], Tensor] = {}
        self._hooked = set[str]()

    def add(self, name: str, adapter: RowAdapter) -> None:
        """Let rows ask for an adapter by a name. A name that is taken gets the new one."""
        if name in self.numbers:
            self._adapters[self.numbers[name]] = adapter
        else:
            self.numbers[name] = len(self._adapters)
            self._adapters.append(adapter)
        with torch.no_grad():
            self._sites = {layer: self._side_by_side(layer) for each in self._adapters for layer in each.pairs}
        self._masks = {}

    def number(self, name: str) -> int:
        """Return an adapter's number; the empty name has none.

        Raises:
            ValueError: there is no such adapter.
        """
        if name and name not in self.numbers:
            raise ValueError(f"there is no adapter {name!r}; there are {', '.join(self.numbers) or 'none'}")
        return self.numbers[name] if name else NONE

    def choose(self, rows: Sequence[int], steps: int = 1) -> None:
        """Say which adapter each row of the next forward pass has, of ``steps`` tokens each."""
        self._masks = {}
        if all(row == NONE for row in rows):
            self._rows = None
            return
        numbers = torch.tensor(rows, device=self.model.device)
        self._rows = numbers.repeat_interleave(steps) if len(rows) > 1 else numbers

    @property
    def idle(self) -> bool:
        """Whether no row of the next forward pass has an adapter."""
        return self._rows is None

    def hook(self) -> None:
        """Let the model's own layers add what the adapters say. Needed where the layers are called, and not read."""
        for name in self._sites.keys() - self._hooked:
            self.model.get_submodule(name).register_forward_hook(self._hook(name))
            self._hooked.add(name)

    def _hook(self, name: str) -> Any:
        def add(_: nn.Module, given: tuple[Any, ...], out: Tensor) -> Tensor | None:
            if self._rows is None or name not in self._sites:
                return None
            states = given[0]
            return out + self.added(name, states.flatten(0, -2)).view(out.shape).to(out.dtype)

        return add

    def added(self, layer: str, states: Float[Tensor, "tokens inputs"]) -> Float[Tensor, "tokens outputs"]:
        """Return what the chosen adapters add to a layer's product."""
        return self.through(self._sites[layer], states)

    def through(self, site: RankedProduct, states: Float[Tensor, "tokens inputs"]) -> Float[Tensor, "tokens outputs"]:
        """Return the product with A, without what is others', then with B."""
        mask = self._mask(site.owners)
        if len(mask) not in (1, len(states)):
            raise ModelError(f"a layer with an adapter sees {len(states)} of {len(mask)} tokens", hint=MERGE)
        inner = F.linear(states.to(self.dtype), site.a).masked_fill(~mask, 0.0)
        return F.linear(inner, site.b)

    def fused(self, layers: Sequence[str], order: Int[Tensor, " outputs"] | None = None) -> RankedProduct | None:
        """Return layers of the same input as one site, their outputs one after the other, or in this order of them. None without adapters.

        A layer's ranks add nothing to another's outputs.
        """
        sites = [(layer, self._sites.get(layer)) for layer in layers]
        present: list[RankedProduct] = [site for _, site in sites if site is not None]
        if not present:
            return None
        blocks: list[Tensor] = []
        for layer, site in sites:
            outputs = _outputs(self.model.get_submodule(layer))
            blocks.append(site.b if site is not None else present[0].b.new_zeros(outputs, 0))
        b, owners = cast("Tensor", cast("Any", torch).block_diag(*blocks)), list[int]()
        for site in present:
            owners += site.owners
        b = b if order is None else b.index_select(0, order)
        return RankedProduct(torch.cat([site.a for site in present]), b.contiguous(), tuple(owners))

    def _side_by_side(self, layer: str) -> RankedProduct:
        found = [(number, each.pairs[layer]) for number, each in enumerate(self._adapters) if layer in each.pairs]
        device = self.model.device
        a = torch.cat([pair[0] for _, pair in found]).to(device, self.dtype)
        b = torch.cat([pair[1] for _, pair in found], 1).to(device, self.dtype)
        owners = list[int]()
        for number, pair in found:
            owners += [number] * len(pair[0])
        return RankedProduct(a, b.contiguous(), tuple(owners))

    def _mask(self, owners: tuple[int, ...]) -> Tensor:
        if owners not in self._masks:
            ranks = torch.tensor(owners, device=self.model.device)
            self._masks[owners] = cast("Tensor", self._rows)[:, None] == ranks
        return self._masks[owners]


def _outputs(module: Any) -> int:
    return module.weight.shape[0] if isinstance(module, nn.Linear) else module.weight.shape[1]
