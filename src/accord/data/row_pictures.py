"""Pictures and recordings in rows of foreign files: parts of a message, columns beside the text, files beside the data.

Before a row's format is known, each picture in it is read, and a mark takes its place in the text: OpenAI's and Anthropic's parts, the
``<image>`` of LLaVA and its kin with a column ``image`` or ``images``, or the beginning of the question where no text names a place. The
formats then read text as ever, and ``with_media`` makes media of the marks where a prompt is made. Recordings are parts of a message:
OpenAI's ``input_audio``, vLLM's ``audio_url``, or ``audio`` with a file's name, each with a ``transcript`` if it has one.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from accord.data import sound
from accord.data.pictures import MOST_BYTES, Gathered, in_data_url
from accord.data.row_context import HISTORY, SYSTEM, is_turn, is_turns
from accord.data.rows import Row, empty, listed
from accord.errors import InputError
from accord.records import MEDIUM, Media, Message, composed

COLUMNS = ("images", "image", "image_path", "image_paths", "image_url", "image_urls")
"""Columns that hold pictures, the surest first; of several the first that is filled counts."""
ASKED = ("prompt", "messages", "conversations", "conversation", "instruction", "question", "query", "input", "problem")
"""Columns that ask, in the order in which their pictures come. Answers to rank go on from there, each by itself."""
PARTS = ("image_url", "input_image", "image")
"""Types of a part that is a picture."""
SOUND_PARTS = ("input_audio", "audio_url", "audio")
"""Types of a part that is a recording."""
FOLDERS = ("", "images", "media", "image")
"""Where a picture's file is looked for, beside the file of the rows."""
DROP = "or leave the column out with --drop, such rows with --skip-bad"
SKIP = "or leave such rows out with --skip-bad"
_MARK = re.compile(r"<image>|<ImageHere>", re.IGNORECASE)
_BARE = re.compile(r"\s*<(image|video|audio)>[ \t]*(?:\n|$)|(?s:.)*\n[ \t]*<(image|video|audio)>\s*$", re.IGNORECASE)
"""A line at the beginning or the end of a question that is nothing but a place; within a sentence it is a word."""
_TOKEN = secrets.token_hex(8)
"""So that no text from outside can name a picture that it does not bring."""
_PLACE = re.compile(rf"{MEDIUM}{_TOKEN}:(image|audio):([0-9a-f]{{64}}):([\w=-]*){MEDIUM}")


def place_of(media: Media) -> str:
    """Return the mark that stands for a picture in a row's text until it is a message."""
    return f"{MEDIUM}{_TOKEN}:{media.kind}:{media.digest}:{base64.urlsafe_b64encode(media.alt.encode()).decode('ascii')}{MEDIUM}"


def has_place(text: str) -> bool:
    """Return whether a text has a mark of ``place_of``."""
    return MEDIUM in text and _PLACE.search(text) is not None


def with_media(message: Message) -> Message:
    """Return a message whose marks are media."""
    if not has_place(message.content):
        return message
    parts, end = list[str | Media](), 0
    for found in _PLACE.finditer(message.content):
        parts += [message.content[end : found.start()], _named(found)]
        end = found.end()
    return composed(message.role, [*parts, message.content[end:]])


def _named(place: re.Match[str]) -> Media:
    return Media("audio" if place[1] == "audio" else "image", place[2], base64.urlsafe_b64decode(place[3]).decode())


def laid_out(row: Row, gathered: Gathered) -> Row:
    """Return a row with a mark in place of each of its pictures, which are read; the same row if it has none.

    Raises:
        InputError: a picture cannot be taken, its file is missing, or pictures and their places are not equally many.
    """
    if not _may_have(row.value):
        _refuse_bare(row)
        return row
    return _Layout(row, gathered).made()


def _refuse_bare(row: Row) -> None:
    """Refuse a question that names a picture, a film or a recording in a line of its own, in a row that has none."""
    for name in ASKED:
        value = row.peek(name)
        turns = cast("list[Any]", value) if isinstance(value, list) else [{"content": value}]
        for turn in turns:
            said = cast("dict[str, Any]", turn) if isinstance(turn, dict) else {}
            text = said.get("content", said.get("value"))
            if not isinstance(text, str) or "<" not in text or not (found := _BARE.match(text)):
                continue
            kind = (found[1] or found[2]).lower()
            if f"</{kind}" not in text.lower() and not any(column.startswith(kind) for column in row.value):
                hint = f"name its file in a column {kind}, or skip such rows with --skip-bad"
                raise row.error(name, f"the question begins or ends with <{kind}>, but the row has none", hint)


