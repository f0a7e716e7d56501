"""Sampler and trainer: whether they have the same distribution, and weights that correct for what is left between them.

The gap between them is known at the first step, where both have the same weights: it is rounding. ``Gate`` measures it there and holds
it near that for the rest of the run, so that a sampler with a stale head, the last step's weights, another temperature or a filter is
found in the step in which it draws.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite

import torch
from torch import Tensor

from accord.algorithms.objectives import importance_weights
from accord.algorithms.rollouts import Rollout, own_tokens
from accord.errors import RunError
from accord.protocols import Sampler, is_foreign
from accord.settings.mixins import OffPolicy, Rewards


@dataclass(frozen=True)
class Rounding:
    """What rounding may leave between two programs that compute with the same weights."""

    first: float
    """Largest mean size of the differences at the first step, in nats per token."""
    bias: float
    """Largest mean of the differences: rounding goes both ways. A sampler with another distribution has minus its KL divergence here."""
    tilt: float
    """Largest slope of the differences over a token's surprise: that of another temperature is the ratio of the two minus 1."""
    floor: float
    """A mean size below this stops no run: rounding grows as a policy's distributions sharpen."""


EXACT = Rounding(first=2e-3, bias=1e-3, tilt=1e-3, floor=1e-4)
"""Where both compute in float32."""
COARSE = Rounding(first=0.06, bias=4e-3, tilt=0.01, floor=5e-3)
"""Where either computes in bfloat16, float16 or less. SmolLM2-135M, 30 layers whose weights were four bits, has a first gap of 0.033."""
PLAINLY_EXACT = 2e-5
"""A first gap below this is one of float32 on both sides, where the sampler does not say in what it computes."""
CHANCE = 5.0
"""Standard errors that a mean or a slope may lie beyond its bound: a small batch says little."""


@dataclass(frozen=True)
class Gate:
    """Stops a run whose sampler and trainer have different distributions.

    What rounding may leave is bounded at every step in its direction (``bias``, ``tilt``) and at the first step in its size. Later its
    size is at most ``multiple`` times the first step's, per token and per response. A response's is its summed difference over the root
    of its length: so rounding adds up, and a policy whose responses grow raises no alarm, while differences of one sign stand out.
    """

    ceiling: float
    """Largest mean size of the differences per token, always."""
    multiple: float
    """0 leaves the ceiling alone."""
    exact: bool | None
    """Whether both compute in float32; None where the sampler does not say."""
    first: dict[str, float] = field(default_factory=dict[str, float])
    """The first step's gaps; a checkpoint holds them."""

    @classmethod
    def of(cls, config: Rewards, sampler: Sampler, dtype: torch.dtype) -> Gate:
        """Return the gate of a run, by its settings and the dtypes in which trainer and sampler compute."""
        theirs = None if is_foreign(sampler) else getattr(sampler, "dtype", dtype)  # what a server says of itself proves nothing
        known = theirs is not None or dtype is not torch.float32
        return cls(config.logprob_gap, config.gap_multiple, dtype is theirs is torch.float32 if known else None)

    def check(self, rollout: Rollout, where: str, behind: int = 0) -> None:
        """Measure the first rollout of a run, and hold every later one to it.

        Args:
            behind: steps that the policy has learned since the weights that drew it. Its gap is then what was learned, and only required
                to be a number.

        Raises:
            RunError: a gap is too large, or not a number.
        """
        now = Gaps.of(rollout)
        if behind and isfinite(now.token):
            return
        if not now.token <= self.ceiling:
            raise _refused(now, f"logprob_gap is {self.ceiling:g}", where)
        if not self.multiple:
            return
        rounding = self._rounding(self.first.get("token", now.token))
        if abs(now.bias) > rounding.bias + CHANCE * now.bias_error:
            raise _refused(now, f"the sampler's distribution is another: {now.bias:+.2g} per token on average, as of a filter", where)
        if abs(now.tilt) > rounding.tilt + CHANCE * now.tilt_error:
            raise _refused(now, f"as if drawn at {1 / max(1 + now.tilt, 1e-2):.2f} times the temperature", where)
        if not self.first and now.token > rounding.first:
            raise _refused(now, f"rounding leaves at most {rounding.first:g} at the first step", where)
        self.first.update(self.first or {"token": now.token, "response": now.response})
        for name, gap, floor in (("token", now.token, rounding.floor), ("response", now.response, 2 * rounding.floor)):
            limit = max(self.multiple * self.first[name], floor)
            if gap > limit:
                raise _refused(now, f"{gap:.2g} per {name} is above {limit:.2g}; the first step had {self.first[name]:.2g}", where)

    def _rounding(self, first: float) -> Rounding:
        exact = first < PLAINLY_EXACT if self.exact is None else self.exact
        return EXACT if exact else COARSE


