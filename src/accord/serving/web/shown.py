"""The view of a conversation: the turns of the shown branch, their siblings, pairs, and reactions to them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from accord.feedback.chats import Turn, newest_below, path
from accord.feedback.consents import Consent
from accord.feedback.reactions import Reaction
from accord.serving.web import translations
from accord.serving.web.live import Live


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer with its reader's reactions."""

    turn: Turn
    thumb: Reaction | None
    correction: Reaction | None
    report: Reaction | None


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the conversation: the user's message, the answer to it, or the two answers."""

    turn: Turn
    """The turn from which the conversation continues."""
    answers: tuple[Answer, ...]
    """The answers; empty for the user's own turn."""
    number: int
    """Which of its siblings is shown, from 1. The two answers of a pair count as one."""
    brothers: tuple[str, ...]
    """One turn of each sibling; ``/c/ID?at=TURN`` leads there."""
    choice: Reaction | None
    """The choice between the two of a pair, or between this answer and the previous one."""
    before: Turn | None
    """The answer that was regenerated to get this one, if any."""

    @property
    def blind(self) -> bool:
        """Whether the models' names are hidden, because the reader has not chosen between the two answers yet."""
        return len(self.answers) > 1 and self.choice is None


def thread(turns: Sequence[Turn], own: Sequence[Reaction], *, at: str = "", live: Live | None = None) -> list[Step]:
    """Return the branch through ``at``, else the one whose turn is being answered, else the newest."""
    if not turns:
        return []
    known = {turn.id for turn in turns}
    through = live.asked.id if live else at if at in known else ""
    last = next(turn for turn in turns if turn.id == through) if live else newest_below(turns, through)
    return [_step(turns, own, turn) for turn in path(turns, last.id)]


def continued(steps: Sequence[Step]) -> Turn | None:
    """Return the answer from which the user continues; of a pair, the chosen one."""
    if not steps or not steps[-1].answers:
        return next((step.turn for step in reversed(steps[:-1]) if step.answers), None) if steps else None
    return steps[-1].turn


def states(consent: Consent | None) -> dict[str, str]:
    """Return the names of a reaction's states for a user who has agreed to its use, or has not."""
    return translations.STATES | ({} if consent and consent.given else {"waiting": translations.UNUSED})


def script_words(say: Callable[[str], str]) -> str:
    """Return the texts of the browser's script, as JSON."""
    return json.dumps({key: say(text) for key, text in translations.SCRIPT.items()}, ensure_ascii=False)


def _step(turns: Sequence[Turn], own: Sequence[Reaction], turn: Turn) -> Step:
    groups = _groups([other for other in turns if other.parent == turn.parent and other.role == turn.role])
    number = next(n for n, group in enumerate(groups) if turn in group)
    shown = groups[number]
    before = groups[number - 1][-1] if turn.role == "assistant" and len(shown) == 1 and number else None
    two = {other.id for other in shown} if len(shown) == 2 else {turn.id, before.id} if before else set[str]()
    choice = next((said for said in own if said.kind == "choice" and {said.turn, said.other} == two), None)
    answers = tuple(_answer(own, other) for other in shown) if turn.role == "assistant" else ()
    chosen = _chosen(shown, choice) if len(shown) == 2 else turn
    brothers = tuple(max(group, key=lambda one: newest_below(turns, one.id).place).id for group in groups)
    return Step(chosen, answers, number + 1, brothers, choice, before)


def _groups(brothers: Sequence[Turn]) -> list[list[Turn]]:
    """Return siblings in order, with the two answers of a pair together."""
    groups: list[list[Turn]] = []
    for turn in brothers:
        if turn.pair and groups and groups[-1][0].pair == turn.pair:
            groups[-1].append(turn)
        else:
            groups.append([turn])
    return groups


def _chosen(pair: Sequence[Turn], choice: Reaction | None) -> Turn:
    second = choice is not None and choice.payload.get("choice") == ("second" if choice.turn == pair[0].id else "first")
    return pair[1] if second else pair[0]


def _answer(own: Sequence[Reaction], turn: Turn) -> Answer:
    said: dict[str, Any] = {r.kind: r for r in own if r.turn == turn.id}
    return Answer(turn, said.get("thumb"), said.get("correction"), said.get("report"))
