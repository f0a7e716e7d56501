"""The answers of systems to prompts, each made once: kept in the project by model digest, prompting, prompt, sampling and seed."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from accord.commands.models import Answer, LocalSpeaker, Model, digest_of, load_model, locate
from accord.commands.pictures import picture_files
from accord.commands.scenes import staged_prompts
from accord.data.scenes import scene_of
from accord.data.token_rows import RowTooLong
from accord.errors import InputError, UsageError
from accord.evaluation.systems import SCENES, System, conversation, final_answer, parse_system
from accord.feedback.store import Store
from accord.protocols import Speaker
from accord.records import Demonstration, Message, Prompt, Sampling
from accord.runtime import lineage
from accord.runtime.files import append
from accord.runtime.project import Project
from accord.runtime.seeds import derive

CACHE = "cache"
"""Folder in the project. It can be deleted; answers are then made again."""


@dataclass(frozen=True)
class Answered:
    """The answers of each system: ``texts[system][prompt]``, in the order of both."""

    systems: tuple[System, ...]
    prompts: tuple[Prompt, ...]
    texts: tuple[tuple[str, ...], ...]
    finished: tuple[tuple[bool, ...], ...]
    """Whether each answer ended by itself; one that did not was cut at the length limit."""
    inputs: Mapping[str, str]
    """Digest by system, for the run's record."""
    generated: int
    """Answers that were made now; the others were in the cache."""
    left_out: int = 0
    """Prompts that do not fit a system's context, and so were asked of none."""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(system.name for system in self.systems)


