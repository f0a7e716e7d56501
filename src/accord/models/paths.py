"""Which way a model is computed: the fastest of five that is known to be right for it. The choice lives with the model's body.

| path | forward pass | attention | what a row meets of the others |
|---|---|---|---|
| ``fused`` | our own Llama (``models.decoder``) | ours, packed | nothing |
| ``own`` | the model's modules | ours, packed | nothing |
| ``padded`` | the model's modules | transformers' | pads |
| ``grouped`` | the model's modules | transformers' | rows of its own length |
| ``whole`` | as ``grouped``; each token that is drawn reads its row again | transformers' | rows of its own length |

The last three are the plain path (``models.plain``). A model that stands in none of the lists here is computed as a ``whole``, which
is slow and right for whatever is right at all. ``engine.first_use`` compares the chosen path with transformers, row by row.
"""

from __future__ import annotations

from typing import Any, Literal, cast

from torch import nn

from accord.models.attention import NAME, register

Way = Literal["fused", "own", "padded", "grouped", "whole"]
PLAIN: tuple[Way, ...] = ("padded", "grouped", "whole")
"""The plain path's levels, fastest first."""

LLAMA_SHAPED = {"LlamaModel", "Qwen2Model", "MistralModel"}
HARMLESS = {
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim"),
    *("max_position_embeddings", "initializer_range", "rms_norm_eps", "use_cache", "tie_word_embeddings", "attention_dropout"),
    *("bos_token_id", "eos_token_id", "pad_token_id", "pretraining_tp", "architectures", "id2label", "label2id", "num_labels"),
    *("problem_type", "dtype", "transformers_version", "return_dict", "output_hidden_states", "chunk_size_feed_forward"),
    *("rope_parameters", "hidden_act", "attention_bias", "mlp_bias", "layer_types", "sliding_window", "use_sliding_window"),
    *("max_window_layers", "name_or_path"),
}
"""Settings of a Llama-shaped configuration that the fused path honours, or that change nothing in its forward pass."""

OWN = {
    *("llama", "mistral", "qwen2", "qwen3", "qwen3_moe", "mixtral", "gemma", "gpt2", "gpt_bigcode", "gpt_neox", "opt", "biogpt"),
    *("phi3", "olmo", "olmo2", "smollm3", "glm4", "persimmon", "ernie4_5", "apertus", "helium", "bitnet", "arcee", "seed_oss"),
    *("hunyuan_v1_dense", "glm", "granite", "cohere", "phi", "qwen2_moe", "olmoe", "granitemoe", "phimoe", "ernie4_5_moe", "dots1"),
    *("glm4_moe", "deepseek_v2", "deepseek_v3", "minicpm3"),
}
"""Model types whose layers call our attention, once each, and nothing else that looks at other tokens."""

PADDED = {
    *("llama", "mistral", "ministral", "qwen2", "qwen3", "smollm3", "olmo", "olmo2", "olmo3", "arcee", "apertus", "bitnet", "helium"),
    *("seed_oss", "hunyuan_v1_dense", "ernie4_5", "exaone4", "glm", "glm4", "nemotron", "stablelm", "persimmon", "starcoder2", "phi3"),
    *("granite", "cohere", "cohere2", "gemma", "gemma2", "gemma3_text", "gemma4_text", "phi", "gptj", "codegen", "gpt2", "gpt_bigcode"),
    *("gpt_neo", "gpt_neox", "opt", "biogpt", "xglm", "falcon", "bloom", "mpt", "mixtral", "qwen2_moe", "qwen3_moe", "olmoe"),
    *("granitemoe", "phimoe", "ernie4_5_moe", "dots1", "glm4_moe", "gpt_oss", "deepseek_v2", "deepseek_v3", "minicpm3"),
    *("llava", "idefics3", "smolvlm", "gemma3", "qwen2_vl", "qwen2_5_vl", "qwen3_vl"),
}
"""Model types that look at other tokens through attention alone, under a mask that leaves pads out."""

GROUPED = {"mamba", "mamba2", "falcon_mamba", "recurrent_gemma", "lfm2", "jamba", "granitemoehybrid", "llama4_text"}
"""Model types with states that pads may move, whose cache holds all that a row needs."""

STATIC_ROPE = {"default", "linear", "llama3", "yarn"}
"""Kinds of RoPE whose frequencies do not depend on how long a row is."""
ODD_ATTENTION = ("attn_logit_softcapping", "attention_chunk_size", "reorder_and_upcast_attn", "alibi")


