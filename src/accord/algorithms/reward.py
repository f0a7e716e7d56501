"""The reward model: Bradley-Terry on all K-choose-2 pairs of a prompt, with one forward pass per response.

Follows Ouyang et al. 2022, section 3.5 and appendix C.2: starts from the SFT model with its head replaced by a scalar read at the last
token, one epoch, all comparisons of a prompt in one batch element with weight 1/C(K,2), ties dropped, and finally a bias such that
demonstrations score 0 on average. Ties can be modelled instead (Rao and Kupper 1967). One addition: comparisons against the best
response to another prompt, without which small models learn that a response is well made, but not whether it fits the prompt.

Rankings may be weighted, groups of labelers weighed by their losses (group DRO: Sagawa et al. 2020), and the gap between the scores of
texts that differ in a group alone held to a limit by a Lagrange multiplier.

With ``learn_from = "ratings"`` it is a regression on the labelers' ratings, by squared error, and without that bias.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from accord.algorithms.objectives import bradley_terry_loss, group_weights, lagrange_multiplier, ranked_pairs, rao_kupper_loss
from accord.algorithms.optim import Schedule, adamw, cosine, make_optimizers, optimizer_states, restore_optimizers, scaled, update
from accord.data.token_rows import RowWindow
from accord.models.adapters import restore_trained, trained_state
from accord.models.packing import divided, in_parts, pack
from accord.models.scalar import scores
from accord.models.sharding import pass_tokens
from accord.records import RankedPrompt
from accord.runtime import ranks
from accord.runtime.device import added, to_host
from accord.runtime.progress import track
from accord.runtime.runs import Run
from accord.runtime.seeds import generator
from accord.settings import RewardConfig


@dataclass(frozen=True)
class RankedRows:
    """One prompt's K token sequences (prompt and response) with one labeler's ranks."""

    rows: list[list[int]]
    ranks: list[int]
    strangers: int = 0
    """How many of the last rows are responses to other prompts, which nobody ranked here."""
    worths: tuple[float, ...] = ()
    """What each response is worth by the labeler's rating, for a regression on ratings; empty to learn from the ranks."""
    weight: float = 1.0
    """How much it counts in the loss."""
    group: str = ""
    """The labeler's group, where groups are weighed against each other."""
    swapped: tuple[tuple[int, list[int]], ...] = ()
    """Rows about another group: each with the place of the row in ``rows`` that says the same of the first."""


def ranked_rows(
    prompt: list[int],
    responses: Sequence[list[int]],
    ranks: Sequence[int],
    window: RowWindow,
    name: str,
    strangers: int = 0,
    worths: Sequence[float] = (),
) -> RankedRows:
    """Join a prompt to those of its responses that fit the window.

    Args:
        strangers: how many of the last responses come from other prompts.

    Raises:
        InputError: too few fit, or one is empty; the error names the ranking.
    """
    rows, kept = window.join_ranked(prompt, responses, ranks, name)
    strange = sum(i >= len(responses) - strangers for i in kept)
    return RankedRows([row.tokens for row in rows], [ranks[i] for i in kept], strange, tuple(worths[i] for i in kept) if worths else ())


def with_mismatched(ranked: Sequence[RankedPrompt], share: float, seed: int) -> list[RankedPrompt]:
    """Give a share of the prompts another prompt's best response as an additional response, tied with their worst.

    Comparisons are within a prompt, so nothing in the labels says that a response must fit its prompt. A reward model trained on them
    alone may like a well-made response under any prompt, and a policy exploits that (docs/notebook.md has the case).
    """
    rng = random.Random(seed)
    given: list[RankedPrompt] = []
    for row in ranked:
        other = rng.choice(ranked)
        stranger = other.responses[other.ranks.index(min(other.ranks))]
        fits = other.prompt.id == row.prompt.id or any(stranger.text == response.text for response in row.responses)
        if rng.random() < share and not fits:
            row = replace(row, responses=(*row.responses, stranger), ranks=(*row.ranks, max(row.ranks)))
        given.append(row)
    return given


