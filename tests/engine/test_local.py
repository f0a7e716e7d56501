"""The rollout engine against full forward passes, and what it promises about rows, seeds and stopping."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny import END, FP32, VOCAB, llama, rng, sampled, sequences

from accord.engine.cache import Cache, kv_bytes
from accord.engine.local import COMPACT_AT, LocalSampler
from accord.engine.sampling import shape_logits
from accord.errors import InputError
from accord.models.attention import PackedAttention
from accord.models.decoder import hidden
from accord.models.folders import prepared
from accord.models.heads import head_of
from accord.models.packing import pack
from accord.models.paths import take
from accord.models.policy import logprobs
from accord.records import Generation, Sampling

PROMPTS = sequences([4, 9, 2, 6])
STOPS = (END, *range(2, 12))


@torch.no_grad()
def full_logits(model: Any, row: list[int]) -> torch.Tensor:
    batch = pack([row])
    states = hidden(model.base_model, batch.tokens, batch.positions, PackedAttention(batch.lengths), FP32)
    return states @ head_of(model).weight.T


def gpt_neox() -> Any:
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=VOCAB, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, initializer_range=0.3
    )
    return prepared(GPTNeoXForCausalLM(config))


def gpt2(positions: int) -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    return prepared(GPT2LMHeadModel(GPT2Config(vocab_size=VOCAB, n_positions=positions, n_embd=16, n_layer=2, n_head=2)))


def short_llama(positions: int) -> Any:
    model = llama()
    model.config.max_position_embeddings = positions
    return model


@pytest.mark.parametrize("model", [gpt2(32), short_llama(32)], ids=["learned positions", "rotary"])
def test_the_models_context_bounds_a_response(model: Any) -> None:
    prompts = sequences([31, 4, 20, 28])
    drawn = sampled(model, prompts, stop=(VOCAB,), n=2, temperature=0.0, max_tokens=16)
    assert [len(row) for row in drawn.rows()] == [1, 1, 16, 16, 12, 12, 4, 4]
    assert not drawn.finished.any()
    for number, prompt in enumerate(prompts):
        alone = sampled(model, [prompt], stop=(VOCAB,), temperature=0.0, max_tokens=16)
        assert alone.rows()[0] == drawn.rows()[2 * number]
        row = [*prompt, *drawn.rows()[2 * number]]
        assert full_logits(model, row[:-1])[-1].argmax() == row[-1], "the last one is drawn from what stands before it"


def test_a_prompt_that_fills_the_context_is_named() -> None:
    with pytest.raises(InputError, match="prompt 1: the prompt has 32 tokens, the model's context 32"):
        sampled(gpt2(32), sequences([4, 32]))


@pytest.mark.parametrize("model", [llama(), llama(heads=4, kv_heads=2), gpt_neox()], ids=["llama", "grouped", "neox"])
def test_greedy_is_the_argmax_of_full_forwards(model: Any) -> None:
    drawn = sampled(model, PROMPTS, temperature=0.0, max_tokens=10)
    for prompt, response in zip(PROMPTS, drawn.rows(), strict=True):
        row = list(prompt)
        for token in response:
            assert full_logits(model, row)[-1].argmax() == token
            row.append(token)


def trainers(model: Any, drawn: Generation, prompts: list[list[int]], temperature: float) -> torch.Tensor:
    rows = drawn.rows()
    batch = pack([[*prompt, *row] for prompt, row in zip(prompts, rows, strict=True)], [len(row) for row in rows])
    with torch.no_grad():
        return logprobs(model, batch, dtype=FP32, temperature=temperature)[0]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("model", [llama(), llama(heads=4, kv_heads=2), gpt_neox()], ids=["llama", "grouped", "neox"])
def test_the_samplers_logprobs_are_the_trainers(model: Any, temperature: float) -> None:
    drawn = sampled(model, PROMPTS, n=6, stop=STOPS, temperature=temperature, max_tokens=12)
    assert 1 < drawn.keep.sum(1).float().mean() < 12, "rows must end at different steps, so that the batch is compacted"
    prompts = [prompt for prompt in PROMPTS for _ in range(6)]
    assert torch.allclose(drawn.logprobs[drawn.keep], trainers(model, drawn, prompts, temperature), atol=1e-4)


def test_a_row_does_not_depend_on_which_others_are_still_running(monkeypatch: pytest.MonkeyPatch) -> None:
    together = sampled(llama(), PROMPTS, n=6, stop=STOPS, max_tokens=12)
    monkeypatch.setattr("accord.engine.local.COMPACT_AT", 0.0)  # finished rows stay to the end
    assert sampled(llama(), PROMPTS, n=6, stop=STOPS, max_tokens=12).rows() == together.rows()
    monkeypatch.setattr("accord.engine.local.COMPACT_AT", 2.0)  # finished rows leave at once
    assert sampled(llama(), PROMPTS, n=6, stop=STOPS, max_tokens=12).rows() == together.rows()


def test_a_seed_is_a_text_and_another_seed_another() -> None:
    one, again, other = (sampled(llama(), PROMPTS, n=3, seed=seed).rows() for seed in (1, 1, 2))
    assert one == again != other


def test_the_n_rows_of_a_prompt_differ_and_stand_together() -> None:
    drawn = sampled(llama(), PROMPTS, n=5, max_tokens=6)
    groups = [drawn.rows()[i : i + 5] for i in range(0, 20, 5)]
    assert all(len({tuple(row) for row in group}) > 1 for group in groups)
    prompts = [prompt for prompt in PROMPTS for _ in range(5)]
    assert torch.allclose(drawn.logprobs[drawn.keep], trainers(llama(), drawn, prompts, 1.0), atol=1e-4)


def test_a_prompt_is_prefilled_once_for_its_n_rows_and_finished_rows_leave() -> None:
    model, taken = gpt_neox(), list[int]()
    model.base_model.register_forward_pre_hook(lambda _, __, words: taken.append(words["input_ids"].numel()), with_kwargs=True)
    drawn = sampled(model, PROMPTS, n=8, stop=STOPS, max_tokens=12)
    first, *steps = taken
    assert first == sum(map(len, PROMPTS))
    assert steps == sorted(steps, reverse=True)
    running = [int((drawn.keep.sum(1) > step + 1).sum()) for step in range(len(steps))]
    assert all(alive <= rows and rows * COMPACT_AT <= max(alive, 1) for rows, alive in zip(steps, running, strict=True))
    assert steps[-1] < 16


def test_every_stop_token_ends_a_row_and_is_kept() -> None:
    drawn = sampled(llama(), PROMPTS, n=16, stop=(5, 9, 30), max_tokens=20)
    ends = {row[-1] for row, finished in zip(drawn.rows(), drawn.finished.tolist(), strict=True) if finished}
    assert len(ends) > 1
    for row, finished in zip(drawn.rows(), drawn.finished.tolist(), strict=True):
        assert finished == (row[-1] in (5, 9, 30))
        assert not {5, 9, 30} & set(row[:-1])
        assert finished or len(row) == 20


def test_nothing_stands_where_nothing_is_kept() -> None:
    drawn = sampled(llama(), PROMPTS, n=6, stop=STOPS, max_tokens=12)
    assert not drawn.tokens[~drawn.keep].any()
    assert not drawn.logprobs[~drawn.keep].any()
    assert torch.equal(drawn.keep, drawn.keep.sort(1, descending=True).values)
    assert drawn.keep.any(1).all()


def test_after_a_refresh_the_engine_is_as_a_fresh_one() -> None:
    model = llama(1)
    sampler = LocalSampler(model, stop=(END,), dtype=FP32)

    def draw(engine: LocalSampler) -> list[list[int]]:
        return engine.sample(PROMPTS, n=2, sampling=Sampling(max_tokens=8), generator=rng()).rows()

    before = draw(sampler)
    model.load_state_dict(llama(2).state_dict())
    sampler.refresh()
    assert draw(sampler) == draw(LocalSampler(model, stop=(END,), dtype=FP32)) != before


def test_tokens_of_prompt_and_response_are_penalised_while_sampling() -> None:
    model, sampling = llama(), Sampling(repetition_penalty=1.8, temperature=0.0)
    drawn = sampled(model, PROMPTS, temperature=0.0, max_tokens=10, repetition_penalty=1.8, stop=(END, 2, 3, 4))
    assert drawn.rows() != sampled(model, PROMPTS, temperature=0.0, max_tokens=10, stop=(END, 2, 3, 4)).rows()
    for prompt, response in zip(PROMPTS, drawn.rows(), strict=True):
        row = list(prompt)
        for token in response:
            seen = torch.zeros(1, VOCAB, dtype=torch.bool)
            seen[0, row] = True
            assert shape_logits(full_logits(model, row)[-1:], sampling, seen).argmax() == token
            row.append(token)


@pytest.mark.parametrize("path", ["fused", "own", "padded", "grouped", "whole"])
def test_drawing_keeps_no_record_for_gradients(path: Any) -> None:
    """Where the host keeps it, memory grows with every token that is drawn, by all that the step computed."""
    drawn = sampled(take(llama(), path), sequences([4, 6]), n=2, max_tokens=8)
    assert not drawn.logprobs.requires_grad


def test_keys_and_values_take_half_in_the_dtype_of_the_products_and_draw_nearly_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on an accelerator: sampler and trainer differ by no more than they did with keys and values in float32."""
    model, gaps, sizes = llama(heads=4, kv_heads=2, hidden=64, std=0.1), list[float](), list[int]()
    fill = Cache.fill

    def watched(cache: Cache, k: torch.Tensor, v: torch.Tensor) -> None:
        fill(cache, k, v)
        sizes.append(cache.keys[-1].element_size())

    monkeypatch.setattr(Cache, "fill", watched)
    for held in (None, torch.bfloat16):
        monkeypatch.setattr("accord.engine.local.held_dtype", lambda *_, held=held: held)
        sampler = LocalSampler(model, stop=(), dtype=torch.bfloat16)
        drawn = sampler.sample(PROMPTS, n=4, sampling=Sampling(max_tokens=24), generator=rng(1))
        said = drawn.logprobs[drawn.keep]
        rows = [[*prompt, *row] for prompt, row in zip([p for p in PROMPTS for _ in range(4)], drawn.rows(), strict=True)]
        batch = pack(rows, [24] * len(rows))
        with torch.no_grad():
            gaps.append(float((logprobs(model, batch, dtype=torch.bfloat16)[0] - said).abs().mean()))
    assert sizes[0] == 4
    assert sizes[-1] == 2
    assert gaps[1] < 1.5 * gaps[0] + 1e-3, gaps


