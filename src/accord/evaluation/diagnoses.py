"""Diagnoses of a run from its own metrics: rules that the doctor and the report share. NumPy alone.

Each rule is a function of ``Facts`` that yields findings; its limits stand beside it and in docs/doctor.md. A
rule that lacks its metrics yields nothing, so one list serves every command.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, permutations
from typing import Any, cast

import numpy as np

from accord.data.classifiers.project_set import DEFAULT, ClassifierSet
from accord.evaluation.findings import QUOTED, Finding, Said, Severity, in_order, number
from accord.evaluation.trends import Floats, ends, late, sure
from accord.runtime.logs import Metrics
from accord.settings.methods import PREFERENCE, SAMPLING

GRAVE_LEAK = 0.01
"""Share of training prompts that are held out too, from which what validation says is in doubt."""
SLOWER = ("padded", "grouped", "whole")
"""The levels of the plain path, as ``models.paths`` names them."""


@dataclass(frozen=True)
class Facts:
    """The known facts about one run. All but the metrics may be missing."""

    stage: str
    metrics: Metrics
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The command's own settings, config.json's ``config``."""
    samples: Sequence[Said] = ()
    summary: Mapping[str, Any] = field(default_factory=dict[str, Any])
    templates: Mapping[str, str] = field(default_factory=dict[str, str])
    """Chat template by model, for the run's parents and the model it made."""
    vocabularies: Mapping[str, str] = field(default_factory=dict[str, str])
    """Digest of tokenizer.json by model."""
    pad_is_eos: Mapping[str, str] = field(default_factory=dict[str, str])
    """Models whose padding token is also the token that ends a response, with that token."""
    changed: Mapping[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    """Parents that have changed since the run learned from them: digest then and now."""
    leaked: tuple[int, int] = (0, 0)
    """Prompts in training whose conversation is in a held-out split too, and all prompts in training."""
    paths: Mapping[str, str] = field(default_factory=dict[str, str])
    """How each of the run's models is computed, config.json's ``paths``."""
    agreement: tuple[float, float, float] | None = None
    """Share of untied pairs that two labelers order alike, with its interval."""
    classifiers: ClassifierSet = DEFAULT
    """Those of the project, which tell refusals."""
    watched: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict[str, "Sequence[tuple[float, float]]"])
    """Rewards over steps that are measured but not optimised: gold, a second reward model."""

    def limit(self, name: str, default: float) -> float:
        """Return a setting as a number."""
        value = self.settings.get(name, default)
        return float(value) if isinstance(value, int | float) else default


def diagnose(facts: Facts) -> list[Finding]:
    """Return all findings of all rules, the gravest first."""
    return in_order(list(chain.from_iterable(rule(facts) for rule in RULES)))


def _percent(share: float) -> str:
    return f"{share:.0%}"


# --- KL ---------------------------------------------------------------------------------------------------------------------------


def negative_kl(facts: Facts) -> Iterator[Finding]:
    """High: the last third of kl_k1 lies 3 standard errors and 0.02 nats below 0. Further evidence orders the causes."""
    kl = facts.metrics.values("kl_k1")
    if kl.size < 3:
        return
    mean, error = late(kl)
    if mean > -0.02 or (error and mean / error > -3):
        return
    gap, temperature = _gap(facts), facts.limit("temperature", 1.0)
    causes = ["rules", "gap"] if gap > 0.01 else ["chance", "rules"]
    causes = ["temperature", *causes] if temperature != 1 and gap > 0.01 else causes
    causes += ["pad"] if facts.pad_is_eos else []
    metrics = {"kl": mean, "errors": abs(mean / error) if error else 99.0, "gap": gap, "temperature": temperature}
    yield Finding("negative_kl", "high", sure(abs(metrics["errors"])), metrics, causes=tuple(causes))


def reference_differs(facts: Facts) -> Iterator[Finding]:
    """High: kl_k3 is above 0.02 nats in the first step, before any update."""
    steps, kl = facts.metrics.series("kl_k3")
    if kl.size and steps[0] == 1 and kl[0] > 0.02:
        yield Finding("reference_differs", "high", 0.99, {"kl": float(kl[0])})


