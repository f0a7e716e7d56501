"""The options of an import: as a form has them, and as words of `accord import`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import get_args

from accord.data.archives import Encoding
from accord.data.registry import FORMATS
from accord.feedback.refusals import Refused
from accord.feedback.web.forms import Form

SPLITS = ("auto", "keep", "train", "validation", "test")
ENCODINGS: tuple[str, ...] = get_args(Encoding)
LONGEST = 200
"""Characters of a column's name."""
MOST = 50
"""Columns that are named."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a file is read."""

    format: str = "auto"
    map: tuple[str, ...] = ()
    """field=column, each."""
    drop: tuple[str, ...] = ()
    """Columns that are left out."""
    split: str = "auto"
    encoding: str = "utf-8"
    keep_extra: bool = False
    skip_bad: bool = False

    def words(self) -> list[str]:
        """Return the options that differ from the defaults as words of a command."""
        plain = Options()
        chosen = [
            f"--{name}={getattr(self, name)}" for name in ("format", "split", "encoding") if getattr(self, name) != getattr(plain, name)
        ]
        chosen += [f"--map={pair}" for pair in self.map] + [f"--drop={column}" for column in self.drop]
        return chosen + ["--keep-extra"] * self.keep_extra + ["--skip-bad"] * self.skip_bad

    @classmethod
    def of_words(cls, words: Iterable[str]) -> Options:
        """Return the options that words of ours name."""
        given: dict[str, list[str]] = {}
        for word in words:
            if word.startswith("--"):
                name, _, value = word.removeprefix("--").partition("=")
                given.setdefault(name, []).append(value)
        plain = cls()
        one = {name: given.get(name, [getattr(plain, name)])[0] for name in ("format", "split", "encoding")}
        return cls(
            one["format"],
            tuple(given.get("map", ())),
            tuple(given.get("drop", ())),
            one["split"],
            one["encoding"],
            "keep-extra" in given,
            "skip-bad" in given,
        )

    @classmethod
    def of_form(cls, form: Form) -> Options:
        """Return the options of a form. Raises Refused (422) for what no form of ours sends."""
        pairs, columns = _lines(form.get("map")), _lines(form.get("drop"))
        chosen = [("format", form.get("format") or "auto", ("auto", *FORMATS))]
        chosen += [("split", form.get("split") or "auto", SPLITS), ("encoding", form.get("encoding") or "utf-8", ENCODINGS)]
        for name, value, known in chosen:
            if value not in known:
                raise Refused("malformed", detail=name)
        if any(not all(pair.partition("=")) for pair in pairs):
            raise Refused("malformed", detail="map")
        format, split, encoding = (value for _, value, _ in chosen)
        return cls(format, pairs, columns, split, encoding, form.get("keep_extra") == "yes", form.get("skip_bad") == "yes")


def _lines(text: str) -> tuple[str, ...]:
    lines: Sequence[str] = [line.strip() for line in text.split("\n") if line.strip()]
    if len(lines) > MOST or any(len(line) > LONGEST or not line.isprintable() for line in lines):
        raise Refused("malformed", detail="columns")
    return tuple(lines)
