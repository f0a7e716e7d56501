"""Chat templates in Go's notation: a reader of that notation, written here, says what the model's own Jinja says."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tiny import chat

from accord.data.tokenizers import CHAT_TEMPLATE, PLAIN_TEMPLATE
from accord.errors import ModelError
from accord.models.modelfile import Turns, modelfile, spoken

CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
DEFAULT = "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are Qwen.<|im_end|>\n{% endif %}" + CHATML
LLAMA_3 = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content | trim }}<|eot_id|>"
    "{% endfor %}<|start_header_id|>assistant<|end_header_id|>\n\n"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}"
    "{% elif m.role == 'user' %}[INST] {{ m.content }} [/INST]{% else %} {{ m.content }}</s>{% endif %}{% endfor %}"
)
TURNS: list[Turns] = [
    [("user", "Who keeps the mill?")],
    [("user", "Hi"), ("assistant", "Hello."), ("user", "Who?")],
    [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello."), ("user", "Who?")],
]


def by_jinja(template: str) -> Callable[[Turns], str]:
    environment: Any = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)

    def refuse(why: str) -> str:
        raise ValueError(why)

    environment.globals["raise_exception"] = refuse
    compiled = environment.from_string(template)

    def render(turns: Turns) -> str:
        messages = [{"role": role, "content": said} for role, said in turns]
        return compiled.render(messages=messages, bos_token="<s>", eos_token="</s>", add_generation_prompt=True)

    return render


def by_go(template: str, turns: Turns) -> str:
    """Read the part of Go's notation that is written here, as Ollama does: actions one by one, .System all system prompts together."""
    parts: Sequence[str] = re.split(r"(\{\{.*?\}\})", template, flags=re.DOTALL)
    system = "\n\n".join(said for role, said in turns if role == "system")
    start = next(place for place, part in enumerate(parts) if part == "{{ range .Messages }}")
    text, shown = "", [True]
    for part in parts[:start]:
        if part == "{{ if not .System }}":
            shown.append(not system)
        elif part == "{{ end }}":
            shown.pop()
        elif all(shown):
            text += part
    body, depth, stop = list[str](), 0, start + 1
    for stop in range(start + 1, len(parts)):
        if parts[stop].startswith("{{ if"):
            depth += 1
        elif parts[stop] == "{{ end }}":
            depth -= 1
            if depth < 0:
                break
        body.append(parts[stop])
    for role, said in turns:
        matched, inside = False, False
        for part in body:
            if asked := re.fullmatch(r'\{\{ (?:else )?if eq \.Role "(\w+)" \}\}', part):
                inside = not matched and asked[1] == role
                matched = matched or inside
            elif part == "{{ .Content }}":
                text += said if inside else ""
            elif part != "{{ end }}" and inside:
                text += part
    return text + "".join(parts[stop + 1 :])


@pytest.mark.parametrize("template", [CHAT_TEMPLATE, PLAIN_TEMPLATE, CHATML, DEFAULT, LLAMA_3, MISTRAL])
def test_go_s_notation_says_what_jinja_says(template: str) -> None:
    render = by_jinja(template)
    found = spoken(render)
    written = modelfile("m.gguf", found, ["<|end|>"], context=128)
    inner = written.split('"""')[1]
    for turns in TURNS[: 2 if template == MISTRAL else 3]:
        assert by_go(inner, turns) == render(turns)
    assert written.startswith("FROM ./m.gguf\n")
    assert written.endswith('PARAMETER stop "<|end|>"\nPARAMETER num_ctx 128\n')


def test_the_token_that_the_tokenizer_writes_itself_is_not_written_twice() -> None:
    render = by_jinja(LLAMA_3)
    marks = ["<s>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"]
    inner = modelfile("m.gguf", spoken(render, marks), [], bos="<s>").split('"""')[1]
    assert f"<s>{by_go(inner, TURNS[1])}" == render(TURNS[1])


def test_a_template_that_does_more_is_refused() -> None:
    for odd in (
        CHATML + "{{ messages | length }}",  # counts the turns
        "{% for m in messages %}{{ m.role }}: {{ m.content if loop.last else m.content[:1] }}\n{% endfor %}A:",  # cuts earlier turns
        "{% for m in messages %}{{ loop.index }}{{ m.content }}\n{% endfor %}",
    ):
        with pytest.raises(ModelError, match="more than to put words around each turn"):
            spoken(by_jinja(odd))
    with pytest.raises(ModelError, match="which a Modelfile cannot hold"):
        modelfile("m", spoken(by_jinja("{% for m in messages %}{{ '{{' }}{{ m.content }}\n{% endfor %}A:")), [])


def test_our_own_tokenizer_s_template_is_read_as_transformers_renders_it() -> None:
    tokenizer = chat().tokenizer

    def render(turns: Turns) -> str:
        messages = [{"role": role, "content": said} for role, said in turns]
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))

    inner = modelfile("m", spoken(render), ["<|end|>"]).split('"""')[1]
    assert by_go(inner, TURNS[2]) == render(TURNS[2])
