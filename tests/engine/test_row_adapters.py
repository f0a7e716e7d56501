"""Several adapters over one body in one batch: each row as if its adapter were merged into a model of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import END, FP32, chat, llama, sequences
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from accord.engine.batching import BatchEngine, Drawn, Request
from accord.engine.prompt_states import embedding, likelihoods
from accord.errors import ModelError
from accord.models.adapters import add_lora, save_adapter
from accord.models.folders import load_causal_lm, prepared, save_model
from accord.models.paths import path_of
from accord.models.row_adapters import open_adapter
from accord.records import Sampling

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),  # of peft
    pytest.mark.filterwarnings("ignore:.*fan_in_fan_out:UserWarning"),  # of peft, which then does what is right
]
VOCAB, CONTEXT = 300, 64
BODY: dict[str, Any] = {"vocab_size": VOCAB, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "head_dim": 8}
SHAPE: dict[str, Any] = BODY | {
    "num_key_value_heads": 1,
    "intermediate_size": 32,
    "max_position_embeddings": CONTEXT,
    "initializer_range": 0.3,
}


def fused() -> Any:
    return llama(vocab=VOCAB, kv_heads=1)


def own() -> Any:
    return prepared(Qwen3ForCausalLM(Qwen3Config(**SHAPE, bos_token_id=1, eos_token_id=1)))


def conv1d() -> Any:
    sizes: dict[str, Any] = {"n_positions": CONTEXT, "n_embd": 16, "n_layer": 2, "n_head": 2, "bos_token_id": 1, "eos_token_id": 1}
    return prepared(GPT2LMHeadModel(GPT2Config(vocab_size=VOCAB, initializer_range=0.3, **sizes)))


def padded() -> Any:
    return prepared(Gemma2ForCausalLM(Gemma2Config(**SHAPE, bos_token_id=1, eos_token_id=1, pad_token_id=0)))


BODIES: dict[str, Callable[[], Any]] = {"fused": fused, "own": own, "own, of Conv1D": conv1d, "padded": padded}


def by_peft(folder: Path, base: Path, seed: int, **how: Any) -> Path:
    """An adapter that peft itself made over a base, with weights that change what is said."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    theirs = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(**how))
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.2 * torch.randn(parameter.shape))
    theirs.save_pretrained(str(folder))
    return folder


@pytest.fixture(params=BODIES, scope="module")
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Path]]:
    """A base with two adapters of other ranks, scales and layers: one on all, one on a few with a scale of its own."""
    tmp_path = tmp_path_factory.mktemp("family")
    torch.manual_seed(0)
    model = BODIES[request.param]()
    assert path_of(model.base_model) == request.param.partition(",")[0]
    save_model(tmp_path / "base", model, chat().tokenizer)
    few = ["c_attn"] if request.param.endswith("Conv1D") else ["q_proj", "down_proj"]
    brief = by_peft(tmp_path / "brief", tmp_path / "base", 1, r=3, lora_alpha=5, target_modules="all-linear")
    scales = {"alpha_pattern": {few[-1]: 9}, "rank_pattern": {few[0]: 5}, "use_rslora": True}
    formal = by_peft(tmp_path / "formal", tmp_path / "base", 2, r=2, lora_alpha=3, target_modules=few, **scales)
    return tmp_path / "base", {"brief": brief, "formal": formal}


def engine(model: Any) -> BatchEngine:
    return BatchEngine(model, stop=(END,), dtype=FP32, context=CONTEXT, slots=24)


def asked(adapter: str = "", *, prompt: Sequence[int], seed: int) -> Request:
    how = Sampling(max_tokens=8, temperature=(0.0, 0.9)[seed % 2])
    return Request(tuple(prompt), how, seed, 3, adapter=adapter)


def drain(running: BatchEngine) -> dict[int, list[Drawn]]:
    came: dict[int, list[Drawn]] = {}
    while running.busy:
        for token in running.step():
            came.setdefault(token.ticket, []).append(token)
    return came