def _gap(facts: Facts) -> float:
    gaps = facts.metrics.values("logprob_gap")
    return float(np.median(gaps[-max(1, gaps.size // 2) :])) if gaps.size else 0.0


def sampler_gap(facts: Facts) -> Iterator[Finding]:
    """Medium above 0.02 nats per token, high above 0.1: the median over the last half. bfloat16 leaves about 0.01."""
    gap = _gap(facts)
    if gap > 0.02:
        yield Finding("sampler_gap", "high" if gap > 0.1 else "medium", 0.95 if gap > 0.1 else 0.8, {"gap": gap})


# --- what responses look like -------------------------------------------------------------------------------------------------------


def no_eos(facts: Facts) -> Iterator[Finding]:
    """High when fewer than half of the last responses end, medium below 80%."""
    finished = facts.metrics.values("finished")
    if not finished.size or facts.stage == "sample":
        return
    first, last = ends(finished).first if finished.size > 1 else float(finished[0]), late(finished)[0]
    if last >= 0.8:
        return
    always = first < 0.8
    causes = [*(["pad"] if facts.pad_is_eos else []), *(["template", "limit"] if always else ["reward", "limit"])]
    metrics: dict[str, float | str] = {"late": _percent(last), "early": _percent(first), "limit": facts.limit("max_tokens", 0)}
    cut = [said for said in facts.samples if not said.finished]
    severity: Severity = "high" if last < 0.5 else "medium"
    yield Finding("no_eos", severity, sure(20 * (0.8 - last)), metrics, tuple(cut[-QUOTED:]), tuple(causes))


def cut_samples(facts: Facts) -> Iterator[Finding]:
    """High when fewer than half of the responses of `accord sample` end with a stop token, medium below 80%."""
    finished = facts.summary.get("finished")
    if facts.stage != "sample" or not isinstance(finished, int | float) or finished >= 0.8:
        return
    figures: dict[str, float | str] = {"cut": _percent(1 - finished), "limit": facts.limit("max_tokens", 0)}
    yield Finding("cut_samples", "high" if finished < 0.5 else "medium", sure(20 * (0.8 - finished)), figures)


DRIFT = 1.0
"""Nats per token between policy and reference that are many. A healthy DPO run of the built-in world loses 0.15 to 0.19 on its best
responses."""
TURNS = ("<|user|>", "<|im_start|>", "<|start_header_id|>", "<start_of_turn>", "\nUser:", "\nHuman:", "\nQ:", "[INST]", "### Instruction")


def writes_on(facts: Facts) -> Iterator[Finding]:
    """High when a quarter of the last responses contain a turn marker, medium above a tenth; at least six responses."""
    rows = list(facts.samples)[-max(6, len(facts.samples) // 3) :]
    marker = max(TURNS, key=lambda marker: sum(marker in said.response for said in rows))
    guilty = [said for said in rows if marker in said.response]
    share = len(guilty) / len(rows) if len(rows) >= 6 else 0.0
    if share > 0.1:
        metrics: dict[str, float | str] = {"share": _percent(share), "marker": marker.strip()}
        yield Finding("writes_on", "high" if share >= 0.25 else "medium", sure(8 * share), metrics, tuple(guilty[-QUOTED:]))


# --- optimisation -------------------------------------------------------------------------------------------------------------------


def value_not_learning(facts: Facts) -> Iterator[Finding]:
    """Medium: over ten steps or more, the last third explains less than a tenth of the variance; high below -0.5."""
    explained = facts.metrics.values("value_explained_variance")
    if explained.size < 10:
        return
    mean, error = late(explained)
    if mean < 0.1:
        metrics = {"steps": float(explained.size), "explained": mean}
        yield Finding("value_not_learning", "high" if mean < -0.5 else "medium", sure((0.2 - mean) / max(error, 0.05)), metrics)


def clip_fraction(facts: Facts) -> Iterator[Finding]:
    """Medium when the last third clips more than 20% of tokens, high above 35%."""
    clipped = facts.metrics.values("clip_fraction")
    if not clipped.size:
        return
    mean, error = late(clipped)
    if mean > 0.2:
        certainty = sure((mean - 0.2) / max(error, 0.02))
        yield Finding("clip_fraction", "high" if mean > 0.35 else "medium", certainty, {"clipped": _percent(mean)})


def entropy_collapse(facts: Facts) -> Iterator[Finding]:
    """Medium when entropy fell below a fifth of its start, high below a tenth."""
    entropy = facts.metrics.values("entropy")
    if entropy.size < 3:
        return
    first, last = float(entropy[: max(1, entropy.size // 10)].mean()), ends(entropy).last
    if first > 0 and last < first / 5:
        z = (first / 5 - last) / max(ends(entropy).error, first / 50)
        yield Finding("entropy_collapse", "high" if last < first / 10 else "medium", sure(1 + z), {"first": first, "last": last})


def lr_too_high(facts: Facts) -> Iterator[Finding]:
    """High: a metric becomes NaN or infinite, the loss ends well above its start or its lowest, or a step moves
    the policy by 0.1 nats per token (medium: 0.05)."""
    for evidence, severity, certainty in _overheated(facts):
        yield Finding("lr_too_high", severity, certainty, {"evidence": evidence})
        return


def _overheated(facts: Facts) -> Iterator[tuple[str, Severity, float]]:
    if lost := facts.metrics.unusable():
        yield f"{', '.join(lost)} stopped being a number", "high", 0.99
    approx = facts.metrics.values("approx_kl")
    if approx.size and (moved := float(np.median(approx[-max(1, approx.size // 3) :]))) > 0.05:
        said = f"one rollout's updates move the policy by {number(moved)} nats a token (approx_kl); 0.05 is much"
        yield said, "high" if moved > 0.1 else "medium", sure(moved / 0.05)
    loss = facts.metrics.values("loss")
    if facts.stage not in SAMPLING and loss.size >= 15 and (found := _diverged(loss)):
        yield f"the loss was {number(found[0])} and ended at {number(found[1])}", "high", sure(found[2])


def _diverged(loss: Floats) -> tuple[float, float, float] | None:
    """Return the loss's start or lowest value, its end, and the rise in standard errors, if it ended well above."""
    width = max(3, loss.size // 10)
    smooth = np.convolve(loss, np.ones(width) / width, mode="valid")
    noise = max(float(np.sqrt(np.square(np.diff(loss)).mean() / 2 / width)), 1e-9)
    low, last = float(smooth.min()), float(smooth[-1])
    if last > 1.5 * float(loss[0]) and last > float(loss[0]) + 0.5:
        return float(loss[0]), last, 3.0
    z = (last - low) / (noise * 1.5)
    return (low, last, z) if last > 1.2 * max(low, 0.05) and last - low > 0.2 and z > 4 else None


def not_moving(facts: Facts) -> Iterator[Finding]:
    """Medium: after 20 steps the reward has not risen by 1 standard error and kl_k3 is below 0.001 nats."""
    reward, kl = facts.metrics.values("reward"), facts.metrics.values("kl_k3")
    if reward.size < 20 or kl.size < 20 or facts.stage not in SAMPLING:
        return
    there, moved = ends(reward), ends(kl).last
    if moved < 1e-3 and there.z < 1:
        metrics = {"steps": float(reward.size), "first": there.first, "last": there.last, "kl": moved}
        yield Finding("not_moving", "medium", 0.95, metrics)


def equal_rewards(facts: Facts) -> Iterator[Finding]:
    """High when no group's rewards differed in the whole run, which then learned nothing; medium when fewer than a twentieth did."""
    told = facts.metrics.values("telling_groups")
    if not told.size or (share := float(told.mean())) >= 0.05:
        return
    if share == 0:
        yield Finding("equal_rewards", "high", 0.99, {"share": _percent(share), "steps": float(told.size)})
    elif told.size >= 5:
        yield Finding("equal_rewards", "medium", 0.9, {"share": _percent(share), "steps": float(told.size)})


def ptx_tax(facts: Facts) -> Iterator[Finding]:
    """Medium when the loss on the pretraining mix ends 15% higher, high from 40%."""
    loss = facts.metrics.values("ptx_loss")
    if loss.size < 5 or not loss.any():
        return
    there = ends(loss)
    if there.last > 1.15 * there.first and there.z > 2:
        severity: Severity = "high" if there.last > 1.4 * there.first else "medium"
        yield Finding("ptx_tax", severity, sure(there.z), {"first": there.first, "last": there.last})


def not_learning(facts: Facts) -> Iterator[Finding]:
    """Medium: after 20 steps the loss of pretraining or SFT has not fallen by 2%."""
    loss = facts.metrics.values("loss")
    if facts.stage in ("pretrain", "sft") and loss.size >= 20:
        there = ends(loss)
        start = float(loss[:3].mean())
        if there.last > 0.98 * start and not _diverged(loss):
            yield Finding("not_learning", "medium", 0.9, {"first": start, "last": there.last, "steps": float(loss.size)})


def overfits(facts: Facts) -> Iterator[Finding]:
    """Validation loss ended 5% above its best: medium, or low where the best epoch is the one that is kept."""
    losses = facts.metrics.values("validation_loss")
    if losses.size >= 2 and losses[-1] > 1.05 * losses.min():
        kept = facts.settings.get("select") == "validation_loss"
        yield Finding("overfits", "low" if kept else "medium", 0.9, {"best": float(losses.min()), "last": float(losses[-1])})


# --- preferences --------------------------------------------------------------------------------------------------------------------


def reward_at_chance(facts: Facts) -> Iterator[Finding]:
    """High: accuracy on held-out prompts (else on the last third of training) is below 55%."""
    training, held_out = facts.metrics.values("accuracy"), facts.metrics.values("validation_accuracy")
    if facts.stage not in ("reward", *PREFERENCE) or training.size < 5:
        return
    seen, error = late(training)
    accuracy, where = (float(held_out[-1]), "held-out prompts") if held_out.size else (seen, "training pairs")
    if accuracy < 0.55 and (held_out.size or seen + error < 0.6):
        causes = ("labels", "alike", "rate") if _at_chance(facts) else ("rate", "labels", "alike", "tail")
        metrics: dict[str, float | str] = {"accuracy": _percent(accuracy), "where": where}
        yield Finding("reward_at_chance", "high", sure((0.6 - accuracy) / max(error, 0.03)), metrics, causes=causes)


def reward_overfits(facts: Facts) -> Iterator[Finding]:
    """Medium: accuracy over the last third of training is 20 points above that on held-out prompts."""
    training, held_out = facts.metrics.values("accuracy"), facts.metrics.values("validation_accuracy")
    if facts.stage not in ("reward", *PREFERENCE) or not held_out.size or training.size < 5:
        return
    seen, error = late(training)
    if seen > held_out[-1] + 0.2:
        metrics: dict[str, float | str] = {"training": _percent(seen), "validation": _percent(float(held_out[-1]))}
        yield Finding("reward_overfits", "medium", sure((seen - float(held_out[-1]) - 0.1) / max(error, 0.03)), metrics)


def _at_chance(facts: Facts) -> bool:
    return facts.agreement is not None and facts.agreement[0] < 0.56 and facts.agreement[1] < 0.52


def labels_at_chance(facts: Facts) -> Iterator[Finding]:
    """High: labelers agree on fewer than 56% of untied pairs and the interval reaches down to 52%."""
    if facts.stage in ("reward", "label", *PREFERENCE) and facts.agreement and _at_chance(facts):
        mean, low, high = facts.agreement
        error = max((high - low) / 3.92, 0.005)
        metrics: dict[str, float | str] = {"agreement": _percent(mean), "low": _percent(low), "high": _percent(high)}
        yield Finding("labels_at_chance", "high", sure((0.6 - mean) / error), metrics)


def likelihood_falls(facts: Facts) -> Iterator[Finding]:
    """Medium: preferred responses lost log-probability while the margin grew, by 1 nat per token in DPO or 5
    nats per response in KTO."""
    if facts.stage == "dpo":
        liked, margin, limit = facts.metrics.values("best_logprob"), facts.metrics.values("margin"), 1.0
    elif facts.stage == "kto":
        liked, margin, limit = facts.metrics.values("reward_up") / facts.limit("beta", 0.1), -facts.metrics.values("reward_down"), 5.0
    else:
        return
    if liked.size >= 10 and margin.size >= 10:
        there = ends(liked)
        if there.last < there.first - limit and there.z < -3 and ends(margin).z > 2:
            yield Finding("likelihood_falls", "medium", sure(-there.z), {"first": there.first, "last": there.last})


def drifts_away(facts: Facts) -> Iterator[Finding]:
    """Medium: in DPO or KTO, the policy's log-probabilities ended more than 1 nat per token from the reference's."""
    drift = facts.metrics.values("drift")
    if facts.stage in PREFERENCE and drift.size:
        last = ends(drift).last if drift.size > 1 else float(drift[-1])
        if last > DRIFT:
            yield Finding("drifts_away", "medium", 0.95, {"last": last, "limit": DRIFT})


# --- what the run was made of -------------------------------------------------------------------------------------------------------


def template_mismatch(facts: Facts) -> Iterator[Finding]:
    """High: the run's models have different chat templates or tokenizers, or a prompt begins with its first token twice."""
    for what, known in (("chat templates", facts.templates), ("tokenizers", facts.vocabularies)):
        if len(set(known.values())) > 1:
            yield Finding("template_mismatch", "high", 1.0, {"evidence": f"{', '.join(sorted(known))} have different {what}"})
            return
    doubled = [said for said in facts.samples if _doubled(said.prompt)]
    if doubled:
        evidence = f"{len(doubled)} of {len(facts.samples)} prompts begin with {_doubled(doubled[0].prompt)} twice"
        yield Finding("template_mismatch", "high", 1.0, {"evidence": evidence}, tuple(doubled[:QUOTED]), ("bos",))


def _doubled(prompt: str) -> str:
    """Return the special token that a prompt begins with twice, or an empty string."""
    token = next((mark for mark in ("<|endoftext|>", "<s>", "<bos>", "<|begin_of_text|>") if prompt.startswith(mark * 2)), "")
    return token


def parent_changed(facts: Facts) -> Iterator[Finding]:
    """Medium: a parent's digest differs from the one that the run was started from."""
    for name, (was, now) in facts.changed.items():
        yield Finding("parent_changed", "medium", 1.0, {"name": name, "was": was[:10], "now": now[:10]})


def contaminated(facts: Facts) -> Iterator[Finding]:
    """Medium, high: training has conversations of a held-out split; high from a hundredth of its prompts on."""
    both, prompts = facts.leaked
    if both:
        yield Finding("contaminated", "high" if both >= GRAVE_LEAK * prompts else "medium", 1.0, {"both": both, "prompts": prompts})


def pad_is_eos(facts: Facts) -> Iterator[Finding]:
    """Low: the padding token is also the token that ends a response, by tokenizer_config.json."""
    for name, token in facts.pad_is_eos.items():
        yield Finding("pad_is_eos", "low", 1.0, {"name": name, "token": token})


def plain_path(facts: Facts) -> Iterator[Finding]:
    """Low: a model is computed by transformers alone, which is right and slower than Accord's own paths."""
    for name, path in facts.paths.items():
        if path in SLOWER:
            yield Finding("plain_path", "low", 1.0, {"name": name, "path": path}, about=name)


def makes_up_more(facts: Facts) -> Iterator[Finding]:
    """Medium: a policy's made-up rate is 2 standard errors and 10 points above the SFT model's, by the evaluation's summary."""
    rates, duels = facts.summary.get("hallucination", {}), facts.summary.get("win_rate", {})
    if facts.stage != "evaluate" or not (isinstance(rates, dict) and isinstance(duels, dict)):
        return
    known = {name: rate for name, rate in cast("dict[str, Any]", rates).items() if _three(rate)}
    compared = [pair for pair in permutations(known, 2) if "{}_vs_{}".format(*pair) in duels]
    for name, other in _policies(compared):
        policy, sft = known[name], known[other]
        error = float(np.hypot(sft[2] - sft[1], policy[2] - policy[1])) / 3.92
        z = (policy[0] - sft[0]) / max(error, 1e-3)
        if z > 2 and policy[0] > sft[0] + 0.1:
            yield Finding("makes_up_more", "medium", sure(z), {"policy": _percent(policy[0]), "sft": _percent(sft[0])}, about=name)


def _policies(duels: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return an evaluation's duels of a policy with the SFT model.

    A policy has no duel above the SFT model, whereas the SFT model has one with the base model.
    """
    first, second = {one for one, _ in duels}, {two for _, two in duels}
    return [(one, two) for one, two in duels if one not in second and two in first]


def _three(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, int | float) for each in value) and len(value) == 3  # pyright: ignore[reportUnknownArgumentType]


Rule = Callable[[Facts], Iterator[Finding]]
RULES: tuple[Rule, ...] = (
    *(negative_kl, reference_differs, sampler_gap, no_eos, cut_samples, writes_on, value_not_learning, clip_fraction, entropy_collapse),
    *(lr_too_high, not_moving, equal_rewards, ptx_tax, not_learning, overfits, reward_at_chance, reward_overfits),
    *(labels_at_chance, likelihood_falls, drifts_away, template_mismatch, parent_changed, contaminated, pad_is_eos, plain_path),
    makes_up_more,
)
