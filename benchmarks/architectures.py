"""Tiny random models of the architectures that transformers knows, for the bench of models.

Each is two layers of width 32 over a vocabulary of 128 tokens. Windows are shorter than the bench's rows, and caps are low enough to
bite, so that a model that ignores one of them is wrong by far. Nothing is downloaded, and nothing of Accord is imported.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

VOCABULARY = 128
WINDOW = 8
"""Of every architecture with a sliding window. Most rows of the bench are longer."""
SHORT = 16
"""Positions that a model with dynamic, long or YaRN RoPE was trained on. Rows of the bench go beyond."""

COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "bos_token_id": 1,
    "eos_token_id": 1,
    "pad_token_id": 0,
    "initializer_range": 0.2,
}
GATED: dict[str, Any] = {"num_key_value_heads": 2, "intermediate_size": 48, "head_dim": 8}
WINDOWED = {"sliding_window": WINDOW}
MIXED = {**WINDOWED, "layer_types": ["sliding_attention", "full_attention"]}
EXPERTS = {"num_local_experts": 4, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
LATENT = {
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 12,
    "num_key_value_heads": 4,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "first_k_dense_replace": 1,
    "n_group": 2,
    "topk_group": 1,
}
STATES = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 1, "mamba_expand": 2, "mamba_chunk_size": 8}


def _rope(kind: str, **more: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10_000.0, **more}}


@dataclass(frozen=True)
class Architecture:
    """One row of the bench: a model type of transformers and the settings that are not ``COMMON``."""

    name: str
    model_type: str
    settings: dict[str, Any] = field(default_factory=dict)
    attention: str = "eager"
    """transformers' attention that the reference runs with."""