def alone_in(running: BatchEngine, request: Request) -> list[Drawn]:
    ticket = running.submit(Request(request.prompt, request.sampling, request.seed, 3))
    return drain(running)[ticket]


def said(drawn: Sequence[Drawn]) -> list[int]:
    return [token.token for token in drawn]


def test_two_adapters_and_their_base_answer_in_one_batch_as_each_alone(family: tuple[Path, dict[str, Path]]) -> None:
    base, adapters = family
    shared = engine(load_causal_lm(base))
    for name, folder in adapters.items():
        shared.adapt(name, open_adapter(shared.network.bank.model, folder, base=base))
    prompts = sequences([5, 33], vocab=VOCAB)
    rows = [(name, prompt) for prompt in prompts for name in ("", "brief", "formal")]
    requests = [asked(name, prompt=prompt, seed=place) for place, (name, prompt) in enumerate(rows)]
    tickets = [shared.submit(request) for request in requests]
    together = drain(shared)
    merged = {name: engine(load_causal_lm(folder)) for name, folder in (("", base), *adapters.items())}
    differ = 0
    for ticket, request in zip(tickets, requests, strict=True):
        alone, plain = (alone_in(merged[name], request) for name in (request.adapter, ""))
        assert said(together[ticket]) == said(alone), request.adapter
        for mine, theirs in zip(together[ticket], alone, strict=True):
            assert mine.logprob == pytest.approx(theirs.logprob, abs=1e-5)
            assert dict(mine.likeliest) == pytest.approx(dict(theirs.likeliest), abs=1e-5)
        differ += bool(request.adapter) and said(plain) != said(alone)
    assert differ > 1, "the adapters say something else than their base"


def test_an_adapter_alone_and_in_company_draws_the_same_numbers_bit_for_bit(family: tuple[Path, dict[str, Path]]) -> None:
    base, adapters = family
    shared = engine(load_causal_lm(base))
    for name, folder in adapters.items():
        shared.adapt(name, open_adapter(shared.network.bank.model, folder, base=base))
    prompts = sequences([5, 40], vocab=VOCAB)
    requests = [asked(name, prompt=prompt, seed=3) for prompt in prompts for name in ("brief", "", "formal")]
    lonely: list[list[Drawn]] = []
    for request in requests:
        ticket = shared.submit(request)
        lonely.append(drain(shared)[ticket])
    tickets = [shared.submit(request) for request in requests]
    together = drain(shared)
    for ticket, alone in zip(tickets, lonely, strict=True):
        assert [(each.token, each.logprob, each.likeliest) for each in together[ticket]] == [
            (each.token, each.logprob, each.likeliest) for each in alone
        ]


def test_a_prompt_is_read_by_the_adapter_that_is_asked(family: tuple[Path, dict[str, Path]]) -> None:
    base, adapters = family
    shared = engine(load_causal_lm(base))
    for name, folder in adapters.items():
        shared.adapt(name, open_adapter(shared.network.bank.model, folder, base=base))
    prompt = sequences([20], vocab=VOCAB)[0]
    for name, folder in (("", base), *adapters.items()):
        merged = engine(load_causal_lm(folder))
        mine = [each.logprob for part in likelihoods(shared, prompt, 1, name) for each in part]
        theirs = [each.logprob for part in likelihoods(merged, prompt, 1) for each in part]
        assert mine == pytest.approx(theirs, abs=1e-5), name
        assert list(embedding(shared, prompt, name))[-1] == pytest.approx(list(embedding(merged, prompt))[-1], abs=1e-5)


