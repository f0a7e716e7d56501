"""A Modelfile for Ollama: the .gguf file beside it, the chat template in Go's notation, and the tokens that end an answer.

Ollama does not read Jinja. The template is tried out instead: what it writes before and behind each role's words is found by rendering
conversations of marks. It is then written in Go's notation and compared, conversation by conversation; one that does more than to put
words between marks (tools, thoughts that are left out later) is refused.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from accord.errors import ModelError

Turns = Sequence[tuple[str, str]]
"""Roles with their words."""
Render = Callable[[Turns], str]
"""Renders a conversation by the model's own template, with the beginning of the answer."""
ROLES = ("system", "user", "assistant")
MARKS = {"system": "QsQ", "user": "QuQ", "assistant": "QaQ"}


@dataclass(frozen=True)
class Spoken:
    """A chat template as words around each role's text."""

    begin: str
    """Before everything."""
    unasked: str
    """What stands there in place of a system prompt where there is none."""
    around: dict[str, tuple[str, str]]
    """Before and behind a role's words; roles that the template refuses are missing."""
    answer: str
    """The beginning of the answer."""

    def text(self, turns: Turns) -> str:
        """Return a conversation as the template writes it."""
        text = self.begin + ("" if any(role == "system" for role, _ in turns) else self.unasked)
        for role, said in turns:
            before, behind = self.around[role]
            text += f"{before}{said}{behind}"
        return text + self.answer


def spoken(render: Render, tokens: Sequence[str] = ()) -> Spoken:
    """Return a template as words around each role's text.

    Args:
        tokens: special tokens, which belong whole to the end of a turn or to the beginning of the next.

    Raises:
        ModelError: it does more than that.
    """
    user, answer = MARKS["user"], MARKS["assistant"]
    asked = render([("user", user)])
    again = render([("user", user), ("assistant", answer), ("user", user)])
    head, _, tail = asked.partition(user)
    if not again.startswith(head + user) or not again.endswith(user + tail):
        raise _refused()
    between = again[len(head + user) : -len(user + tail)].split(answer)
    if len(between) != 2:
        raise _refused()
    try:
        with_system = render([("system", MARKS["system"]), ("user", user)])
    except Exception:  # a template raises what it likes
        with_system = ""
    for candidate in _candidates(head, tail, (between[0], between[1]), with_system, tokens):
        if all(_same(candidate, render, turns) for turns in _conversations(candidate)):
            return candidate
    raise _refused()


def _cuts(text: str, tokens: Sequence[str]) -> list[int]:
    """Return the places at which a text may be divided without dividing a token."""
    inside = set[int]()
    for token in tokens:
        for place in range(len(text)):
            if text.startswith(token, place):
                inside |= set(range(place + 1, place + len(token)))
    return [place for place in range(len(text) + 1) if place not in inside]


def _candidates(head: str, tail: str, between: tuple[str, str], with_system: str, tokens: Sequence[str]) -> list[Spoken]:
    """Return the ways to divide what stands between two roles' words into the end of the one and the beginning of the other."""
    after_user, after_answer = between
    found: list[Spoken] = []
    for cut, other in itertools.product(_cuts(after_user, tokens), _cuts(after_answer, tokens)):
        behind_user, before_answer = after_user[:cut], after_user[cut:]
        behind_answer, before_user = after_answer[:other], after_answer[other:]
        if not (head.endswith(before_user) and tail.startswith(behind_user)):
            continue
        start, begin_answer = head[: len(head) - len(before_user)], tail[len(behind_user) :]
        around = {"user": (before_user, behind_user), "assistant": (before_answer, behind_answer)}
        if not with_system:
            found.append(Spoken(start, "", around, begin_answer))
            continue
        first, _, rest = with_system.partition(MARKS["system"])
        ending = f"{before_user}{MARKS['user']}{tail}"
        if not rest.endswith(ending):
            continue
        common = 0
        while common < min(len(first), len(start)) and first[common] == start[common]:
            common += 1
        for begin in {common, len(start)}:
            if first.startswith(start[:begin]):
                system = (first[begin:], rest[: len(rest) - len(ending)])
                found.append(Spoken(start[:begin], start[begin:], {**around, "system": system}, begin_answer))
    return found


def _conversations(candidate: Spoken) -> list[Turns]:
    found: list[Turns] = [
        [("user", "Who?")],
        [("user", "One"), ("assistant", "Two"), ("user", "Three"), ("assistant", "Four"), ("user", "5")],
    ]
    if "system" in candidate.around:
        found += [[("system", "Be brief."), *turns] for turns in list(found)]
    return found


def _same(candidate: Spoken, render: Render, turns: Turns) -> bool:
    return candidate.text(turns) == render(turns)


def _refused() -> ModelError:
    return ModelError(
        "the chat template does more than to put words around each turn, which a Modelfile cannot say here",
        where="Modelfile",
        hint="use the .gguf file where Jinja templates are read: llama.cpp's server with --jinja, LM Studio, vLLM",
    )


def modelfile(file: str, template: Spoken, stops: Sequence[str], *, bos: str = "", context: int = 0) -> str:
    """Return a Modelfile.

    Args:
        file: name of the .gguf file beside it.
        stops: tokens that end an answer.
        bos: the token that the tokenizer itself puts before a text; the template does not write it again.
        context: longest prompt and answer together; 0 leaves it to Ollama.

    Raises:
        ModelError: the template holds what a Modelfile has no way to quote.
    """
    begin = template.begin.removeprefix(bos) if bos else template.begin
    roles = [role for role in ROLES if role in template.around]
    text, word = _literal(begin), "if"
    if template.unasked:
        text += "{{ if not .System }}" + _literal(template.unasked) + "{{ end }}"
    text += "{{ range .Messages }}"
    for role in roles:
        before, behind = template.around[role]
        text += "{{ " + word + f' eq .Role "{role}" }}}}' + _literal(before) + "{{ .Content }}" + _literal(behind)
        word = "else if"
    text += "{{ end }}{{ end }}" + _literal(template.answer)
    lines = [f"FROM ./{file}", f'TEMPLATE """{text}"""']
    lines += [f"PARAMETER stop {_quoted(stop)}" for stop in stops]
    lines += [f"PARAMETER num_ctx {context}"] if context else []
    return "\n".join(lines) + "\n"


def _literal(text: str) -> str:
    if "{{" in text or "}}" in text or '"""' in text:
        raise ModelError("the chat template writes {{, }} or three quotes, which a Modelfile cannot hold", where="Modelfile")
    return text


def _quoted(text: str) -> str:
    if '"' in text or "\n" in text:
        raise ModelError(f"the stop token {text!r} cannot be quoted in a Modelfile", where="Modelfile")
    return f'"{text}"'