def test_the_cache_drops_rows_of_keys_values_and_masks_alike() -> None:
    cache = Cache(torch.tensor([2, 3]), 2, 4)
    k = torch.arange(5.0)[:, None, None].expand(5, 1, 2)
    cache.fill(k, -k)
    assert cache.keys[0][:, 0, :3, 0].tolist() == [[0, 0, 1], [0, 0, 1], [2, 3, 4], [2, 3, 4]]
    assert cache.visible[:, :3].tolist() == [[False, True, True]] * 2 + [[True] * 3] * 2
    cache.keep(torch.tensor([1, 3]))
    assert cache.keys[0][:, 0, :3, 0].tolist() == [[0, 0, 1], [2, 3, 4]]
    assert torch.equal(cache.values[0], -cache.keys[0])
    assert cache.visible[:, 0].tolist() == [False, True]


@pytest.mark.parametrize("n", [1, 3])
def test_rows_that_do_not_fit_the_bound_are_drawn_in_waves_with_the_same_tokens(n: int) -> None:
    """The bound is of keys and values together; each row keeps its own random numbers whichever wave it is drawn in."""
    model, widest, sampling = llama(heads=4, kv_heads=2), [0], Sampling(temperature=1.0, max_tokens=8)
    a_row = 2 * 2 * 8 * 4 * 2 * (9 + 8)  # layers, keys and values, dim and kv heads of float32, the longest prompt and response
    fill = Cache.fill

    def watched(cache: Cache, k: torch.Tensor, v: torch.Tensor) -> None:
        fill(cache, k, v)
        widest[0] = max(widest[0], sum(x.nbytes for x in (*cache.keys, *cache.values)))

    whole = LocalSampler(model, stop=STOPS, dtype=FP32).sample(PROMPTS, n=n, sampling=sampling, generator=rng(5))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Cache, "fill", watched)
        bounded = LocalSampler(model, stop=STOPS, dtype=FP32, cache_bytes=2 * n * a_row)
        waves = bounded.sample(PROMPTS, n=n, sampling=sampling, generator=rng(5))
        assert 0 < widest[0] <= 2 * n * a_row
        LocalSampler(model, stop=STOPS, dtype=FP32, cache_bytes=1).sample(PROMPTS, n=n, sampling=sampling, generator=rng(5))
    assert waves.rows() == whole.rows()
    assert torch.allclose(waves.logprobs, whole.logprobs, atol=1e-5)