def _may_have(value: Mapping[str, Any]) -> bool:
    if any(not empty(value.get(name)) for name in COLUMNS):
        return True
    return any(_in_turns(_opened(part)) for part in value.values())


def _in_turns(value: Any) -> bool:
    """Whether turns hold a picture in their parts, or name media as our own export does."""
    for turn in cast("list[Any]", value) if isinstance(value, list) else [value]:
        if not isinstance(turn, dict):
            return False
        said = cast("dict[str, Any]", turn)
        content = said.get("content", said.get("value"))
        if said.get("media") or (isinstance(content, list) and any(map(_is_picture, cast("list[Any]", content)))):
            return True
    return False


def _is_picture(part: Any) -> bool:
    return isinstance(part, dict) and cast("dict[str, Any]", part).get("type") in (*PARTS, *SOUND_PARTS)


def _opened(value: Any) -> Any:
    """Turns that a table's cell holds as JSON, and those in OpenAI's ``input``."""
    if isinstance(value, dict) and isinstance(cast("dict[str, Any]", value).get("messages"), list):
        return cast("dict[str, Any]", value)["messages"]
    if isinstance(value, str) and value.lstrip().startswith("[") and re.search(r'"(image|audio|input_audio)', value[:1_000_000]):
        return listed(value)
    return value


