"""The draws of a run: taken from the sampler, read back where they were recorded, or taken one step ahead.

A sampler outside this process never draws the same again. So what it drew is recorded before it is learned from, and a resumed run
reads it: training goes on bit for bit on what was really sampled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import torch

from accord.algorithms.rewards import Listener, PartedScorer
from accord.algorithms.rollouts import asked_of
from accord.errors import RunError
from accord.protocols import Sampler, Scorer, is_foreign
from accord.records import Episode, Generation, Sampling
from accord.rewards.rows import ONE, Scores, counts_of, total
from accord.runtime import ranks
from accord.runtime.recordings import FOLDER, Draw, Recordings, Request
from accord.runtime.runs import Run
from accord.settings.mixins import Recorded


class Replayed:
    """A sampler that draws nothing: a run takes what another run recorded."""

    def __init__(self, recordings: Recordings) -> None:
        self.recordings, self.foreign = recordings, recordings.was_foreign()

    def sample(self, prompts: Sequence[Sequence[int]], *, n: int, sampling: Sampling, generator: torch.Generator) -> Generation:
        """Refuse to draw. Raises RunError."""
        hint = "replay as many steps as were recorded"
        raise RunError("no such rollout was recorded, and a replay draws none", where=str(self.recordings.folder), hint=hint)

    def refresh(self) -> None:
        """Do nothing: there are no weights."""


class Draws:
    """What the steps of a run take from a sampler.

    ``config.record_rollouts`` says which draws stay in the run's folder: ``all``; ``checkpoint``, those that a resume would need; or
    ``off``. ``auto`` is ``all`` for a sampler outside this process, ``checkpoint`` for draws one step ahead and for episodes of an
    environment that may answer otherwise, and else ``off``: the engine in this process draws the same again from the same weights and seed.
    """

    def __init__(self, config: Recorded, sampler: Sampler, run: Run, done: int) -> None:
        source: Recordings | None = getattr(sampler, "recordings", None)
        self.sampler, self.foreign, self.staleness = sampler, is_foreign(sampler), getattr(config, "staleness", 0)
        again = not self.staleness and getattr(sampler, "deterministic", True)
        auto = "off" if source is not None or (again and not self.foreign) else "all" if self.foreign else "checkpoint"
        self.keep = auto if config.record_rollouts == "auto" else config.record_rollouts
        self.own = Recordings(run.folder / FOLDER)
        self.sources = ([] if self.keep == "off" else [self.own]) + ([] if source is None else [source])
        self.policy_step = done
        """The step after which the policy had the weights that the sampler draws from."""
        self.behind = 0
        """Steps that the policy has learned since the weights that drew what was taken last."""
        self._ahead: dict[int, Callable[[], Draw]] = {}
        self._threads = ThreadPoolExecutor(1, "accord-draw") if self.staleness and self.foreign else None
        self.noted = ranks.first() and (self.keep != "off" or source is not None)
        if self.noted:
            self.own.cut(done)

    def at(self, step: int) -> StepDraws:
        """Return the sampler of a step, which counts what the step draws."""
        self.behind = 0
        return StepDraws(self, step)

    def ask(self, step: int, prompts: Sequence[Sequence[int]], *, n: int, sampling: Sampling, generator: torch.Generator) -> None:
        """Take the first draw of a later step now, from today's weights, where the settings allow draws one step ahead.

        A sampler outside this process draws while the policy learns. The engine in this process shares the policy's weights, so it draws
        at once.
        """
        request = Request(prompts, n, sampling, generator.initial_seed())
        if not self.staleness or self._read(step, 0, request):
            return
        policy_step, sample = self.policy_step, partial(self.sampler.sample, prompts, n=n, sampling=sampling, generator=generator)
        if self._threads is None:
            drawn = sample()
            result = lambda: drawn  # noqa: E731
        elif ranks.first():
            if bring := getattr(self.sampler, "bring", None):
                bring()  # the weights as they are now; the thread finds them brought
            result = self._threads.submit(sample).result
        else:
            result = sample  # never called: the first process asks for all

        def arrived() -> Draw:
            draw = Draw(asked_of(self.sampler, result), policy_step, self.foreign)
            self._write(step, 0, request, draw)
            self._ahead[step] = lambda: draw
            return draw

        self._ahead[step] = arrived

    def take(self, step: int, number: int, request: Request, generator: torch.Generator) -> Generation:
        """Return a draw of a step: the recorded one, the one that was asked for before, or a new one."""
        draw = self._read(step, number, request)
        if draw is None and number == 0 and step in self._ahead:
            draw = self._ahead[step]()
        if draw is None:
            sample = partial(self.sampler.sample, request.prompts, n=request.n, sampling=request.sampling, generator=generator)
            draw = Draw(asked_of(self.sampler, sample), self.policy_step, self.foreign)
            self._write(step, number, request, draw)
        self._ahead.pop(step, None)
        self.behind = max(self.behind, step - 1 - draw.policy_step)
        if self.noted:
            self.own.note(step, number, draw)
        return draw.drawn

    def refresh(self, step: int) -> None:
        """Tell the sampler that the weights are those after ``step`` now, once what it was asked for from the old ones is here."""
        for arrived in list(self._ahead.values()):
            arrived()
        self.sampler.refresh()
        self.policy_step = step

    def settle(self, step: int) -> None:
        """Remove the draws that no resume needs once a step has a checkpoint, unless all are kept."""
        if self.keep == "checkpoint" and ranks.first():
            self.own.forget(step)

    def _read(self, step: int, number: int, request: Request) -> Draw | None:
        """Return the recorded draw, this run's or that of the run that is replayed. Raises RunError as ``Recordings.read`` does."""
        for source in self.sources:
            found = ranks.from_first(partial(source.read, step, number, request))
            if found is not None:
                return found
        return None

    def _write(self, step: int, number: int, request: Request, draw: Draw) -> None:
        if self.keep != "off" and ranks.first():
            self.own.write(step, number, request, draw)


