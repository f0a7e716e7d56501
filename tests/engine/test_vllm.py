"""vLLM as sampler, against a server that speaks its routes and can lie: what is drawn, how weights get there, and every lie found out.

The server computes with our engine over weights that it reads from what was written (see vllm_stand_in); a real one is run by
benchmarks/vllm_sampler.py.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import FP32, VOCAB, chat, learn, llama, metrics, rng, sequences
from vllm_stand_in import Lies, StandIn, serving

from accord.engine.vllm import VllmSampler, deal, fixed_sequences
from accord.engine.vllm_api import VllmServer
from accord.engine.vllm_weights import AdapterWay, FolderWay
from accord.errors import InputError, RunError, UsageError
from accord.models.adapters import add_lora
from accord.models.folders import load_causal_lm, save_model
from accord.models.packing import pack
from accord.models.policy import logprobs
from accord.models.quantised import quantised
from accord.models.served import plain_weights, write_whole
from accord.records import Sampling
from accord.runtime.runs import Run
from accord.settings import PpoConfig

STOP = (1, 2, 3, 4)
PROMPTS = sequences([4, 9, 6, 3], seed=3)
FREE = Sampling(max_tokens=7)
TOKENIZER = chat(300).tokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder that servers start on: the model that runs start from."""
    save_model(tmp_path / "model", llama(1), TOKENIZER)
    return tmp_path / "model"


@contextmanager
def sampling(
    folder: Path, way: str = "folder", *, servers: int = 1, policy: Any = None, lies: Lies | None = None, **how: Any
) -> Iterator[tuple[VllmSampler, list[StandIn]]]:
    """A sampler over stand-ins that were started on the folder; by default its policy is the model in it, or adapters on it."""
    if policy is None:
        policy = load_causal_lm(folder)
        policy = add_lora(policy, 2, rng(5)) if way == "adapter" else policy
    run = folder.parent / "run"
    ways = {"adapter": AdapterWay(policy, run / "weights", str(folder)), "folder": FolderWay(policy, run / "weights", TOKENIZER, FP32)}
    seconds = how.pop("seconds", 20.0)
    with ExitStack() as stack:
        stands = [stack.enter_context(serving(StandIn(folder, lies=lies or Lies()))) for _ in range(servers)]
        how = {"stop": STOP, "dtype": FP32, "folder": run, "pause": 0.01, **how}
        sampler = VllmSampler([VllmServer(stand.address, seconds) for stand in stands], ways[way], policy=policy, **how)
        stack.callback(sampler.close)
        yield sampler, stands


def step(sampler: VllmSampler, size: float = 1e-3, seed: int = 0) -> None:
    """Change what learns, by about as much as a step of training does."""
    with torch.no_grad():
        for parameter in sampler.policy.parameters():
            if parameter.requires_grad:
                parameter += size * torch.randn(parameter.shape, generator=rng(seed))
    sampler.refresh()


def drawn(sampler: VllmSampler, *, how: Sampling = FREE, n: int = 2, seed: int = 0, prompts: Any = PROMPTS) -> Any:
    return sampler.sample(prompts, n=n, sampling=how, generator=rng(seed))


def gap(sampler: VllmSampler, generation: Any, temperature: float = 1.0, n: int = 2) -> float:
    """How far the policy's own log-probabilities of the drawn tokens are from those that came with them."""
    rows = [prompt for prompt in PROMPTS for _ in range(n)]
    batch = pack([[*p, *r] for p, r in zip(rows, generation.rows(), strict=True)], generation.keep.sum(1).tolist())
    with torch.no_grad():
        ours = logprobs(sampler.policy, batch, dtype=FP32, temperature=temperature)[0]
    return float((ours - generation.logprobs[generation.keep]).abs().max())


@pytest.mark.parametrize("way", ["adapter", "folder"])
def test_what_is_drawn_is_what_the_policy_says_before_and_after_every_step(folder: Path, way: str) -> None:
    with sampling(folder, way) as (sampler, (server,)):
        versions = list[str]()
        for number in range(3):
            generation = drawn(sampler, how=Sampling(temperature=0.7, max_tokens=7), seed=number)
            assert gap(sampler, generation, 0.7) < 1e-5
            lengths = generation.keep.sum(1)
            last = generation.tokens.gather(1, lengths[:, None] - 1).squeeze(1)
            assert generation.finished.tolist() == [token in STOP for token in last.tolist()]
            assert (lengths[~generation.finished] == 7).all()
            assert generation.server == server.address
            versions.append(generation.version)
            step(sampler, seed=number)
        assert len(set(versions)) == 3
        assert server.salts >= set(versions), "keys and values of earlier weights may be used again"
        rows = [json.loads(line) for line in (folder.parent / "run" / "syncs.jsonl").read_text().splitlines()]
        assert [row["way"] for row in rows] == ["none", way, way], "the server had the first weights already"
        assert [row["weights"] for row in rows] == versions
        assert sampler.metrics()["syncs"] == 3
        assert len(list((folder.parent / "run" / "weights").iterdir())) == 2


