"""Damaged model folders and chat templates: each is opened or refused in words, within its deadline, without a crash.

    python benchmarks/fuzz_folders.py --inputs 20000 [--seconds 900] [--out benchmarks/results/fuzz_folders.json]

A sound folder of a tiny model is changed: values and keys of its JSON files, bytes of any file, or its template, out of pieces of
templates. Then it is opened as every command opens one: model, tokenizer, and a conversation rendered. A process of its own works
through a hundred at a time, so that a crash ends that process alone and is counted.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

from tiny import chat  # noqa: E402

from accord import AccordError, Message  # noqa: E402
from accord.data.template_render import render  # noqa: E402
from accord.data.tokenizers import load_tokenizer  # noqa: E402
from accord.models.folders import load_causal_lm, save_model  # noqa: E402

BATCH, DEADLINE, MEMORY = 100, 30.0, 8 << 30
"""Inputs of one process; seconds for one of them; bytes of address space for the process beyond what it has."""
SAID = (
    Message("system", "Be brief."),
    Message("user", "Who keeps the mill?"),
    Message("assistant", "The miller."),
    Message("user", "Why?"),
)
ODD: list[Any] = [
    None,
    True,
    -1,
    0,
    1,
    3,
    1.5,
    1e308,
    2**40,
    2**63,
    "",
    "x",
    "\0",
    "llama",
    "gelu",
    "../..",
    [],
    {},
    [[]],
    [1, "2"],
    {"a": {}},
]
PIECES = [
    "{% for message in messages %}", "{% endfor %}", "{{ message['content'] }}", "{{ message.role }}", "{{ messages[0] }}",
    "{% if loop.first %}", "{% endif %}", "{% else %}", "{{ bos_token }}", "{{ eos_token }}", "{% set x = 1 %}",
    "{{ x ** 9 }}", "{{ 'a' * 1000000 }}", "{{ range(10**9) }}", "{% for i in range(99999999) %}",
    "{{ raise_exception('no') }}", "{% include 'x' %}", "{% import 'os' as o %}", "{{ messages | tojson }}",
    "{{ ''.__class__.__mro__ }}", "{% macro m(a) %}{{ m(a) }}{% endmacro %}", "{{ m(1) }}", "{% generation %}",
    "{% endgeneration %}", "{{ undefined.x }}", "{{ message.content | trim }}", "{% break %}",
    "{% if add_generation_prompt %}", "{{ strftime_now('%Y') }}", "{{ tools }}", "\\U0001f642", "{{", "}}", "{%", "%}", "{#",
    "<|user|>", "<|end|>", "{{ cycler('a').next() }}", "{{ namespace(a=1) }}", "{{ lipsum }}", "{{ messages[9] }}",
]  # fmt: skip


def sound(folder: Path) -> None:
    """Write the folder that all others are made of."""
    spoken = chat()
    from transformers import LlamaConfig, LlamaForCausalLM

    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 32}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(spoken.tokenizer), tie_word_embeddings=True, max_position_embeddings=64, **size))
    save_model(folder, model, spoken.tokenizer)


def changed(chance: random.Random, folder: Path, template: str) -> str:
    """Change a folder in place, and return what was changed."""
    kind = chance.random()
    if kind < 0.5:
        return _template(chance, folder, template)
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    if kind < 0.8:
        names = [name for name in names if name.endswith(".json")]
        file = folder / chance.choice(names)
        value = json.loads(file.read_text())
        for _ in range(chance.choice((1, 1, 2))):
            _value(chance, value)
        file.write_text(json.dumps(value))
        return f"values of {file.name}"
    file = folder / chance.choice(names)
    data = bytearray(file.read_bytes())
    if chance.random() < 0.3:
        data = data[: chance.randrange(len(data) + 1)]
    for _ in range(chance.choice((1, 4, 20))):
        if data:
            data[min(len(data) - 1, chance.choice((chance.randrange(len(data)), chance.randrange(200))))] = chance.randrange(256)
    file.write_bytes(bytes(data))
    return f"bytes of {file.name}"


def _template(chance: random.Random, folder: Path, template: str) -> str:
    parts = [chance.choice(PIECES) for _ in range(chance.randrange(1, 8))]
    if chance.random() < 0.5:
        at = chance.randrange(len(template) + 1)
        parts = [template[:at], *parts[:2], template[at + chance.randrange(20) :]]
    (folder / "chat_template.jinja").write_text("".join(parts))
    return "a template"


def _value(chance: random.Random, value: Any) -> None:
    places: list[tuple[Any, Any]] = []

    def walk(inner: Any) -> None:
        for key, part in inner.items() if isinstance(inner, dict) else enumerate(inner) if isinstance(inner, list) else ():
            places.append((inner, key))
            if len(places) < 5000:
                walk(part)

    walk(value)
    if not places:
        return
    holder, key = chance.choice(places)
    if isinstance(holder, dict) and chance.random() < 0.2:
        holder.pop(key, None)
    else:
        holder[key] = json.loads(json.dumps(chance.choice(ODD)))


def opened(folder: Path, *, weights: bool) -> None:
    """Open a folder as commands do."""
    if weights:
        load_causal_lm(folder)
    tokenizer = load_tokenizer(folder)
    if getattr(tokenizer, "chat_template", None):
        render(tokenizer, SAID, reply=True)


def work(whole: Path, scratch: Path, seed: int, first: int, told: Any) -> None:
    """Go through a batch; run in a process of its own."""
    warnings.simplefilter("ignore")
    null = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(null, descriptor)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, taken + MEMORY))
    template = (whole / "chat_template.jinja").read_text()
    for number in range(first, first + BATCH):
        folder = scratch / "folder"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole, folder)
        what = changed(random.Random(f"{seed} {number}"), folder, template)
        told.send((number, "begun", what))
        outcome = "opened"
        try:
            opened(folder, weights=what != "a template")
        except AccordError:
            outcome = "refused"
        except BaseException:
            outcome = traceback.format_exc()[-1800:]
        told.send((number, "ended", outcome))
    told.close()


def measure(inputs: int, seconds: float = 1e9, seed: int = 0) -> dict[str, Any]:
    """Return the figures of so many folders and templates, or of as many as the seconds allow."""
    several = multiprocessing.get_context("fork")
    outcomes, kinds, failures, slowest, began, number = Counter[str](), Counter[str](), dict[str, str](), 0.0, time.monotonic(), 0
    with tempfile.TemporaryDirectory() as folder:
        whole, scratch = Path(folder) / "whole", Path(folder) / "scratch"
        scratch.mkdir()
        sound(whole)
        opened(whole, weights=True)  # the processes have all that it needs
        while number < inputs and time.monotonic() - began < seconds:
            ear, mouth = several.Pipe(duplex=False)
            child = several.Process(target=work, args=(whole, scratch, seed, number, mouth), daemon=True)
            child.start()
            mouth.close()
            here, what, since = number, "", time.monotonic()
            while True:
                problem = ""
                try:
                    if not ear.poll(DEADLINE):
                        problem = f"a hang of more than {DEADLINE:g} s"
                    else:
                        here, state, said = ear.recv()
                except EOFError:
                    child.join()
                    if not child.exitcode:
                        break
                    problem = f"the process ended with {child.exitcode}"
                if problem:
                    child.kill()
                    child.join()
                elif state == "begun":
                    what, since = said, time.monotonic()
                    continue
                else:
                    slowest = max(slowest, time.monotonic() - since)
                    if said not in ("opened", "refused"):
                        problem = said
                outcomes["failed" if problem else said] += 1
                kinds[what] += 1
                number = here + 1
                if problem and (key := f"{what}: {problem.strip().splitlines()[-1][:160]}") not in failures:
                    failures[key] = problem
                    print("FAILURE", here, key, "\n", problem, flush=True)
                if problem and not child.is_alive():
                    break
    return {
        "inputs": number,
        "kinds": dict(sorted(kinds.items())),
        "outcomes": dict(outcomes),
        "slowest_s": round(slowest, 1),
        "failures": list(failures),
        "seconds": round(time.monotonic() - began, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=1e9, help="stop after so long")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "fuzz_folders.json")
    given = parser.parse_args()
    found = measure(given.inputs, given.seconds, given.seed)
    given.out.write_text(json.dumps({"at": f"{datetime.now(UTC):%Y-%m-%d}"} | found, indent=2) + "\n")
    print(json.dumps(found, indent=2))
    return int(bool(found["failures"]))


if __name__ == "__main__":
    sys.exit(main())
