"""Render a chat template: its errors named, its time and memory limited, and every message looked for in what it wrote.

transformers renders in jinja's sandbox, without access to files. The limits are ours: a template is a program of somebody else's.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any
from weakref import WeakKeyDictionary

from accord.data.tokenizers import Tokenizer
from accord.data.tool_turns import template_turn
from accord.errors import InputError
from accord.records import MEDIUM, Message, Role, pieces
from accord.runtime.memory_limit import memory_limit
from accord.runtime.time_limit import TookTooLong, time_limit

SECONDS = 10.0
"""How long one rendering may take."""
BYTES = 1 << 29
"""How much memory the first rendering of a template may take; later ones are tried already, and may have other threads beside them."""
CHARACTERS = 1_000_000
"""How many characters a template may write by itself."""
SHORT = 16
"""Texts shorter than this may stand in a rendering by chance."""
THOUGHT_END = "</think>"
MEND = "fix the template (chat_template.jinja in the model's folder), or give a model with another one"


class EndlessTemplate(InputError):
    """A template that was stopped at the time limit."""


def template_name(tokenizer: Tokenizer) -> str:
    """Return how errors call a tokenizer's template."""
    return f"the chat template of {getattr(tokenizer, 'name_or_path', '') or 'the tokenizer'}"


def environment() -> Any:
    """Return the environment that transformers parses templates in, as far as parsing goes."""
    from jinja2 import nodes
    from jinja2.ext import Extension
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        tags = {"generation"}  # noqa: RUF012 - jinja's own way

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)

    return ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"])


def render(
    tokenizer: Tokenizer, messages: Sequence[Message], *, reply: bool, where: str = "", tools: Sequence[Mapping[str, Any]] = ()
) -> str:
    """Return the template's text. A system turn that it refuses or leaves out goes before the user's first words.

    A template that goes over the parts of a content instead of its text gets one text part for each message.

    Args:
        reply: end where the assistant is to speak.
        where: the row, for the message of an error.
        tools: descriptions of functions that the assistant may call, as OpenAI's API has them.

    Raises:
        InputError: the template refuses the conversation, fails, takes too long, or leaves out what somebody said.
    """
    problem: InputError | None = None
    for given in dict.fromkeys((tuple(messages), merged(messages))):
        try:
            text = _rendered(tokenizer, given, as_parts=False, reply=reply, where=where, tools=tools)
        except EndlessTemplate:
            raise
        except InputError as error:
            problem = error
            continue
        if _holds(text, given) and _keeps(tokenizer, given, as_parts=False, reply=reply):
            return text
        try:
            text = _rendered(tokenizer, given, as_parts=True, reply=reply, where=where, tools=tools)
        except EndlessTemplate:
            raise
        except InputError:
            text = ""  # most templates take no parts; that the text was lost is the fault to tell
        if _holds(text, given) and _keeps(tokenizer, given, as_parts=True, reply=reply) and not _writes_parts(text, given):
            return text
        hint = f"take such turns out of the rows, or {MEND}"
        problem = problem or InputError(f"{template_name(tokenizer)} leaves out or changes what a message says", where=where, hint=hint)
    assert problem is not None
    raise problem


