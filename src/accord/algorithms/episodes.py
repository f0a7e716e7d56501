"""Rollouts of whole episodes: the model speaks, an environment answers, and so on to the end. One rollout for every method that samples.

An ``EpisodeSampler`` is a ``Sampler`` whose rows are episodes, so algorithms, recorded draws and samplers elsewhere stay as they are.

1. Each environment is reset on its prompt's row. Its messages are the opening.
2. The model draws a turn for every episode whose environment has answered; each turn has random numbers of its own.
3. The environment answers. Its words are appended as the template writes them behind a turn. Nothing is tokenised again.
4. An episode ends when its environment says so, at a limit, or when its environment fails.

What an episode is depends on its row and seed, not on which others run beside it or on who answers first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

import torch

from accord.data.templates import ChatFormat
from accord.environments.hosted import Environments, Reply
from accord.errors import InputError, RunError
from accord.models.packing import keep_mask
from accord.protocols import Sampler, TurnSource, is_foreign
from accord.records import Episode, EpisodeEnd, Generation, Message, PromptTokens, Sampling, Turn
from accord.runtime import ranks
from accord.runtime.text_only import as_text
from accord.settings.mixins import Episodes

NAMED = 3
"""Failures of environments that the log names in a draw; the others are counted."""


class EpisodeSampler:
    """Samples episodes: the turns from a sampler, the answers from environments.

    Args:
        sampler: draws the turns. One of this process draws them as they come, another all at once.
        window: the longest episode in tokens; 0 sets no limit.
        divides: whether several processes, all of which ask for the same episodes, divide them.
        note: writes a line into the run's log.
    """

    def __init__(
        self,
        sampler: Sampler,
        environments: Environments,
        chat_format: ChatFormat,
        limits: Episodes,
        *,
        window: int = 0,
        divides: bool = False,
        note: Callable[[str], None] = print,
    ) -> None:
        self.sampler, self.environments, self.format, self.limits = sampler, environments, chat_format, limits
        self.foreign, self.dtype = is_foreign(sampler), getattr(sampler, "dtype", None)
        self.window = min(window or limits.episode_tokens or (1 << 40), limits.episode_tokens or window or (1 << 40))
        self.divides, self.note = divides and not self.foreign, note
        self.deterministic = environments.deterministic and not self.foreign
        if self.dtype is None:
            del self.dtype  # a sampler that does not say in what it computes

    def refresh(self) -> None:
        """Tell the sampler that the weights changed."""
        self.sampler.refresh()

    def bring(self) -> None:
        """Let the sampler take over the weights at once, if it can."""
        bring: Callable[[], None] | None = getattr(self.sampler, "bring", None)
        if bring:
            bring()

    def sample(self, prompts: Sequence[Sequence[int]], *, n: int, sampling: Sampling, generator: torch.Generator) -> Generation:
        """Draw n episodes for each prompt, which are ``PromptTokens``; see ``protocols.Sampler``."""
        began = time.perf_counter()
        asked = [cast("PromptTokens", prompt) for prompt in prompts for _ in range(n)]
        seeds: list[int] = torch.randint(1 << 62, (len(asked),), generator=generator).tolist()
        of_groups: list[int] = torch.randint(1 << 31, (len(prompts),), generator=generator).tolist()
        own = ranks.share([len(prompt) for prompt in asked]) if self.divides else list(range(len(asked)))
        running = [_Running(i, asked[i], seeds[i], of_groups[i // n]) for i in own]
        versions = self._play(running, sampling)
        played = {each.key: (each.episode(), each.tokens, each.logprobs, each.finished) for each in running}
        if self.divides:
            played = {key: row for part in ranks.gathered(played) for key, row in part.items()}
        rows = [played[i] for i in range(len(asked))]
        self._note([episode for episode, *_ in rows])
        lengths = torch.tensor([len(tokens) for _, tokens, _, _ in rows], dtype=torch.long)
        keep = keep_mask(lengths)
        tokens = torch.zeros(keep.shape, dtype=torch.long)
        logprobs = torch.zeros(keep.shape)
        for place, (_, said, told, _) in enumerate(rows):
            tokens[place, : len(said)], logprobs[place, : len(told)] = torch.tensor(said, dtype=torch.long), torch.tensor(told)
        finished = torch.tensor([ended for *_, ended in rows])
        seconds = {"prefill": 0.0, "decode": time.perf_counter() - began}
        version, server = versions
        return Generation(tokens, logprobs, keep, finished, seconds, version, server, [episode for episode, *_ in rows])

    def _play(self, running: Sequence[_Running], sampling: Sampling) -> tuple[str, str]:
        """Run episodes to their ends. Returns the version and the addresses of the sampler, if it says them."""
        source, waves = self._source(len(running), max((len(each.prompt) for each in running), default=1), sampling)
        open_ = {each.key: each for each in running}
        drawn_for: dict[int, _Running] = {}
        for each in running:
            each.began = time.monotonic()
            self.environments.reset(each.key, each.row)
        while open_:
            # A source that draws as it goes need not wait for environments; one in waves waits for all of them.
            while self.environments.waiting:
                for key, reply in self.environments.arrived(wait=waves is not None or not source.busy):
                    each = open_[key]
                    end = self._heard(each, reply)
                    room = min(sampling.max_tokens, self.window - each.length)
                    if end is None:
                        ticket = source.submit([*each.opening, *each.tokens], _limited(sampling, room), each.seed_of_turn())
                        drawn_for[ticket] = each
                    else:
                        each.close(end)
                        del open_[key]
                        self.environments.end(key)
                if waves is None:
                    break
            for turn in source.step() if source.busy else ():
                each = drawn_for.pop(turn.ticket)
                each.say(turn, self.format.text(turn.tokens))
                if turn.finished:
                    self.environments.step(each.key, each.messages)
                else:
                    each.close("tokens")
                    del open_[each.key]
                    self.environments.end(each.key)
        self.environments.settle()
        return ("", "") if waves is None else (waves.version, waves.server)

    def _source(self, rows: int, longest: int, sampling: Sampling) -> tuple[TurnSource, _Waves | None]:
        opener: Callable[[int, int], TurnSource] | None = getattr(self.sampler, "turns", None)
        if opener is None:
            waves = _Waves(self.sampler)
            return waves, waves
        grown = longest + self.limits.max_turns * (sampling.max_tokens + 64)
        return opener(rows, min(grown, self.window)), None

    def _heard(self, each: _Running, reply: Reply) -> EpisodeEnd | None:
        """Take an environment's answer; return why the episode ends, or None where the model is to speak."""
        if reply.failed:
            each.error = reply.error
            return reply.failed
        limits, first = self.limits, not each.turns
        each.messages += reply.messages
        each.tool_calls += sum(str(message.role) == "tool" for message in reply.messages)
        if not first:
            each.rewards[-1] += reply.reward
        for name, value in reply.info.items():
            if isinstance(value, int | float):
                each.counts[name] = each.counts.get(name, 0.0) + float(value)
        if reply.done:
            return "done"
        if each.turns >= limits.max_turns:
            return "turns"
        if limits.max_tool_calls and each.tool_calls > limits.max_tool_calls:
            return "tool_calls"
        if limits.episode_seconds and time.monotonic() - each.began > limits.episode_seconds:
            each.error = f"the episode took longer than {limits.episode_seconds:g} s"
            return "seconds"
        try:
            if first:
                each.opening = self.format.prompt(each.messages)
            else:
                each.hear(self.format.continuation(reply.messages))
        except InputError as error:
            each.error = f"the template cannot write the environment's message: {error.what}"
            return "invalid"
        if each.length < self.window:
            return None
        if first:
            each.error = f"the opening has {each.length} tokens, and an episode {self.window} at most"
            return "invalid"
        return "tokens"

    def _note(self, episodes: Sequence[Episode]) -> None:
        failed = [episode for episode in episodes if episode.void]
        for error in list(dict.fromkeys(episode.error for episode in failed))[:NAMED]:
            count = sum(episode.error == error for episode in failed)
            self.note(f"{count} of {len(episodes)} episodes failed and teach nothing: {error}")


