"""What systems answer to prompts, each answer made once: kept in the project by model digest, prompting, prompt, sampling and seed."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accord.engine.remote import RemoteSpeaker
from accord.errors import InputError
from accord.evaluation.systems import System, conversation, final_answer, parse_system
from accord.feedback.store import Store
from accord.protocols import Speaker
from accord.records import Demonstration, Message, Prompt, Sampling, Split
from accord.runtime import lineage
from accord.runtime.files import append
from accord.runtime.project import Project
from accord.runtime.seeds import derive
from accord.stages.opening import Model, digest_of, load_model, locate
from accord.stages.speaking import LocalSpeaker

FOLDER = "cache"
"""In the project; it can be thrown away, and what is then asked for is made again."""


@dataclass(frozen=True)
class Answered:
    """What each system said: ``texts[system][prompt]``, in the order of both."""

    systems: tuple[System, ...]
    prompts: tuple[Prompt, ...]
    texts: tuple[tuple[str, ...], ...]
    inputs: Mapping[str, str]
    """Digest by system, for the run's record."""
    generated: int
    """Answers that were made now; the others stood in the cache."""
    tokens_spent: int = 0
    """By remote systems, as their servers count."""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(system.name for system in self.systems)


@dataclass
class Answers:
    """The project's answers under one way of sampling. Models are opened when something is missing, and one at a time."""

    project: Project
    sampling: Sampling
    seed: int
    dtype: Any
    shots: int = 3
    generated: int = 0
    tokens_spent: int = 0
    _demonstrations: list[Demonstration] = field(default_factory=list[Demonstration])

    def of(self, systems: Sequence[str], prompts: Sequence[Prompt]) -> Answered:
        """Answers of all systems to all prompts.

        Raises:
            UsageError: an unknown way of prompting. ModelError: there is no such model.
            InputError: a prompt is longer than a model's context.
        """
        parsed = tuple(parse_system(text) for text in dict.fromkeys(systems))
        digests = [self._digest(system) for system in parsed]
        texts = tuple(tuple(self._texts(system, key, prompts)) for system, key in zip(parsed, digests, strict=True))
        inputs = {system.name: key for system, key in zip(parsed, digests, strict=True)}
        return Answered(parsed, tuple(prompts), texts, inputs, self.generated, self.tokens_spent)

    def _digest(self, system: System) -> str:
        return system.model if system.remote else digest_of(locate(self.project, system.model))

    def _texts(self, system: System, digest: str, prompts: Sequence[Prompt]) -> list[str]:
        """The answers as they are judged, those that are missing made and kept."""
        asked = [self._conversation(system, prompt) for prompt in prompts]
        file = self._file(digest)
        known, keys = _read(file), [lineage.digest_rows([[m.role, m.content] for m in turns]) for turns in asked]
        missing = {key: turns for key, turns in zip(keys, asked, strict=True) if key not in known}
        if missing:
            made = self._speaker(system).answer(list(missing.values()), n=1, sampling=self.sampling, seed=derive(self.seed, "answers"))
            known |= {key: texts[0] for key, texts in zip(missing, made, strict=True)}
            file.parent.mkdir(parents=True, exist_ok=True)
            append(file, "".join(json.dumps({"key": key, "text": known[key]}, ensure_ascii=False) + "\n" for key in missing))
            self.generated += len(missing)
        return [final_answer(system.condition, known[key]) for key in keys]

    def _conversation(self, system: System, prompt: Prompt) -> tuple[Message, ...]:
        if system.condition != "few-shot":
            return conversation(system.condition, prompt.messages)
        shots = self._shots(prompt)
        spoken = None if system.remote else self._opened(system.model).format
        while shots and spoken and spoken.context:
            try:
                room = spoken.context - len(spoken.prompt(conversation("few-shot", prompt.messages, shots)))
            except InputError:
                room = 0
            if room >= self.sampling.max_tokens:
                break
            shots = shots[:-1]
        return conversation("few-shot", prompt.messages, shots)

    def _shots(self, prompt: Prompt) -> list[Demonstration]:
        """Training demonstrations chosen for a prompt by its id alone, of its own use case first."""
        if not self._demonstrations:
            with Store.open(self.project.store_url) as store:
                self._demonstrations = [row for row in store.demonstrations(split="train") if row.prompt.id != prompt.id]
        rng = random.Random(derive(self.seed, "shots", prompt.id))
        alike = [row for row in self._demonstrations if row.prompt.use_case == prompt.use_case and row.prompt.id != prompt.id]
        pool = alike if len(alike) >= self.shots else [row for row in self._demonstrations if row.prompt.id != prompt.id]
        return rng.sample(pool, min(self.shots, len(pool)))

    def _speaker(self, system: System) -> Speaker:
        if not system.remote:
            return LocalSpeaker(self._opened(system.model), self.dtype)
        address, model = system.address
        return RemoteSpeaker(address, model, keep=self.project.path / FOLDER / "remote")

    def _opened(self, name: str) -> Model:
        if self._open is None or self._open.name != name:
            self._open = load_model(self.project, name)
        return self._open

    _open: Model | None = None

    def _file(self, digest: str) -> Path:
        key = lineage.digest_rows([digest, dataclasses.asdict(self.sampling), self.seed, str(self.dtype)])[:20]
        return self.project.path / FOLDER / "answers" / f"{key}.jsonl"


def _read(file: Path) -> dict[str, str]:
    """What a file of answers holds; a line that was being written when somebody pulled the plug is passed over."""
    found: dict[str, str] = {}
    for line in file.read_text("utf-8").split("\n")[:-1] if file.exists() else ():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        found[row["key"]] = row["text"]
    return found


def held_out(project: Project, *, split: Split, use_case: str = "", limit: int = 0) -> list[Prompt]:
    """Prompts of a split in a seeded order that does not depend on how many are asked for.

    Raises:
        InputError: there are none.
    """
    with Store.open(project.store_url) as store:
        found = list(store.prompts(split=split, use_case=use_case or None))
    if not found:
        hint = "--split train takes the others" if split != "train" else "`accord import` some"
        raise InputError(
            f"the store has no {split} prompts{f' of use case {use_case}' if use_case else ''}", where=project.store_url, hint=hint
        )
    random.Random("held out").shuffle(found)
    return found[: limit or None]