def _all() -> list[Architecture]:
    one = Architecture
    long = [1.0 + 0.5 * i for i in range(4)]
    return [
        # Llama and its kin: RMS norms, rotary positions, a gated MLP
        one("Llama", "llama", {**GATED, "tie_word_embeddings": True}),
        one("Llama, untied", "llama", {**GATED, "tie_word_embeddings": False}),
        one("Llama, biases", "llama", {**GATED, "attention_bias": True, "mlp_bias": True}),
        one("Llama, wide heads", "llama", {**GATED, "head_dim": 16}),
        one("Llama, RoPE linear", "llama", {**GATED, **_rope("linear", factor=4.0)}),
        one("Llama, RoPE dynamic", "llama", {**GATED, **_rope("dynamic", factor=4.0), "max_position_embeddings": SHORT}),
        one("Llama, RoPE yarn", "llama", {**GATED, **_rope("yarn", factor=8.0, original_max_position_embeddings=SHORT)}),
        one(
            "Llama, RoPE llama3",
            "llama",
            {
                **GATED,
                **_rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=SHORT),
            },
        ),
        one("Mistral, window", "mistral", {**GATED, **WINDOWED}),
        one("Mistral, no window", "mistral", {**GATED, "sliding_window": None}),
        one("Ministral, windows", "ministral", {**GATED, **MIXED}),
        one("Qwen2", "qwen2", {**GATED, "use_sliding_window": False}),
        one("Qwen2, window", "qwen2", {**GATED, "use_sliding_window": True, **WINDOWED, "max_window_layers": 1}),
        one("Qwen3", "qwen3", GATED),
        one("SmolLM3", "smollm3", {**GATED, "no_rope_layers": [1, 0]}),
        one("OLMo", "olmo", {**GATED, "clip_qkv": 1.0}),
        one("OLMo 2", "olmo2", GATED),
        one("OLMo 3, windows", "olmo3", {**GATED, **MIXED}),
        one("Arcee", "arcee", GATED),
        one("Apertus", "apertus", GATED),
        one("BitNet", "bitnet", GATED),
        one("Helium", "helium", GATED),
        one("Seed-OSS", "seed_oss", GATED),
        one("HunYuan dense", "hunyuan_v1_dense", GATED),
        one("Ernie 4.5", "ernie4_5", GATED),
        one("EXAONE 4, windows", "exaone4", {**GATED, **MIXED}),
        one("GLM", "glm", GATED),
        one("GLM-4", "glm4", GATED),
        one("Nemotron", "nemotron", {**GATED, "partial_rotary_factor": 0.5}),
        one("StableLM", "stablelm", {**GATED, "use_qkv_bias": True, "qk_layernorm": True}),
        one("StableLM, parallel", "stablelm", {**GATED, "use_parallel_residual": True}),
        one("Persimmon", "persimmon", {"intermediate_size": 48}),
        one("StarCoder2, window", "starcoder2", {**GATED, **WINDOWED}),
        one("Phi-3, window", "phi3", {**GATED, **WINDOWED}),
        one(
            "Phi-3, RoPE long",
            "phi3",
            {
                **GATED,
                **_rope("longrope", short_factor=[1.0] * 4, long_factor=long, factor=8.0, original_max_position_embeddings=SHORT),
                "original_max_position_embeddings": SHORT,
                "sliding_window": None,
            },
        ),
        # heads that are more than a matrix
        one("Granite", "granite", {**GATED, "logits_scaling": 4.0, "embedding_multiplier": 3.0, "attention_multiplier": 0.2}),
        one("Cohere", "cohere", {**GATED, "logit_scale": 0.25, "use_qk_norm": True}),
        one("Cohere 2, windows", "cohere2", {**GATED, **MIXED, "logit_scale": 0.25}),
        one("Gemma", "gemma", GATED),
        one("Gemma 2, windows, soft caps", "gemma2", {**GATED, **MIXED, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}),
        one("Gemma 3 text, windows", "gemma3_text", {**GATED, **MIXED}),
        one(
            "Gemma 4 text, windows",
            "gemma4_text",
            {
                **GATED,
                **MIXED,
                "global_head_dim": 8,
                "hidden_size_per_layer_input": 8,
                "vocab_size_per_layer_input": VOCABULARY,
                "num_kv_shared_layers": 0,
                "final_logit_softcapping": 3.0,
            },
        ),
        one("Phi", "phi", {"intermediate_size": 48}),
        one("GPT-J", "gptj", {"rotary_dim": 4}),
        one("CodeGen", "codegen", {"rotary_dim": 4, "hidden_size": 32}),
        # learned or other positions, layer norms
        one("GPT-2", "gpt2"),
        one("GPT-2, scaled by layer", "gpt2", {"scale_attn_by_inverse_layer_idx": True}),
        one("GPT-BigCode", "gpt_bigcode", {"multi_query": True}),
        one("GPT-Neo, window", "gpt_neo", {"attention_types": [[["global", "local"], 1]], "window_size": WINDOW}),
        one("GPT-NeoX", "gpt_neox", {"intermediate_size": 48}),
        one("GPT-NeoX, in sequence", "gpt_neox", {"intermediate_size": 48, "use_parallel_residual": False, "attention_bias": False}),
        one("OPT", "opt", {"ffn_dim": 48, "word_embed_proj_dim": 32}),
        one("OPT-350m", "opt", {"ffn_dim": 48, "word_embed_proj_dim": 16, "do_layer_norm_before": False}),
        one("OPT, layer drop", "opt", {"ffn_dim": 48, "word_embed_proj_dim": 32, "layerdrop": 0.5, "dropout": 0.3}),
        one("BioGPT", "biogpt", {"intermediate_size": 48, "layerdrop": 0.5}),
        one("XGLM", "xglm", {"ffn_dim": 48, "layerdrop": 0.5}),
        one("Falcon", "falcon", {"multi_query": True, "parallel_attn": True, "bias": False}),
        one("Falcon, new decoder", "falcon", {"new_decoder_architecture": True, "num_kv_heads": 2, "bias": False}),
        # transformers' eager attention adds Falcon's ALiBi twice (in 5.23: once in the mask, once to the products); its default does not
        one("Falcon, ALiBi", "falcon", {"alibi": True, "multi_query": False, "parallel_attn": False, "bias": True}, attention="sdpa"),
        one("Bloom, ALiBi", "bloom"),
        one("MPT, ALiBi", "mpt", {"expansion_ratio": 2}),
        # mixtures of experts
        one("Mixtral", "mixtral", {**GATED, **EXPERTS}),
        one("Mixtral, window", "mixtral", {**GATED, **EXPERTS, **WINDOWED}),
        one("Qwen2-MoE", "qwen2_moe", {**GATED, **EXPERTS, "shared_expert_intermediate_size": 16}),
        one("Qwen3-MoE", "qwen3_moe", {**GATED, **EXPERTS}),
        one("OLMoE", "olmoe", {**GATED, **EXPERTS}),
        one("Granite-MoE", "granitemoe", {**GATED, **EXPERTS, "logits_scaling": 4.0, "attention_multiplier": 0.2}),
        one("Phi-3.5-MoE", "phimoe", {**GATED, **EXPERTS, "lm_head_bias": True, "sliding_window": None}),
        one("Ernie 4.5 MoE", "ernie4_5_moe", {**GATED, **EXPERTS, "moe_num_experts": 4, "moe_k": 2, "moe_layer_start_index": 1}),
        one("dots.llm1", "dots1", {**GATED, **LATENT, "num_key_value_heads": 2}),
        one("GLM-4 MoE", "glm4_moe", {**GATED, **LATENT, "num_key_value_heads": 2}),
        one(
            "gpt-oss, windows, sinks",
            "gpt_oss",
            {**GATED, **EXPERTS, **MIXED, **_rope("yarn", factor=8.0, original_max_position_embeddings=SHORT)},
        ),
        one(
            "Llama 4 text, chunks",
            "llama4_text",
            {
                **GATED,
                **EXPERTS,
                "intermediate_size_mlp": 48,
                "attention_chunk_size": WINDOW,
                "no_rope_layers": [1, 0],
                "layer_types": ["chunked_attention", "full_attention"],
                "interleave_moe_layer_step": 2,
                "attn_temperature_tuning": True,
                "floor_scale": 8,
            },
        ),
        one("DeepSeek-V2", "deepseek_v2", {**GATED, **LATENT, "topk_method": "group_limited_greedy", "head_dim": 4}),
        one("DeepSeek-V3", "deepseek_v3", {**GATED, **LATENT, "head_dim": 4}),
        one("MiniCPM3", "minicpm3", {**GATED, **LATENT, "head_dim": 4}),
        # states instead of, or beside, attention
        one("Mamba", "mamba", {"state_size": 8, "expand": 2, "conv_kernel": 4}),
        one("Mamba 2", "mamba2", {"state_size": 8, "num_heads": 8, "head_dim": 8, "n_groups": 1, "chunk_size": 8}),
        one("Falcon-Mamba", "falcon_mamba", {"state_size": 8, "expand": 2, "conv_kernel": 4}),
        one("RWKV", "rwkv", {"attention_hidden_size": 32, "intermediate_size": 48, "context_length": 128}),
        one(
            "RecurrentGemma",
            "recurrent_gemma",
            {**GATED, "attention_window_size": WINDOW, "block_types": ["recurrent", "attention"], "lru_width": 32},
        ),
        one("LFM2", "lfm2", {**GATED, "layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False}),
        one(
            "Jamba",
            "jamba",
            {
                **GATED,
                **EXPERTS,
                "attn_layer_period": 2,
                "attn_layer_offset": 1,
                "expert_layer_period": 2,
                "expert_layer_offset": 1,
                "mamba_d_state": 8,
                "mamba_dt_rank": 4,
                "use_mamba_kernels": False,
            },
        ),
        one("Bamba", "bamba", {**GATED, **STATES, "attn_layer_indices": [1]}),
        one("Falcon-H1", "falcon_h1", {**GATED, **STATES, "mamba_d_ssm": 64, "lm_head_multiplier": 0.5, "key_multiplier": 0.5}),
        one(
            "Granite hybrid",
            "granitemoehybrid",
            {**GATED, **EXPERTS, **STATES, "layer_types": ["mamba", "attention"], "shared_intermediate_size": 48},
        ),
        one(
            "Nemotron-H",
            "nemotron_h",
            {
                **GATED,
                **EXPERTS,
                "layers_block_type": ["mamba", "attention"],
                "mamba_num_heads": 8,
                "mamba_head_dim": 8,
                "ssm_state_size": 8,
                "n_groups": 1,
                "chunk_size": 8,
            },
        ),
        one(
            "Zamba 2",
            "zamba2",
            {
                "intermediate_size": 48,
                "num_hidden_layers": 3,
                "layer_types": ["mamba", "hybrid", "mamba"],
                "layers_block_type": ["mamba", "hybrid", "mamba"],
                "mamba_d_state": 8,
                "n_mamba_heads": 8,
                "mamba_headdim": 8,
                "mamba_ngroups": 1,
                "chunk_size": 8,
                "use_mem_rope": True,
                "adapter_rank": 4,
                "num_mem_blocks": 1,
            },
        ),
        one(
            "MiniMax, linear attention",
            "minimax",
            {**GATED, **EXPERTS, "layer_types": ["linear_attention", "full_attention"], "block_size": 8},
        ),
        one(
            "Qwen3-Next, linear attention",
            "qwen3_next",
            {
                **GATED,
                **EXPERTS,
                "initializer_range": 0.05,  # wider weights make its logits move by the limit when a weight moves by its last bit
                "layer_types": ["linear_attention", "full_attention"],
                "linear_num_value_heads": 4,
                "linear_num_key_heads": 2,
                "linear_key_head_dim": 8,
                "linear_value_head_dim": 8,
                "shared_expert_intermediate_size": 16,
            },
        ),
    ]


ARCHITECTURES = {each.name: each for each in _all()}


def build(architecture: Architecture, seed: int = 0) -> Any:
    """Return a random model in float32. Every parameter is moved, for norms that start as ones and biases that start as zeros hide
    mistakes."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(architecture.model_type, **{**COMMON, **architecture.settings})
    torch.manual_seed(seed)
    model: Any = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model.eval()
