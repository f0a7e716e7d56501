"""Small decoders of several architectures, and the same weights in transformers' own forward pass."""

from __future__ import annotations

from typing import Any

from tiny import VOCAB

SMALL: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
BROAD: dict[str, Any] = {**SMALL, "initializer_range": 0.3, "bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 0}


def architectures() -> dict[str, tuple[Any, bool]]:
    """Model classes with configurations, and whether they take the short path."""
    import transformers as t

    gated = {**BROAD, "intermediate_size": 24}
    return {
        "llama": (t.LlamaForCausalLM(t.LlamaConfig(**gated)), True),
        "llama grouped": (t.LlamaForCausalLM(t.LlamaConfig(**gated, num_key_value_heads=2)), True),
        "llama mlp bias": (t.LlamaForCausalLM(t.LlamaConfig(**gated, mlp_bias=True, attention_bias=True)), False),
        "qwen2 bias": (t.Qwen2ForCausalLM(t.Qwen2Config(**gated, num_key_value_heads=2, use_sliding_window=False)), True),
        "gpt neox": (t.GPTNeoXForCausalLM(t.GPTNeoXConfig(**gated)), False),
        "gpt2": (
            t.GPT2LMHeadModel(
                t.GPT2Config(
                    vocab_size=VOCAB, n_embd=16, n_layer=2, n_head=4, n_positions=64, initializer_range=0.3, eos_token_id=1, bos_token_id=1
                )
            ),
            False,
        ),
    }


def plain_copy(model: Any) -> Any:
    """The same weights in a model that runs transformers' own forward with its own attention."""
    config = type(model.config).from_dict(model.config.to_dict())
    config._attn_implementation = "eager"
    copy = type(model)(config)
    copy.load_state_dict(model.state_dict())
    return copy.eval()
