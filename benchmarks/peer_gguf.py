"""A Llama folder as a GGUF file for llama.cpp: the same weights, tokenizer and chat template, nothing quantised.

python benchmarks/peer_gguf.py demo/models/ppo ppo.gguf
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from safetensors.numpy import load_file

BLOCK = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
OUTER = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight", "lm_head.weight": "output.weight"}


def tensor_name(name: str) -> str:
    """llama.cpp's name of a Hugging Face tensor."""
    if name in OUTER:
        return OUTER[name]
    _, _, block, rest = name.split(".", 3)
    return f"blk.{block}.{BLOCK[rest.removesuffix('.weight')]}.weight"


def side_by_side(weight: np.ndarray, heads: int) -> np.ndarray:
    """Queries and keys with the two halves of each rotated pair next to each other, as llama.cpp rotates them."""
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def convert(folder: Path, target: Path, *, half: bool = False) -> None:
    """Writes the file; matrices in float16 when ``half``, else in float32."""
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    writer = gguf.GGUFWriter(str(target), "llama")
    _describe(writer, config, half)
    _tokenizer(writer, folder, config)
    for name, weight in load_file(folder / "model.safetensors").items():
        if "q_proj" in name or "k_proj" in name:
            weight = side_by_side(weight, config["num_attention_heads" if "q_proj" in name else "num_key_value_heads"])
        kind = np.float16 if half and weight.ndim == 2 else np.float32
        writer.add_tensor(tensor_name(name), np.ascontiguousarray(weight.astype(kind)))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _describe(writer: Any, config: dict[str, Any], half: bool) -> None:
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16 if half else gguf.LlamaFileType.ALL_F32)


def _tokenizer(writer: Any, folder: Path, config: dict[str, Any]) -> None:
    described: dict[str, Any] = json.loads((folder / "tokenizer.json").read_text())
    vocabulary: dict[str, int] = described["model"]["vocab"]
    special = {row["id"]: row["content"] for row in described["added_tokens"]}
    names = {id: name for name, id in vocabulary.items()} | special
    tokens = [names[id] for id in range(config["vocab_size"])]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL if id in special else gguf.TokenType.NORMAL for id in range(len(tokens))])
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in described["model"]["merges"]])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_pad_token_id(config["pad_token_id"])
    writer.add_add_bos_token(False)
    writer.add_chat_template((folder / "chat_template.jinja").read_text())


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]), half="--half" in sys.argv)
