"""Every architecture is computed as transformers computes it alone, row by row: in training, in both engines, with recomputing.

The models are tiny and random, and their rows are longer than their windows. What they are compared with is a copy that runs
transformers' own forward, one row at a time, without a cache.
"""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import pytest
import torch
from tiny import FP32, rng, sequences

from accord.engine.batching import BatchEngine, Request
from accord.engine.guided import QGuide
from accord.engine.local import LocalSampler
from accord.errors import ModelError
from accord.models.adapters import add_lora
from accord.models.decoder import recomputing
from accord.models.folders import prepared, scalar_from
from accord.models.packing import pack
from accord.models.paths import PLAIN, choose, path_of, take
from accord.models.policy import logprobs
from accord.models.qvalues import QNetwork
from accord.models.scalar import new_head, scores
from accord.records import Sampling

VOCABULARY, WINDOW, SHORT = 60, 8, 16
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
GATED = {"num_key_value_heads": 2, "intermediate_size": 48, "head_dim": 8}
MIXED = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
EXPERTS = {"num_local_experts": 4, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
LATENT = {
    **{"q_lora_rank": 16, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 12, "num_key_value_heads": 4},
    **{"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "first_k_dense_replace": 1},
    **{"n_group": 2, "topk_group": 1, "intermediate_size": 48, "head_dim": 4},
}
CHUNKS = {
    **{"intermediate_size_mlp": 48, "attention_chunk_size": WINDOW, "no_rope_layers": [1, 0], "interleave_moe_layer_step": 2},
    **{"layer_types": ["chunked_attention", "full_attention"], "attn_temperature_tuning": True, "floor_scale": 8},
}
LINEAR = {
    **{"layer_types": ["linear_attention", "full_attention"], "linear_num_value_heads": 4, "linear_num_key_heads": 2},
    **{"linear_key_head_dim": 8, "linear_value_head_dim": 8, "shared_expert_intermediate_size": 16},
}


def rope(kind: str, **more: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10_000.0, **more}}


LONG = rope("longrope", short_factor=[1.0] * 4, long_factor=[1.0, 1.5, 2.0, 2.5], factor=8.0, original_max_position_embeddings=SHORT)
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", GATED),
    "llama, yarn": ("llama", {**GATED, **rope("yarn", factor=8.0, original_max_position_embeddings=SHORT)}),
    "llama, dynamic": ("llama", {**GATED, **rope("dynamic", factor=4.0), "max_position_embeddings": SHORT}),
    "mistral, window": ("mistral", {**GATED, "sliding_window": WINDOW}),
    "gemma 2": ("gemma2", {**GATED, **MIXED, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}),
    "gemma 3": ("gemma3_text", {**GATED, **MIXED}),
    "phi 3, window": ("phi3", {**GATED, "sliding_window": WINDOW}),
    "phi 3, long": ("phi3", {**GATED, **LONG, "original_max_position_embeddings": SHORT, "sliding_window": None}),
    "stablelm": ("stablelm", {**GATED, "use_qkv_bias": True, "qk_layernorm": True}),
    "falcon": ("falcon", {"multi_query": True, "parallel_attn": True, "bias": False}),
    "bloom": ("bloom", {}),
    "gpt neo": ("gpt_neo", {"attention_types": [[["global", "local"], 1]], "window_size": WINDOW}),
    "opt": ("opt", {"ffn_dim": 48, "word_embed_proj_dim": 32, "layerdrop": 0.5, "dropout": 0.3}),
    "biogpt": ("biogpt", {"intermediate_size": 48, "layerdrop": 0.5}),
    "gpt-oss": ("gpt_oss", {**GATED, **EXPERTS, **MIXED, **rope("yarn", factor=8.0, original_max_position_embeddings=SHORT)}),
    "llama 4": ("llama4_text", {**GATED, **EXPERTS, **CHUNKS}),
    "deepseek v3": ("deepseek_v3", LATENT),
    "mamba": ("mamba", {"state_size": 8, "expand": 2, "conv_kernel": 4}),
    "lfm2": ("lfm2", {**GATED, "layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False}),
    "qwen3-next": ("qwen3_next", {**GATED, **EXPERTS, **LINEAR}),
    "rwkv": ("rwkv", {"attention_hidden_size": 32, "intermediate_size": 48, "context_length": 128, "rescale_every": 0}),
}
ROWS = sequences([5, 23, 9, 23, 14, 40], vocab=VOCABULARY)
PROMPTS = [ROWS[0], ROWS[2], ROWS[4], ROWS[2][::-1], ROWS[1]]
STEPS = 12
GROWING = ("llama, dynamic", "phi 3, long")
"""Models whose past looks different once a row has grown beyond a length: a token's log-probability depends on what comes later."""
SEQUENCE_CLASSIFIERS = ["llama, dynamic", "mistral, window", "gemma 2", "falcon", "bloom", "stablelm"]


@cache
def pristine(name: str) -> Any:
    """A random model that runs transformers' own forward. Every parameter is moved: biases start as zeros and norms as ones."""
    from transformers import AutoConfig, AutoModelForCausalLM

    kind, settings = MODELS[name]
    torch.manual_seed(0)
    common = {key: value for key, value in COMMON.items() if key != "num_attention_heads" or kind != "mamba"}
    config = AutoConfig.for_model(kind, **{**common, **settings})
    made: Any = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=rng(1)))
    return made.eval()