@dataclass(frozen=True)
class Gaps:
    """The differences of a rollout's log-probabilities, trainer minus sampler."""

    token: float
    """Their mean size."""
    response: float
    """The mean size of a response's sum over the root of its length."""
    bias: float
    """Their mean."""
    bias_error: float
    tilt: float
    """Their slope over the tokens' surprise, -log p - entropy under the trainer."""
    tilt_error: float

    @classmethod
    def of(cls, rollout: Rollout) -> Gaps:
        """Measure a rollout."""
        if rollout.log_ratio is None or rollout.entropies is None:
            return cls(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
        lengths = rollout.keep.sum(1)
        sums = rollout.log_ratio.masked_fill(~rollout.keep, 0.0).sum(1).abs() / lengths.clamp(min=1).sqrt()
        each, surprise = (x[rollout.keep].double() for x in (rollout.log_ratio, -rollout.logprobs - rollout.entropies))
        spread, (tilt, tilt_error) = each.square().mean().sqrt(), _slope(each, surprise, rollout)
        return cls(
            token=rollout.logprob_gap,
            response=sums[lengths > 0].mean().item(),
            bias=each.mean().item(),
            bias_error=(spread / len(each) ** 0.5).item(),
            tilt=tilt,
            tilt_error=tilt_error,
        )


def _slope(each: Tensor, surprise: Tensor, rollout: Rollout) -> tuple[float, float]:
    """Return the slope of the differences over surprise, and its standard error by a jackknife over the tokens' ids.

    A policy that is sure of itself surprises by few tokens, the same ones in many rows, and their differences are one rounding and not
    many. So what leaving out a token's id changes is the error. Another temperature tilts all of them alike.
    """
    said = [token for tokens in own_tokens(rollout.responses, rollout.episodes) for token in tokens]
    ids, different = torch.tensor(said), len(set(said))
    products, squares = (torch.zeros(max(said) + 1).double().index_add(0, ids, x) for x in (each * surprise, surprise.square()))
    product, square = products.sum(), squares.sum().clamp(min=1e-9)
    slope, spread = product / square, each.square().mean().sqrt() / square.sqrt()
    if different < 2:
        return slope.item(), spread.item()
    without = (product - products) / (square - squares).clamp(min=1e-9)
    left_out = (without - slope).square().sum() * (different - 1) / different
    return slope.item(), max(spread.item(), left_out.sqrt().item())


def _refused(now: Gaps, why: str, where: str) -> RunError:
    hint = (
        "the sampler has other weights, another temperature or a filter (top_p, top_k, penalties), or computes in another dtype: "
        "look at its last synchronisation, try --dtype float32, or allow more by --gap-multiple or --logprob-gap (docs/rollouts.md)"
    )
    return RunError(f"sampler and trainer log-probabilities differ by {now.token:.2g} per token ({why})", where=where, hint=hint)


@dataclass(frozen=True)
class Correction:
    """Importance weights for tokens that another distribution than the trainer's drew, by ``objectives.importance_weights``."""

    how: str
    cap: float

    @classmethod
    def of(cls, config: OffPolicy, sampler: Sampler) -> Correction:
        """Return the correction of a run: by its settings, or where they leave it open, by the sampler and the loss."""
        how = config.importance
        if how == "auto":
            whole = getattr(config, "loss", "") == "sequence"
            how = ("sequence" if whole else "token") if is_foreign(sampler) or config.staleness else "off"
        return cls(how, config.importance_cap)

    def weights(self, rollout: Rollout) -> Tensor:
        """Return the weight of each token in the policy loss, [rows, steps]."""
        log_ratio = torch.zeros_like(rollout.logprobs) if rollout.log_ratio is None else rollout.log_ratio
        return importance_weights(log_ratio, rollout.keep, self.how, self.cap)

    def metrics(self, rollout: Rollout, weights: Tensor) -> dict[str, float]:
        """Return the mean weight of the tokens, and the share of them whose weight was cut to the cap or to 0; nothing when off."""
        if self.how == "off" or rollout.log_ratio is None:
            return {}
        uncut = importance_weights(rollout.log_ratio, rollout.keep, "token" if self.how == "token" else "sequence", float("inf"))
        masked = (uncut > self.cap)[rollout.keep].float().mean().item()
        return {"is_weight": weights[rollout.keep].mean().item(), "is_masked": masked}
