"""The loop of a project: its steps with their numbers, what to do next, and the command of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from accord.settings.methods import METHODS, SAMPLING
from accord.site.figures import Figures, Made

State = Literal["done", "ready", "optional", "waiting"]


def _(text: str) -> str:
    """Mark a text for translation where it is shown."""
    return text


POLICIES = tuple(METHODS)
"""Stages that make a policy from an SFT model."""
STATES = {"done": _("done"), "ready": _("ready to be done"), "optional": _("optional"), "waiting": _("waits for an earlier step")}


@dataclass(frozen=True, slots=True)
class Figure:
    """A number of a step with what it counts."""

    value: str
    what: str


@dataclass(frozen=True, slots=True)
class Step:
    """One station of the loop."""

    key: str
    title: str
    address: str
    """The page on which this is done."""
    state: State
    figures: Sequence[Figure]
    command: tuple[str, ...]
    """What does it in the terminal: the words after `accord`, without the project."""
    lacks: str = ""
    """What is to be there first; empty when nothing is missing."""
    models: Sequence[Made] = ()
    startable: bool = False
    """Whether the command can be started from the page as it is, with no word to fill in."""


def steps(now: Figures, pages: frozenset[str] = frozenset()) -> list[Step]:
    """Return the steps in the order of the loop.

    Args:
        pages: addresses of the site, so that a step leads to the page where it is done as soon as there is one.
    """
    return list(_steps(now, pages))


def _steps(now: Figures, pages: frozenset[str]) -> Iterator[Step]:
    counts, rankings = now.counts, now.counts.rankings
    speakers = [made for made in now.models if made.stage not in ("reward", "process") and not made.name.endswith("-value")]
    tuned = [made for made in speakers if "sft" in (made.stage, made.name)]
    rewards = [made for made in now.models if made.stage == "reward"]
    policies = [made for made in speakers if made.stage in POLICIES]
    runs, data = _page(pages, "/runs"), _page(pages, "/data")

    yield Step(
        "data",
        _("Bring data in"),
        data,
        "done" if counts.prompts or counts.demonstrations else "ready",
        [Figure(f"{counts.prompts:,}", _("prompts")), Figure(f"{counts.demonstrations:,}", _("demonstrations"))],
        ("import", "FILE"),
    )
    based = any(made.name == "base" for made in now.models)
    begin = ("sft",) if based else ("pretrain",) if now.has_text else ("sft", "--base", "MODEL")
    yield Step(
        "sft",
        _("Learn demonstrations"),
        runs,
        "done" if tuned else "ready" if counts.demonstrations else "waiting",
        [],
        begin,
        "" if tuned or counts.demonstrations else _("demonstrations"),
        tuned[:2],
        startable="MODEL" not in begin,
    )
    yield Step(
        "sample",
        _("Sample responses"),
        runs,
        "done" if counts.responses else "ready" if counts.prompts and (speakers or not counts.demonstrations) else "waiting",
        [Figure(f"{counts.responses:,}", _("responses"))],
        ("sample", "--k", "4") if speakers else ("sample", "--model", "MODEL", "--k", "4"),  # any instruct model can begin
        "" if counts.responses or counts.prompts else _("prompts"),
        startable=bool(speakers),
    )
    waits = [Figure(f"{counts.open_tasks:,}", _("tasks that wait"))] if counts.open_tasks else []
    yield Step(
        "label",
        _("Have people rank them"),
        "/label",
        "done" if rankings and not counts.open_tasks else "ready" if counts.responses or counts.open_tasks else "waiting",
        [Figure(f"{rankings:,}", _("rankings")), *waits],
        ("queue",),
        "" if counts.responses or rankings else _("responses"),
        startable=True,
    )
    by_reward = any(made.stage in SAMPLING for made in policies) or bool(rewards)
    yield Step(
        "reward",
        _("Train a reward model"),
        runs,
        "done" if rewards else "optional" if rankings and tuned else "waiting",
        [],
        ("reward",),
        "" if rewards or (rankings and tuned) else _("rankings") if not rankings else _("an SFT model"),
        rewards[:2],
        startable=True,
    )
    command, lacks = _improvement(now, by_reward=by_reward, tuned=bool(tuned), rewarded=bool(rewards))
    yield Step(
        "policy",
        _("Improve the policy"),
        runs,
        "done" if policies else "waiting" if lacks else "ready",
        [],
        command,
        "" if policies else lacks,
        policies[:3],
        startable="MODEL" not in command,
    )
    compared = [Figure(now.compared, _("last comparison"))] if now.compared else []
    pair = [made.name for made in (*policies[:1], *(tuned[:1] or speakers[-1:]))]
    judge = "reward" if rewards and not any(made.stage in SAMPLING for made in policies[:1]) else "people"
    yield Step(
        "compare",
        _("Compare and read the report"),
        _page(pages, "/report"),
        "done" if now.compared else "ready" if len(set(pair)) == 2 else "waiting",
        compared,
        ("compare", *pair, "--by", judge) if len(set(pair)) == 2 else ("report",),
        "" if now.compared or len(set(pair)) == 2 else _("two models"),
        startable=True,
    )
    reviews = [Figure(f"{now.waiting:,}", _("reactions to review"))] if now.waiting else []
    yield Step(
        "chat",
        _("Talk to it, and learn from users"),
        "/review" if now.waiting else "/chat",
        "ready" if speakers else "waiting",
        [Figure(f"{counts.conversations:,}", _("conversations")), *reviews],
        ("round",),
        "" if speakers else _("a model"),
        startable=True,
    )


def _improvement(now: Figures, *, by_reward: bool, tuned: bool, rewarded: bool) -> tuple[tuple[str, ...], str]:
    """Return the command that improves the policy with what is there, and what is missing for it."""
    if by_reward:
        return ("ppo",), "" if rewarded and tuned else _("a reward model")
    if now.counts.rankings:
        return (("dpo",) if tuned else ("dpo", "--sft", "MODEL")), ""
    if now.counts.thumbs:
        return (("kto",) if tuned else ("kto", "--sft", "MODEL")), ""
    return ("dpo",), _("rankings")


def _page(pages: frozenset[str], address: str) -> str:
    return address if address in pages else ""


def next_step(found: Sequence[Step]) -> str:
    """Return the key of the first step that is ready to be done."""
    return next((step.key for step in found if step.state == "ready"), "")
