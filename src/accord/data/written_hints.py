"""Hints that a model may have written what a person is said to have written: shown beside a record, with how often they are wrong.

A hint changes nothing: no record is left out, nobody's score is lower, nothing is refused. Texts of labelers that are known to be models
get none, as it is known of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from accord.data import machine_written
from accord.data.classifiers.interface import NONE, words_of
from accord.data.classifiers.project_set import ClassifierSet
from accord.data.classifiers.registry import OFF
from accord.data.duplicates import near, normal, sketch
from accord.data.quality import Suspect
from accord.records import Demonstration, Prompt, Response

HARDEST = "hardest source"
"""Label of the card for the people whose texts are most like a model's; the hint is worded by its precision."""
LABEL = "machine-written"
CORRECTION = "correction"
"""The model that a labeler's correction is kept under."""


def reasons(classifiers: ClassifierSet, texts: Sequence[str]) -> list[list[str]]:
    """Return for each text why a model may have written it; nothing where there is no hint, or hints are off."""
    long = [text for text in texts if classifiers.name("written") != OFF and machine_written.long_enough(text.strip())]
    told = dict(zip(long, classifiers.labels("written", long) if long else [], strict=True))
    found = list[list[str]]()
    for text in texts:
        why = machine_written.evidence(text) if classifiers.name("written") == "rules" else [classifiers.name("written")]
        found.append(why if told.get(text, NONE) != NONE else [])
    return found


def in_ten(classifiers: ClassifierSet) -> int | None:
    """Return how many of ten texts with a hint people wrote, in the source where the hint errs most; None if that was never measured."""
    card = classifiers.card("written")
    if card is None or LABEL not in card.precision:
        return None
    return round(10 * (1 - card.precision.get(HARDEST, card.precision[LABEL]).value))


@dataclass(frozen=True, slots=True)
class Read:
    """The records that hints are looked for in."""

    prompts: Sequence[Prompt]
    demonstrations: Sequence[Demonstration]
    responses: Sequence[Response]
    models: Collection[str]
    """Labelers that are known to be no people."""


def found_in(classifiers: ClassifierSet, read: Read, *, near_to: float) -> tuple[dict[str, list[Suspect]], dict[str, Any]]:
    """Return the records with a hint, and what `accord inspect` says of them; nothing of either where hints are off.

    Args:
        near_to: similarity of a near copy.
    """
    if classifiers.name("written") == OFF:
        return {}, {}
    by_people = [each for each in read.demonstrations if each.labeler not in read.models]
    found = {"prompts": of_prompts(classifiers, read.prompts)}
    found["demonstrations"] = of_demonstrations(classifiers, by_people, read.responses, near_to=near_to)
    of = {"prompts": len(read.prompts), "demonstrations": len(by_people)}
    counts: dict[str, Any] = {}
    for kind, suspects in found.items():
        by_labeler = Counter(suspect.labeler for suspect in suspects)
        counts[kind] = {"hints": len(suspects), "of": of[kind], "by_labeler": dict(by_labeler.most_common(10))}
    shown = {f"machine_written_{kind}": suspects for kind, suspects in found.items()}
    return shown, counts | {"of_ten_by_people": in_ten(classifiers)}


def of_demonstrations(
    classifiers: ClassifierSet, by_people: Sequence[Demonstration], responses: Iterable[Response], *, near_to: float
) -> list[Suspect]:
    """Return the demonstrations that a model may have written, with the reason."""
    why = reasons(classifiers, [each.text for each in by_people])
    copied = _copies(by_people, responses, near_to)
    found: list[Suspect] = []
    for each, reason in zip(by_people, why, strict=True):
        like = copied.get(each.id)
        parts = reason + ([f"nearly a response by {like.model}"] if like else [])
        if parts:
            found.append(Suspect(each.id, ", ".join(parts), each.text[:200], each.labeler, like.id if like else ""))
    return found


def of_prompts(classifiers: ClassifierSet, prompts: Sequence[Prompt]) -> list[Suspect]:
    """Return the prompts whose last turn a model may have written, with the reason."""
    texts = [words_of(prompt.messages) for prompt in prompts]
    rows = zip(prompts, texts, reasons(classifiers, texts), strict=True)
    return [Suspect(prompt.id, ", ".join(why), text[:200], prompt.user) for prompt, text, why in rows if why]


def _copies(own: Sequence[Demonstration], responses: Iterable[Response], threshold: float) -> dict[str, Response]:
    """Return by demonstration the response of a model that it nearly repeats; short texts are left out, which two write alike by chance.

    A correction is meant to be like the response that it corrects, and has a response of its own, so it is left out.
    """
    held = list(responses)
    corrections = {f"d-{each.id.removeprefix('r-')}" for each in held if each.model == CORRECTION}
    theirs = [each for each in held if each.model != CORRECTION and machine_written.long_enough(each.text.strip())]
    ours = [each for each in own if each.id not in corrections and machine_written.long_enough(each.text.strip())]
    if not (theirs and ours):
        return {}
    like = near(sketch([normal(each.text) for each in [*theirs, *ours]]), np.arange(len(theirs) + len(ours)), threshold)
    pairs = zip(ours, map(int, like[len(theirs) :]), strict=True)
    return {each.id: theirs[original] for each, original in pairs if 0 <= original < len(theirs)}
