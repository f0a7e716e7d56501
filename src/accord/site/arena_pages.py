"""The arena: a person asks something, gets the answers of two unnamed models, votes, and sees who they were; and the table of all votes.

A question of the arena is a conversation of its author's, and a vote a choice in it: it is reviewed, withdrawn and erased like every other
of the chat. Both answers appear at once, when both are there: which model is the faster one would tell its name.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from weakref import WeakKeyDictionary

import numpy as np
from anyio import to_thread
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from accord.evaluation.bradley_terry import Standing, standings, telling
from accord.feedback import accounts, arena, chats, consents, reactions
from accord.feedback.accounts import Account, Role
from accord.feedback.arena import Contestant, Outcome
from accord.feedback.chats import ARENA, Turn
from accord.feedback.refusals import Refused
from accord.feedback.store import Store
from accord.feedback.web.access import Visit, act, enter
from accord.serving.web import answers
from accord.serving.web.site import ChatSite
from accord.serving.web.site import of as site_of

router = APIRouter()
VOTERS: tuple[Role, ...] = ("lead", "labeler", "user")
RESAMPLES = 1_000
ENOUGH = 20
"""Votes from which intervals are shown: a bootstrap over one vote knows no doubt."""
MINUTE = timedelta(minutes=1)


def _(text: str) -> str:
    """Mark a text for translation where it is shown."""
    return text


CHOICES = {"first": _("A is better"), "tie": _("About equal"), "both_bad": _("Both are bad"), "second": _("B is better")}
"""In the order of the page."""
SCORES = {"first": 1.0, "second": 0.0, "tie": 0.5, "both_bad": 0.5}


@dataclass(frozen=True, slots=True)
class Table:
    """The models by strength, from the votes on the versions that can answer now."""

    rows: list[tuple[Standing, int]]
    """Each model with its votes."""
    votes: int
    older: int
    """Votes on versions or models that are not in the arena any more."""

    @property
    def sure(self) -> bool:
        """Return whether the intervals mean something: there are enough votes, and they do not all say the same."""
        return self.votes >= ENOUGH and all(standing.strength.low < standing.strength.high for standing, _ in self.rows)


_TABLES: WeakKeyDictionary[Store, tuple[object, Table]] = WeakKeyDictionary()


@router.get("/arena")
def arena_page(request: Request) -> Response:
    """Ask, or draw a question; below it the table."""
    found, account = enter(request)
    return _page(found, account)


@router.post("/arena/ask")
async def ask(request: Request) -> Response:
    """Start a pair: the question goes to two models, drawn by chance. A form that arrives twice is answered once."""
    found, account, form = await to_thread.run_sync(lambda: act(request, *VOTERS))
    house = _open(found)
    drawn = form.get("draw") == "yes"
    longest = house.chat.longest
    text = await to_thread.run_sync(lambda: arena.drawn_prompt(house.store, longest=longest)) if drawn else form.get("text").strip()
    if not text:
        raise Refused("nothing_said")
    if len(text) > longest:
        raise Refused("too_long", detail=f"{len(text)} characters, {longest} at most")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise Refused("malformed", detail="half of a surrogate pair")
    await to_thread.run_sync(_slowly, found, account)
    asked = await to_thread.run_sync(
        lambda: chats.begin(house.store, account.id, text, system=house.chat.system, key=form.get("key"), now=found.now)
    )
    id = asked.conversation
    async with house.turns.setdefault(id, asyncio.Lock()):
        conversation, turns, live = await to_thread.run_sync(answers.opened, house, account.id, id)
        if live is None and len(turns) == 1:
            models = await to_thread.run_sync(_two, house)
            live = await answers.begin(house, conversation, turns, models, house.sampling, ARENA)
    if live:
        await answers.ended(live)
        if problem := live.problem(found.say):
            return await to_thread.run_sync(lambda: _page(found, account, text=text, problem=problem))
    return found.go(f"/arena/{id}")


@router.get("/arena/{id}")
def pair_page(request: Request, id: str) -> Response:
    """Show a pair: unnamed until its author has voted."""
    found, account = enter(request, *VOTERS)
    house = _open(found)
    _, turns = chats.opened(house.store, account.id, id)
    pair = arena.pair_of(turns)
    if pair is None:
        raise Refused("no_such_turn", 404, id)
    voted = _vote_on(house, account, id, pair)
    return found.page(
        "arena_pair.html",
        id=id,
        asked=turns[0],
        pair=pair,
        voted=voted,
        choices=CHOICES,
        key=secrets.token_urlsafe(18),
        table=_table(house) if voted else None,
        consent=consents.current(house.store, account.id),
    )


@router.post("/arena/{id}/vote")
def vote(request: Request, id: str) -> Response:
    """Store a vote; it counts once, whatever comes later."""
    found, account, form = act(request, *VOTERS)
    house = _open(found)
    _, turns = chats.opened(house.store, account.id, id)
    pair = arena.pair_of(turns)
    if pair is None:
        raise Refused("no_such_turn", 404, id)
    reactions.react(house.store, account.id, "choice", pair[0].id, {"choice": form.get("choice")}, other=pair[1].id, now=found.now)
    return found.go(f"/arena/{id}")


def _page(found: Visit, account: Account, *, text: str = "", problem: str = "") -> Response:
    house = _open(found)
    return found.page(
        "arena.html",
        200 if not problem else 503,
        models=[one.name for one in _contestants(house)],
        may_vote=account.role in VOTERS,
        table=_table(house),
        longest=house.chat.longest,
        key=secrets.token_urlsafe(18),
        text=text,
        problem=problem,
        consent=consents.current(house.store, account.id),
    )


def _open(found: Visit) -> ChatSite:
    """Return the site if its arena is open. Raises Refused (404) otherwise."""
    house = site_of(found)
    if not house.chat.arena:
        raise Refused("no_such_turn", 404, "the arena is closed")
    return house


def _contestants(house: ChatSite) -> list[Contestant]:
    """Return the models of the arena as they are now."""
    wanted = {name.strip() for name in house.chat.arena_models.split(",") if name.strip()}
    names = [name for name in house.library.names() if not wanted or name in wanted]
    return [Contestant(name, house.library.digest(name)[:12]) for name in names]


def _two(house: ChatSite) -> list[str]:
    """Draw the two models of a pair, in the order of the page."""
    known, chance = _contestants(house), random.SystemRandom()
    if len(known) < 2:
        raise Refused("no_such_turn", 404, "the arena needs two models")
    pairs = [(i, j) for i in range(len(known)) for j in range(i)]
    weights = [1.0] * len(pairs)
    if house.chat.arena_draw == "telling":
        shares = telling(_wins(known, arena.outcomes(house.store)))
        weights = [float(shares[i, j]) for i, j in pairs]
    i, j = chance.choices(pairs, weights)[0]
    return chance.sample([known[i].name, known[j].name], 2)


def _table(house: ChatSite) -> Table:
    """Return the table, made again when a vote or a model has changed."""
    known, counted = _contestants(house), arena.outcomes(house.store)
    state = (tuple(known), frozenset(counted.items()))
    kept = _TABLES.get(house.store)
    if kept and kept[0] == state:
        return kept[1]
    place = {one: n for n, one in enumerate(known)}
    current = {outcome: count for outcome, count in counted.items() if outcome.first in place and outcome.second in place}
    votes = sum(current.values())
    rows = list[tuple[Standing, int]]()
    if votes:
        of_each = Counter[str]()
        for outcome, count in current.items():
            of_each[outcome.first.name] += count
            of_each[outcome.second.name] += count
        values = np.full((len(current), len(known), len(known)), np.nan)
        for row, outcome in zip(values, current, strict=True):
            i, j = place[outcome.first], place[outcome.second]
            row[i, j], row[j, i] = SCORES[outcome.choice], 1 - SCORES[outcome.choice]
        found = standings([one.name for one in known], values, times=list(current.values()), resamples=RESAMPLES)
        rows = [(standing, of_each[standing.name]) for standing in found]
    table = Table(rows, votes, counted.total() - votes)
    _TABLES[house.store] = state, table
    return table


def _wins(known: list[Contestant], counted: Counter[Outcome]) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Return how often each model was preferred to each other, ties half each."""
    place, wins = {one: n for n, one in enumerate(known)}, np.zeros((len(known), len(known)))
    for outcome, count in counted.items():
        if outcome.first in place and outcome.second in place:
            i, j = place[outcome.first], place[outcome.second]
            wins[i, j] += count * SCORES[outcome.choice]
            wins[j, i] += count * (1 - SCORES[outcome.choice])
    return wins


def _vote_on(house: ChatSite, account: Account, id: str, pair: tuple[Turn, Turn]) -> str:
    """Return the author's vote on a pair, turned to the order of the page; ``withdrawn`` for one that was taken back; else empty."""
    for said in reactions.own(house.store, account.id, conversation=id):
        if said.kind == "choice" and {said.turn, said.other} == {pair[0].id, pair[1].id}:
            flipped = {"first": "second", "second": "first"}
            choice = str(said.payload["choice"])
            return choice if said.turn == pair[0].id else flipped.get(choice, choice)
    return "withdrawn" if reactions.has_voted(house.store, pair[0]) else ""


def _slowly(found: Visit, account: Account) -> None:
    """Hold a person to the chat's rate and the arena's. Raises Refused (429)."""
    house = site_of(found)
    chat, store = house.chat, house.store
    if most := chat.turns_per_minute:
        accounts.attempt(store, f"turns of {account.id}", now=found.now, limit=most, window=MINUTE, key="too_fast")
    most_asked = house.chat.arena_per_hour
    if most_asked and arena.asked_lately(store, account.id, now=found.now) >= most_asked:
        raise Refused("too_many_votes", 429)
