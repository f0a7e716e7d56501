"""Own ways of asking a model: the tables `[conditions.NAME]` of accord.toml, used as `MODEL+NAME` in compare and probe.

docs/compare.md shows them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from typing import Any, cast

from accord.errors import UsageError
from accord.settings.mixins import Settings, section
from accord.settings.ranges import Natural

SECTION = "conditions"
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")
BUILT_IN = ("zero-shot", "few-shot", "chain-of-thought", "honest", "respectful", "quote", "concise", "scenes")
"""The ways of asking that need no table; none of these names can be taken."""


@section
class Condition(Settings):
    """`[conditions.NAME]`: what is put around a prompt before a model is asked."""

    system: str = ""
    """System prompt of conversations that have none of their own."""
    prefix: str = ""
    """Text before the last message of the user, with a blank line between."""
    suffix: str = ""
    """Text after the last message of the user, with a blank line between."""
    system_zh: str = ""
    """`system` for Chinese prompts; empty takes `system`."""
    prefix_zh: str = ""
    """`prefix` for Chinese prompts; empty takes `prefix`."""
    suffix_zh: str = ""
    """`suffix` for Chinese prompts; empty takes `suffix`."""
    examples: list[Any] = field(default_factory=list[Any])
    """Worked examples before the conversation, as turns: `[{prompt = "...", response = "..."}]`, with their reasoning if that is to be
    imitated."""
    shots: Natural = 0
    """Training demonstrations behind these examples, chosen as for few-shot."""
    answer_after: str = ""
    """The judged answer begins behind the last place of this text, such as `Answer:`; empty judges the whole response."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for example in self.examples:
            values: Mapping[Any, Any] = cast("Mapping[Any, Any]", example) if isinstance(example, Mapping) else {}
            whole = set(values) == {"prompt", "response"} and all(isinstance(value, str) and value.strip() for value in values.values())
            self.require(whole, f"examples has {example!r:.80}; each is a table with the texts prompt and response")
        asks = self.system or self.prefix or self.suffix or self.examples or self.shots or self.answer_after
        self.require(bool(asks), "it changes nothing: give system, prefix, suffix, examples or shots")


def read(written: Mapping[str, Any]) -> dict[str, Condition]:
    """Return the conditions of ``[conditions]``.

    Raises:
        UsageError: a name cannot be one, or is that of a built-in condition.
    """
    for name in written:
        if name in BUILT_IN:
            raise UsageError(f"{name!r} is a built-in condition", where=f"[{SECTION}]", hint="choose another name")
        if not _NAME.fullmatch(name):
            hint = "begin with a small letter, and go on with small letters, digits, - and _"
            raise UsageError(f"{name!r} cannot name a condition", where=f"[{SECTION}]", hint=hint)
    return {name: Condition(**values) for name, values in written.items()}
