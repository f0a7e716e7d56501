"""The parser of responses: the kind of each sentence, and the facts it claims.

Claims are matched as prefixes. The text after a claim may be another clause ("Ada is a baker and keeps a
goat"), a rival object ("... on Hill Street or Mill Lane", which counts as a second claim) or noise, which
leaves the sentence untidy. So words can be added to a claim but cannot take it back.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from accord.world.language import (
    COLOURS,
    DAYS,
    FOODS,
    GOODS,
    GOSSIP,
    HARM_MARKS,
    HARMS,
    HEDGES,
    HOBBIES,
    HOW_TOS,
    INSULTS,
    LEADS,
    LIST_LEADS,
    PEOPLE,
    PETS,
    PHRASES,
    PLACES,
    RELATIONS,
    RUDE_WORDS,
    STREETS,
    TOPICS,
    TRADES,
    VISITORS,
    Relation,
    article,
)  # fmt: skip
from accord.world.town import Fact

LIMIT = 1200
"""Characters of a response that are parsed. Longer text is far beyond any answer of the town and counts as endless."""

Marker = Literal["", "hedge", "gossip"]
_PLAIN: Marker = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """A fact as stated: plainly, denied, or only thought or heard."""

    fact: Fact
    negated: bool = False
    marker: Marker = ""


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence. ``kind`` is a key of PHRASES, or ``claim``, ``items``, ``question``, ``harm`` or ``other``."""

    text: str
    kind: str
    words: int
    claims: tuple[Claim, ...] = ()
    items: tuple[str, ...] = ()
    """Known things, when the sentence is only a list of them."""
    tidy: bool = True
    """Whether it starts with a capital, ends with a stop and has nothing left over."""
    rude: int = 0
    marker: Marker = ""
    strange: int = 0
    """Words unknown to the town; ``text`` is without them, ``words`` counts them."""

    @property
    def heard(self) -> int:
        return self.words - self.strange


@dataclass(frozen=True, slots=True)
class Reading:
    """A parsed response."""

    sentences: tuple[Sentence, ...]
    words: int
    endless: bool = False

    @property
    def claims(self) -> tuple[Claim, ...]:
        return tuple(claim for sentence in self.sentences for claim in sentence.claims)

    def of(self, *kinds: str) -> tuple[Sentence, ...]:
        return tuple(sentence for sentence in self.sentences if sentence.kind in kinds)


@dataclass(frozen=True, slots=True)
class _Form:
    relation: Relation
    key: str
    """A literal part of the template. The regex is tried only where this part occurs."""
    regex: re.Pattern[str]
    negated: bool


_PERSON = r"(?P<s>[A-Z][a-z]+|[Ss]he|[Hh]e)"
_PLACE = r"(?P<s>[Tt]he \w+|[Ii]t)"
_CLOSED = frozenset(("{s} is {o}.", "{s} has {o}.", "They painted the door of {s} {o}."))
"""Relations too open for their object to be read when it is unknown."""


def _form(relation: Relation, template: str, negated: bool) -> _Form:
    known = "|".join(re.escape(o) for o in sorted(relation.objects, key=len, reverse=True))
    unknown = "" if template in _CLOSED else f"|{relation.unknown}"
    slots = {"{s}": _PERSON if relation.subject == "person" else _PLACE, "{o}": rf"(?P<o>(?:{known})\b{unknown})"}
    body = template.rstrip(".")
    pieces = [slots.get(piece) or re.escape(piece) for piece in re.split(r"(\{[so]\})", body) if piece]
    literals = [piece for piece in re.split(r"\{[so]\}", body) if piece]
    first = body[0] if body[0] != "{" else ""
    pattern = f"[{first}{first.lower()}]" + "".join(pieces)[len(re.escape(first)) :] if first else "".join(pieces)
    key = max(literals, key=len)
    return _Form(relation, key[1:] if body.startswith(key) else key, re.compile(pattern + r"(?!\w)"), negated)


_FORMS = tuple(_form(r, t, False) for r in RELATIONS.values() for t in r.statements) + tuple(
    _form(r, r.negative, True) for r in RELATIONS.values()
)