class _Layout:
    """One row's pictures on their way into its text."""

    def __init__(self, row: Row, gathered: Gathered) -> None:
        self.row, self.gathered = row, gathered
        self.value = dict(row.value)
        self.column = next((name for name in COLUMNS if not empty(self.value.get(name))), "")
        self.beside = self._beside()
        self.next = 0
        """The first picture of the column that has no place yet."""

    def made(self) -> Row:
        for name in COLUMNS:
            self.value.pop(name, None)
        self._open_pairs()
        asks = [name for name in (*SYSTEM, *HISTORY, *ASKED) if name in self.value]
        for name in asks:
            self.value[name] = self._said(self.value[name])
        begun, most = self.next, self.next
        for name in [name for name in self.value if name not in asks and name != "extra"]:
            self.next = begun
            self.value[name] = self._said(self.value[name])
            most = max(most, self.next)
        if self.beside and most == 0:
            self._put_first([name for name in asks if name in ASKED])
        elif most < len(self.beside):
            what = f"{len(self.beside)} pictures, but {most} places for them in the text (<image>)"
            raise self.row.error(self.column, what, "give each its place")
        return self.row.like(self.value)

    def _beside(self) -> list[Any]:
        given: Any = self.row.peek(self.column) if self.column else None
        if isinstance(given, str) and given.lstrip().startswith("["):
            given = listed(given) or given
        every = cast("list[Any]", given) if isinstance(given, list) else [given]
        return [each for each in every if not empty(each)]

    def _open_pairs(self) -> None:
        """RLHF-V keeps question and answers as JSON in ``text``."""
        text = self.value.get("text")
        if not isinstance(text, str) or not text.lstrip().startswith("{"):
            return
        try:
            inside: Any = json.loads(text)
        except (ValueError, RecursionError):
            return
        if isinstance(inside, dict) and {"question", "chosen", "rejected"} <= cast("dict[str, Any]", inside).keys():
            del self.value["text"]
            self.value |= cast("dict[str, Any]", inside)

    def _said(self, value: Any) -> Any:
        """A column's value with marks in place of its pictures."""
        if isinstance(value, dict) and isinstance(cast("dict[str, Any]", value).get("messages"), list):
            inside = cast("dict[str, Any]", value)
            return inside | {"messages": self._said(inside["messages"])}
        value = _opened(value)
        if is_turns(value) or is_turn(value):
            turns: list[Any] = cast("list[Any]", value) if isinstance(value, list) else [value]
            laid = [self._turn(cast("dict[str, Any]", turn)) for turn in turns]
            return laid if isinstance(value, list) else laid[0]
        return self._text(value) if isinstance(value, str) else value

    def _turn(self, turn: dict[str, Any]) -> dict[str, Any]:
        if turn.get("media"):
            return self._own(turn)
        key = next((name for name in ("content", "value") if name in turn), "")
        content = turn.get(key)
        if isinstance(content, list):
            parts: list[Any] = []
            for part in cast("list[Any]", content):
                parts.append({"type": "text", "text": place_of(self._part(part))} if _is_picture(part) else part)
            return {**turn, key: parts}
        return {**turn, key: self._text(content)} if isinstance(content, str) else turn

    def _text(self, text: str) -> str:
        """A text with the column's pictures at its ``<image>``; without such a column these are words."""
        if not self.beside:
            return text
        return _MARK.sub(lambda _: place_of(self._taken()), text)

    def _taken(self) -> Media:
        """The next picture of the column."""
        if self.next >= len(self.beside):
            column = self.column or "image"
            what = f"the text has more places for pictures (<image>) than the {len(self.beside)} in the column"
            raise self.row.error(column, what, "give a picture for each, " + DROP)
        self.next += 1
        return self._read(self.beside[self.next - 1], self.column)

    def _put_first(self, names: Sequence[str]) -> None:
        """Begin the first words of the user with the pictures that no text gives a place."""
        marks = "".join(place_of(self._taken()) for _ in self.beside)
        for name in names:
            value: Any = self.value[name]
            if isinstance(value, str) and value.strip():
                self.value[name] = f"{marks}\n{value}"
                return
            turns: list[Any] = value if isinstance(value, list) and is_turns(cast("Any", value)) else []
            for turn in turns:
                key = next((key for key in ("content", "value") if key in turn), "")
                if str(turn.get("role", turn.get("from", ""))).lower() not in ("user", "human", "prompter") or not key:
                    continue
                content: Any = turn[key]
                turn[key] = [{"type": "text", "text": f"{marks}\n"}, *content] if isinstance(content, list) else f"{marks}\n{content}"
                return
        raise self.row.error(self.column, "no question beside it to ask about the picture", "add one in a column prompt, " + DROP)

    def _part(self, part: dict[str, Any]) -> Media:
        """The picture of a part: in it, or the next of the column beside the turns. Or its recording, which is always in it."""
        if part.get("type") in SOUND_PARTS:
            return self._sound(part)
        for name in ("image_url", "image", "source", "url", "path", "data"):
            given: Any = part.get(name)
            inside = cast("dict[str, Any]", given) if isinstance(given, dict) and name == "image_url" else {}
            given = inside.get("url") if inside else cast("Any", given)
            if not empty(given):
                return self._read(given, name)
        if not self.beside:
            raise self.row.error("content", "a part is a picture, but names none", "give it in the part, or in a column images")
        return self._taken()

    def _sound(self, part: dict[str, Any]) -> Media:
        """The recording of a part, with its transcript."""
        for name in (*SOUND_PARTS, "url", "path", "data"):
            given: Any = part.get(name)
            inside = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
            found: Any = next((inside[key] for key in ("data", "url", "bytes", "path") if not empty(inside.get(key))), None)
            found = found if inside else cast("Any", given)
            if not empty(found):
                said = str(part.get("transcript") or inside.get("transcript") or "")
                return self._read_sound(found, name, said, coded="data" in inside)
        raise self.row.error("content", "a part is a recording, but names none", "give its bytes, a data URL or a file's name")

    def _read_sound(self, given: Any, field: str, said: str, *, coded: bool = False) -> Media:
        """Read a recording: bytes, base 64, a data URL, or the name of a file beside the rows."""
        where = f'{self.row.where}, field "{self.row.inside}{field}"'
        if isinstance(given, bytes):
            return self.gathered.take_sound(given, where, said)
        if not isinstance(given, str):
            raise self.row.error(
                field, f"not a recording but {type(given).__name__}", f"give its bytes, a data URL or a file's name, {SKIP}"
            )
        if coded or given[:5].lower() == "data:":
            return self.gathered.take_sound(sound.decoded(given, where), where, said)
        if re.match(r"[a-z][a-z0-9+.-]*://", given, re.IGNORECASE):
            hint = f"download the recordings, and name their files, {SKIP}"
            raise self.row.error(field, f"the recording is an address, {given[:80]!r}: an import fetches nothing", hint)
        with self._file(given, field).open("rb") as file:
            return self.gathered.take_sound(file.read(sound.MOST_BYTES + 1), f"{where}, file {given!r}"[:300], said)

    def _own(self, turn: dict[str, Any]) -> dict[str, Any]:
        """A turn of our own export: its text has the places already."""
        given, content = turn["media"], turn.get("content")
        media = cast("list[Any]", given) if isinstance(given, list) else []
        if not isinstance(content, str) or not media or content.count(MEDIUM) != len(media):
            what = f"{len(media)} pictures, but other places for them in the text (U+FFFC)"
            raise self.row.error("media", what, "give each its place")
        marks = iter([place_of(self._exported(each)) for each in media])
        rest = {name: field for name, field in turn.items() if name != "media"}
        return rest | {"content": re.sub(MEDIUM, lambda _: next(marks), content)}

    def _exported(self, given: Any) -> Media:
        if not isinstance(given, dict):
            raise self.row.error("media", "not an object")
        fields = cast("dict[str, Any]", given)
        digest, alt = str(fields.get("digest", "")), str(fields.get("alt") or "")
        kind: Any = fields.get("kind", "image")
        if kind not in ("image", "audio"):
            raise self.row.error("media", "is neither a picture nor a recording", DROP)
        source = next((fields[name] for name in ("data", "file") if not empty(fields.get(name))), None)
        if source is None and re.fullmatch(r"[0-9a-f]{64}", digest):
            return Media(kind, digest, alt)  # the database has it, or refuses the row
        if source is None:
            raise self.row.error("media", "a picture or recording with neither data nor file", "export it again with its media")
        found = self._read(source, "media") if kind == "image" else self._read_sound(source, "media", alt)
        if digest and found.digest != digest:
            raise self.row.error("media", f"the file is another than {digest[:12]}, which the line names", "export it again")
        return Media(kind, found.digest, alt)

    def _read(self, given: Any, field: str) -> Media:
        """Read a picture: bytes, ``{bytes, path}``, base 64, a data URL, or the name of a file beside the rows."""
        where = f'{self.row.where}, field "{self.row.inside}{field}"'
        if isinstance(given, dict):
            fields = cast("dict[str, Any]", given)
            if isinstance(fields.get("data"), str):  # Anthropic's
                return self.gathered.take(in_data_url(f"data:;base64,{fields['data']}", where), where)
            given = next((fields[name] for name in ("bytes", "url", "path", "image") if not empty(fields.get(name))), None)
        if isinstance(given, bytes):
            return self.gathered.take(given, where)
        if not isinstance(given, str):
            raise self.row.error(field, f"not a picture but {type(given).__name__}", f"give its bytes, a data URL or a file's name, {DROP}")
        if given[:5].lower() == "data:":
            return self.gathered.take(in_data_url(given, where), where)
        if re.match(r"[a-z][a-z0-9+.-]*://", given, re.IGNORECASE):
            hint = f"download the pictures, and name their files, {DROP}"
            raise self.row.error(field, f"the picture is an address, {given[:80]!r}: an import fetches nothing", hint)
        path, where = self._file(given, field), f"{where}, file {given!r}"[:300]
        with path.open("rb") as file:  # of a larger one, which is refused, no more is read
            return self.gathered.take(file.read(MOST_BYTES + 1), where)

    def _file(self, name: str, field: str) -> Path:
        folder = self.row.file.parent.resolve()
        if "\0" not in name and len(name) < 1000:
            for path in _places(folder, name):
                if path.is_file() and path.resolve().is_relative_to(folder):
                    return path
        hint = f"put the file beside {self.row.file.name}, or into {FOLDERS[1]}/ there, {DROP}"
        raise self.row.error(field, f"the file {name[:120]!r} is not there", hint)


def _places(folder: Path, name: str) -> Iterator[Path]:
    return (folder / within / name for within in FOLDERS)


def refuse_in_answers(texts: Sequence[str], row: Row) -> None:
    """Refuse a picture in an answer: models that learn here answer in words. Raises InputError."""
    if any(map(has_place, texts)):
        raise InputError("an answer holds a picture or a recording; only what is asked can", where=row.where, hint=DROP)