@dataclass
class _Running:
    """An episode that is being played."""

    key: int
    prompt: PromptTokens
    seed: int
    """Of what the model draws in it."""
    group_seed: int
    """Of its environment."""
    opening: list[int] = field(default_factory=list[int])
    tokens: list[int] = field(default_factory=list[int])
    logprobs: list[float] = field(default_factory=list[float])
    own: list[bool] = field(default_factory=list[bool])
    rewards: list[float] = field(default_factory=list[float])
    messages: tuple[Message, ...] = ()
    turns: int = 0
    tool_calls: int = 0
    counts: dict[str, float] = field(default_factory=dict[str, float])
    began: float = 0.0
    end: EpisodeEnd = "done"
    error: str = ""
    finished: bool = True
    """Whether it ended otherwise than at a limit of tokens."""

    @property
    def row(self) -> dict[str, object]:
        """What the environment is told of the prompt."""
        prompt = self.prompt.prompt
        read = as_text(prompt.messages, "an environment", where=f"prompt {prompt.id}")
        messages = [{"role": message.role, "content": message.content} for message in read]
        about = {"id": prompt.id, "messages": messages, "use_case": prompt.use_case, "user": prompt.user}
        return {**about, "extra": dict(prompt.extra), "seed": self.group_seed}

    @property
    def length(self) -> int:
        return len(self.opening) + len(self.tokens)

    def seed_of_turn(self) -> int:
        """Return the seed of the next turn's random numbers."""
        return (self.seed + 0x9E3779B97F4A7C15 * self.turns) % (1 << 63)

    def say(self, turn: Turn, text: str) -> None:
        """Append a turn of the model."""
        self._append(turn.tokens, turn.logprobs, own=True)
        self.messages = (*self.messages, Message("assistant", text))
        self.turns += 1

    def hear(self, tokens: Sequence[int]) -> None:
        """Append what others said, as the template writes it."""
        self._append(tokens, [0.0] * len(tokens), own=False)

    def _append(self, tokens: Sequence[int], logprobs: Sequence[float], *, own: bool) -> None:
        self.tokens += tokens
        self.logprobs += logprobs
        self.own += [own] * len(tokens)
        self.rewards += [0.0] * len(tokens)

    def close(self, end: EpisodeEnd) -> None:
        """End the episode: what others said behind the model's last turn is no token that anything is learned at."""
        self.end, self.finished = end, end != "tokens"
        kept = len(self.own) - self.own[::-1].index(True) if True in self.own else 0
        for held in (self.tokens, self.logprobs, self.own, self.rewards):
            del held[kept:]

    def episode(self) -> Episode:
        """Return the finished episode."""
        told = (self.messages, self.turns, self.tool_calls, self.counts, self.error)
        return Episode(self.opening or list(self.prompt), self.own, self.rewards, self.end, *told)


