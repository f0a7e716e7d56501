"""Whole episodes: whose each token is, what it earned, how an episode ends, and that a run over them can be resumed."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from played import (
    Brief,
    Counter,
    Late,
    Said,
    improve,
    laid_by_hand,
    learned,
    plain,
    plain_logprobs,
    played,
    policy,
    sampler,
    settings,
    tokens,
    turns_format,
)
from tiny import FP32, rng, same, scalar, weights

from accord.algorithms import grpo, rollouts
from accord.algorithms.process import ProcessReward
from accord.algorithms.rewards import Earned, Length, Listener, Mixture, Repetition, Term
from accord.engine.local import LocalSampler
from accord.environments.hosted import Environments
from accord.errors import RunError
from accord.records import Episode, EpisodeEnd, Generation, Sampling
from accord.runtime.runs import Run
from accord.settings import GrpoConfig

KINDS = ("grpo", "rloo", "reinforce", "raft", "ppo")


def drawn(model: Any, environment: Any = Counter, **limits: Any) -> rollouts.Drawn:
    scorer = Mixture([Term("environment")], {"environment": Earned()}).at(1, 1, dense=bool(limits.pop("dense", False)))
    how = Sampling(max_tokens=8)
    return rollouts.draw(tokens(), n=2, sampler=sampler(model, environment, **limits), scorer=scorer, sampling=how, generator=rng())


# --- whose each token is ---


def test_the_tokens_of_an_episode_are_those_that_a_hand_would_lay_end_to_end() -> None:
    """The opening, and then in turn what the model drew and what the template writes around the user's words; the mask by the same hand."""
    model, tokenizer = policy(), turns_format().tokenizer
    generation = played(model)
    whole = 0
    for episode, row in zip(generation.episodes or [], generation.rows(), strict=True):
        assert tokenizer.decode(episode.opening).startswith("<|endoftext|><|user|>Q: ")
        assert tokenizer.decode(episode.opening).endswith(("bread<|end|><|assistant|>\nA:", "cheese<|end|><|assistant|>\nA:"))
        word = "bread" if "bread" in episode.messages[0].content else "cheese"
        place, mask = 0, list[bool]()
        for turn in range(episode.turns):
            end = next((i for i in range(place, len(row)) if row[i] in turns_format().stop), len(row) - 1)
            mask += [True] * (end + 1 - place)
            place = end + 1
            if turn < episode.turns - 1:
                ids = tokenizer(f"<|user|>Q: Ask {turn + 1} for {word}.<|end|><|assistant|>\nA:", add_special_tokens=False)["input_ids"]
                assert row[place : place + len(ids)] == ids
                mask += [False] * len(ids)
                place += len(ids)
        assert place == len(row), "nothing is left behind the model's last turn"
        assert mask == episode.own
        whole += episode.end == "done"
    assert whole >= 2, "some episodes must have all three turns, or this says little"


def test_rewards_stand_on_the_last_token_of_the_turn_that_earned_them() -> None:
    episodes = played(policy()).episodes or []
    for episode in episodes:
        ends = [i for i, mine in enumerate(episode.own) if mine and (i + 1 == len(episode.own) or not episode.own[i + 1])]
        answers = [message.content for message in episode.messages if message.role == "assistant"]
        finished = episode.turns if episode.end == "done" else episode.turns - 1
        expected = {ends[t]: t + 1 + len(answers[t]) / 100 for t in range(finished)}
        assert {i: reward for i, reward in enumerate(episode.rewards) if reward} == pytest.approx(expected)
    assert any(episode.end == "done" for episode in episodes)


def test_a_replayed_episode_has_the_log_probabilities_that_its_rollout_recorded() -> None:
    """By transformers' own pass over the whole row at once, where the rollout drew turn after turn from its cache."""
    model = policy()
    generation = played(model)
    assert generation.episodes is not None
    for place, (episode, row) in enumerate(zip(generation.episodes, generation.rows(), strict=True)):
        told = plain_logprobs(model, [*episode.opening, *row])[len(episode.opening) - 1 :]
        own = torch.tensor(episode.own)
        torch.testing.assert_close(generation.logprobs[place, : len(row)][own], told[own], atol=2e-5, rtol=0)
        assert not generation.logprobs[place, : len(row)][~own].any()


