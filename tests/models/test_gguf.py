"""A .gguf file as llama.cpp's converter writes it: the same tokens, the same logits, and a folder trained from it is a plain one."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from tiny import chat, llama, sequences
from transformers import AutoModelForCausalLM

from accord.data.tokenizers import load_tokenizer
from accord.errors import ModelError, UsageError
from accord.models.folders import load_causal_lm, save_model
from accord.runtime.lineage import digest_folder

ROW = torch.tensor(sequences([11], vocab=300))
NAMES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output"}
NAMES |= {"mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}
NAMES |= {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "model.layers.": "blk."}
NAMES |= {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def write_gguf(path: Path, model: Any, tokenizer: Any, *, packed: bool = False) -> Path:
    """Write a Llama with its tokenizer as llama.cpp's convert_hf_to_gguf.py does: names, the order of rotary rows, metadata."""
    config = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_vocab_size(config.vocab_size)
    special = {id for id, token in tokenizer.added_tokens_decoder.items() if token.special}
    kinds = [gguf.TokenType.CONTROL if id in special else gguf.TokenType.NORMAL for id in range(len(tokenizer))]
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokenizer.convert_ids_to_tokens(list(range(len(tokenizer)))))
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_chat_template(tokenizer.chat_template)
    tied = config.tie_word_embeddings
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and tied:
            continue
        array = tensor.numpy()
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(name.split(".")[-2])
        if heads:
            array = array.reshape(heads, 2, -1, array.shape[1]).swapaxes(1, 2).reshape(array.shape)
        for ours, theirs in NAMES.items():
            name = name.replace(ours, theirs)
        if packed and array.ndim == 2:
            writer.add_tensor(name, gguf.quantize(array, gguf.GGMLQuantizationType.Q8_0), raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor(name, np.ascontiguousarray(array))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    model.set_attn_implementation("eager")
    return model.eval()(ROW).logits


def test_a_gguf_file_says_what_the_folder_said_that_it_was_made_from(tmp_path: Path) -> None:
    model, tokenizer = llama(vocab=300, heads=2, kv_heads=1, hidden=64), chat().tokenizer
    file = write_gguf(tmp_path / "model.gguf", model, tokenizer)
    for source in (file, tmp_path):
        opened, theirs = load_causal_lm(source), load_tokenizer(source)
        assert torch.allclose(logits(opened), logits(model), atol=1e-4)
    assert theirs.chat_template == tokenizer.chat_template
    assert (theirs.eos_token, theirs.pad_token) == (tokenizer.eos_token, tokenizer.pad_token)
    text = "The baker opens the shop at seven.<|end|>"
    assert theirs(text, add_special_tokens=False)["input_ids"] == tokenizer(text, add_special_tokens=False)["input_ids"]
    before = digest_folder(file)
    file.write_bytes(file.read_bytes() + b"\0")
    assert digest_folder(file) != before


def test_a_model_trained_from_a_packed_file_is_saved_as_a_plain_folder(tmp_path: Path) -> None:
    model, tokenizer = llama(vocab=300, hidden=64), chat().tokenizer
    opened = load_causal_lm(write_gguf(tmp_path / "model.gguf", model, tokenizer, packed=True))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                kind = gguf.GGMLQuantizationType.Q8_0
                parameter.copy_(torch.tensor(gguf.dequantize(gguf.quantize(parameter.numpy(), kind), kind)))
    assert torch.allclose(logits(opened), logits(model), atol=1e-4)
    save_model(tmp_path / "saved", opened, load_tokenizer(tmp_path / "model.gguf"))
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    assert torch.allclose(logits(plain), logits(opened), atol=1e-5)
    assert {tensor.dtype for tensor in plain.state_dict().values()} == {torch.float32}, "all that the file held"
    saved = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert "quantization_config" not in saved
    assert load_tokenizer(tmp_path / "saved").get_vocab() == tokenizer.get_vocab()


def test_files_that_cannot_be_opened_say_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = write_gguf(tmp_path / "model.gguf", llama(vocab=300), chat().tokenizer)
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "model.gguf").write_bytes(whole.read_bytes()[:-3000])
    with pytest.raises(ModelError, match=r"cut/model\.gguf: the model cannot be read"):
        load_causal_lm(tmp_path / "cut")
    for opened in (load_causal_lm, load_tokenizer):
        (tmp_path / "model-00001-of-00002.gguf").write_bytes(b"")
        with pytest.raises(ModelError, match=r"one part of a \.gguf file.*--merge"):
            opened(tmp_path / "model-00001-of-00002.gguf")
        with pytest.raises(ModelError, match=r"2 \.gguf files .name one"):
            opened(tmp_path)
        with monkeypatch.context() as without:
            without.setitem(sys.modules, "gguf", None)
            with pytest.raises(UsageError, match=r"a \.gguf file needs gguf.*accord-rlhf\[gguf\]"):
                opened(whole)