def path_of(body: Any) -> Way:
    """Return the path of a model's body (``model.base_model``)."""
    path = cast("Way | None", getattr(body, "path", None))
    if path is None:
        ours = getattr(body.config, "_attn_implementation", "") == NAME
        path = _path(body, body.config) if ours else _plain(body.config)
        body.path = path
    return "own" if path == "fused" and _oddly_adapted(body) else path


def is_plain(body: Any) -> bool:
    """Return whether a body is computed by transformers alone."""
    return path_of(body) in PLAIN


def choose(model: Any) -> Way:
    """Return the fastest path that is known to be right for a model, by its configuration alone."""
    _name_body(model)
    return _path(model.base_model, model.config)


def take(model: Any, path: Way) -> Any:
    """Put a model on a path: note it on its body, and give its layers the attention that belongs to it."""
    _name_body(model)
    body = model.base_model
    if model.config.model_type == "rwkv":
        body.config.rescale_every = 0  # or its forward pass would halve the weights of later layers in place, and they would be saved so
    if not hasattr(body, "plain_attention"):
        body.plain_attention = getattr(model.config, "_attn_implementation", None) or "eager"
    wanted = body.plain_attention if path in PLAIN else register()
    if any(getattr(config, "_attn_implementation", None) != wanted for config in (model.config, body.config)):
        model.set_attn_implementation(wanted)
    body.path = path
    return model


def _name_body(model: Any) -> None:
    """Make ``model.base_model`` the body where its class names an attribute that this model does not have (Llama 4's text model)."""
    if model.base_model is not model:
        return
    bodies = [name for name, module in model.named_children() if hasattr(module, "get_input_embeddings")]
    if len(bodies) == 1:
        model.base_model_prefix = bodies[0]


def _path(body: Any, config: Any) -> Way:
    return "fused" if _fits_fused(body, config) else "own" if _fits_own(config) else _plain(config)


def _plain(config: Any) -> Way:
    if config.model_type in PADDED and _ropes(config.get_text_config()) <= STATIC_ROPE:
        return "padded"
    return "grouped" if config.model_type in GROUPED | PADDED else "whole"


def _fits_fused(body: Any, config: Any) -> bool:
    """Return whether the short path computes exactly what a body's modules do."""
    if type(body).__name__ not in LLAMA_SHAPED or getattr(config, "hidden_act", "") != "silu":
        return False
    usual: Any = type(config)()
    settings: dict[str, Any] = vars(usual)
    settings = {key: value for key, value in settings.items() if key not in HARMLESS and key[0] != "_"}
    strange = any(getattr(config, key) != value for key, value in settings.items())
    biased = getattr(config, "mlp_bias", False) or (type(body).__name__ == "LlamaModel" and config.attention_bias)
    dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    whole = 2 * len(body.rotary_emb.inv_freq) == dim
    return not (strange or biased or _windowed(config)) and _ropes(config) <= STATIC_ROPE and whole


def _fits_own(config: Any) -> bool:
    """Return whether our attention does all that a configuration asks of attention."""
    odd = any(getattr(config, key, None) for key in ODD_ATTENTION)
    causal = getattr(config, "is_causal", True) is not False
    return config.model_type in OWN and causal and not odd and not _windowed(config) and _ropes(config) <= STATIC_ROPE


def _windowed(config: Any) -> bool:
    """Return whether a layer sees less than all tokens before it."""
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    window = getattr(config, "sliding_window", None)
    if kinds != {"full_attention"}:
        return True
    if not window or getattr(config, "use_sliding_window", True) is False:
        return False
    layers_say = getattr(config, "layer_types", None) is not None  # and each of them sees everything
    return not layers_say and window < (getattr(config, "max_position_embeddings", None) or float("inf"))


def _ropes(config: Any) -> set[str]:
    """Return the kinds of RoPE in a configuration."""
    told: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
    by_layer: list[dict[str, Any]] = [value for value in told.values() if isinstance(value, dict)]
    return {str(each["rope_type"]) for each in (told, *by_layer) if "rope_type" in each}


def _oddly_adapted(body: nn.Module) -> bool:
    """Return whether an adapter does something else than to add a product of two matrices to a weight."""
    return any(hasattr(module, "lora_A") and not _plain_lora(module) for module in body.modules())


def _plain_lora(module: Any) -> bool:
    quiet = all(isinstance(dropout, nn.Identity) for dropout in module.lora_dropout.values())
    return quiet and not any(module.use_dora.values()) and not module.lora_embedding_A