def test_prompts_of_like_lengths_are_drawn_in_one_wave() -> None:
    """A long prompt widens every row of its wave: long and short ones in turn would need three waves instead of two."""
    model, sampling, prompts = llama(), Sampling(temperature=1.0, max_tokens=8), sequences([40, 4, 4, 40, 4, 4], seed=9)
    whole = LocalSampler(model, stop=STOPS, dtype=FP32).sample(prompts, n=1, sampling=sampling, generator=rng(5))
    waves, made = [0], Cache.__init__

    def counted(cache: Cache, *arguments: Any) -> None:
        waves[0] += 1
        made(cache, *arguments)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Cache, "__init__", counted)
        bounded = LocalSampler(model, stop=STOPS, dtype=FP32, cache_bytes=96 * kv_bytes(model.config))
        drawn = bounded.sample(prompts, n=1, sampling=sampling, generator=rng(5))
    assert waves[0] == 2
    assert drawn.rows() == whole.rows()
    assert torch.allclose(drawn.logprobs, whole.logprobs, atol=1e-5)


def test_a_sampler_of_a_training_loop_keeps_no_copy_of_the_weights() -> None:
    drawn: list[list[list[int]]] = []
    for keep in (True, False):
        sampler = LocalSampler(llama(), stop=STOPS, dtype=torch.bfloat16, keep=keep)
        for seed in (1, 2):
            drawn.append(sampler.sample(PROMPTS, n=1, sampling=Sampling(max_tokens=6), generator=rng(seed)).rows())
        heads = [head.weight for head in (*sampler._heads.values(), sampler._head)]
        held = [*heads, *sampler._fused.values(), sampler._weights]
        assert any(isinstance(each, torch.Tensor) and each.numel() for each in held) == keep
        assert (sampler._weights is not None) == keep
    assert drawn[:2] == drawn[2:]


def test_a_length_of_0_is_half_of_the_context_and_1024_at_most() -> None:
    drawn = sampled(short_llama(32), sequences([4, 20]), stop=(VOCAB,), temperature=0.0, max_tokens=0)
    assert [len(row) for row in drawn.rows()] == [16, 12], "half of 32, and what the prompt leaves"
    assert [Sampling(max_tokens=0).limit(context) for context in (0, 32, 2048, 131_072)] == [1024, 16, 1024, 1024]
    assert Sampling(max_tokens=7).limit(2048) == 7
