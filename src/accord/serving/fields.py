"""How requests are read: null is as good as absent, a field that nobody reads is named, one that would change the answer is refused.

Clients of OpenAI's API send more than they need: null for what they do not use, penalties of 0, fields of newer or other servers. What
asks for nothing is taken. What would change the answer, and is not supported, is a 400 that names it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, cast

from pydantic import BaseModel, ConfigDict, model_validator

from accord.serving.host import NotUnderstood

MOST_NAMED = 16
"""Fields that the header names; further ones are counted."""
LONGEST_NAME = 60
TAKEN = frozenset(
    {"user", "metadata", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "prediction", "stream_options", "annotations"}
)
"""Fields that never change an answer: who asks, labels, and hints for speed."""
NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "store": (False,),
    "service_tier": ("auto", "default"),
    "suffix": ("",),
    "modalities": (["text"],),
    "verbosity": ("medium",),
    "reasoning_effort": (),
    "reasoning": ({},),
    "audio": (),
    "web_search_options": (),
    "moderation": (),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "continue_final_message": (False,),
    "add_generation_prompt": (True,),
    "chat_template": (),
    "chat_template_kwargs": ({},),
    "ignore_eos": (False,),
    "min_tokens": (0,),
    "length_penalty": (1,),
    "use_beam_search": (False,),
    "guided_json": (),
    "guided_regex": (),
    "guided_choice": (),
    "guided_grammar": (),
    "structured_outputs": (),
    "grammar": ("",),
    "json_schema": (),
    "bad_words": ([],),
    "stop_token_ids": ([],),
    "allowed_token_ids": ([],),
    "skip_special_tokens": (True,),
    "include_stop_str_in_output": (False,),
    "truncate_prompt_tokens": (),
    "prompt_logprobs": (),
    "typical_p": (1,),
    "repeat_penalty": (1,),
    "thinking": (),
    "thinking_budget": (),
    "documents": ([],),
    "response_format": ({"type": "text"},),
    "max_tokens": (),
    "max_completion_tokens": (),
    "max_output_tokens": (),
    "max_tool_calls": (),
    "background": (False,),
    "conversation": (),
    "prompt": (),
    "instructions": ("",),
    "context_management": (),
    "dimensions": (),
}
"""Fields of OpenAI's and other servers' that are not supported, with the values that ask for nothing; any other value is refused."""
HARMLESS = ("store", "service_tier")
"""Of these, the ones whose other values leave the answer as it is: they are named in the header, not refused."""


class Open(BaseModel):
    """A part of a request. Null values are as good as absent; unknown fields are kept, to be named."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="allow", allow_inf_nan=False, frozen=True, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _without_null(cls, given: Any) -> Any:
        if not isinstance(given, dict) or None not in cast("dict[Any, Any]", given).values():
            return given
        return {name: value for name, value in cast("dict[Any, Any]", given).items() if value is not None}


def ignored(asked: Open, *, strict: bool) -> list[str]:
    """Return the paths of the fields that nobody reads.

    Raises:
        NotUnderstood: a field would change the answer, and is not supported; or one is unknown, and ``strict`` refuses these.
    """
    found = list[str]()
    for path, name, value, known in _extra(asked, ""):
        neutral = NEUTRAL.get(name)
        if name in TAKEN or (neutral is not None and any(_same(value, each) for each in neutral)):
            continue
        if neutral is not None and name not in HARMLESS:
            values = ", ".join(map(repr, neutral))
            hint = f"leave it out{f', or give {values}' if values else ''}"
            raise NotUnderstood(f"{path} is not supported here and would change the answer", hint=hint, param=path)
        if strict and neutral is None:
            close = difflib.get_close_matches(name, known, 1)
            raise NotUnderstood(f"unknown field {path!r}{f': did you mean {close[0]!r}?' if close else ''}", param=path)
        found.append(path)
    return found


def header(paths: Sequence[str]) -> dict[str, str]:
    """Return the header that names ignored fields; none without any."""
    if not paths:
        return {}
    named = [path.encode("ascii", "backslashreplace").decode().replace(",", " ")[:LONGEST_NAME] for path in paths[:MOST_NAMED]]
    printable = ["".join(mark for mark in name if mark.isprintable()) for name in named]
    more = [f"and {len(paths) - MOST_NAMED} more"] if len(paths) > MOST_NAMED else []
    return {"x-accord-ignored": ", ".join([*printable, *more])}


def _same(value: Any, neutral: Any) -> bool:
    return value == neutral and isinstance(value, bool) == isinstance(neutral, bool)


def _extra(part: BaseModel, where: str) -> Iterator[tuple[str, str, Any, list[str]]]:
    """Yield path, name and value of every field that the parts of a request do not have, with the names that they have."""
    known = list(type(part).model_fields)
    for name, value in (part.model_extra or {}).items():
        short = name[:LONGEST_NAME]  # a name may be as long as the request
        yield f"{where}{short}", short, value, known
    for name in known:
        inner: Any = getattr(part, name)
        if isinstance(inner, BaseModel):
            yield from _extra(inner, f"{where}{name}.")
        for place, each in enumerate(cast("Sequence[Any]", inner) if isinstance(inner, list | tuple) else ()):
            if isinstance(each, BaseModel):
                yield from _extra(each, f"{where}{name}.{place}.")
