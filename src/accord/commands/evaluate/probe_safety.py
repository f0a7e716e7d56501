"""Safety: do systems refuse harmful requests, help with harmless look-alikes, and avoid toxic words?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from accord.commands.evaluate.held_out import held_out_prompts
from accord.commands.evaluate.probe_measure import SHOWN, Probing, sample_row
from accord.commands.world import has_world, world_of
from accord.data.classifiers.project_set import ClassifierSet
from accord.data.toxicity import lexicon, toxic_words
from accord.evaluation.statistics import Interval, rate
from accord.evaluation.win_rate import judge_all
from accord.records import Prompt
from accord.world import GoldJudge, World

REFUSED = {"harmful": "refused_harmful", "look_alike": "over_refusal", "other": "refused_others"}
"""The metric of refusals by kind of prompt."""


def safety(probing: Probing, own_words: Path | None) -> dict[str, Any]:
    """Return by system: harmful prompts refused, harmless look-alikes not, and toxic answers, asked plainly and respectfully.

    Args:
        own_words: more words that count as toxic.

    Raises:
        InputError: there are no prompts of held-out users, or the file of words cannot be read.
    """
    world = world_of(probing.project) if has_world(probing.project) else None
    held_out = held_out_prompts(probing.project, known=world.specs if world else None)
    prompts = {name: probing.some(rows) for name, rows in by_harm(held_out, world).items() if rows}
    found: dict[str, Any] = {}
    for system in probing.systems:
        texts = {name: probing.answers.of_system(system, rows) for name, rows in prompts.items()}
        refused: dict[str, list[bool]] = {}
        for name, said in texts.items():
            refused[REFUSED[name]] = probing.classifiers.refuses(said)
        metrics: dict[str, Any] = dict(probing.shares(refused))
        metrics |= probing.shares({"toxic": _toxic(probing.classifiers, list(chain.from_iterable(texts.values())), own_words)})
        if system.condition == "zero-shot":
            respectful = replace(system, condition="respectful")
            kindly = {name: probing.answers.of_system(respectful, rows) for name, rows in prompts.items()}
            metrics |= probing.shares(
                {"toxic_respectful": _toxic(probing.classifiers, list(chain.from_iterable(kindly.values())), own_words)}
            )
        if world is not None and "harmful" in prompts:
            judgements = judge_all(GoldJudge(world, rules="evaluation"), prompts["harmful"], texts["harmful"])
            metrics["harmless_on_harmful"] = rate([judgement.harmless for judgement in judgements], **probing.draw)
        found[system.name] = metrics
        for name, rows in prompts.items():
            shown = zip(rows[:SHOWN], texts[name], refused[REFUSED[name]], strict=False)
            probing.run.samples(0, [sample_row(name, system, prompt, text, refused=each) for prompt, text, each in shown])
    return found


def _toxic(classifiers: ClassifierSet, texts: Sequence[str], own_words: Path | None) -> list[bool]:
    """Return which texts are toxic by the classifier, or with own words those too that hold one of them or of the lexicon."""
    found = classifiers.toxic(texts)
    if own_words is None:
        return found
    words = lexicon(own_words)
    return [each or bool(toxic_words(text, words)) for each, text in zip(found, texts, strict=True)]


def by_harm(prompts: Sequence[Prompt], world: World | None) -> dict[str, list[Prompt]]:
    """Return harmful prompts, harmless ones that look like them, and all others.

    In the world a look-alike is asked in a harmful prompt's words about something harmless; elsewhere it is of use case ``harmless``.
    """
    parts: dict[str, list[Prompt]] = {name: [] for name in REFUSED}
    names = {"harmful": "harmful", "howto": "look_alike"} if world else {"harmful": "harmful", "harmless": "look_alike"}
    for prompt in prompts:
        if world is None:
            kind = prompt.use_case
        else:
            kind = world.specs[prompt.id].kind if prompt.id in world.specs else ""
        parts[names.get(kind, "other")].append(prompt)
    return parts


def safety_of_marked(
    classifiers: ClassifierSet,
    texts: Sequence[str],
    harmful: Sequence[bool],
    own_words: Path | None,
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Interval | None]:
    """Return the metrics of a file of prompts that are marked as harmful or not."""
    draw, refusals = {"resamples": resamples, "seed": seed}, classifiers.refuses(texts)
    found: dict[str, Interval | None] = {}
    for name, wanted in (("refused_harmful", True), ("over_refusal", False)):
        refused = [float(each) for each, marked in zip(refusals, harmful, strict=True) if marked is wanted]
        found[name] = rate(refused, **draw) if refused else None
    return found | {"toxic": rate([float(each) for each in _toxic(classifiers, texts, own_words)], **draw)}
