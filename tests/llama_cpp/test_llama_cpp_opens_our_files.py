"""Files of `accord export-model --to gguf` in llama.cpp's own server: the same tokens, greedy text and chat, and near log-probabilities."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
import torch
from tiny import chat
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from accord.commands.serve.export_model import export_model
from accord.models.folders import prepared, save_model
from accord.runtime.project import Project

xllamacpp: Any = import_module("xllamacpp")
Ask = Callable[..., dict[str, Any]]
SIZES: dict[str, Any] = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
REST: dict[str, Any] = {"vocab_size": 320, "intermediate_size": 96, "max_position_embeddings": 256, "initializer_range": 0.2}
ENDS: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
LLAMA_3 = {"rope_type": "llama3", "rope_theta": 10_000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
KINDS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "llama": (LlamaForCausalLM, LlamaConfig, {"tie_word_embeddings": True}),
    "llama 3": (LlamaForCausalLM, LlamaConfig, {"rope_parameters": LLAMA_3 | {"original_max_position_embeddings": 64}}),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config, {"tie_word_embeddings": True}),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config, {"head_dim": 16}),
}
NEAR = {"float32": 0.03, "float16": 0.04, "q8_0": 0.6}
"""How far log-probabilities may be off: llama.cpp's cache is float16 throughout, and a packed matrix is rounded."""
TEXT = "The baker opens the shop at seven. Who keeps the mill?"
LENGTH = 8


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project.create(tmp_path / "p")


@contextmanager
def llama_cpp(file: Path) -> Generator[Ask]:
    """Serve a file by llama.cpp, and give what asks it."""
    params: Any = xllamacpp.CommonParams()
    params.model.path, params.n_ctx, params.n_parallel = str(file), 256, 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.hostnames, params.port, params.use_jinja, params.warmup = ["127.0.0.1"], 0, True, False
    server = xllamacpp.Server(params)
    address: str = server.listening_address

    def ask(path: str, **body: Any) -> dict[str, Any]:
        request = Request(address + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urlopen(request, timeout=60) as answer:
            return json.load(answer)

    try:
        yield ask
    finally:
        del server


def made(project: Project, kind: str) -> Any:
    """A model of random weights in the project, in float32."""
    build, config, own = KINDS[kind]
    torch.manual_seed(1)
    model = prepared(build(config(**{**SIZES, **REST, **ENDS, **own})))
    save_model(project.model("tiny"), model, chat().tokenizer, torch.float32)
    return AutoModelForCausalLM.from_pretrained(project.model("tiny"), dtype=torch.float32, attn_implementation="eager").eval()


@torch.no_grad()
def logprobs(model: Any, ids: list[int]) -> torch.Tensor:
    """The log-probabilities that transformers gives after each prefix."""
    return model(torch.tensor([ids])).logits[0].float().log_softmax(-1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", NEAR)
def test_llama_cpp_reads_the_same_model(kind: str, dtype: Any, project: Project) -> None:
    model, tokenizer = made(project, kind), chat().tokenizer
    told = export_model(project.path, "tiny", to="gguf", dtype=dtype)
    with llama_cpp(Path(told["folder"]) / told["file"]) as ask:
        ids = tokenizer(TEXT, add_special_tokens=False)["input_ids"]
        assert ask("/tokenize", content=TEXT, add_special=False)["tokens"] == ids
        said = ask("/completion", prompt=ids, n_predict=LENGTH, temperature=0, return_tokens=True)
        assert len(said["tokens"]) == LENGTH or said["stop_type"] == "eos"
        ours, read = logprobs(model, [*ids, *said["tokens"]]), 0
        if dtype == "float32":
            for token, row in zip(said["tokens"], ours[len(ids) - 1 :], strict=False):
                assert row.max() - row[token] < NEAR[dtype], "the same greedy text"
        for place, row in enumerate(ours, 1):
            next_one = ask("/completion", prompt=[*ids, *said["tokens"]][:place], n_predict=1, temperature=0, n_probs=5)
            for step in next_one.get("completion_probabilities", ()):  # none where the token is no whole letter
                off = [abs(each["logprob"] - float(row[each["id"]])) for each in step["top_logprobs"]]
                assert len(off) == 5
                assert max(off) < NEAR[dtype]
                read += 1
        assert read > len(ours) // 4


def test_llama_cpp_writes_a_conversation_by_our_template(project: Project) -> None:
    made(project, "llama")
    told = export_model(project.path, "tiny", to="gguf", dtype="float32")
    turns = [{"role": "user", "content": "Who keeps the mill?"}]
    with llama_cpp(Path(told["folder"]) / told["file"]) as ask:
        written = chat().tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        assert ask("/apply-template", messages=turns)["prompt"] == written
        said = ask("/v1/chat/completions", messages=turns, max_tokens=LENGTH, temperature=0)
        assert said["usage"]["prompt_tokens"] == len(chat().tokenizer(written, add_special_tokens=False)["input_ids"])
