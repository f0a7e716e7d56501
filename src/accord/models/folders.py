"""Load and save model folders: plain Hugging Face folders with safetensors, never pickle, never remote code."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from accord.errors import ModelError
from accord.models.adapters import with_adapter
from accord.models.attention import register
from accord.models.paths import choose, path_of, take
from accord.models.pictures import Gallery
from accord.models.quantised import quantised
from accord.models.seeing_scalar import register_seeing
from accord.models.weights import AGAIN, check_config, check_finite, check_loaded, fits, mismatched, rounded, stored_dtype
from accord.runtime.model_files import CONFIG, ModelFiles, model_files, need_gguf, read_json

GENERATION = "generation_config.json"
CAUSAL, SEEING, SCALAR = "AutoModelForCausalLM", "AutoModelForImageTextToText", "AutoModelForSequenceClassification"


def new_decoder(
    *, vocab_size: int, hidden_size: int, layers: int, heads: int, intermediate_size: int, context: int, end: int, pad: int
) -> Any:
    """Return a Llama (Touvron et al. 2023) with fresh weights and tied embeddings, drawn from torch's global generator."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        intermediate_size=intermediate_size,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=pad,
    )
    return prepared(LlamaForCausalLM(config))


def prepared(model: Any) -> Any:
    """Prepare a loaded model: float32 master weights, dropout permanently off, the path that fits it (``models.paths``)."""
    return take(model, choose(model)).float().eval()


def load_causal_lm(source: str | Path, *, bits: int = 0) -> Any:
    """Open a causal language model from a folder, a .gguf file, an adapter's folder or a hub name: float32, dropout off.

    With ``bits`` 4 its body is quantised out of the precision in which it is stored, one layer at a time, and is never float32 as a whole.

    Raises:
        ModelError: it is missing, damaged, or not a causal language model.
        UsageError: it needs a package that is not installed.
    """
    return load(CAUSAL, source, bits=bits)


def load_scalar_model(source: str | Path, *, bits: int = 0) -> Any:
    """Open a one-label sequence classification model, float32, dropout off; with ``bits`` 4 its body is quantised as it is opened.

    Raises:
        ModelError: it is missing, damaged, or has no scalar head.
        UsageError: it needs a package that is not installed.
    """
    model = load(SCALAR, source, bits=bits)
    if model.config.num_labels != 1:
        raise ModelError(f"the model has {model.config.num_labels} labels, but a reward model has one", where=str(source))
    return model


def from_scratch(lm: Any, generator: torch.Generator) -> Any:
    """Return a causal language model of the same architecture and sizes, with random weights as its configuration draws them."""
    from transformers import AutoModelForCausalLM

    config = lm.config.__class__.from_dict(lm.config.to_dict())
    with torch.random.fork_rng(devices=[]):  # transformers draws from the global generator
        torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
        made: Any = cast("Any", AutoModelForCausalLM).from_config(config, dtype=torch.float32)
    return prepared(made)


def scalar_from(lm: Any, head: torch.Tensor, *, share: bool = False) -> Any:
    """Return a reward or value model on a causal LM's body, with the given head weight [1, width].

    The body is a copy; with ``share`` it is the language model's own, which then takes no second copy's memory, and must not be
    used any more.

    Raises:
        ModelError: transformers has no class for such models of this architecture.
    """
    from transformers import AutoModelForSequenceClassification

    kept = {key: value for key, value in lm.config.to_dict().items() if key not in ("architectures", "id2label", "label2id")}
    config = lm.config.__class__.from_dict({**kept, "num_labels": 1})
    register_seeing(config)
    try:
        with torch.device("meta"):
            model: Any = cast("Any", AutoModelForSequenceClassification).from_config(config)
    except ValueError as error:
        what = "transformers has no class for reward and value models of this architecture"
        hint = "use a method without them (dpo, kto, grpo with a rule), or another base model"
        raise ModelError(what, where=str(config.model_type), hint=hint) from error
    setattr(model, model.base_model_prefix, lm.base_model if share else copy.deepcopy(lm.base_model))
    model.score.weight = nn.Parameter(head.detach().clone())
    model.stored_dtype, model.files = getattr(lm, "stored_dtype", torch.float32), getattr(lm, "files", None)
    return take(model, path_of(lm.base_model)).float().eval()


def set_ends(model: Any, stop: Sequence[int]) -> None:
    """Writes every token id that ends a response into the model's configuration, so that other tools stop where we do."""
    ends = list(stop) if len(stop) > 1 else stop[0]
    model.config.eos_token_id = model.generation_config.eos_token_id = ends


def give_pad(model: Any, tokenizer: Any, stop: Sequence[int]) -> None:
    """Gives a scalar model and its tokenizer a padding token that ends no response.

    transformers reads the score at the last token that is no padding. Where padding is a stop token, that is the token before it.
    Taken is a token that was reserved for it, or else a new one.
    """
    pad = tokenizer.pad_token_id
    if pad is None or pad in stop:
        pad = _reserved(tokenizer, stop)
        if pad is None:
            tokenizer.add_special_tokens({"pad_token": "<|pad|>"})
            pad = tokenizer.convert_tokens_to_ids("<|pad|>")
            if pad >= model.get_input_embeddings().num_embeddings:
                model.resize_token_embeddings(pad + 1, mean_resizing=False)
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(pad)
    model.config.pad_token_id = model.config.get_text_config().pad_token_id = pad


