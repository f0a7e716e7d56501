"""Evaluation on held-out prompts while a policy learns from its own samples: which policy is saved, and when training ends.

Every evaluation draws two responses to each prompt with the same random numbers, so that two evaluations differ by the policy alone. The
first one, before anything was learned, is what the win rate compares with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from accord.algorithms.rewards import Mixture, Weighted
from accord.algorithms.rollouts import Drawn, draw, own_tokens
from accord.data.diversity import distinct, self_bleu
from accord.protocols import Sampler
from accord.records import Sampling
from accord.runtime.progress import say
from accord.runtime.runs import Run
from accord.runtime.seeds import generator

RESPONSES = 2
"""Responses to each prompt, the fewest that say how much they differ."""


@dataclass(frozen=True)
class HeldOut:
    """What a policy is evaluated on while it learns: prompts that nothing trains on, and what their responses are rewarded by."""

    prompts: Sequence[list[int]]
    rewards: Mixture


@dataclass
class Evaluations:
    """The evaluations of a run. Without held-out prompts there are none, and the last policy is saved.

    Args:
        weights: what is saved of the policy.
    """

    config: Any
    """Settings of the run, `settings.mixins.EarlyStopping` among them."""
    held_out: HeldOut | None
    sampler: Sampler
    run: Run
    sampling: Sampling
    weights: Callable[[], Mapping[str, Any]]
    named: int = 0
    """The best step that the checkpoint before the last one names."""
    state: dict[str, Any] = field(default_factory=dict[str, Any])
    """What a checkpoint keeps: the scores before training, the best evaluation and its step, evaluations since then."""

    @property
    def last(self) -> int:
        """The run's last step, or round, which is evaluated too."""
        return getattr(self.config, "steps", 0) or self.config.rounds

    @property
    def wanted(self) -> bool:
        """Whether this run is evaluated at all: a run that ends before the first evaluation is not."""
        return self.held_out is not None and 0 < self.config.evaluate_every <= self.last

    @property
    def over(self) -> bool:
        """Whether training ends now: the held-out reward has not grown for ``patience`` evaluations."""
        return bool(self.config.patience) and self.state.get("since", 0) >= self.config.patience

    @property
    def saves_best(self) -> bool:
        """Whether the policy with the highest held-out reward is saved, not the last one."""
        return self.config.final_policy == "best" or (self.config.final_policy == "auto" and self.config.patience > 0)

    def begin(self, done: int, restored: Mapping[str, Any]) -> None:
        """Evaluate the policy that training starts from, or take up what a checkpoint holds of the evaluations so far.

        Args:
            done: steps that the run has behind it. A run of an earlier version has evaluated nothing by then, and does not begin to.
        """
        self.state.update(restored)
        self.named = self.state.get("best_step", 0)
        if done and not restored:
            self.held_out = None
        if self.wanted and not done:
            drawn, _ = self._drawn()
            start: list[float] = drawn.scores.tolist()
            self.state.update(start=start, best=sum(start) / len(start), best_step=0, since=0)
            self.run.note(f"held-out reward before training: {self.state['best']:.4g}, on {len(start)} responses")
            if self.saves_best:
                self.run.put_aside(0, self.weights())

    def steps(self, done: int) -> Iterator[int]:
        """Yield the steps after ``done``, to the last one or to where training ends early."""
        for step in range(done + 1, self.last + 1):
            if self.over:
                return
            yield step

    def check(self, step: int) -> dict[str, float]:
        """Return the metrics of an evaluation after ``step``, or nothing between two evaluations."""
        if not self.wanted or (step % self.config.evaluate_every and step != self.last):
            return {}
        drawn, scored = self._drawn()
        reward = drawn.scores.mean().item()
        self.state["reward"] = reward
        better = reward > self.state["best"]
        if better:
            self.state.update(best=reward, best_step=step)
            if self.saves_best:
                self.run.put_aside(step, self.weights())
        self.state["since"] = 0 if better else self.state["since"] + 1
        if self.over:
            self._say_why(step)
        best = {"held_out_best": self.state["best"], "held_out_best_step": float(self.state["best_step"])}
        return held_out_metrics(drawn, self.state["start"]) | best | _parts(scored)

    def shown(self) -> dict[str, float]:
        """Return what the progress bar shows of the last evaluation; nothing before the first."""
        return {"held_out": self.state["reward"]} if "reward" in self.state else {}

    def tidy(self) -> None:
        """Remove the weights that no checkpoint names: one that is written in the background leaves the one before it on disk for now."""
        if self.wanted and self.saves_best:
            best = self.state["best_step"]
            self.run.forget_aside({best, self.named})
            self.named = best

    def best(self) -> dict[str, Any] | None:
        """Return the weights to save in place of the last ones; None where the last ones are saved."""
        if not self.wanted or not self.saves_best:
            return None
        return self.run.aside(self.state["best_step"])

    def _drawn(self) -> tuple[Drawn, Weighted]:
        assert self.held_out is not None
        scored = self.held_out.rewards.settled()
        drawn = draw(
            self.held_out.prompts,
            n=RESPONSES,
            sampler=self.sampler,
            scorer=scored,
            sampling=self.sampling,
            generator=generator(self.config.seed, self.config.stage, "held out"),
        )
        return drawn, scored

    def _say_why(self, step: int) -> None:
        best, at, since = self.state["best"], self.state["best_step"], self.state["since"]
        why = f"ends at step {step}: held-out reward has not grown in {since} evaluations (best {best:.4g} after step {at})"
        self.run.note(why)
        say(f"{self.config.stage} {why}")


def held_out_metrics(drawn: Drawn, start: Sequence[float]) -> dict[str, float]:
    """Return the metrics of one evaluation; docs/early-stopping.md defines each.

    Args:
        drawn: ``RESPONSES`` adjacent responses to each prompt.
        start: the scores of the responses before training, in the same order.
    """
    said = own_tokens(drawn.responses, drawn.episodes)
    groups = [said[i : i + RESPONSES] for i in range(0, len(said), RESPONSES)]
    now, then = (scores.view(-1, RESPONSES).mean(1) for scores in (drawn.scores, torch.tensor(start)))
    wins = (now > then).float() + 0.5 * (now == then).float()
    return {
        "held_out_reward": drawn.scores.mean().item(),
        "held_out_win_rate": wins.mean().item(),
        "held_out_length": drawn.keep.sum(1).float().mean().item(),
        "held_out_finished": drawn.finished.float().mean().item(),
        "held_out_distinct_2": sum(distinct(group) for group in groups) / len(groups),
        "held_out_self_bleu": sum(self_bleu(group) for group in groups) / len(groups),
    }


def _parts(scored: Weighted) -> dict[str, float]:
    """Return the mean of each part of the reward, where it has several."""
    names = list(scored.given)
    return {f"held_out_reward.{name}": scored.mean(name) for name in names} if len(names) > 1 else {}