def _limited(sampling: Sampling, most: int) -> Sampling:
    return Sampling(
        sampling.temperature, sampling.top_k, sampling.top_p, sampling.repetition_penalty, max_tokens=most, min_p=sampling.min_p
    )


class _Waves:
    """Turns from a sampler that is asked for many at once: it draws when all environments have answered."""

    def __init__(self, sampler: Sampler) -> None:
        self.sampler, self.version, self.server = sampler, "", ""
        self._asked: list[tuple[int, list[int], Sampling, int]] = []
        self._tickets = 0

    @property
    def busy(self) -> bool:
        return bool(self._asked)

    def submit(self, tokens: Sequence[int], sampling: Sampling, seed: int) -> int:
        self._tickets += 1
        self._asked.append((self._tickets, list(tokens), sampling, seed))
        return self._tickets

    def step(self) -> list[Turn]:
        asked, self._asked = self._asked, []
        groups: dict[int, list[tuple[int, list[int], Sampling, int]]] = {}
        for each in asked:
            groups.setdefault(each[2].max_tokens, []).append(each)
        turns = list[Turn]()
        for group in groups.values():
            numbers = torch.Generator().manual_seed(group[0][3])
            drawn = self.sampler.sample([tokens for _, tokens, _, _ in group], n=1, sampling=group[0][2], generator=numbers)
            if self.version and drawn.version != self.version:
                what = f"the weights changed from {self.version} to {drawn.version} in the middle of an episode"
                raise RunError(what, where="the sampler", hint="continue with --resume")
            self.version, self.server = drawn.version, drawn.server
            logprobs: list[list[float]] = drawn.logprobs.tolist()
            ends: list[bool] = drawn.finished.tolist()
            for (ticket, *_), tokens, told, ended in zip(group, drawn.rows(), logprobs, ends, strict=True):
                turns.append(Turn(ticket, tokens, told[: len(tokens)], finished=ended))
        return turns
