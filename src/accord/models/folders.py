"""Load and save model folders: plain Hugging Face folders with safetensors, never pickle, never remote code."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch

from accord.errors import ModelError
from accord.models.attention import register


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
    """Prepare a loaded model: float32 master weights, dropout permanently off, our attention in every layer."""
    model.set_attn_implementation(register())
    return model.float().eval()


def load_causal_lm(source: str | Path, *, gguf_file: str | None = None) -> Any:
    """Open a causal language model from a folder or hub name, float32, dropout off.

    Raises:
        ModelError: it is missing, damaged, or not a causal language model.
    """
    from transformers import AutoModelForCausalLM

    extra = {"gguf_file": gguf_file} if gguf_file else {}
    return _load(cast("Any", AutoModelForCausalLM), source, **extra)


def load_scalar_model(source: str | Path) -> Any:
    """Open a one-label sequence classification model, float32, dropout off.

    Raises:
        ModelError: it is missing, damaged, or has no scalar head.
    """
    from transformers import AutoModelForSequenceClassification

    model = _load(cast("Any", AutoModelForSequenceClassification), source)
    if model.config.num_labels != 1:
        raise ModelError(f"the model has {model.config.num_labels} labels, but a reward model has one", where=str(source))
    return model


def scalar_from(lm: Any, head: torch.Tensor) -> Any:
    """Return a reward or value model on a copy of a causal LM's body, with the given head weight [1, width]."""
    from transformers import AutoModelForSequenceClassification

    kept = {key: value for key, value in lm.config.to_dict().items() if key not in ("architectures", "id2label", "label2id")}
    config = lm.config.__class__.from_dict({**kept, "num_labels": 1})
    model: Any = cast("Any", AutoModelForSequenceClassification).from_config(config)
    model.base_model.load_state_dict(lm.base_model.state_dict())
    with torch.no_grad():
        model.score.weight.copy_(head)
    return prepared(model)


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
    model.config.pad_token_id = pad


def _reserved(tokenizer: Any, stop: Sequence[int]) -> int | None:
    """The id of a special token that is there for padding or for nothing yet."""
    for id, token in sorted(tokenizer.added_tokens_decoder.items()):
        if token.special and id not in stop and re.search(r"pad|reserved|unused|extra_id", str(token), re.IGNORECASE):
            return id
    return None


def save_model(folder: Path, model: Any, tokenizer: Any) -> None:
    """Write weights, configuration, tokenizer and chat template into ``folder``, which must be new."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _load(kind: Any, source: str | Path, **extra: Any) -> Any:
    register()
    folder = Path(source)
    if (folder / "adapter_config.json").exists() and not (folder / "config.json").exists():
        hint = "merge it into its base model, and give the merged folder"
        raise ModelError("this is an adapter without its base model", where=str(source), hint=hint)
    if folder.exists() and not (folder / "config.json").exists() and "gguf_file" not in extra:
        raise ModelError(
            "this is not a model folder: it has no config.json", where=str(source), hint="give the folder of a Hugging Face model"
        )
    try:
        model = kind.from_pretrained(str(source), trust_remote_code=False, dtype=torch.float32, **extra)
    except Exception as error:  # safetensors, json, hub and torch each raise their own kinds
        hint = "copy or download the model folder again"
        raise ModelError(f"the model cannot be read: {_first_line(error)}", where=str(source), hint=hint) from error
    return prepared(model)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
