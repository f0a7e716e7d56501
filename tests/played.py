"""Episodes on a tiny model, for tests: environments of few lines, and short runs of every method that samples."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, cast

import torch
from groups import KINDS, SMALL, Improved
from tiny import FP32, SENTENCES, chat, llama, rng, scalar
from tiny import SMALL as SMALL_PPO

from accord.algorithms import ppo
from accord.algorithms.episodes import EpisodeSampler
from accord.algorithms.rewards import Earned, Mixture, Term
from accord.data.templates import ChatFormat
from accord.engine.local import LocalSampler
from accord.environments.hosted import Environments, Reply
from accord.protocols import Sampler
from accord.records import Generation, Message, Prompt, PromptTokens, Sampling
from accord.runtime.runs import Run
from accord.settings import PpoConfig
from accord.settings.methods import METHODS
from accord.settings.mixins import Episodes

Said = Sequence[Mapping[str, str]]


@cache
def turns_format() -> ChatFormat:
    """The project's chat format; a third of the vocabulary ends a turn, so that a model of random weights has several."""
    chat_format = chat()
    return replace(chat_format, stop=(*chat_format.stop, *range(100, 200)))


class Counter:
    """A user who speaks three times and pays a turn by its number, more for a long one."""

    deterministic = True

    def reset(self, row: Mapping[str, Any]) -> Said:
        self.turn, self.word = 0, random.Random(row["seed"]).choice(("bread", "cheese"))
        return [*row["messages"][:-1], {"role": "user", "content": f"{row['messages'][-1]['content']} {self.word}"}]

    def step(self, messages: Said) -> tuple[Said, float, bool, Mapping[str, Any]]:
        self.turn += 1
        earned = self.turn + len(messages[-1]["content"]) / 100
        return [{"role": "user", "content": f"Ask {self.turn} for {self.word}."}], earned, self.turn == 3, {"words": self.turn}


class Late(Counter):
    """The same, but it takes its time, and no two episodes the same."""

    def step(self, messages: Said) -> tuple[Said, float, bool, Mapping[str, Any]]:
        time.sleep(random.random() / 200)
        return super().step(messages)


def brief(text: str) -> float:
    """The worth of a turn: 1 for an empty one, and less the longer it is."""
    return 1 / (1 + len(text.strip()))


class Brief:
    """Three turns, each worth the more the shorter it is."""

    deterministic = True

    def reset(self, row: Mapping[str, Any]) -> Said:
        self.turn = 0
        return row["messages"]

    def step(self, messages: Said) -> tuple[Said, float, bool, Mapping[str, Any]]:
        self.turn += 1
        return [{"role": "user", "content": f"Turn {self.turn}."}], brief(messages[-1]["content"]), self.turn == 3, {}


ROW: dict[str, Any] = {"id": "p", "messages": [{"role": "user", "content": "Speak."}], "extra": {}, "seed": 1}


def one(environments: Environments, what: str, given: Any) -> Reply:
    """The answer to one call."""
    cast("Callable[[int, Any], None]", getattr(environments, what))(0, given)
    ((_, reply),) = environments.arrived(wait=True)
    assert not reply.failed, reply.error
    return reply


def three_turns(environments: Environments) -> list[float]:
    """Speak three times, and return what each turn earned; the environment counts the turns aloud."""
    said, earned = list(one(environments, "reset", ROW).messages), list[float]()
    assert said[-1].content.startswith("Speak.")
    for turn, words in enumerate(("abc", "", "abcdefg"), 1):
        said.append(Message("assistant", words))
        reply = one(environments, "step", said)
        earned.append(reply.reward)
        assert reply.done == (turn == 3)
        if not reply.done:
            assert [message.content for message in reply.messages] == [f"Turn {turn}."]
        said += reply.messages
    environments.end(0)
    return earned


def laid_by_hand(environments: Environments) -> int:
    """Draw episodes in an environment that says "Turn 1." and so on; lay each end to end by hand and hold it to what was recorded.

    Checked are the tokens, whose each one is, and by transformers' own pass over the whole row the log-probabilities of the model's own.
    Returns how many episodes had all three turns.
    """
    model, tokenizer, whole = policy(), turns_format().tokenizer, 0
    generation = played(model, environments)
    for place, (episode, row) in enumerate(zip(generation.episodes or [], generation.rows(), strict=True)):
        at, mask = 0, list[bool]()
        for turn in range(1, episode.turns + 1):
            end = next((i for i in range(at, len(row)) if row[i] in turns_format().stop), len(row) - 1)
            mask += [True] * (end + 1 - at)
            at = end + 1
            if turn < episode.turns:
                ids = tokenizer(f"<|user|>Q: Turn {turn}.<|end|><|assistant|>\nA:", add_special_tokens=False)["input_ids"]
                assert row[at : at + len(ids)] == ids
                mask += [False] * len(ids)
                at += len(ids)
        assert at == len(row), "nothing is left behind the model's last turn"
        assert mask == episode.own
        own, told = torch.tensor(mask), plain_logprobs(model, [*episode.opening, *row])[len(episode.opening) - 1 :]
        torch.testing.assert_close(generation.logprobs[place, : len(row)][own], told[own], atol=2e-5, rtol=0)
        assert not generation.logprobs[place, : len(row)][~own].any()
        whole += episode.turns == 3
    assert whole >= 2, "some episodes must have all three turns, or this says little"
    return whole