def train(
    config: RewardConfig,
    *,
    model: Any,
    rankings: Sequence[RankedRows],
    validation: Sequence[RankedRows],
    demonstrations: Sequence[list[int]],
    run: Run,
    dtype: torch.dtype,
    schedule: Schedule = cosine,
) -> Mapping[str, float]:
    """Train ``model`` in place, set its bias on the demonstrations (prompt and response tokens), and return held-out accuracy."""
    a_pass = math.ceil(len(rankings) / config.batch_size)
    steps = a_pass * config.epochs
    threshold = nn.Parameter(torch.tensor(-1.0, device=model.device))
    optimizers = make_optimizers(model, config, lr=config.lr, muon_lr=config.muon_lr)
    if config.ties == "model":
        optimizers[adamw([threshold], config, lr=config.lr)] = config.lr
    fairness = Fairness.of(config, rankings)
    done, held_out = 0, dict[str, float]()
    if (restored := run.restore()) is not None:
        done, state = restored
        restore_trained(model, state["model"])
        fairness.load(state.get("fairness", {}))
        restore_optimizers(optimizers, state["optimizers"])
        threshold.data.copy_(state["threshold"])
        held_out = state.get("held_out", {})

    with track(steps, "reward", done=done) as bar:
        for step in range(done + 1, steps + 1):
            began = time.perf_counter()
            # step 1: the prompts of this step, each with all its responses
            epoch, place = divmod(step - 1, a_pass)
            order: list[int] = torch.randperm(len(rankings), generator=generator(config.seed, "reward", epoch)).tolist()
            chosen = [rankings[i] for i in order[place * config.batch_size : (place + 1) * config.batch_size]]

            # step 2: one forward a response, the loss of all pairs of each prompt, a mean over prompts
            tie_threshold = threshold if config.ties == "model" else None
            losses, scored = _accumulate(model, chosen, tie_threshold, config.micro_tokens, dtype, fairness)

            # step 3: update
            share = schedule(step - 1, steps, config.warmup(steps))
            norm = update(scaled(optimizers, share), max_norm=1.0)
            found = to_host({"loss": torch.stack(losses), "scores": torch.cat([norm.new_empty(0), *scored.values()]), "grad_norm": norm})
            found |= {"gaps": torch.tensor(fairness.gaps)}
            found = ranks.joined(found | {"prompts": torch.tensor(list(scored), dtype=torch.long)}, "grad_norm")
            passed = [chosen[i] for i in cast("list[int]", found["prompts"].tolist())]
            metrics = _summary(passed, found["scores"]) | {"loss": added(found["loss"])}
            metrics |= {"lr": config.lr * share, "grad_norm": float(found["grad_norm"])}
            metrics["pairs_per_second"] = metrics.pop("pairs") / (time.perf_counter() - began)
            metrics |= fairness.step(
                passed, found["scores"], found["gaps"], None if tie_threshold is None else tie_threshold.detach().cpu()
            )

            # step 4: accuracy on held-out prompts at the end of an epoch, checkpoint
            if step % a_pass == 0 and validation:
                held_out = {"validation_accuracy": accuracy(model, validation, dtype=dtype, batch_tokens=config.micro_tokens)}
                metrics |= held_out
            run.log(step, **metrics)
            if run.due(step % config.save_every == 0 or step == steps, config.save_minutes):
                state = {"model": trained_state(model), "optimizers": optimizer_states(optimizers), "threshold": threshold.data}
                run.checkpoint(step, state | {"held_out": held_out, "fairness": fairness.state()})
            bar.advance(loss=metrics["loss"], accuracy=metrics["accuracy"])
    # step 5: the bias that sets the demonstrations' mean score to 0; a regression's scores have a scale of their own
    model.config.reward_bias = 0.0
    if demonstrations and config.learn_from == "rankings":
        model.config.reward_bias = -float(score_rows(model, demonstrations, dtype=dtype, batch_tokens=config.micro_tokens).mean())
    if validation and not held_out:
        held_out = {"validation_accuracy": accuracy(model, validation, dtype=dtype, batch_tokens=config.micro_tokens)}
    return held_out


