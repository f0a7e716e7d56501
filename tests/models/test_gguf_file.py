"""Models written as .gguf files, read by transformers' own reader: the same tokens and greedy text, logits within the packing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from tiny import SENTENCES, chat, llama, sequences
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from accord.errors import ModelError
from accord.models.folders import load_causal_lm, prepared
from accord.models.gguf_file import SPLITS, adds_bos, pre_tokenizer_of, write_gguf

VOCAB = 320
"""More rows than the tokenizer has tokens, as many models have."""
BODY: dict[str, Any] = {"vocab_size": VOCAB, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
SHAPE: dict[str, Any] = BODY | {"num_key_value_heads": 2, "intermediate_size": 96, "max_position_embeddings": 128, "initializer_range": 0.2}
ENDS: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": 0}
ROW = torch.tensor(sequences([30], vocab=300))


def build(kind: Any, config: Any, **how: Any) -> Any:
    torch.manual_seed(0)
    return prepared(kind(config(**{**SHAPE, **ENDS, **how})))


BODIES = {
    "llama": lambda: build(LlamaForCausalLM, LlamaConfig, tie_word_embeddings=True),
    "llama, untied": lambda: build(LlamaForCausalLM, LlamaConfig, rope_parameters={"rope_type": "default", "rope_theta": 50_000.0}),
    "mistral": lambda: build(MistralForCausalLM, MistralConfig, sliding_window=None),
    "qwen2": lambda: build(Qwen2ForCausalLM, Qwen2Config, tie_word_embeddings=True),
    "qwen3": lambda: build(Qwen3ForCausalLM, Qwen3Config, head_dim=128),
}
NEAR = 1e-3
"""How far log-probabilities may be off for rounding."""
TYPES = {"float16": "F16", "bfloat16": "BF16", "q8_0": "Q8_0"}


@torch.no_grad()
def logprobs(model: Any) -> torch.Tensor:
    model.set_attn_implementation("eager")
    return model.eval()(ROW).logits.float().log_softmax(-1)


@torch.no_grad()
def greedy(model: Any) -> list[int]:
    model.set_attn_implementation("eager")
    return model.generate(ROW, max_new_tokens=12, do_sample=False, pad_token_id=0)[0].tolist()


@pytest.mark.parametrize("name", BODIES)
def test_transformers_reads_the_same_model_out_of_the_file(name: str, tmp_path: Path) -> None:
    model, tokenizer = BODIES[name](), chat().tokenizer
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            if parameter_name.endswith(".bias"):
                parameter.copy_(torch.randn(parameter.shape))
    write_gguf(tmp_path / "m.gguf", model, tokenizer, "float32", name="tiny", stop=(0, 1))
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="m.gguf", dtype=torch.float32)
    assert (logprobs(theirs) - logprobs(model)).abs().max() < NEAR
    assert greedy(theirs) == greedy(model)
    read = AutoTokenizer.from_pretrained(tmp_path, gguf_file="m.gguf")
    text = "The baker opens the shop at seven.<|end|>\n\nWho?"
    assert read(text, add_special_tokens=False)["input_ids"] == tokenizer(text, add_special_tokens=False)["input_ids"]
    assert read.chat_template == tokenizer.chat_template
    assert (logprobs(load_causal_lm(tmp_path / "m.gguf")) - logprobs(model)).abs().max() < NEAR, "and so do we"


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "q8_0"])
def test_packed_files_are_as_near_as_their_precision(kind: Any, tmp_path: Path) -> None:
    model = BODIES["llama"]()
    write_gguf(tmp_path / "m.gguf", model, chat().tokenizer, kind, name="tiny", stop=(0,))
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="m.gguf", dtype=torch.float32)
    off = (logprobs(theirs) - logprobs(model)).abs().max()
    packed = gguf.GGMLQuantizationType[TYPES[kind]]
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.copy_(torch.tensor(gguf.dequantize(gguf.quantize(parameter.numpy(), packed), packed)))
    assert (logprobs(theirs) - logprobs(model)).abs().max() < NEAR < off, "the same as with weights that were rounded here"
    assert greedy(theirs) == greedy(model)
    types = {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(tmp_path / "m.gguf").tensors}
    assert types["blk.0.attn_q.weight"] == types["token_embd.weight"] == TYPES[kind]
    assert types["output_norm.weight"] == "F32"
    assert "output.weight" not in types, "the head is tied"


def field(reader: gguf.GGUFReader, name: str) -> Any:
    found = reader.fields[name]
    return found.contents()


def test_the_file_names_every_end_of_a_response_and_the_tokens_that_stand_for_nothing(tmp_path: Path) -> None:
    tokenizer = chat().tokenizer
    write_gguf(tmp_path / "m.gguf", BODIES["llama"](), tokenizer, "float32", name="tiny", stop=(1, 0))
    reader = gguf.GGUFReader(tmp_path / "m.gguf")
    assert (field(reader, "tokenizer.ggml.eos_token_id"), field(reader, "tokenizer.ggml.eot_token_id")) == (1, 0)
    assert field(reader, "tokenizer.ggml.add_bos_token") is False
    assert field(reader, "tokenizer.ggml.pre") == "gpt-2"
    tokens, types = field(reader, "tokenizer.ggml.tokens"), field(reader, "tokenizer.ggml.token_type")
    assert (len(tokens), len(types)) == (VOCAB, VOCAB)
    assert (types[1], types[20], types[-1]) == (gguf.TokenType.CONTROL, gguf.TokenType.NORMAL, gguf.TokenType.UNUSED)
    with pytest.raises(ModelError, match="ends a response at 4 tokens"):
        write_gguf(tmp_path / "n.gguf", BODIES["llama"](), tokenizer, "float32", name="tiny", stop=(1, 0, 2, 3))


def test_frequencies_of_llama_3_are_written_as_the_factors_that_llama_cpp_divides_by(tmp_path: Path) -> None:
    rope = {"rope_type": "llama3", "rope_theta": 10_000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    model = build(LlamaForCausalLM, LlamaConfig, rope_parameters={**rope, "original_max_position_embeddings": 64})
    write_gguf(tmp_path / "m.gguf", model, chat().tokenizer, "float32", name="tiny", stop=(0,))
    found = {tensor.name: tensor.data for tensor in gguf.GGUFReader(tmp_path / "m.gguf").tensors}["rope_freqs.weight"]
    assert found[0] == pytest.approx(1.0)
    assert found[-1] == pytest.approx(8.0, rel=1e-4)


def bpe(pre: Any, **model: Any) -> Any:
    made = Tokenizer(models.BPE(vocab={"a": 0, "b": 1}, merges=[], **model))
    made.pre_tokenizer, made.decoder = pre, decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=made)


def test_how_words_are_cut_has_llama_cpp_s_name_or_is_refused() -> None:
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    assert pre_tokenizer_of(bpe(byte_level)) == "gpt-2"
    assert pre_tokenizer_of(bpe(pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level]))) == "smollm"
    for pattern, name in SPLITS.items():
        cut = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
        assert pre_tokenizer_of(bpe(pre_tokenizers.Sequence([cut, plain]))) == name
    assert pre_tokenizer_of(chat().tokenizer) == "gpt-2"
    other = pre_tokenizers.Split(Regex(r"\d+"), behavior="isolated")
    for odd in (pre_tokenizers.Whitespace(), pre_tokenizers.Sequence([other, plain]), pre_tokenizers.ByteLevel(add_prefix_space=True)):
        with pytest.raises(ModelError, match=r"no name in llama\.cpp"):
            pre_tokenizer_of(bpe(odd))
    with pytest.raises(ModelError, match="only byte-level BPE"):
        pre_tokenizer_of(bpe(byte_level, byte_fallback=True))


def test_words_cut_at_newlines_first_are_gpt_2_s_where_no_merge_holds_one() -> None:
    """What our own tokenizers say: the very ids that GPT-2's words would give."""
    ours = chat().tokenizer
    told = json.loads(ours.backend_tokenizer.to_str())
    told["pre_tokenizer"] = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    theirs = Tokenizer.from_str(json.dumps(told))
    for text in (*SENTENCES, "a\n\nb", "a \n b", "\n  a", "a  \n\n  b\n", "1234\n5", "\n", " \n"):
        assert theirs.encode(text).ids == ours(text, add_special_tokens=False)["input_ids"], text