def _phrase_regex() -> re.Pattern[str]:
    def one(phrase: str) -> str:
        body = re.escape(phrase.rstrip(".!?")).replace(re.escape("{x}"), r"[^.!?]{1,80}")
        return body if phrase.startswith("{x}") else f"(?:{body[0]}|{body[0].lower()}){body[1:]}"

    # Longer phrases are tried first, so that no slot swallows what a longer phrase says.
    groups: list[str] = []
    for kind, phrases in PHRASES.items():
        groups.append(f"(?P<{kind}>" + "|".join(one(p) for p in sorted(phrases, key=len, reverse=True)) + r")(?!\w)")
    return re.compile("|".join(groups))


_PHRASE = _phrase_regex()
_LEAD_MARKERS: dict[str, Marker] = {}
_LEAD_MARKERS.update(dict.fromkeys(HEDGES, "hedge"))
_LEAD_MARKERS.update(dict.fromkeys(GOSSIP, "gossip"))
_LEAD_MARKERS.update(dict.fromkeys(LEADS, ""))
_LEAD = re.compile("(?:" + "|".join(re.escape(p) for p in sorted(_LEAD_MARKERS, key=len, reverse=True)) + r")\s+(?=\w)", re.IGNORECASE)
_LEAD_LOWER: dict[str, Marker] = {p.lower(): m for p, m in _LEAD_MARKERS.items()}
_HARM = re.compile("|".join(re.escape(mark).replace(re.escape("{person}"), r"\w+") for mark in HARM_MARKS), re.IGNORECASE)
_SPLIT = re.compile(r"[^.!?\n]+[.!?]*")
_QUESTION = re.compile(r"(?:and )?(?:who|what|which|where|when|why|how|does|do|did|is|are|can|could|will|would|shall)\b", re.IGNORECASE)
_WORD = re.compile(r"\w+(?:'\w+)?")

_GROUPS = (PETS, TRADES, FOODS, GOODS, HOBBIES, COLOURS, DAYS, STREETS, PEOPLE, VISITORS, PLACES)
_THINGS = {article(thing).lower(): article(thing) for group in _GROUPS for thing in group}
_THING = re.compile(r"\b(?:" + "|".join(re.escape(t) for t in sorted(_THINGS, key=len, reverse=True)) + r")\b", re.IGNORECASE)
_LIST_LEAD = re.compile("(?:" + "|".join(re.escape(p) for p in LIST_LEADS) + r")\s*", re.IGNORECASE)
_GLUE = frozenset(("a", "an", "the", "and", "or", "also", "some"))


def words(text: str) -> list[str]:
    """Return the words of a text, lower-case, without punctuation."""
    return _WORD.findall(text.lower())


def _vocabulary() -> frozenset[str]:
    forms: list[str] = []
    for r in RELATIONS.values():
        forms += [*r.statements, *r.questions, r.negative, r.embedded, r.yes_no, r.why, r.past]
    texts = (
        *forms,
        *(p for kind in PHRASES.values() for p in kind),
        *(t for pair in (*HARMS, *HOW_TOS) for t in pair),
        *_LEAD_MARKERS,
        *INSULTS,
        *LIST_LEADS,
    )
    known: set[str] = set()
    for text in (*texts, *_THINGS, TOPICS):
        known.update(words(re.sub(r"\{\w+\}", " ", text)))  # without the templates' slots
    return frozenset(known) | RUDE_WORDS | _GLUE | {"she", "he", "it"}


_VOCABULARY = _vocabulary()


def things(text: str) -> tuple[str, ...]:
    """Return every thing, person and place of the town that the text names, in order, without articles."""
    return tuple(_THINGS[found.lower()] for found in _THING.findall(text))


def parse(text: str, subject: str = "") -> Reading:
    """Parse a response in linear time. ``subject`` is the referent of a pronoun before anyone is named."""
    found: list[Sentence] = []
    for piece in _SPLIT.findall(text[:LIMIT]):
        stripped = piece.strip()
        if not stripped:
            continue
        sentence = read_sentence(stripped, subject)
        found.append(sentence)
        if sentence.claims:
            subject = sentence.claims[-1].fact.subject
    return Reading(tuple(found), sum(s.words for s in found), len(text) > LIMIT)