def ours(name: str) -> Any:
    return prepared(copy.deepcopy(pristine(name)))


def alone(model: Any, row: list[int]) -> torch.Tensor:
    """The log-probabilities after each token of a row, by a copy of the modules: dynamic RoPE remembers the longest row it has seen."""
    memory = {id(parameter): parameter for parameter in model.parameters()}
    return copy.deepcopy(model, memory)(input_ids=torch.tensor([row]), use_cache=False).logits[0].log_softmax(-1)


def told(model: Any, row: list[int]) -> torch.Tensor:
    return alone(model, row)[:-1].gather(1, torch.tensor(row)[1:, None])[:, 0]


@cache
def greedy(name: str) -> list[list[int]]:
    answers: list[list[int]] = []
    with torch.no_grad():
        for prompt in PROMPTS:
            row = list(prompt)
            for _ in range(STEPS):
                row.append(int(alone(pristine(name), row)[-1].argmax()))
            answers.append(row[len(prompt) :])
    return answers


def stopped(name: str) -> tuple[tuple[int, int], list[list[int]]]:
    """Two stop tokens that end some rows early, and the answers cut there."""
    answers = greedy(name)
    stop = (answers[0][3], answers[2][5])
    cut: list[list[int]] = []
    for answer in answers:
        at = [index for index, token in enumerate(answer) if token in stop]
        cut.append(answer[: at[0] + 1] if at else answer)
    return stop, cut


def differences(model: Any, other: Any) -> dict[str, float]:
    """The gradients of a model that are not those of another, relative to the largest of each parameter."""
    wanted = {name: parameter.grad for name, parameter in other.named_parameters()}
    found: dict[str, float] = {}
    for name, parameter in model.named_parameters():
        want = wanted[name]
        if want is None:
            if parameter.grad is not None and parameter.grad.any():
                found[name] = float("inf")
            continue
        off = float("inf") if parameter.grad is None else float((parameter.grad - want).abs().max() / (want.abs().max() + 1e-3))
        if not off < 1e-3:
            found[name] = off
    return found


@pytest.mark.parametrize("again", [False, True], ids=["kept", "recomputed"])
@pytest.mark.parametrize("name", MODELS)
def test_logprobs_and_gradients_are_those_of_transformers_alone(name: str, again: bool) -> None:
    reference = copy.deepcopy(pristine(name))
    wanted = torch.cat([told(reference, row) for row in ROWS])
    (wanted * torch.linspace(0, 1, len(wanted))).mean().backward()
    model = recomputing(ours(name)) if again else ours(name)
    got = logprobs(model, pack(ROWS), dtype=FP32)[0]
    assert (got - wanted).abs().max() < 1e-4
    (got * torch.linspace(0, 1, len(got))).mean().backward()
    assert not differences(model, reference)
    with torch.no_grad():
        assert torch.allclose(logprobs(model, pack(ROWS), dtype=FP32)[0], got, atol=1e-6), "two passes differ"


@pytest.mark.parametrize("name", MODELS)
def test_greedy_responses_of_the_rollout_engine_are_those_of_transformers_alone(name: str) -> None:
    stop, wanted = stopped(name)
    sampler = LocalSampler(ours(name), stop=stop, dtype=FP32)
    drawn = sampler.sample(PROMPTS, n=2, sampling=Sampling(temperature=0.0, max_tokens=STEPS), generator=torch.Generator())
    assert drawn.rows() == [answer for answer in wanted for _ in range(2)]


@pytest.mark.parametrize("name", MODELS)
def test_greedy_answers_of_the_batch_engine_are_those_of_transformers_alone(name: str) -> None:
    stop, wanted = stopped(name)
    engine = BatchEngine(ours(name), stop=stop, dtype=FP32, context=100, slots=3)
    tickets = [engine.submit(Request(tuple(prompt), Sampling(temperature=0.0, max_tokens=STEPS), 0)) for prompt in PROMPTS]
    came: dict[int, list[int]] = {ticket: [] for ticket in tickets}
    while engine.busy:
        for token in engine.step():
            came[token.ticket].append(token.token)
    assert [came[ticket] for ticket in tickets] == wanted


@pytest.mark.parametrize("name", MODELS)
def test_a_row_is_not_moved_by_the_others_of_its_batch(name: str) -> None:
    model = ours(name)
    with torch.no_grad():
        before = logprobs(model, pack(ROWS), dtype=FP32)[0]
        changed = [*([1 + (token + 7) % (VOCABULARY - 1) for token in row] for row in ROWS[:-1]), ROWS[-1]]
        after = logprobs(model, pack(changed), dtype=FP32)[0]
    own = len(ROWS[-1]) - 1
    assert (after[-own:] - before[-own:]).abs().max() < 1e-5
    assert (after[:-own] - before[:-own]).abs().max() > 0.1