def test_what_is_not_known_to_be_llama_cpp_s_is_refused_with_the_list(tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    other = prepared(GPT2LMHeadModel(GPT2Config(vocab_size=300, n_embd=16, n_layer=1, n_head=2)))
    with pytest.raises(ModelError, match=r"gpt2: this architecture is not written.*llama, mistral, qwen2, qwen3"):
        write_gguf(tmp_path / "m.gguf", other, chat().tokenizer, "float32", name="x", stop=(0,))
    biased = build(LlamaForCausalLM, LlamaConfig, attention_bias=True)
    with pytest.raises(ModelError, match="settings that are not written"):
        write_gguf(tmp_path / "m.gguf", biased, chat().tokenizer, "float32", name="x", stop=(0,))
    yarn = {"rope_type": "yarn", "rope_theta": 10_000.0, "factor": 4.0, "original_max_position_embeddings": 32}
    stretched = build(LlamaForCausalLM, LlamaConfig, rope_parameters=yarn)
    with pytest.raises(ModelError, match="RoPE of the kind yarn"):
        write_gguf(tmp_path / "m.gguf", stretched, chat().tokenizer, "float32", name="x", stop=(0,))
    strange = llama(vocab=300)
    strange.model.register_buffer("extra", torch.ones(3))
    with pytest.raises(ModelError, match=r"gguf has no name for model\.extra"):
        write_gguf(tmp_path / "m.gguf", strange, chat().tokenizer, "float32", name="x", stop=(0,))
    assert not adds_bos(chat().tokenizer)