def test_keys_and_values_that_one_adapter_read_are_not_another_s(tmp_path: Path) -> None:
    save_model(tmp_path / "base", fused(), chat().tokenizer)
    folder = by_peft(tmp_path / "brief", tmp_path / "base", 1, r=3, lora_alpha=5, target_modules="all-linear")
    shared = engine(load_causal_lm(tmp_path / "base"))
    shared.adapt("brief", open_adapter(shared.network.bank.model, folder))
    prompt = sequences([41], vocab=VOCAB)[0]
    first = drain(shared)
    for name in ("brief", "", "brief", ""):
        ticket = shared.submit(asked(name, prompt=prompt, seed=0))
        first[ticket] = drain(shared)[ticket]
    runs = list(first.values())
    assert shared.reused == 64, "the third and the fourth reuse a chunk of their own"
    assert said(runs[0]) == said(runs[2])
    assert said(runs[1]) == said(runs[3])
    assert said(runs[0]) != said(runs[1])


@pytest.mark.filterwarnings("ignore:.*(tie_word_embeddings|save_embedding_layers):UserWarning")  # of peft, about the head
def test_an_adapter_of_another_base_or_of_another_kind_is_refused_by_name(tmp_path: Path) -> None:
    base = tmp_path / "base"
    save_model(base, fused(), chat().tokenizer)
    wider, deeper = tmp_path / "wider", tmp_path / "deeper"
    save_model(wider, llama(vocab=VOCAB, hidden=32), chat().tokenizer)
    save_model(deeper, llama(vocab=VOCAB, kv_heads=1, layers=3), chat().tokenizer)
    model = load_causal_lm(base)
    every = {"r": 2, "lora_alpha": 4, "target_modules": "all-linear"}
    with pytest.raises(ModelError, match=r"shapes are of another base model: .*\[2, 32\] for \[2, 16\]"):
        open_adapter(model, by_peft(tmp_path / "a", wider, 1, **every))
    with pytest.raises(ModelError, match=r"differ in .*layers\.2\."):
        open_adapter(model, by_peft(tmp_path / "b", deeper, 1, **every))
    odd = {"use_dora": {"use_dora": True}, "modules_to_save": {"modules_to_save": ["norm"]}, "bias": {"bias": "all"}}
    for said_of, how in odd.items():
        with pytest.raises(ModelError, match=rf"does more than .*{said_of}.*--model"):
            open_adapter(model, by_peft(tmp_path / said_of, base, 1, **every, **how))
    head = by_peft(tmp_path / "head", base, 1, r=2, lora_alpha=4, target_modules=["q_proj", "lm_head"])
    alone = {name: tensor for name, tensor in load_file(head / "adapter_model.safetensors").items() if "lora_" in name}
    save_file(alone, head / "adapter_model.safetensors")  # as peft saves it with save_embedding_layers=False
    with pytest.raises(ModelError, match=r"on the language model head.*--model"):
        open_adapter(model, head)
    with pytest.raises(ModelError, match="this is no adapter: it has no adapter_config"):
        open_adapter(model, base)


def test_an_adapter_whose_base_was_trained_again_is_refused(tmp_path: Path) -> None:
    base, kept = tmp_path / "base", tmp_path / "kept"
    save_model(base, fused(), chat().tokenizer)
    save_adapter(kept, add_lora(load_causal_lm(base), 2, torch.Generator().manual_seed(1)), str(base), chat().tokenizer)
    open_adapter(load_causal_lm(base), kept, base=base)
    load_causal_lm(kept)
    chat().tokenizer.save_pretrained(base)  # files beside the weights may be written again
    open_adapter(load_causal_lm(base), kept, base=base)
    save_model(tmp_path / "again", llama(5, vocab=VOCAB, kv_heads=1), chat().tokenizer)
    (tmp_path / "again" / "model.safetensors").replace(base / "model.safetensors")
    with pytest.raises(ModelError, match=r"trained on a base whose weights have the digest .*base\.json nothing is compared"):
        open_adapter(load_causal_lm(base), kept, base=base)
    with pytest.raises(ModelError, match="trained on a base whose weights"):
        load_causal_lm(kept)