@lru_cache(maxsize=65536)
def read_sentence(text: str, subject: str) -> Sentence:
    """Return one parsed sentence, its end mark included. Pronouns refer to ``subject``."""
    body = text.rstrip(".!?").rstrip()
    spoken = words(body)
    known = heard(body)
    kind, tidy, claims, items, marker = _content(_upper(body), _upper(known), text.endswith("?"), subject)
    strange = len(spoken) - len(words(known))
    clean = tidy and not strange and text[:1].isupper() and text[len(body) :] in (".", "!", "?")
    rude = sum(word in RUDE_WORDS for word in spoken)
    return Sentence(known + text[len(body) :], kind, len(spoken), claims, items, clean, rude, marker, strange)


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def heard(text: str) -> str:
    """Return the text without words that are unknown to the town."""
    return " ".join(token for token in text.split() if _VOCABULARY.issuperset(words(token)) and words(token))


def _content(body: str, known: str, asks: bool, subject: str) -> tuple[str, bool, tuple[Claim, ...], tuple[str, ...], Marker]:
    """Return kind, whether nothing is left over, claims, items and manner. Only claims may contain unknown words."""
    if _HARM.search(body):
        return "harm", True, (), (), ""
    phrase = _PHRASE.match(known)
    if phrase and phrase.lastgroup == "refuse":
        return "refuse", phrase.end() == len(known), (), (), ""
    core, marker = strip_lead(known)
    if asks and not phrase and _QUESTION.match(core):
        return "question", True, (), (), ""
    claims, rest = _claims(strip_lead(body)[0], subject)
    if not claims:
        claims, rest = _claims(core, subject)
    if claims:
        return "claim", not rest and not asks, tuple(replace(c, marker=marker) for c in claims), (), marker
    phrase = phrase or _PHRASE.match(core)
    if phrase and phrase.lastgroup:
        return phrase.lastgroup, phrase.end() == len(phrase.string), (), (), marker
    items = _items(core)
    return ("items", True, (), items, marker) if items else ("other", False, (), (), marker)


def strip_lead(body: str) -> tuple[str, Marker]:
    """Remove "Yes,", "I think", "They say that" and the like; also return whether they hedge or pass on hearsay."""
    marker: Marker = _PLAIN
    while lead := _LEAD.match(body):
        found = _LEAD_LOWER[lead.group().strip().lower()]
        marker = found if found else marker
        body = body[lead.end() :]
    return body, marker


def _claims(clause: str, subject: str) -> tuple[list[Claim], str]:
    """Return the claims at the start of a clause and the rest of its text."""
    found: list[Claim] = []
    while clause:
        hit = _claim(clause, subject) or (_claim(f"{subject} {clause}", subject) if found else None)
        if hit is None:
            break
        claim, rest = hit
        found.append(claim)
        subject = claim.fact.subject
        clause = re.sub(r"^(?:,? and (?:also )?|, )", "", rest) if rest.startswith((",", " and ")) else rest.strip()
        rivals = _rivals(claim, clause)
        if clause and rivals and not _claim(clause, subject) and not _claim(f"{subject} {clause}", subject):
            return found + rivals, clause
        if clause == rest.strip():
            break
    return found, clause


def _claim(clause: str, subject: str) -> tuple[Claim, str] | None:
    for form in _FORMS:
        if form.key not in clause:
            continue
        match = form.regex.match(clause)
        if match:
            who = _resolve(match["s"], subject)
            what = subject if subject and match["o"] in ("She", "He") else match["o"]
            return Claim(Fact(who, form.relation.name, what), form.negated), clause[match.end() :]
    return None


def _resolve(who: str, subject: str) -> str:
    lower = who.lower()
    if lower in ("she", "he", "it"):
        return subject or lower
    return lower if lower.startswith("the ") else who


def _rivals(claim: Claim, rest: str) -> list[Claim]:
    """Return the other objects of the same relation in the text after a claim."""
    return [replace(claim, fact=replace(claim.fact, object=o)) for o in claim.fact.form.objects if o != claim.fact.object and o in rest]


def _items(body: str) -> tuple[str, ...]:
    lead = _LIST_LEAD.match(body)
    listing = body[lead.end() :] if lead else body
    left = [w for w in words(_THING.sub(" ", listing)) if w not in _GLUE and not w.isdigit()]
    return things(listing) if not left else ()
