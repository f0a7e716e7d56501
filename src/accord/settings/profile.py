"""What labelers can tell of themselves: `[label.profile]` of accord.toml, the lead's own fields such as education or country."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from accord.settings.questions import Question, QuestionError, nearest, parse

SECTION = ("label", "profile")
"""Where accord.toml has the fields."""
TAKEN = ("group", "groups", "language", "taste", "kind", "version")
"""Names that a profile, or what it is read for, has already."""
KEYS = ("text", "definition", "options")
MOST = 20


def fields(section: Mapping[str, Any]) -> dict[str, Question]:
    """Return the fields by name: a choice where there are options, a line of text otherwise. None must be filled in.

    Raises:
        QuestionError: a field has an unknown key or a value that does not fit, is called as another one, or there are too many.
    """
    asked = dict[str, Any]()
    for name, table in section.items():
        here = (*SECTION, name)
        if name in TAKEN:
            raise QuestionError(f"{name!r} already means something else", here, "choose another name")
        if not isinstance(table, Mapping):
            raise QuestionError(f"{name} is a value, not a field", here, f"write [{'.'.join(here)}] and its keys below")
        given = cast("Mapping[str, Any]", table)
        for key in given:
            if key not in KEYS:
                raise QuestionError(f"a field of the profile has no key {key!r}", (*here, key), nearest(key, KEYS))
        asked[name] = {**given, "kind": "choice" if "options" in given else "text", "about": "prompt", "required": False}
    if len(asked) > MOST:
        raise QuestionError(f"{len(asked)} fields", SECTION, f"at most {MOST}")
    return parse(asked, path=SECTION)
