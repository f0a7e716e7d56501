"""Projects with models in them: folders that only look like models, and real ones small enough for a test."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import IO

from tiny import chat, llama, scalar

from accord.models.folders import save_model
from accord.runtime.project import Project


def pretend_model(project: Project, name: str, kind: str = "LlamaForCausalLM", **record: object) -> None:
    """A model's folder, as far as what loads no model looks into it."""
    path = project.model(name)
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps({"architectures": [kind], "name": name}))
    (path / "lineage.json").write_text(json.dumps({"name": name, "parents": {}, "data": {}, "at": "2026-01-01T00:00:00Z"} | record))


def real_model(project: Project, name: str, *, reward: bool = False) -> None:
    """A language model, or a reward model, with our tokenizer and chat template."""
    tokenizer = chat().tokenizer
    model = llama(1, vocab=len(tokenizer), std=0.1)
    folder = project.model(name)
    save_model(folder, scalar(model) if reward else model, tokenizer)
    (folder / "lineage.json").write_text(json.dumps({"name": name, "parents": {}, "data": {}, "at": "2026-01-01T00:00:00Z"}))


@contextmanager
def running(*words: object, code: int = 0) -> Generator[IO[str]]:
    """Run a command in a process of its own; yield its output. Ctrl-C in the end stops it with this exit code."""
    command = [sys.executable, "-c", "from accord.commands.app import main; main()", *map(str, words)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        yield process.stdout
    finally:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    assert "Traceback" not in errors, errors
