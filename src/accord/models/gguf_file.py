"""Write a model as a .gguf file, for llama.cpp, Ollama, LM Studio and others: weights, tokenizer, chat template, ends of a response.

Names of tensors are those of the ``gguf`` package; what it does not name, and architectures whose arithmetic is not known here to be
llama.cpp's, are refused. Rotary rows of Llama and Mistral are laid in llama.cpp's order, pairs side by side.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor

from accord.errors import ModelError, UsageError
from accord.models.paths import choose
from accord.models.weights import named
from accord.runtime import packages

Kind = Literal["float32", "float16", "bfloat16", "q8_0"]
ARCHITECTURES = {"llama": "LLAMA", "mistral": "LLAMA", "qwen2": "QWEN2", "qwen3": "QWEN3"}
"""Model types with the architecture that gguf has for them."""
DIGITS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
REST = "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
SPLITS = {f"{DIGITS}\\p{{N}}{REST}": "qwen2", f"{DIGITS}\\p{{N}}{{1,3}}{REST}": "llama-bpe"}
"""Regular expressions that cut a text before byte pairs are merged, with llama.cpp's names for them."""
NEWLINE = "Ċ"
"""How a newline is written in a byte-level vocabulary."""
BLOCK = 32
"""Columns that q8_0 packs together."""


def write_gguf(path: Path, model: Any, tokenizer: Any, kind: Kind, *, name: str, stop: Sequence[int]) -> None:
    """Write a causal language model into one .gguf file. Vectors, and what does not divide into blocks of q8_0, stay wider.

    Args:
        kind: precision of the matrices.
        stop: token ids that end a response.

    Raises:
        UsageError: gguf is not installed.
        ModelError: the architecture, a tensor or the tokenizer has no known place in such a file.
    """
    try:
        import gguf
    except ImportError as error:
        raise UsageError("a .gguf file needs gguf", where=str(path), hint=packages.install("gguf")) from error
    architecture = architecture_of(model)
    pre = pre_tokenizer_of(tokenizer)
    tensors = _tensors(model, getattr(gguf.MODEL_ARCH, architecture), gguf)
    writer: Any = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[getattr(gguf.MODEL_ARCH, architecture)])
    try:
        _write_shape(writer, model, name)
        files = gguf.LlamaFileType
        types = {"float32": files.ALL_F32, "float16": files.MOSTLY_F16, "bfloat16": files.MOSTLY_BF16, "q8_0": files.MOSTLY_Q8_0}
        writer.add_file_type(types[kind])
        if kind == "q8_0":
            writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        _write_tokenizer(writer, tokenizer, model.get_input_embeddings().num_embeddings, pre, stop, gguf)
        for tensor_name, tensor in tensors.items():
            _add(writer, tensor_name, tensor, kind, gguf)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def architecture_of(model: Any) -> str:
    """Return gguf's name for a model's architecture.

    Raises:
        ModelError: it has none, or this model computes something that its name does not say.
    """
    config, kind = model.config, str(model.config.model_type)
    known = ", ".join(ARCHITECTURES)
    if kind not in ARCHITECTURES:
        hint = f"written are {known}; for others use llama.cpp's own convert_hf_to_gguf.py on the folder of --to merged"
        raise ModelError("this architecture is not written as .gguf here", where=kind, hint=hint)
    told: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
    rope = str(told.get("rope_type", "default"))
    plain = choose(model) == ("own" if kind == "qwen3" else "fused")
    if not plain or getattr(config, "attention_bias", False) or rope not in ("default", "linear", "llama3"):
        what = f"this {kind} has settings that are not written as .gguf here (a window, biases, an activation, or RoPE of the kind {rope})"
        raise ModelError(
            what, where=str(config.name_or_path), hint="use llama.cpp's own convert_hf_to_gguf.py on the folder of --to merged"
        )
    return ARCHITECTURES[kind]


def _write_shape(writer: Any, model: Any, name: str) -> None:
    import gguf

    config = model.config
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_name(name)
    writer.add_vocab_size(model.get_input_embeddings().num_embeddings)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(head)
    rope: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
    writer.add_rope_freq_base(float(rope.get("rope_theta", 10_000.0)))
    if rope.get("rope_type") == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(float(rope["factor"]))


def _tensors(model: Any, architecture: Any, gguf: Any) -> dict[str, Tensor]:
    """Return the weights by their names in the file.

    Raises:
        ModelError: gguf has no name for some of them.
    """
    config = model.config
    places: Any = gguf.get_tensor_name_map(architecture, config.num_hidden_layers)
    paired = (
        {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads} if config.model_type in ("llama", "mistral") else {}
    )
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    found: dict[str, Tensor] = {}
    unknown: list[str] = []
    state: dict[str, Tensor] = model.state_dict()
    for name, tensor in state.items():
        if tied and name == "lm_head.weight":
            continue
        place: str | None = places.get_name(name, try_suffixes=(".weight", ".bias"))
        if place is None:
            unknown.append(name)
            continue
        heads = paired.get(name.split(".")[-2])
        value = tensor.detach().to("cpu", torch.float32)
        if heads:
            value = value.view(heads, 2, -1, *value.shape[1:]).transpose(1, 2).reshape(value.shape)
        found[place] = value.contiguous()
    if unknown:
        raise ModelError(f"gguf has no name for {named(unknown)}", where=str(config.model_type), hint="give it as a folder: --to merged")
    if (config.rope_parameters or {}).get("rope_type") == "llama3":
        found["rope_freqs.weight"] = _rope_factors(model)
    return found