@dataclass
class Answers:
    """The project's answers under one way of sampling. A model is opened when an answer is missing, one at a time."""

    project: Project
    sampling: Sampling
    seed: int
    dtype: torch.dtype
    shots: int = 3
    generated: int = 0
    left_out: int = 0
    _demonstrations: list[Demonstration] = field(default_factory=list[Demonstration])
    _open: Model | None = None

    def of(self, systems: Sequence[str], prompts: Sequence[Prompt]) -> Answered:
        """Return the answers of all systems to all prompts.

        Raises:
            UsageError: an unknown way of prompting.
            ModelError: there is no such model.
            InputError: no prompt fits every model's context.
        """
        parsed = tuple(parse_system(text, self.project.conditions) for text in dict.fromkeys(systems))
        inputs = {system.name: system_digest(self.project, system) for system in parsed}
        answers = [self._answers(system, inputs[system.name], prompts) for system in parsed]
        fit = [row for row in range(len(prompts)) if all(each[row] is not None for each in answers)]
        if not fit:
            hint = "shorten them, or use models with a longer context"
            raise InputError(f"none of the {len(prompts)} prompts fits the context of each model", where="answers", hint=hint)
        said = [[answer for row in fit if (answer := each[row]) is not None] for each in answers]
        texts = tuple(
            tuple(final_answer(system.condition, answer.text, system.own) for answer in each)
            for system, each in zip(parsed, said, strict=True)
        )
        finished = tuple(tuple(answer.finished for answer in each) for each in said)
        self.left_out = len(prompts) - len(fit)
        return Answered(parsed, tuple(prompts[row] for row in fit), texts, finished, inputs, self.generated, self.left_out)

    def of_system(self, system: System, prompts: Sequence[Prompt]) -> tuple[str, ...]:
        """Return one system's answer to each prompt.

        Raises:
            UsageError: an unknown way of prompting.
            ModelError: there is no such model.
            InputError: a prompt is longer than the model's context.
        """
        answered = self.of([system.name], prompts)
        if answered.left_out:
            left = next(prompt for prompt in prompts if prompt not in answered.prompts)
            hint = "shorten it, take it out, or use a model with a longer context"
            raise InputError(f"{answered.left_out} prompts do not fit {system.name}'s context", where=f"prompt {left.id}", hint=hint)
        return answered.texts[0]

    def _answers(self, system: System, digest: str, prompts: Sequence[Prompt]) -> list[Answer | None]:
        """Return the answers, None to a prompt that does not fit the model's context; make and keep those that are missing."""
        if system.condition == SCENES:
            return self._in_scenes(system, prompts)
        conversations = [self.conversation(system, prompt) for prompt in prompts]
        keys: list[str] = []
        for turns in conversations:
            keys.append(lineage.digest_rows([turn.role, turn.content] for turn in turns))
        file = self._file(digest)
        known = _read(file)
        missing = {key: turns for key, turns in zip(keys, conversations, strict=True) if key not in known}
        if not system.remote:
            missing = {key: turns for key, turns in missing.items() if self._fits(system, turns)}
        if missing:
            speaker, seed = self._speaker(system), derive(self.seed, "answers")
            turns = list(missing.values())
            if isinstance(speaker, LocalSpeaker):
                made = speaker.answers(turns, n=1, sampling=self.sampling, seed=seed)
            else:
                said = speaker.answer(turns, n=1, sampling=self.sampling, seed=seed)
                made = [[Answer(text) for text in texts] for texts in said]
            known |= {key: group[0] for key, group in zip(missing, made, strict=True)}
            file.parent.mkdir(parents=True, exist_ok=True)
            rows = [{"key": key, "text": known[key].text, "finished": known[key].finished} for key in missing]
            append(file, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
            self.generated += len(missing)
        return [known.get(key) for key in keys]

    def _in_scenes(self, system: System, prompts: Sequence[Prompt]) -> list[Answer | None]:
        """Return the answers by the scene of each prompt: of its model, with its system prompt, sampled as it says."""
        scenes, played = self.project.scenes, staged_prompts(self.project, prompts)
        answers: dict[int, Answer | None] = {}
        for name in dict.fromkeys(map(scene_of, played)):
            rows = [row for row, prompt in enumerate(played) if scene_of(prompt) == name]
            scene = scenes.get(name)
            inside = System(model_in(system, scene.model if scene else ""))
            sampling = dataclasses.replace(self.sampling, **scene.sampling()) if scene else self.sampling
            asked = dataclasses.replace(self, sampling=sampling, generated=0)
            said = asked._answers(inside, system_digest(self.project, inside), [played[row] for row in rows])
            answers |= dict(zip(rows, said, strict=True))
            self.generated, self._open = self.generated + asked.generated, asked._open
        return [answers[row] for row in range(len(prompts))]

    def _fits(self, system: System, turns: Sequence[Message]) -> bool:
        try:
            self.opened(system.model).format.prompt(turns)
        except RowTooLong:
            return False
        return True

    def conversation(self, system: System, prompt: Prompt) -> tuple[Message, ...]:
        """Return the conversation that a system sees; a few-shot prompt has as many demonstrations as leave room for a response."""
        if system.own is not None:
            shots = self._shots(prompt, system.own.shots) if system.own.shots else []
            return conversation(system.condition, prompt.messages, shots, system.own)
        if system.condition != "few-shot":
            return conversation(system.condition, prompt.messages)
        shots = self._shots(prompt, self.shots)
        chat_format = None if system.remote else self.opened(system.model).format
        while shots and chat_format and chat_format.context:
            try:
                room = chat_format.context - len(chat_format.prompt(conversation("few-shot", prompt.messages, shots)))
            except InputError:
                room = 0
            if room >= min(self.sampling.limit(chat_format.context), chat_format.context // 4):
                break
            shots = shots[:-1]
        return conversation("few-shot", prompt.messages, shots)

    def _shots(self, prompt: Prompt, most: int) -> list[Demonstration]:
        """Return training demonstrations chosen for a prompt by its id alone, of its own use case where there are enough."""
        if not self._demonstrations:
            with Store.open(self.project.store_url) as store:
                self._demonstrations = list(store.demonstrations(split="train"))
        others = [row for row in self._demonstrations if row.prompt.id != prompt.id]
        alike = [row for row in others if row.prompt.use_case == prompt.use_case]
        pool = alike if len(alike) >= most else others
        return random.Random(derive(self.seed, "shots", prompt.id)).sample(pool, min(most, len(pool)))

    def _speaker(self, system: System) -> Speaker:
        if not system.remote:
            return LocalSpeaker(self.opened(system.model), self.dtype)
        address, model = system.address
        from accord.engine.remote import RemoteSpeaker  # needs httpx, of the extra remote

        return RemoteSpeaker(address, model, keep=self.project.path / CACHE / "remote", show=picture_files(self.project))

    def opened(self, name: str) -> Model:
        """Return a model of the project; one is open at a time."""
        if self._open is None or self._open.name != name:
            self._open = load_model(self.project, name)
        return self._open

    def _file(self, digest: str) -> Path:
        key = lineage.digest_rows([digest, dataclasses.asdict(self.sampling), self.seed, str(self.dtype)])[:20]
        return self.project.path / CACHE / "answers" / f"{key}.jsonl"


def model_in(system: System, model: str) -> str:
    """Return the model that answers for a system in a scene: the scene's own, at the same address, or that of the system."""
    return system.model if not model else f"{system.address[0]}#{model}" if system.remote else model


def system_digest(project: Project, system: System) -> str:
    """Return the digest of a system's model; a remote one is known by its name alone.

    With a condition of the project, or its scenes, what these say is part of it.

    Raises:
        ModelError: there is no such model.
        UsageError: the project has no scenes, and the system is asked in them.
    """
    digest = system.model if system.remote else digest_of(locate(project, system.model))
    if system.own is not None:
        return lineage.digest_rows([digest, system.own])
    if system.condition != SCENES:
        return digest
    if not project.scenes:
        raise UsageError("the project has no scenes", where=system.name, hint="write [scenes.NAME] into accord.toml (docs/scenes.md)")
    inside = {model_in(system, scene.model) for scene in project.scenes.values()}
    others = [model if system.remote else digest_of(locate(project, model)) for model in sorted(inside)]
    return lineage.digest_rows([digest, *others, *([name, scene] for name, scene in project.scenes.items())])


def _read(file: Path) -> dict[str, Answer]:
    """Return the answers in a file, finished where an older version did not say.

    Skip a line that was being written when the process was killed.
    """
    found: dict[str, Answer] = {}
    for line in file.read_text("utf-8").split("\n")[:-1] if file.exists() else ():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        found[row["key"]] = Answer(row["text"], bool(row.get("finished", True)))
    return found