def test_what_is_measured_has_a_step_for_each_own_token_alone() -> None:
    model = policy()
    there = drawn(model, dense=True)
    rollout = rollouts.measure(there, policy=model, reference=policy(5), temperature=1.0, dtype=FP32, micro_tokens=64)
    other = policy(5)
    for place, episode in enumerate(there.episodes or []):
        own = torch.tensor(episode.own)
        told = plain_logprobs(other, [*there.prompts[place], *there.responses[place]])[len(episode.opening) - 1 :]
        torch.testing.assert_close(rollout.reference[place][there.keep[place]], told[own], atol=2e-5, rtol=0)
        assert there.dense is not None
        torch.testing.assert_close(there.dense[place][there.keep[place]], torch.tensor(episode.rewards)[own])
    assert rollout.logprob_gap < 1e-5


def test_the_gradient_is_that_of_the_own_tokens() -> None:
    """Of a first pass, whose ratios are 1: minus the mean over responses of the advantage times the mean log-probability of own tokens."""
    model = policy()
    config = GrpoConfig(batch_size=8, group_size=2, minibatch_size=8, max_tokens=8, kl_coef=0.0, scale="none", environment="x:Y", lr=1.0)
    there = drawn(model)
    rollout = rollouts.measure(there, policy=model, reference=model, temperature=1.0, dtype=FP32, micro_tokens=10_000)
    targets = grpo.learning_targets(config, rollout)
    model.zero_grad()
    grpo._losses(config, model, rollout, targets, list(range(8)), FP32)
    ours = {name: p.grad.clone() for name, p in model.named_parameters()}
    model, scores = plain(model), grpo.final_scores(config, there)
    for place, episode in enumerate(there.episodes or []):
        ids, begin = [*episode.opening, *there.responses[place]], len(episode.opening) - 1
        advantage = scores[place] - scores[place // 2 * 2 : place // 2 * 2 + 2].mean()
        told = model(torch.tensor([ids])).logits[0].float().log_softmax(-1)[:-1].gather(1, torch.tensor(ids[1:])[:, None]).squeeze(1)
        (-(advantage * told[begin:][torch.tensor(episode.own)].mean()) / 8).backward()
    assert any(float(p.grad.abs().max()) > 1e-3 for p in model.parameters())
    for name, p in model.named_parameters():
        rows = slice(1 if "embed_tokens" in name else 0, None)  # transformers gives the padding's embedding no gradient
        torch.testing.assert_close(ours[name][rows], p.grad[rows], atol=2e-5, rtol=1e-3)


def test_a_runs_reward_is_all_that_was_given_wherever_it_stands() -> None:
    model = policy()
    turnwise, whole = drawn(model, dense=True), drawn(model)
    assert not turnwise.scores.any()
    assert rollouts.given(turnwise).tolist() == pytest.approx(whole.scores.tolist())
    assert whole.scores.tolist() == pytest.approx([sum(episode.rewards) for episode in whole.episodes or []])
    assert whole.scores.any()


# --- what an episode depends on ---


def test_an_episode_depends_neither_on_its_company_nor_on_who_answers_first() -> None:
    model = policy()
    plain, late, alone = played(model), played(model, Late), played(model, Late, at_once=1)
    assert plain.episodes == late.episodes == alone.episodes
    assert torch.equal(plain.logprobs, late.logprobs)
    assert len({tuple(row) for row in plain.rows()}) == 8, "the episodes of a group differ in what the model draws"
    words = [episode.messages[0].content for episode in plain.episodes or []]
    assert words[::2] == words[1::2], "and begin alike"


def test_earlier_turns_are_found_in_the_cache() -> None:
    """With pieces of 32 tokens, a conversation of more than that is not read again."""
    inner = LocalSampler(policy(), stop=turns_format().stop, dtype=FP32)
    engines: list[Any] = []
    opener = inner.turns

    def kept(rows: int, longest: int) -> Any:
        engines.append(opener(rows, longest))
        return engines[-1]

    inner.turns = kept  # type: ignore[method-assign]
    generation = sampler(policy(), inner=inner).sample(tokens(), n=2, sampling=Sampling(max_tokens=8), generator=rng())
    long = [e for e, row in zip(generation.episodes or [], generation.rows(), strict=True) if len(e.opening) + len(row) > 40]
    assert long
    assert engines[0].reused >= 32 * len(long)


def test_a_sampler_elsewhere_draws_turns_in_waves() -> None:
    model = policy()

    class Elsewhere:
        foreign = True

        def sample(self, prompts: Any, **how: Any) -> Generation:
            return LocalSampler(model, stop=turns_format().stop, dtype=FP32).sample(prompts, **how)

        def refresh(self) -> None: ...

    there = sampler(model, Late, inner=Elsewhere())
    generation = there.sample(tokens(), n=2, sampling=Sampling(max_tokens=8), generator=rng())
    assert there.foreign
    assert sum(episode.end == "done" for episode in generation.episodes or []) >= 2
    for place, (episode, row) in enumerate(zip(generation.episodes or [], generation.rows(), strict=True)):
        told = plain_logprobs(model, [*episode.opening, *row])[len(episode.opening) - 1 :]
        own = torch.tensor(episode.own)
        torch.testing.assert_close(generation.logprobs[place, : len(row)][own], told[own], atol=2e-5, rtol=0)


# --- how an episode ends ---


class Faulty(Counter):
    """Goes wrong in its second step where the prompt is the first one."""

    fault: Any = None

    def reset(self, row: Mapping[str, Any]) -> Said:
        self.chosen = row["id"] == "p0"
        return super().reset(row)

    def step(self, messages: Said) -> tuple[Said, float, bool, Mapping[str, Any]]:
        if self.chosen:
            return self.fault()
        return super().step(messages)


def faulty(fault: Any) -> type[Faulty]:
    return type("Faulty", (Faulty,), {"fault": staticmethod(fault)})


def hang() -> Any:
    time.sleep(1.5)


def boom() -> Any:
    raise OSError("the database is gone")


FAULTS: dict[str, tuple[Any, str, str]] = {
    "raises": (boom, "crashed", "step raised OSError: the database is gone"),
    "hangs": (hang, "seconds", "longer than 0.3 s"),
    "empty": (lambda: ([{"role": "user", "content": " "}], 0.0, False, {}), "invalid", "an empty message"),
    "says nothing": (lambda: ([], 0.0, False, {}), "invalid", "no message, and is not done"),
    "unknown role": (lambda: ([{"role": "narrator", "content": "so"}], 0.0, False, {}), "invalid", "the role 'narrator'"),
    "speaks for the model": (lambda: ([{"role": "assistant", "content": "so"}], 0.0, False, {}), "invalid", "'assistant'"),
    "reward is a word": (lambda: ([{"role": "user", "content": "so"}], "1", False, {}), "invalid", "the reward '1'"),
    "reward is nan": (lambda: ([{"role": "user", "content": "so"}], float("nan"), False, {}), "invalid", "no finite number"),
    "no tuple": (lambda: "done", "invalid", "which is not (messages, reward, done, info)"),
    "a string": (lambda: ("so", 0.0, True, {}), "invalid", "no list of messages"),
    "endless words": (lambda: ([{"role": "user", "content": "a" * 1_000_001}], 0.0, False, {}), "invalid", "1,000,001 characters"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failed_environment_ends_its_own_episode_and_is_counted(fault: str) -> None:
    goes_wrong, end, words = FAULTS[fault]
    lines: list[str] = []
    there = drawn(policy(), faulty(goes_wrong), step_seconds=0.3, note=lines.append)
    first, others = (there.episodes or [])[:2], (there.episodes or [])[2:]
    assert {episode.end for episode in others} <= {"done", "tokens"}
    ended = [episode for episode in first if episode.end == end]
    assert ended
    assert all(words in episode.error for episode in ended)
    assert len(lines) == 1
    assert words in lines[0]
    assert rollouts.episode_metrics(there)[f"ended.{end}"] == len(ended) / 8
    learned = rollouts.learned_tokens(there, "penalise")
    for place, episode in enumerate(there.episodes or []):
        assert learned[place].sum() == (0 if episode.void else sum(episode.own))


def test_an_episode_that_failed_scores_as_the_others_of_its_group_do() -> None:
    once = threading.Event()

    def boom_once() -> Any:
        if not once.is_set():
            once.set()
            raise OSError("gone")
        return [{"role": "user", "content": "so"}], 5.0, True, {}

    there = drawn(policy(3), faulty(boom_once), at_once=1)
    first = (there.episodes or [])[:2]
    assert sorted(episode.end for episode in first) == ["crashed", "done"]
    assert there.scores[:2].tolist() == [5.0, 5.0]


def made(*rows: tuple[str, float, bool], turns: bool = False) -> rollouts.Drawn:
    """Episodes of one own token between two of others', by hand: how each ended, what it earned, whether it was finished."""
    own, said = [True, False, True], len(rows)
    episodes = [Episode([2], own, [0.0, 0.0, earned], cast("EpisodeEnd", end), ()) for end, earned, _ in rows]
    scores, keep = torch.tensor([earned for _, earned, _ in rows]), torch.ones(said, 2, dtype=torch.bool)
    dense = torch.stack([torch.zeros(said), scores], 1) if turns else None
    finished = torch.tensor([done for *_, done in rows])
    scores = torch.zeros(said) if turns else scores
    there = rollouts.Drawn([[2]] * said, [[5, 5, 1]] * said, finished, scores, keep, torch.zeros(said, 2), {}, dense, episodes)
    return replace(there, group=len(rows))


def test_an_episode_that_failed_is_neutral_under_every_rule_of_truncation() -> None:
    there = made(("done", 4.0, True), ("tokens", 4.0, False), ("crashed", 0.0, True))
    for rule, others in {"penalise": [4.0, -1.0], "bootstrap": [4.0, 0.0], "terminate": [4.0, 4.0], "mask": [4.0, 4.0]}.items():
        expected = [*others, sum(others) / 2]
        assert rollouts.settled_scores(there, rule, -1.0).tolist() == expected
        config = settings("grpo", truncation=rule, no_stop_reward=-1.0, batch_size=3, minibatch_size=3, group_size=3)
        assert grpo.final_scores(config, there).tolist() == expected


def test_groups_are_told_apart_by_the_rewards_of_their_turns(tmp_path: Path) -> None:
    """Under turn-wise rewards every score is 0. One group's episodes earn alike, though one of them failed; the other's differ."""
    alike = made(("done", 2.0, True), ("done", 2.0, True), ("crashed", 0.0, True), turns=True)
    differing = made(("done", 2.0, True), ("done", 3.0, True), ("done", 2.0, True), turns=True)
    config = settings("reinforce", batch_size=6, minibatch_size=6, group_size=3)
    assert grpo.turnwise(config)
    assert grpo.telling_groups(grpo._earned(config, alike + differing), 3).tolist() == [False, True]  # pyright: ignore[reportPrivateUsage]


def test_what_others_said_counts_in_no_part_of_the_reward() -> None:
    own = [True, True, False, False, False, False, True]
    episode = Episode([2], own, [0.0] * 7, "done", ())
    response = [5, 6, 9, 9, 9, 9, 5]
    process = ProcessReward(scalar(policy(), 3), dtype=FP32)
    whole = process.score_tokens([[2]], [response])
    parts: list[Any] = [Length(), Repetition(1), process]
    for part in parts:
        assert isinstance(part, Listener)
        part.hear([episode])
    assert Length().score([[2]], [response]).tolist() == [7.0], "a response without an environment is all the model's"
    assert parts[0].score([[2]], [response]).tolist() == [3.0]
    assert parts[1].score([[2]], [response]).tolist() == pytest.approx([1 / 3])
    assert whole.ne(0).all()
    torch.testing.assert_close(process.score_tokens([[2]], [response]), whole * torch.tensor(own))
    torch.testing.assert_close(process.score([[2]], [response]), (whole * torch.tensor(own)).sum(1))


def test_a_batch_of_failed_episodes_alone_ends_the_run_with_the_first_reason() -> None:
    class Gone(Counter):
        def reset(self, row: Mapping[str, Any]) -> Said:
            raise OSError("no such game")

    with pytest.raises(RunError, match="all 8 episodes failed; the first: reset raised OSError: no such game"):
        drawn(policy(), Gone)


def test_an_environment_that_never_says_done_ends_at_the_limit_of_turns() -> None:
    class Endless(Counter):
        def step(self, messages: Said) -> tuple[Said, float, bool, Mapping[str, Any]]:
            return [{"role": "tool", "content": "more"}], 1.0, False, {}

    there = played(policy(), Endless, max_turns=2).episodes or []
    assert {episode.end for episode in there} == {"turns", "tokens"}
    assert {episode.turns for episode in there if episode.end == "turns"} == {2}
    short = played(policy(), Endless, max_tool_calls=1, max_turns=9).episodes or []
    assert {episode.end for episode in short} == {"tool_calls", "tokens"}
    assert {episode.tool_calls for episode in short if episode.end == "tool_calls"} == {2}


def test_an_episode_ends_within_its_window_unfinished() -> None:
    generation = played(policy(), episode_tokens=40)
    for episode, row, finished in zip(generation.episodes or [], generation.rows(), generation.finished.tolist(), strict=True):
        assert len(episode.opening) + len(row) <= 40 or (episode.end, len(row)) == ("invalid", 0)
        assert finished == (episode.end != "tokens")
    assert {episode.end for episode in generation.episodes or []} >= {"tokens", "invalid"}


def test_an_environment_may_be_asynchronous() -> None:
    class Async:
        deterministic = True

        def __init__(self) -> None:
            self.plain = Counter()

        async def reset(self, row: Mapping[str, Any]) -> Said:
            return self.plain.reset(row)

        async def step(self, messages: Said) -> tuple[Said, float, bool, Mapping[str, Any]]:
            return self.plain.step(messages)

    assert played(policy(), Async).episodes == played(policy()).episodes


# --- runs ---


def test_an_episode_of_a_class_is_recorded_as_a_hand_would_lay_it() -> None:
    laid_by_hand(Environments(Brief))


@pytest.mark.parametrize("kind", ["grpo", "ppo"])
def test_what_an_environment_pays_for_is_learned(kind: str, tmp_path: Path) -> None:
    first, last = learned(tmp_path, Environments(Brief), kind)
    assert last > first + 0.3, (first, last)


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_over_episodes_that_was_stopped_has_the_same_weights(kind: str, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"save_every": 1, "rounds" if kind == "raft" else "steps": 3, "lr": 1e-3}
    whole = improve(tmp_path / "whole", kind, **asked)
    assert not same(weights(whole.policy), weights(policy())), "nothing was learned"
    left, config = tmp_path / "stopped", settings(kind, **asked)
    run = Run.start(left, stage=kind, config=config, inputs={}, resume=False)
    with pytest.raises(Killed):
        improve(left, kind, run=run, inner=lambda model: Mortal(model, stop=turns_format().stop, dtype=FP32), **asked)
    again = improve(left, kind, run=Run.start(left, stage=kind, config=config, inputs={}, resume=True), **asked)
    assert same(weights(again.policy), weights(whole.policy))
    assert again.metrics == whole.metrics
    assert {"turns", "others_tokens", "ended.done", "environment.words", "reward.environment"} <= whole.metrics[0].keys()


class Killed(BaseException):
    pass


class Mortal(LocalSampler):
    """Ends the run in the middle of the episodes of its third draw."""

    draws = 0

    def turns(self, rows: int, longest: int) -> Any:
        self.draws, left = self.draws + 1, [12]
        engine = super().turns(rows, longest)
        draw = engine.step

        def step() -> Any:
            left[0] -= 1
            if self.draws == 3 and not left[0]:
                raise Killed
            return draw()

        engine.step = step  # type: ignore[method-assign]
        return engine