def _rope_factors(model: Any) -> Tensor:
    """Return by how much each rotary frequency is divided, out of the model's own frequencies."""
    own: Tensor = model.base_model.rotary_emb.inv_freq.detach().float().cpu()
    theta = float(model.config.rope_parameters["rope_theta"])
    return 1.0 / (theta ** (torch.arange(len(own), dtype=torch.float32) / len(own))) / own


def _add(writer: Any, name: str, tensor: Tensor, kind: Kind, gguf: Any) -> None:
    """Add a tensor. Vectors stay float32; a matrix whose rows are no whole blocks is float16 instead of q8_0."""
    array = tensor.numpy()
    if tensor.ndim < 2 or kind == "float32":
        writer.add_tensor(name, array)
    elif kind == "float16" or (kind == "q8_0" and tensor.shape[-1] % BLOCK):
        writer.add_tensor(name, array.astype("float16"))
    else:
        packed = gguf.GGMLQuantizationType.Q8_0 if kind == "q8_0" else gguf.GGMLQuantizationType.BF16
        writer.add_tensor(name, gguf.quantize(array, packed), raw_dtype=packed)


def pre_tokenizer_of(tokenizer: Any) -> str:
    """Return llama.cpp's name for the way in which a byte-level BPE tokenizer cuts a text into words.

    Raises:
        ModelError: it is of another kind, or cuts in a way that is not known here.
    """
    hint = "use llama.cpp's own convert_hf_to_gguf.py on the folder of --to merged"
    where = str(getattr(tokenizer, "name_or_path", "") or "tokenizer")
    backend = getattr(tokenizer, "backend_tokenizer", None)
    told: dict[str, Any] = json.loads(backend.to_str()) if backend is not None else {}
    model: dict[str, Any] = told.get("model") or {}
    normalizer: dict[str, Any] | None = told.get("normalizer")
    if model.get("type") != "BPE" or model.get("byte_fallback") or (normalizer and normalizer.get("type") != "NFC"):
        raise ModelError("only byte-level BPE tokenizers are written as .gguf here", where=where, hint=hint)
    outer: dict[str, Any] = told.get("pre_tokenizer") or {}
    steps = cast("list[dict[str, Any]]", outer.get("pretokenizers", [outer]) if outer.get("type") == "Sequence" else [outer])
    cuts, last = steps[:-1], steps[-1]
    byte_level = last.get("type") == "ByteLevel" and not last.get("add_prefix_space")
    if byte_level and last.get("use_regex", True):
        if not cuts:
            return "gpt-2"
        if cuts == [{"type": "Digits", "individual_digits": True}]:
            return "smollm"
        if _newline_apart(cuts, model):
            return "gpt-2"
    if byte_level and len(cuts) == 1 and cuts[0].get("type") == "Split" and cuts[0].get("behavior") == "Isolated":
        found: dict[str, Any] = cuts[0].get("pattern") or {}
        pattern = str(found.get("Regex", ""))
        if pattern in SPLITS and not cuts[0].get("invert"):
            return SPLITS[pattern]
    raise ModelError("the way in which its tokenizer cuts words has no name in llama.cpp that is known here", where=where, hint=hint)


def _newline_apart(cuts: Sequence[dict[str, Any]], model: dict[str, Any]) -> bool:
    """Return whether newlines are cut off first and no merge holds one: then GPT-2's words give the same tokens."""
    newline = len(cuts) == 1 and cuts[0].get("type") == "Split" and cuts[0].get("pattern") == {"Regex": "\\n"}
    return newline and not any(NEWLINE in "".join(merge) for merge in model["merges"])


def _write_tokenizer(writer: Any, tokenizer: Any, rows: int, pre: str, stop: Sequence[int], gguf: Any) -> None:
    """Write the vocabulary with as many entries as the embedding has rows, merges, special ids and the chat template."""
    added: dict[int, Any] = tokenizer.added_tokens_decoder
    words: list[str] = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    types = gguf.TokenType
    kinds = [
        types.NORMAL if id not in added else types.CONTROL if added[id].special else types.USER_DEFINED for id in range(len(tokenizer))
    ]
    spare = range(len(tokenizer), rows)
    merges: list[Sequence[str] | str] = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list([*words, *(f"[PAD{id}]" for id in spare)])
    writer.add_token_types([*kinds, *(types.UNUSED for _ in spare)])
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    if tokenizer.bos_token_id is not None:
        writer.add_bos_token_id(tokenizer.bos_token_id)
    if tokenizer.pad_token_id is not None:
        writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_add_bos_token(adds_bos(tokenizer))
    ends = [writer.add_eos_token_id, writer.add_eot_token_id, writer.add_eom_token_id]
    if len(stop) > len(ends):
        what = f"the model ends a response at {len(stop)} tokens; a .gguf file names {len(ends)} at most"
        raise ModelError(what, where="eos_token_id", hint="leave the ones out of generation_config.json that it never writes")
    for write, end in zip(ends, stop, strict=False):
        write(end)
    if isinstance(tokenizer.chat_template, str):
        writer.add_chat_template(tokenizer.chat_template)


def adds_bos(tokenizer: Any) -> bool:
    """Return whether a tokenizer puts its BOS before a text by itself."""
    ids: list[int] = tokenizer("a")["input_ids"]
    return tokenizer.bos_token_id is not None and ids[:1] == [tokenizer.bos_token_id]
