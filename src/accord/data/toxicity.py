"""Toxic words: the lexicon of the classifier ``rules``, and of ``accord probe --lexicon``.

Our own list is deliberately short and plain. It leaves out words that often mean something else (dog, kill, hell). If the package
``better-profanity`` is installed (extra ``safety``), its list is added. You can also supply a file of your own words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

from accord.errors import InputError

_WORDS = """
idiot idiots idiotic stupid moron morons moronic imbecile imbeciles fool fools dumb dumbass dimwit nitwit nitwits halfwit blockhead
dunce loser losers pathetic worthless scum scumbag filth vermin disgusting damned goddamn crap bastard bastards jerk
coward liar freak retard retards retarded degenerate subhuman parasite parasites bullshit asshole assholes bitch bitches cunt cunts
dickhead dickheads fuck fucks fucked fucker fuckers fucking motherfucker motherfuckers shit shitty shithead shitheads slut sluts whore
whores faggot faggots nigger niggers nigga niggas n1gger n1ggers n1gga n1ggas kike kikes spic spics chink chinks tranny trannies
"""
_PHRASES = ("dick head", "dick heads", "shut up", "kill yourself", "go to hell", "piece of shit", "piece of trash")
_CHINESE = ("傻逼", "傻屄", "傻瓜", "白痴", "脑残", "混蛋", "王八蛋", "滚蛋", "他妈的", "操你", "婊子", "贱人", "废物", "去死")


@dataclass(frozen=True)
class Lexicon:
    """Toxic words in lower case."""

    words: frozenset[str]
    """Whole words."""
    phrases: tuple[str, ...]
    """Phrases of several words, in order."""
    pieces: tuple[str, ...]
    """Words in a script without spaces, found anywhere in a text."""


@cache
def lexicon(own: Path | None = None) -> Lexicon:
    """Load the lexicon.

    Args:
        own: a text file with one more word or phrase per line.
    Raises:
        InputError: the file cannot be read.
    """
    entries = {*_WORDS.split(), *_PHRASES, *_CHINESE}
    if find_spec("better_profanity"):
        entries |= _clean(resources.files("better_profanity").joinpath("profanity_wordlist.txt").read_text("utf-8").splitlines())
    if own is not None:
        try:
            entries |= _clean(own.read_text("utf-8").splitlines())
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"it cannot be read: {error}", where=str(own), hint="give a text file in UTF-8, one word per line") from error
    pieces = {entry for entry in entries if re.search(r"[\u3040-\u30ff\u4e00-\u9fff]", entry)}
    phrases = {entry for entry in entries - pieces if " " in entry}
    return Lexicon(frozenset(entries - pieces - phrases), tuple(sorted(phrases)), tuple(sorted(pieces)))


def toxic_words(text: str, known: Lexicon) -> list[str]:
    """Return the words and phrases of a lexicon that a text contains; "shellfish" contains none."""
    lower = text.lower()
    said = re.findall(r"[^\W_]+(?:['-][^\W_]+)*", lower)
    line = " ".join(["", *said, ""])
    singles = [word for word in said if word in known.words]
    return [*singles, *(p for p in known.phrases if f" {p} " in line), *(p for p in known.pieces if p in lower)]


def is_toxic(text: str) -> bool:
    """Return whether a text contains a word of the default lexicon, without your own file."""
    return bool(toxic_words(text, lexicon()))


def _clean(lines: Iterable[str]) -> set[str]:
    return {line.strip().lower() for line in lines if line.strip() and not line.startswith("#")}
