"""The prompt format of a vision-language model: the model's chat template gives each picture a place, its processor the tokens there.

In the rows that are made so each picture's tokens are ids of their own (``runtime.pictures``). All else is as in ``data.templates``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from accord.data.literal_text import LiteralText
from accord.data.template_render import MEND, template_name
from accord.data.templates import ChatFormat
from accord.errors import InputError
from accord.records import Message
from accord.runtime.pictures import words_of
from accord.runtime.text_only import heard

PROCESSOR = "copy preprocessor_config.json and processor_config.json of its base model into the model's folder"


class Shown(Protocol):
    """The pictures that a model is shown, as a format asks for them (``models.pictures.Gallery``)."""

    placeholder: str

    def expand(self, text: str, digests: Sequence[str]) -> str: ...
    def named(self, ids: Sequence[int], digests: Sequence[str]) -> list[int]: ...
    def show(self, content: bytes, digest: str) -> str: ...
    def hide(self, digest: str) -> None: ...


class Rendered(str):
    """A rendered conversation that knows the pictures which its marks stand for."""

    digests: tuple[str, ...] = ()


class PictureText(LiteralText):
    """As ``LiteralText``; a mark of the template becomes the tokens of the picture that stands there."""

    shown: Shown

    def encode(self, text: str, where: str = "") -> list[int]:
        """Return the token ids of a rendered text. Raises as ``LiteralText.encode`` and the processor do."""
        if not isinstance(text, Rendered):
            return super().encode(text, where)
        return self.shown.named(super().encode(self.shown.expand(str(text), text.digests), where), text.digests)


@dataclass(frozen=True)
class PictureFormat(ChatFormat):
    """The prompt format of a model that sees."""

    shown: Shown | None = None
    """None where the model has no processor: then it reads text alone."""

    @property
    def sees(self) -> bool:
        """Whether a conversation may hold pictures."""
        return self.shown is not None and not self.raw

    @cached_property
    def _literal(self) -> LiteralText:
        if self.shown is None:
            return LiteralText(self.tokenizer, self.stop)
        literal = PictureText(self.tokenizer, self.stop)
        literal.shown = self.shown
        return literal

    def _text_alone(self, messages: Sequence[Message], where: str) -> tuple[Message, ...]:
        """The messages with every typed control token marked, a recording as its transcript. Pictures stay, where it can be shown some."""
        read = heard(messages, "this model", where=where)
        media = [medium for message in read for medium in message.media]
        if media and self.shown is None:
            raise InputError("a message has a picture, and the model's folder has no processor for it", where=where, hint=PROCESSOR)
        if media and self.raw:
            hint = "give its tokenizer a chat template with places for pictures"
            raise InputError("a message has a picture, and the model has no chat template that places it", where=where, hint=hint)
        return self._literal.marked(read, where)

    def _with_pictures(self, messages: Sequence[Message], text: str, where: str) -> str:
        """The text with the digests of its pictures. A template that has no place for one is refused."""
        digests = tuple(medium.digest for message in messages for medium in message.media)
        if not digests or self.shown is None:
            return text
        places = text.count(self.shown.placeholder)
        if places != len(digests):
            what = f"{template_name(self.tokenizer)} writes {places} places for {len(digests)} pictures"
            raise InputError(what, where=where, hint=f"{MEND}, or take such prompts out")
        rendered = Rendered(text)
        rendered.digests = digests
        return rendered

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids as ``ChatFormat.decode`` does, without pictures."""
        return super().decode(words_of(ids))


def picture_format(spoken: ChatFormat, shown: Shown | None) -> PictureFormat:
    """Return a chat format with places for pictures."""
    return PictureFormat(spoken.tokenizer, spoken.stop, spoken.raw, spoken.context, shown)