def _reserved(tokenizer: Any, stop: Sequence[int]) -> int | None:
    """The id of a special token that is there for padding or for nothing yet."""
    for id, token in sorted(tokenizer.added_tokens_decoder.items()):
        if token.special and id not in stop and re.search(r"pad|reserved|unused|extra_id", str(token), re.IGNORECASE):
            return id
    return None


@contextmanager
def _checked_by_nobody(model: Any) -> Generator[Any]:
    """Set the model's generation config aside, and yield it. transformers does not save one with a temperature but without do_sample,
    as many bases have, and a trained model would be lost over it."""
    from transformers import GenerationConfig

    told = getattr(model, "generation_config", None)
    if told is None:
        yield None
        return
    model.generation_config = GenerationConfig()
    try:
        yield told
    finally:
        model.generation_config = told


def save_model(folder: Path, model: Any, tokenizer: Any, dtype: torch.dtype | None = None) -> None:
    """Write weights, configuration, tokenizer and chat template into ``folder``, which must be new.

    Args:
        dtype: precision of the files; by default the one that the model came in.
    """
    kept: torch.dtype = dtype or getattr(model, "stored_dtype", torch.float32)
    weights = None if kept == torch.float32 or not fits(model, kept) else rounded(model.state_dict(), kept)
    with _checked_by_nobody(model) as generation:
        model.save_pretrained(folder, state_dict=weights)
    if (folder / GENERATION).is_file():
        generation.to_json_file(folder / GENERATION)
    if weights is not None:
        config = read_json(folder / CONFIG) | {"dtype": str(kept).removeprefix("torch.")}
        (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")
    tokenizer.save_pretrained(folder)
    gallery: Gallery | None = getattr(getattr(model, "base_model", None), "gallery", None)
    if gallery is not None:
        gallery.save(folder)


def load(kind: str, source: str | Path, *, bits: int = 0) -> Any:
    """Open a model by one of transformers' auto classes, whole or not at all. It keeps ``files`` and their precision,
    ``stored_dtype``.

    Args:
        bits: 4 quantises the body to four bits, one layer at a time; 0 leaves it float32.

    Raises:
        ModelError: it is missing, damaged, or lacks weights.
        UsageError: it needs a package that is not installed.
    """
    import transformers

    register()
    files = model_files(source)
    extra: dict[str, Any] = {"use_safetensors": True}
    if files.gguf:
        extra = {"gguf_file": need_gguf(files), "quantization_config": transformers.GgufConfig(dequantize=True)}
    if files.adapter and kind == SCALAR:
        extra["num_labels"] = 1
    try:
        config = {} if files.gguf else transformers.PreTrainedConfig.get_config_dict(files.source)[0]
        check_config(config, files.named)
        if kind == CAUSAL and "vision_config" in config:
            kind = SEEING
        if kind == SCALAR and "vision_config" in config:
            register_seeing(transformers.AutoConfig.from_pretrained(files.source, trust_remote_code=False))
        opened: Any = getattr(transformers, kind)
        extra["dtype"] = "auto" if bits and not (files.gguf or files.adapter) else torch.float32
        model, told = opened.from_pretrained(files.source, trust_remote_code=False, output_loading_info=True, **extra)
        dtype = stored_dtype(files, config)
    except ModelError:
        raise
    except Exception as error:  # safetensors, json, hub and torch each raise their own kinds
        raise ModelError(f"the model cannot be read: {_reason(error, kind, files)}", where=files.named, hint=AGAIN) from error
    check_loaded(told, model.state_dict().keys(), files.named, brought=["score.weight"] if files.adapter else ())
    if files.gguf:
        _plain(model)
    if files.adapter:
        model = with_adapter(model, files.adapter)
    check_finite(model, files.named)
    model.stored_dtype, model.files = dtype, files
    return prepared(quantised(model) if bits else model)


def _reason(error: Exception, kind: str, files: ModelFiles) -> str:
    """What went wrong in one line. Where shapes differ, transformers points at its log."""
    import transformers

    told = (str(error).splitlines() or [type(error).__name__])[0]
    if "ignore_mismatched_sizes" not in told:
        return told
    try:
        with torch.device("meta"):
            expected = getattr(transformers, kind).from_config(transformers.AutoConfig.from_pretrained(files.source))
    except Exception as second:  # a config may be wrong in more than one place
        return f"its weights have other shapes than config.json says, and the latter cannot be read: {second}".splitlines()[0]
    shapes = {name: tensor.shape for name, tensor in expected.state_dict().items()}
    return f"its weights have other shapes than config.json says: {mismatched(shapes, files) or told}"


def _plain(model: Any) -> None:
    """Make an ordinary model of one whose weights were unpacked. transformers still calls it quantised, and neither casts nor saves it."""
    model.hf_quantizer, model.quantization_method, model.is_quantized = None, None, False
    vars(model.config).pop("quantization_config", None)