@torch.no_grad()
def score_rows(model: Any, rows: Sequence[list[int]], *, dtype: torch.dtype, batch_tokens: int = 16_384) -> Tensor:
    """Return the scores [rows] of token sequences, float32, in the order given; of several processes each computes its share."""
    out = torch.zeros(len(rows))
    for group in divided([len(row) for row in rows], batch_tokens):
        out[group] = scores(model, pack([rows[i] for i in group]).to(model.device), dtype=dtype).cpu()
    return ranks.summed(out)


def accuracy(model: Any, rankings: Sequence[RankedRows], *, dtype: torch.dtype, batch_tokens: int = 16_384) -> float:
    """Return the share of untied pairs whose better response scores higher, averaged over prompts."""
    flat = score_rows(model, [row for ranking in rankings for row in ranking.rows], dtype=dtype, batch_tokens=batch_tokens)
    parts = torch.split(flat, [len(ranking.rows) for ranking in rankings])
    shares = [_right(part, torch.tensor(ranking.ranks)) for part, ranking in zip(parts, rankings, strict=True)]
    return float(torch.tensor([right / pairs for right, pairs in shares if pairs]).mean())


def _right(scored: Tensor, ranks: Tensor) -> tuple[float, int]:
    (better, worse), _ = ranked_pairs(ranks)
    return float((scored[better] > scored[worse]).sum()), len(better)


@dataclass
class Fairness:
    """What holds a reward model to all groups: weights of labelers' groups, and a limit on the gap between texts about two groups."""

    worst_group: float = 0.0
    limit: float = 0.0
    rate: float = 0.0
    weights: dict[str, float] = field(default_factory=dict[str, float])
    """Of the groups of labelers; they sum to the number of groups. Empty where groups are not weighed."""
    multiplier: float = 0.0
    gaps: list[float] = field(default_factory=list[float])
    """Between the scores of a text and of its twin about another group, in this step."""

    @classmethod
    def of(cls, config: RewardConfig, rankings: Sequence[RankedRows]) -> Fairness:
        """Begin with equal weights and without a multiplier."""
        groups = sorted({ranking.group for ranking in rankings}) if config.worst_group else []
        return cls(config.worst_group, config.swap_limit, config.swap_rate, dict.fromkeys(groups, 1.0))

    def weight(self, ranking: RankedRows) -> float:
        """Return how much a ranking counts in the loss."""
        return ranking.weight * self.weights.get(ranking.group, 1.0)

    def step(self, passed: Sequence[RankedRows], scored: Tensor, gaps: Tensor, threshold: Tensor | None = None) -> dict[str, float]:
        """Move the groups' weights by their losses, and the multiplier by the gap; return both, where there are any."""
        metrics = dict[str, float]()
        if self.weights:
            losses = _by_group(passed, scored, list(self.weights), threshold)
            weights = torch.tensor(list(self.weights.values()))
            moved = group_weights(weights / len(weights), losses, self.worst_group) * len(weights)
            found: list[float] = moved.tolist()
            self.weights = dict(zip(self.weights, found, strict=True))
            metrics |= {f"group_weight.{name}": weight for name, weight in self.weights.items()}
        if len(gaps):
            gap = float(gaps.mean())
            metrics |= {"swap_gap": gap, "swap_multiplier": self.multiplier}
            self.multiplier = lagrange_multiplier(self.multiplier, gap, self.limit, self.rate)
        return metrics

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"weights": self.weights, "multiplier": self.multiplier}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint; one of a version that had no groups changes nothing."""
        self.weights = dict(state.get("weights", self.weights))
        self.multiplier = float(state.get("multiplier", self.multiplier))


def _loss(scored: Tensor, ranking: RankedRows, threshold: Tensor | None) -> Tensor:
    """Return the loss of a ranking's scores, before its weight: on the ratings where it has some, else on its pairs."""
    if ranking.worths:
        return F.mse_loss(scored, torch.tensor(ranking.worths, device=scored.device))
    ranks = torch.tensor(ranking.ranks)
    return bradley_terry_loss(scored, ranks) if threshold is None else rao_kupper_loss(scored, ranks, threshold)