def merged(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Return a conversation whose system turn stands before the first words of the user's."""
    if len(messages) < 2 or messages[0].role != "system":
        return tuple(messages)
    first, second = messages[:2]
    joined = Message(second.role, f"{first.content}\n\n{second.content}", media=(*first.media, *second.media))
    return (joined, *messages[2:])


def stands_in(text: str, rendered: str) -> bool:
    """Say whether a text stands in another one; white space at its ends, which templates trim, does not count."""
    return text.strip() in rendered


def _rendered(
    tokenizer: Tokenizer, messages: Sequence[Message], *, as_parts: bool, reply: bool, where: str, tools: Sequence[Mapping[str, Any]] = ()
) -> str:
    from jinja2 import TemplateError

    turns: list[dict[str, Any]] = []
    for message in messages:
        turn = template_turn(message)
        turns.append(turn | {"content": _parts(message)} if as_parts or message.media else turn)
    given = [{"type": "function", "function": dict(tool)} for tool in tools]
    source, said = str(tokenizer.chat_template), sum(len(message.content) for message in messages)
    try:
        with time_limit(SECONDS), nullcontext() if source in _TRIED else _first(source):
            text: object = tokenizer.apply_chat_template(turns, tools=given or None, tokenize=False, add_generation_prompt=reply)
        if not isinstance(text, str):
            raise InputError(f"{template_name(tokenizer)} gives no text", where=where, hint=MEND)
        if len(text) > CHARACTERS + 20 * (said + len(json.dumps([turns, given]))) + len(source):
            what = f"{template_name(tokenizer)} wrote {len(text):,} characters for a conversation of {said:,}"
            raise InputError(what, where=where, hint=MEND)
        return text
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(f"{template_name(tokenizer)} takes too much memory", where=where, hint=MEND) from error
    except TookTooLong:
        what = f"{template_name(tokenizer)} did not end in {SECONDS:g} seconds"
        raise EndlessTemplate(what, where=where, hint=MEND) from None
    except TemplateError as error:
        what, hint = (
            f"{template_name(tokenizer)} refuses the conversation: {error}",
            "roles alternate in most templates; fix the conversation",
        )
        raise InputError(what, where=where, hint=f"{hint}, or {MEND}") from error
    except Exception as error:  # a template is a program of somebody else's, and may raise whatever Python does
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise InputError(f"{template_name(tokenizer)} fails: {reason}", where=where, hint=MEND) from error


def _parts(message: Message) -> list[dict[str, str]]:
    """Return what a message says as parts: its texts, and the pictures between them."""
    if not message.media:
        return [{"type": "text", "text": message.content}]
    return [{"type": "text", "text": part} if isinstance(part, str) else {"type": part.kind} for part in pieces(message)]


@contextmanager
def _first(source: str) -> Generator[None]:
    """The first rendering of a template: what no limit could stop is refused, and its memory is limited."""
    from jinja2 import TemplateSyntaxError, nodes

    try:
        power = environment().parse(source).find(nodes.Pow)
    except TemplateSyntaxError:
        power = None  # its rendering tells
    if power is not None:
        raise ValueError("it uses **, whose result has no bound")
    with memory_limit(BYTES):
        yield
    if len(_TRIED) >= MANY:
        _TRIED.clear()
    _TRIED.add(source)


def _keeps(tokenizer: Tokenizer, messages: Sequence[Message], *, as_parts: bool, reply: bool) -> bool:
    """Say whether texts of no meaning stand in a rendering of the same roles: a short text may be found in it by chance."""
    if all(len(said) >= SHORT for _, said in _said(messages)):
        return True
    roles: tuple[Role, ...] = tuple(message.role for message in messages)
    known = _KEPT.setdefault(tokenizer, {})
    key = (str(tokenizer.chat_template), roles, as_parts, reply)
    if key not in known:
        if len(known) >= MANY:
            known.clear()
        probes = [Message(role, f"accord {number} probe") for number, role in enumerate(roles)]
        try:
            known[key] = _holds(_rendered(tokenizer, probes, as_parts=as_parts, reply=reply, where=""), probes)
        except InputError:
            known[key] = True  # it wants texts of some form; those that were given stand in it
    return known[key]


def _writes_parts(rendered: str, messages: Sequence[Message]) -> bool:
    """Say whether a rendering shows the parts themselves, as a template does that writes any content as it is."""
    typed = "".join(message.content for message in messages)
    return any(mark in rendered and mark not in typed for mark in ("'type': 'text'", '"type": "text"'))


def _holds(rendered: str, messages: Sequence[Message]) -> bool:
    """Say whether all messages stand in a rendering, those of user and assistant in their order.

    Templates put the system's words where they like, and leave the thoughts of earlier answers out.
    """
    at = 0
    for role, said in _said(messages):
        if role == "system" and said in rendered:
            continue
        found = rendered.find(said, at)
        if found < 0 and role == "tool":  # templates may write a result as JSON
            said = json.dumps(said, ensure_ascii=False)[1:-1]
            found = rendered.find(said, at)
        if found < 0:
            return False
        at = found + len(said)
    return True


def _said(messages: Sequence[Message]) -> Iterator[tuple[str, str]]:
    for message in messages:
        words = message.content.rpartition(THOUGHT_END)[2] if message.role == "assistant" else message.content
        for part in words.split(MEDIUM) if message.media else (words,):
            yield message.role, part.strip()


MANY = 1024
_TRIED = set[str]()
"""Templates that were rendered within the limits."""
_KEPT: WeakKeyDictionary[Tokenizer, dict[tuple[str, tuple[str, ...], bool, bool], bool]] = WeakKeyDictionary()
"""For each tokenizer, whether its template keeps what the turns of certain roles say."""