def plain_logprobs(model: Any, ids: list[int]) -> torch.Tensor:
    """Log-probabilities of every token but the first, by transformers' own forward pass over the whole row."""
    told = plain(model)(torch.tensor([ids])).logits[0].float().log_softmax(-1)
    return told[:-1].gather(1, torch.tensor(ids[1:])[:, None]).squeeze(1).detach()


def plain(model: Any) -> Any:
    """The same weights in transformers' own model."""
    from transformers import LlamaConfig, LlamaForCausalLM

    settings: dict[str, Any] = {**model.config.to_dict(), "attn_implementation": "eager"}
    copy = LlamaForCausalLM(LlamaConfig(**settings))
    copy.load_state_dict(model.state_dict())
    return copy


def tokens(prompts: int = 4) -> list[list[int]]:
    records = [Prompt(f"p{i}", (Message("user", SENTENCES[i % len(SENTENCES)]),)) for i in range(prompts)]
    return [PromptTokens(turns_format().prompt(record.messages), record) for record in records]


def policy(seed: int = 1) -> Any:
    return llama(seed, vocab=len(turns_format().tokenizer))


def sampler(
    model: Any,
    environment: Callable[[], Any] | Environments = Counter,
    *,
    inner: Sampler | None = None,
    window: int = 128,
    note: Any = None,
    **limits: Any,
) -> EpisodeSampler:
    inner = inner or LocalSampler(model, stop=turns_format().stop, dtype=FP32)
    asked = Episodes(environment="played:Counter", **limits)
    if isinstance(environment, Environments):
        environments = environment
    else:
        environments = Environments(environment, seconds=asked.step_seconds, at_once=asked.at_once)
    return EpisodeSampler(inner, environments, turns_format(), asked, window=window, note=note or (lambda line: None))


def learned(folder: Path, environments: Environments, kind: str = "grpo", **asked: Any) -> tuple[float, float]:
    """Learn in a three-turn environment; return the mean reward of the first two steps and of the last two."""
    whole = {"steps": 10, "batch_size": 24, "minibatch_size": 24, "max_tokens": 12, "lr": 1e-2, "kl_coef": 0.0, **asked}
    found = [row["reward"] for row in improve(folder, kind, environment=environments, save_every=100, **whole).metrics]
    return sum(found[:2]) / 2, sum(found[-2:]) / 2


def played(model: Any, environment: Callable[[], Any] | Environments = Counter, *, n: int = 2, seed: int = 0, **limits: Any) -> Generation:
    return sampler(model, environment, **limits).sample(tokens(), n=n, sampling=Sampling(max_tokens=8), generator=rng(seed))


def settings(kind: str, **asked: Any) -> Any:
    whole = {"batch_size": 6, "minibatch_size": 3, "max_tokens": 8, "environment": "played:Counter", **asked}
    if kind == "ppo":
        return PpoConfig(**cast("dict[str, Any]", {**SMALL_PPO, **whole}))
    return KINDS[kind].config(**{**SMALL, "group_size": KINDS[kind].group_size, METHODS[kind].iterations: 2, **whole})


def improve(
    folder: Path,
    kind: str = "grpo",
    *,
    model: Any = None,
    environment: Callable[[], Any] | Environments = Counter,
    run: Run | None = None,
    inner: Callable[[Any], Sampler] | None = None,
    limits: Mapping[str, Any] | None = None,
    **asked: Any,
) -> Improved:
    """A short run of a method over episodes."""
    model, earned = policy() if model is None else model, Mixture([Term("environment")], {"environment": Earned()})
    config = settings(kind, **asked)
    run = run or Run.start(folder, stage=kind, config=config, inputs={}, resume=False)
    drawn_by = sampler(model, environment, inner=inner(model) if inner else None, **(limits or {}))
    given: dict[str, Any] = {
        "policy": model,
        "reference": policy(),
        "sampler": drawn_by,
        "prompts": tokens(),
        "decode": turns_format().tokenizer.decode,
        "run": run,
        "dtype": FP32,
    }
    if kind == "ppo":
        ppo.train(config, value=scalar(policy(2), 3), scorer=earned, pretraining=None, **given)
    else:
        KINDS[kind].train(config, rewards=earned, **given)
    return Improved(model, run)