@pytest.mark.parametrize("name", [name for name in MODELS if name not in GROWING])
def test_the_samplers_logprobs_are_the_trainers(name: str) -> None:
    model = ours(name)
    sampler = LocalSampler(model, stop=(), dtype=FP32)
    drawn = sampler.sample(PROMPTS, n=2, sampling=Sampling(temperature=0.7, max_tokens=6), generator=rng())
    rows = [[*prompt, *row] for prompt, row in zip([p for p in PROMPTS for _ in range(2)], drawn.rows(), strict=True)]
    with torch.no_grad():
        trained = logprobs(model, pack(rows, [6] * len(rows)), dtype=FP32, temperature=0.7)[0]
    assert (drawn.logprobs[drawn.keep] - trained).abs().max() < 1e-4


@pytest.mark.parametrize("name", SEQUENCE_CLASSIFIERS)
def test_scores_and_their_gradients_are_those_of_transformers_alone(name: str) -> None:
    model = scalar_from(ours(name), new_head(32, rng(3)))
    plain = copy.deepcopy(model)
    take(plain, "padded")
    wanted = torch.cat([copy.deepcopy(plain)(input_ids=torch.tensor([row]), use_cache=False).logits[0] for row in ROWS])
    got = scores(model, pack(ROWS), dtype=FP32)
    assert (got - wanted).abs().max() < 1e-4
    got.sum().backward()
    for row in ROWS:
        plain(input_ids=torch.tensor([row]), use_cache=False).logits.sum().backward() if "dynamic" not in name else None
    assert "dynamic" in name or not differences(model, plain)


def test_an_architecture_without_a_scalar_head_is_refused_by_name() -> None:
    with pytest.raises(ModelError, match=r"mamba.*no class for reward"):
        scalar_from(ours("mamba"), new_head(32, rng(3)))


@pytest.mark.parametrize("name", ["mistral, window", "falcon", "lfm2"])
def test_adapters_learn_on_the_plain_path_as_under_peft_alone(name: str) -> None:
    model, plain = add_lora(ours(name), 4, rng(1)), add_lora(copy.deepcopy(pristine(name)), 4, rng(1))
    assert path_of(model.base_model) in PLAIN
    for one in (model, plain):
        with torch.no_grad():
            for key, parameter in one.named_parameters():
                if "lora_B" in key:
                    parameter.copy_(0.1 * torch.randn(parameter.shape, generator=rng(len(key))))
    got, wanted = logprobs(model, pack(ROWS), dtype=FP32)[0], torch.cat([told(plain, row) for row in ROWS])
    assert (got - wanted).abs().max() < 1e-4
    got.mean().backward()
    wanted.mean().backward()
    assert not differences(model, plain)


@pytest.mark.parametrize("name", ["falcon", "mamba"])
def test_a_guide_reads_along_on_the_plain_path(name: str) -> None:
    model = ours(name)
    network = QNetwork(model, rng(2))
    with torch.no_grad():
        network.q.mul_(20)
    model.guide = QGuide(network, beta=3.0)
    drawn = LocalSampler(model, stop=(), dtype=FP32).sample(
        PROMPTS, n=1, sampling=Sampling(temperature=0.0, max_tokens=5), generator=torch.Generator()
    )
    for prompt, answer in zip(PROMPTS, drawn.rows(), strict=True):
        row = list(prompt)
        for token in answer:
            with torch.no_grad():
                push = 3.0 * network.least(network.states(pack([row]), FP32)[-1:])[0]
                assert int((alone(pristine(name), row)[-1] + push).argmax()) == token
            row.append(token)


def test_the_fused_path_is_taken_only_by_what_it_computes() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    def path(**settings: Any) -> str:
        torch.manual_seed(0)
        return choose(LlamaForCausalLM(LlamaConfig(**{**COMMON, **GATED, **settings})))

    assert path() == "fused"
    assert path(**rope("yarn", factor=8.0, original_max_position_embeddings=SHORT)) == "fused"
    assert path(**rope("dynamic", factor=4.0)) == "grouped"
    assert path(attention_bias=True) == "own"
    assert path(hidden_act="gelu") == "own"
    assert path(sliding_window=WINDOW) == "padded"


def test_no_forward_pass_changes_a_weight() -> None:
    """RWKV's own would halve weights of its later layers where the model only reads, and they would be saved so."""
    from transformers import RwkvConfig, RwkvForCausalLM

    config = RwkvConfig(**{**COMMON, **MODELS["rwkv"][1], "num_hidden_layers": 3, "rescale_every": 1})
    model = prepared(RwkvForCausalLM(config))
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    with torch.no_grad():
        logprobs(model, pack(ROWS), dtype=FP32)
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())


def test_an_unknown_architecture_is_read_as_a_whole() -> None:
    model = ours("bloom")
    model.config.model_type = "newcomer"
    assert choose(model) == "whole"
