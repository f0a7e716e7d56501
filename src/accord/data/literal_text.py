"""Control tokens that somebody typed are words: mark them before a template is rendered, and encode what is marked as plain text.

A mark splits the typed token, so that the tokenizer does not find it; a copy of the tokenizer takes the marks out again after it has
looked for control tokens and before it cuts text into words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, cast

from accord.data.tokenizers import Tokenizer
from accord.data.tool_turns import ToolTurn
from accord.errors import InputError
from accord.records import Message

MARK = "\ufdd0"
"""A code point that Unicode keeps out of texts for good."""
THOUGHTS = ("<think>", "</think>")
"""Marks of a thought, which are the assistant's own to write."""


class LiteralText:
    """Encodes text in which people may have typed a tokenizer's control tokens.

    Args:
        stop: token ids that end a response; control tokens, whatever the tokenizer calls them.
    """

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[int] = ()) -> None:
        self.tokenizer = tokenizer
        added: dict[int, Any] = tokenizer.added_tokens_decoder
        source = str(tokenizer.chat_template or "")
        special = {*tokenizer.all_special_tokens, *(str(token) for token in added.values() if token.special)}
        ends = {str(added[id]) for id in stop if id in added}
        written = {str(token) for token in added.values() if str(token) in source}
        self._typed_by_assistant = _pattern((special | ends) - set(THOUGHTS))
        self._typed = _pattern(special | ends | written)

    def marked(self, messages: Sequence[Message], where: str = "") -> tuple[Message, ...]:
        """Return the conversation with every typed control token marked.

        Raises:
            InputError: a message holds the mark itself.
        """
        return tuple(self._marked(message, where) for message in messages)

    def marked_tools(self, tools: Sequence[Mapping[str, Any]], where: str = "") -> list[Mapping[str, Any]]:
        """Return descriptions of functions with every typed control token marked."""
        return [self._within(tool, where) for tool in tools]

    def _marked(self, message: Message, where: str) -> Message:
        said = replace(message, content=self.mark(message.content, message.role, where))
        if not isinstance(said, ToolTurn):
            return said
        return replace(said, calls=tuple(replace(call, arguments=self._within(call.arguments, where)) for call in said.calls))

    def _within(self, value: Any, where: str) -> Any:
        """A JSON value with its texts marked."""
        if isinstance(value, str):
            return self.mark(value, "tool", where)
        if isinstance(value, Mapping):
            members = cast("Mapping[str, Any]", value)
            return {self._within(name, where): self._within(member, where) for name, member in members.items()}
        if isinstance(value, list):
            return [self._within(member, where) for member in cast("list[Any]", value)]
        return value

    def mark(self, text: str, role: str, where: str = "") -> str:
        """Return a text with every typed control token marked; raise InputError where it holds the mark itself."""
        pattern = self._typed_by_assistant if role == "assistant" else self._typed
        if MARK in text:
            raise InputError("the text holds U+FDD0, which is no character", where=where, hint="take it out")
        return pattern.sub(lambda found: f"{found[0][0]}{MARK}{found[0][1:]}", text) if pattern else text

    def encode(self, text: str, where: str = "") -> list[int]:
        """Return the token ids of a rendered text, its marks taken out and what they mark as plain text.

        Raises:
            InputError: this tokenizer cannot write a control token as plain text.
        """
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        if MARK not in text:
            return ids
        plain = [] if self._plain is None else list(self._plain.encode(text, add_special_tokens=False).ids)
        control = {*self.tokenizer.all_special_ids, *self.tokenizer.added_tokens_decoder} - {self.tokenizer.unk_token_id}
        if [id for id in plain if id in control] != [id for id in ids if id in control]:
            hint = "take such words out of the row"
            raise InputError("the text holds a control token that this tokenizer cannot write as words", where=where, hint=hint)
        return plain

    @cached_property
    def _plain(self) -> Any:
        """The tokenizer's copy that drops the marks; None for one that is not of the tokenizers library."""
        from tokenizers import Tokenizer, normalizers

        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is None:
            return None
        described = json.loads(backend.to_str())
        for token in described["added_tokens"]:
            token["normalized"] = False  # looked for while the marks are still there
        copy = Tokenizer.from_str(json.dumps(described))
        copy.no_padding()
        copy.no_truncation()
        steps = [normalizers.Replace(MARK, ""), *([copy.normalizer] if copy.normalizer else [])]
        copy.normalizer = normalizers.Sequence(steps)
        return copy


def _pattern(tokens: set[str]) -> re.Pattern[str] | None:
    words = sorted((token for token in tokens if len(token) > 1), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, words))) if words else None