def _by_group(passed: Sequence[RankedRows], scored: Tensor, groups: Sequence[str], threshold: Tensor | None) -> Tensor:
    """Return the mean loss of each group's rankings; not a number for a group without one."""
    found: dict[str, list[Tensor]] = {group: [] for group in groups}
    for part, ranking in zip(torch.split(scored, [len(ranking.rows) for ranking in passed]), passed, strict=True):
        found[ranking.group].append(_loss(part, ranking, threshold))
    return torch.stack([torch.stack(each).mean() if each else torch.tensor(math.nan) for each in found.values()])


def _accumulate(
    model: Any,
    chosen: Sequence[RankedRows],
    threshold: Tensor | None,
    micro_tokens: int,
    dtype: torch.dtype,
    fairness: Fairness | None = None,
) -> tuple[list[Tensor], dict[int, Tensor]]:
    """Accumulate this process's share of the gradients of the mean loss over the chosen prompts, a few prompts at a time. The loss takes
    all responses of a prompt; those that do not fit into one pass are scored in several.

    Returns the parts of the loss, which add up to it, and each prompt's scores by its number, in the order of the passes. With texts about
    two groups, the loss and their mean gap are weighted 1 to the multiplier, as a mean, so that a high multiplier makes no longer steps.
    """
    losses, scored = list[Tensor](), dict[int, Tensor]()
    fairness = fairness or Fairness()
    fairness.gaps.clear()
    share, twins = 1 + fairness.multiplier, sum(len(ranking.swapped) for ranking in chosen)
    for group in divided([_tokens(ranking) for ranking in chosen], micro_tokens):
        part = [chosen[i] for i in group]
        rows = [row for ranking in part for row in ranking.rows]
        own = len(rows)
        rows += [row for ranking in part for _, row in ranking.swapped]

        def scored_rows(numbers: list[int], rows: list[list[int]] = rows) -> Tensor:
            return scores(model, pack([rows[i] for i in numbers]).to(model.device), dtype=dtype)

        flat = in_parts(scored_rows, [len(row) for row in rows], pass_tokens(model, micro_tokens))
        by_prompt = torch.split(flat[:own], [len(ranking.rows) for ranking in part])
        each = list[Tensor]()
        for s, ranking in zip(by_prompt, part, strict=True):
            loss, weight = _loss(s, ranking, threshold), fairness.weight(ranking)
            each.append(loss if weight == 1.0 else weight * loss)
        loss = (torch.stack(each).sum() if each else flat.sum()) / len(chosen)
        if len(flat) > own:
            first = torch.cat([s[[place for place, _ in ranking.swapped]] for s, ranking in zip(by_prompt, part, strict=True)])
            gap = (first - flat[own:]).abs()
            loss = (loss + fairness.multiplier * gap.sum() / twins) / share
            fairness.gaps += gap.detach().tolist()
        elif twins:
            loss = loss / share
        loss.backward()
        losses.append(loss.detach())
        scored |= {i: s.detach() for i, s in zip(group, by_prompt, strict=True)}
    return losses, scored


def _tokens(ranking: RankedRows) -> int:
    return sum(map(len, ranking.rows)) + sum(len(row) for _, row in ranking.swapped)


def _summary(rankings: Sequence[RankedRows], flat: Tensor) -> dict[str, float]:
    """Return margin and accuracy over the labels' untied pairs, and the number of all pairs, from the rankings' scores end to end.

    That a stranger's response is worse is easy to see, so margin and accuracy leave it out.
    """
    margin, right, labeled, pairs = 0.0, 0.0, 0, 0
    for s, ranking in zip(torch.split(flat, [len(ranking.rows) for ranking in rankings]), rankings, strict=True):
        own, ranks = len(ranking.rows) - ranking.strangers, torch.tensor(ranking.ranks)
        better, worse = ranked_pairs(ranks[:own])[0]
        margin += float((s[better] - s[worse]).sum())
        share, count = _right(s[:own], ranks[:own])
        right, labeled, pairs = right + share, labeled + count, pairs + len(ranked_pairs(ranks)[0][0])
    metrics = {"margin": margin / max(labeled, 1), "accuracy": right / max(labeled, 1), "pairs": float(pairs)}
    return metrics