def test_the_same_seed_draws_the_same_from_one_server_and_from_two(folder: Path) -> None:
    with sampling(folder) as (one, _):
        alone = drawn(one)
    with sampling(folder, servers=2) as (two, stands):
        both = drawn(two)
        assert torch.equal(both.tokens, alone.tokens)
        assert set(both.server.split()) == {stand.address for stand in stands}
        assert not torch.equal(drawn(two, seed=1).tokens, alone.tokens)


def test_a_response_ends_where_the_context_does(folder: Path) -> None:
    prompt = sequences([125], seed=8)
    with sampling(folder) as (sampler, _):
        assert drawn(sampler, prompts=prompt, how=Sampling(max_tokens=50)).keep.shape[1] <= 3
        with pytest.raises(InputError, match="the server's context 128"):
            drawn(sampler, prompts=sequences([128], seed=8))


@pytest.mark.parametrize(
    ("way", "lie"),
    [("folder", "stale"), ("folder", "stale_head"), ("folder", "half"), ("adapter", "stale"), ("adapter", "old_adapter")],
)
def test_other_weights_are_found_by_the_first_draw_after_the_step(folder: Path, way: str, lie: str) -> None:
    """Learning at a usual rate moves these weights by about a thousandth; a gate of 0.1 per token would let every one of these pass."""
    with sampling(folder, way) as (sampler, (server,)):
        drawn(sampler)
        if way == "adapter":  # the first adapter is loaded into an empty place
            step(sampler, seed=1)
            drawn(sampler)
        setattr(server.lies, lie, True)
        step(sampler)
        with pytest.raises(RunError, match=r"has others: a gap of .* is allowed") as raised:
            drawn(sampler)
        assert str(folder if way == "adapter" else folder.parent / "run") in str(raised.value)
        found = float(str(raised.value).split("a gap of ")[1].split()[0])
        assert 1e-5 < found < 0.1
        setattr(server.lies, lie, False)
        assert gap(sampler, drawn(sampler)) < 1e-5, "once the server is right again, the same sampler goes on"


