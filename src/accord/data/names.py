"""Detection of people's names in English and Chinese, by context and by lists of common names; no model, no download.

A name is found after a title or a cue ("my name is", 联系人), or when a known given name precedes another capitalised word. A given name
alone identifies nobody and is kept. The lists hold the most common names in registers of the United States and China.

No pattern has an unbounded repeat, so that the cost of a search grows with the length of the text alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

Span = tuple[int, int, str]
"""Start, end, and the rule that found it."""


def _lists() -> dict[str, list[str]]:
    """Return the lists of names.txt by title."""
    parts = re.split(r"^# (.+)$", (Path(__file__).parent / "names.txt").read_text("utf-8"), flags=re.MULTILINE)[1:]
    return {title: words.split() for title, words in zip(parts[::2], parts[1::2], strict=True)}


_LISTS = _lists()
WORDS = frozenset(_LISTS["words"])
"""Given names that are also words, months or places; they count only before a common surname."""
GIVEN = frozenset(_LISTS["given"]) | WORDS
SURNAMES = frozenset(_LISTS["surnames"])
NO_NAME = frozenset(_LISTS["no name"])
"""Capitalised words that are not part of a name."""
_SURNAMES, _EVERY_SURNAME = ("|".join(_LISTS[f"chinese surnames{part}"]) for part in ("", ", rare ones too"))
_GIVEN_PAIRS, _GIVEN_SINGLE = "|".join(_LISTS["chinese given"]), "|".join(_LISTS["chinese given, one character"])
_WORD = r"(?:[A-Z][a-z]{1,40}(?:[’'-][A-Z][a-z]{1,40}){0,3}|(?:O['’]|Mc|Mac|De|La|Le|Van)[A-Z][a-z]{1,40})"
_NAME = rf"(?P<it>{_WORD}(?: (?:[A-Z]\.|{_WORD})){{0,2}})\b"
_FULL = re.compile(rf"\b(?P<first>{_WORD})(?: [A-Z]\.)?(?: {_WORD}){{1,2}}\b")
_TITLED = re.compile(rf"\b(?:Mr|Mrs|Ms|Mx|Miss|Dr|Prof|Professor|Sir|Madam|Officer|Detective|Judge|Nurse)\.?\s{_NAME}")
_SURE_CUE = re.compile(
    r"\b(?i:my name is|my name's|(?:full |first |last )?name\s?:|patient\s?:|customer\s?:|contact\s?:|recipient\s?:|attn:"
    r"|signed,|sincerely,|yours truly,"
    rf"|(?:best |kind |warm )?regards,|a (?:man|woman|person|friend|colleague|neighbou?r) (?:called|named))\s{{0,20}}{_NAME}"
)
_LOOSE_CUE = re.compile(rf"\b(?i:i am|i'm|i’m|this is|dear|hi|hello|hey|thanks,|cheers,|love,|call me|ask for)\s{_NAME}")
_LOWER = re.compile(r"(?i:\bmy name(?:'s| is))\s(?P<it>[a-z]{2,15}(?: [a-z]{2,20})?)\b")

_NO_GIVEN = (
    "的了是在和与及或有不也都就很这那一二三四五六七八九十个们来去到说要会能可以吗呢吧啊，。的被把给让向从对为什么怎级牌学科校门务界业者"
)
_HAN_GIVEN = rf"(?![{_NO_GIVEN}])[\u4e00-\u9fff](?:(?![{_NO_GIVEN}])[\u4e00-\u9fff])?"
_HAN_CUED = re.compile(
    r"(?:(?:我叫|名叫|叫做|名字[是叫]|寄给|转给|转告)|(?:姓名|联系人|收件人|收货人|申请人|负责人|患者|客户|署名)\s?(?:[:：]|是|为)?)\s?"
    rf"(?P<it>(?:{_EVERY_SURNAME}){_HAN_GIVEN}(?=$|[^\u4e00-\u9fff]|[是在的和与住今来想要电手说有地邮身])|[\u4e00-\u9fff]{{2,3}}(?=$|[,，。、；;\s（(]))"
)
_HAN_SELF = re.compile(rf"我是(?P<it>(?:{_EVERY_SURNAME}){_HAN_GIVEN})(?=$|[,，。！？、；\s（(]|[^\u4e00-\u9fff])")
_HAN_TITLED = re.compile(
    rf"(?P<it>(?:{_SURNAMES}){_HAN_GIVEN})(?:先生|女士|小姐|老师|医生|教授|经理|同学|师傅|律师|主任|阿姨|叔叔|博士|警官|护士)"
)
_HAN_BARE = re.compile(rf"(?:{_SURNAMES})(?:{_GIVEN_PAIRS})|(?<![\u4e00-\u9fff])(?:{_SURNAMES})(?:{_GIVEN_SINGLE})(?![\u4e00-\u9fff])")
_HAS_HAN = re.compile("[\u4e00-\u9fff]")


def names(text: str) -> Iterator[Span]:
    """Yield the names in a text; a name may come twice, by two rules."""
    if any("A" <= mark <= "Z" for mark in text) or "name" in text:
        yield from _english(text)
    if _HAS_HAN.search(text):
        yield from _chinese(text)


def _english(text: str) -> Iterator[Span]:
    for pattern, rule in ((_TITLED, "title"), (_SURE_CUE, "cue")):
        for match in pattern.finditer(text):
            if text[match.start("it") : match.end("it")].split()[0].lower() not in NO_NAME:
                yield *_trimmed(match, "it"), rule
    for match in _LOOSE_CUE.finditer(text):
        words = match["it"].split()
        if words[0].lower() in GIVEN - WORDS or (words[0].lower() in GIVEN and words[-1].lower() in SURNAMES and len(words) > 1):
            yield *_trimmed(match, "it"), "cue"
    for match in _LOWER.finditer(text):
        if match["it"].split()[0] in GIVEN:
            words = match["it"].split()
            full = len(words) > 1 and words[1] in SURNAMES
            yield match.start("it"), match.end("it") if full else match.start("it") + len(words[0]), "cue"
    yield from _listed(text)


def _listed(text: str) -> Iterator[Span]:
    """Yield listed given names with the words after them. A preceding word that is not a name ("Ask Mary Jones") is skipped."""
    place = 0
    while match := _FULL.search(text, place):
        words = re.split(r"\s", match[0])
        first, last = match["first"].lower(), words[-1].lower()
        known = first in GIVEN and words[1].lower().rstrip(".") not in NO_NAME
        if known and (first not in WORDS or last in SURNAMES):
            end = match.end() if last not in NO_NAME else match.end() - len(words[-1]) - 1
            yield match.start(), end, "listed"
            place = match.end()
        else:
            place = match.end("first")


def _trimmed(match: re.Match[str], group: str) -> tuple[int, int]:
    """Return the span of a cued name without final words that begin the next sentence or are not names."""
    start, end = match.span(group)
    words = match[group].split()
    while len(words) > 1 and words[-1].lower() in NO_NAME:
        end -= len(words.pop()) + 1
    return start, end


def _chinese(text: str) -> Iterator[Span]:
    for pattern, rule in ((_HAN_CUED, "cue"), (_HAN_SELF, "cue"), (_HAN_TITLED, "title")):
        for match in pattern.finditer(text):
            yield *match.span("it"), rule
    for match in _HAN_BARE.finditer(text):
        yield *match.span(), "listed"