class StepDraws:
    """The sampler of one step."""

    def __init__(self, draws: Draws, step: int) -> None:
        self.draws, self.step, self.number = draws, step, 0

    def sample(self, prompts: Sequence[Sequence[int]], *, n: int, sampling: Sampling, generator: torch.Generator) -> Generation:
        """Return the step's next draw; see ``protocols.Sampler``."""
        request = Request(prompts, n, sampling, generator.initial_seed())
        self.number += 1
        return self.draws.take(self.step, self.number - 1, request, generator)

    def refresh(self) -> None:
        """Do nothing: ``Draws.refresh`` does."""


@dataclass(frozen=True)
class Remembered:
    """A reward that may answer otherwise when it is asked again, such as a function of the user's: what it said is kept with the draws.

    A run that records no rollouts keeps no rewards.
    """

    name: str
    scorer: Scorer
    own: Recordings
    source: Recordings | None = None
    """Those of the run that is replayed."""

    def hear(self, episodes: Sequence[Episode]) -> None:
        """Hand on the episodes that are scored next."""
        if isinstance(self.scorer, Listener):
            self.scorer.hear(episodes)

    def score(self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> torch.Tensor:
        """Return the sums of its parts."""
        return torch.tensor([value or 0.0 for value in total(self.outcome(prompts, responses), len(responses))])

    def outcome(self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> Scores:
        """Return what was said of these responses before, or what the reward says now."""
        # The first of several processes writes and looks for all: another might find what was only written now, and ask for nothing.
        said = ranks.from_first(partial(self._said, prompts, responses))
        if said is not None:
            return said
        said_now = self._asked(prompts, responses)
        if ranks.first() and self.own.folder.is_dir() and all(len(part) == len(responses) for part in said_now.values()):
            self.own.keep_reward(self.name, prompts, responses, said_now)
        return said_now

    @property
    def counts(self) -> Counter[str]:
        """What the reward could not judge, by kind."""
        return counts_of(self.scorer)

    def _asked(self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> Scores:
        if isinstance(self.scorer, PartedScorer):
            return self.scorer.outcome(prompts, responses)
        scores: list[float | None] = self.scorer.score(prompts, responses).tolist()
        return {ONE: scores}

    def _said(self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> Scores | None:
        """Return the rewards that this run or the replayed one kept for these responses; None if neither did."""
        for recordings in (self.own, self.source):
            if recordings and (said := recordings.reward(self.name, prompts, responses)) is not None:
                return said
        return None