@pytest.mark.parametrize(
    ("lie", "told"),
    [
        ({"no_ids": True}, "without token ids"),
        ({"no_logprobs": True}, "without log-probabilities"),
        ({"nan": True}, "is no number"),
        ({"short": True}, "1 responses where 2"),
        ({"cut": True}, "without a stop token where 7"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_an_answer_that_cannot_be_learned_from_is_asked_for_again_and_then_refused(folder: Path, lie: dict[str, Any], told: str) -> None:
    with sampling(folder) as (sampler, (server,)):
        drawn(sampler)
        server.lies = Lies(**lie)
        with pytest.raises(RunError, match=told) as raised:
            drawn(sampler)
        assert "--resume" in str(raised.value)
        assert server.address in str(raised.value)


@pytest.mark.parametrize(
    ("lie", "told"),
    [
        ({"vocabulary": VOCAB - 1}, f"does not know our token {VOCAB - 1}"),
        ({"tokenizer": True}, "tokenizer gives other token ids"),
        ({"noise": 0.01}, "a gap of 0.01"),
        ({"raw_logprobs": True}, "processed_logprobs"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_server_of_another_kind_is_refused_at_the_start(folder: Path, lie: dict[str, Any], told: str) -> None:
    def started(lies: Lies) -> None:
        encode = TOKENIZER.encode
        with serving(StandIn(folder, lies=lies, encode=encode)) as stand:
            policy = load_causal_lm(folder)
            way = FolderWay(policy, folder.parent / "run", TOKENIZER, FP32)
            how: dict[str, Any] = {"stop": STOP, "dtype": FP32, "folder": folder.parent / "run", "pause": 0.01, "encode": encode}
            sampler = VllmSampler([VllmServer(stand.address)], way, policy=policy, **how)
            try:
                drawn(sampler)
            finally:
                sampler.close()

    started(Lies())
    (folder.parent / "run" / "gap.json").unlink()
    with pytest.raises(RunError, match=told):
        started(Lies(**lie))


def test_another_model_is_refused(folder: Path) -> None:
    policy = add_lora(llama(2), 2, rng(5))
    with sampling(folder, "adapter", policy=policy) as (sampler, _), pytest.raises(RunError, match="has others"):
        drawn(sampler)


def test_servers_of_two_versions_are_refused(folder: Path) -> None:
    way = FolderWay(load_causal_lm(folder), folder.parent / "run", TOKENIZER, FP32)
    with serving(StandIn(folder)) as one, serving(StandIn(folder, version="0.31.1")) as other:
        servers = [VllmServer(one.address), VllmServer(other.address)]
        with pytest.raises(RunError, match=r"different versions of vLLM.*0.31.1"):
            VllmSampler(servers, way, policy=way.policy, stop=STOP, dtype=FP32, folder=folder.parent)


def test_nobody_at_the_address(folder: Path) -> None:
    way = FolderWay(load_causal_lm(folder), folder.parent / "run", TOKENIZER, FP32)
    with pytest.raises(RunError, match=r"does not answer.*is it running"):
        VllmSampler([VllmServer("http://127.0.0.1:9")], way, policy=way.policy, stop=STOP, dtype=FP32, folder=folder.parent)
    with pytest.raises(UsageError, match="not the address"):
        VllmServer("127.0.0.1:8000")


@pytest.mark.parametrize("how", [{"top_p": 0.9}, {"top_k": 5}, {"min_p": 0.1}, {"repetition_penalty": 1.2}, {"temperature": 0.0}])
def test_a_filter_is_refused_in_training(folder: Path, how: dict[str, Any]) -> None:
    with sampling(folder) as (sampler, _), pytest.raises(UsageError, match="cannot learn from samples with"):
        drawn(sampler, how=Sampling(**how))


def test_failures_that_pass_change_nothing(folder: Path) -> None:
    with sampling(folder) as (sampler, (server,)):
        right = drawn(sampler)
        server.lies.fails = 3
        assert torch.equal(drawn(sampler).tokens, right.tokens)
        assert sampler.metrics()["sampler_faults"] == 3


@pytest.mark.parametrize("lie", [{"slow": 30.0}, {"drips": True}], ids=["hangs", "drips"])
def test_a_server_that_hangs_ends_the_run_in_bounded_time(folder: Path, lie: dict[str, Any]) -> None:
    with sampling(folder) as (sampler, (server,)):
        drawn(sampler)
        sampler.seats[0].server = VllmServer(server.address, 0.5, sampler.servers[0].client)
        server.lies = Lies(**lie)
        began = time.monotonic()
        with pytest.raises(RunError, match="--resume"):
            drawn(sampler)
        assert time.monotonic() - began < 15
        server.lies = Lies()


def test_when_one_of_two_servers_dies_the_other_draws_the_rest(folder: Path) -> None:
    notes = list[str]()
    with sampling(folder) as (one, _):
        right = drawn(one)
    with sampling(folder, servers=2, note=notes.append) as (sampler, (first, second)):
        drawn(sampler)
        first.stop_now()
        generation = drawn(sampler)
        assert torch.equal(generation.tokens, right.tokens)
        assert generation.server == second.address
        assert any(first.address in line and "not back" in line for line in notes)
        second.stop_now()
        with pytest.raises(RunError, match=r"no server answers.*--resume"):
            drawn(sampler)


def test_a_server_that_was_restarted_is_brought_the_weights_again(folder: Path) -> None:
    """Between two draws from the same weights it comes back with those that it was started on, and would answer with them."""
    for way in ("adapter", "folder"):
        with sampling(folder, way) as (sampler, (server,)):
            drawn(sampler)
            step(sampler)
            right = drawn(sampler, seed=1)
            server.forget()
            again = drawn(sampler, seed=1)
            assert torch.equal(again.tokens, right.tokens)
            assert gap(sampler, again) < 1e-5
            assert sampler.metrics()["syncs"] == 3


def test_a_server_of_ours_is_started_again(folder: Path) -> None:
    with sampling(folder) as (sampler, (server,)), ExitStack() as stack:
        step(sampler)
        right = drawn(sampler)
        server.stop_now()

        def revive(gone: VllmServer) -> bool:
            assert gone.address == server.address
            stack.enter_context(serving(StandIn(folder), int(gone.address.rpartition(":")[2])))
            return True

        sampler.revive = revive
        assert torch.equal(drawn(sampler).tokens, right.tokens)


@pytest.mark.parametrize("way", ["adapter", "folder"])
def test_a_server_that_sleeps_while_the_policy_learns_gets_all_that_it_dropped(folder: Path, way: str) -> None:
    with sampling(folder, way, sleep=True) as (sampler, (server,)):
        for number in range(3):
            assert gap(sampler, drawn(sampler, seed=number)) < 1e-5
            assert server.asleep
            if number:
                step(sampler, seed=number)
        assert {"/sleep", "/wake_up"} <= set(server.asked)


def test_the_gap_of_the_first_time_is_kept_for_a_resume(folder: Path) -> None:
    with sampling(folder) as (sampler, _):
        drawn(sampler)
        limit = sampler._limit()
        assert 0 < limit.token < 1e-4
    with sampling(folder, lies=Lies(noise=5e-4)) as (again, _):
        assert again._limit() == limit
        with pytest.raises(RunError, match=r"a gap of 0.0005"):  # as a first time it would have passed
            drawn(again)


def test_whole_weights_are_those_that_transformers_reads(tmp_path: Path) -> None:
    """Tied head, adapters and four bits together, in plain transformers and as the policy computes."""
    from transformers import AutoModelForCausalLM

    policy = add_lora(quantised(llama(3)), 2, rng(1))
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if "lora_B" in name:
                parameter += 0.1 * torch.randn(parameter.shape, generator=rng(2))
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    (tmp_path / "out").mkdir()
    write_whole(tmp_path / "out", policy, TOKENIZER, plain_weights(policy, FP32))
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    assert plain.config.tie_word_embeddings is False
    row = sequences([20], seed=4)[0]
    with torch.no_grad():
        theirs = plain(torch.tensor([row])).logits[0, :-1].log_softmax(-1).gather(1, torch.tensor(row)[1:, None])[:, 0]
        ours = logprobs(policy, pack([row]), dtype=FP32)[0]
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in policy.state_dict().items()), "the policy stays as it is"


def test_work_is_dealt_evenly_and_fixed_sequences_stay() -> None:
    dealt = deal(range(6), [50, 1, 1, 30, 20, 1], ["a", "b"])  # type: ignore[list-item]
    sums = {seat: sum([50, 1, 1, 30, 20, 1][row] for row, other in dealt if other == seat) for seat in "ab"}
    assert sorted(row for row, _ in dealt) == list(range(6))
    assert abs(sums["a"] - sums["b"]) <= 3
    assert fixed_sequences(VOCAB, 32) == fixed_sequences(VOCAB, 32)
    assert fixed_sequences(VOCAB, 32)[0][-1] == VOCAB - 1


def test_ppo_learns_by_it_stops_where_the_server_dies_and_goes_on(folder: Path, tmp_path: Path) -> None:
    config = {"steps": 4, "save_every": 1, "logprob_gap": 1e-4}
    settings = PpoConfig(**{**{"batch_size": 6, "minibatch_size": 3, "epochs": 2, "max_tokens": 6, "lr": 1e-3}, **config})
    assert settings.steps == 4
    policy = load_causal_lm(folder)
    with sampling(folder, policy=policy) as (sampler, (server,)):
        count, right = 0, sampler.sample

        def until(*args: Any, **how: Any) -> Any:
            nonlocal count
            count += 1
            if count == 3:
                server.stop_now()
            return right(*args, **how)

        sampler.sample = until  # type: ignore[method-assign]
        with pytest.raises(RunError, match="--resume"):
            learn(tmp_path / "ppo", policy=policy, reference=llama(1), sampler=lambda _: sampler, lr=1e-3, **config)
    asked = json.loads((tmp_path / "ppo" / "config.json").read_text())["config"]
    fresh = load_causal_lm(folder)
    with sampling(folder, policy=fresh) as (sampler, _):
        run = Run.start(tmp_path / "ppo", stage="ppo", config=PpoConfig(**asked), inputs={}, resume=True)
        learned = learn(tmp_path / "ppo", policy=fresh, reference=llama(1), sampler=lambda _: sampler, run=run, lr=1e-3, **config)
    rows = metrics(learned.run)
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert max(row["logprob_gap"] for row in rows) < 1e-5
    assert threading.active_count() < 100
