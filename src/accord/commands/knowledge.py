"""A model's own answers to questions, several to each, and what they mean: the groundwork of everything about what a model knows.

The probe, the reward ``knowledge`` and ``accord inspect`` ask here. Answers are drawn once and kept in the project's cache, by the model's
digest, the sampling and the conversation. Loading this loads torch.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from accord.commands.models import LocalSampler, Model, locate, open_speaker
from accord.data.semantics import UNKNOWN, Admits, Asked, Meaning, ShortAnswers, clusters
from accord.errors import RunError, UsageError
from accord.models.entailment import Entailment
from accord.protocols import Speaker
from accord.records import Message, Prompt, Sampling
from accord.runtime import lineage
from accord.runtime.fences import fenced, mark_of, warned
from accord.runtime.files import append
from accord.runtime.progress import track
from accord.runtime.project import Project
from accord.runtime.seeds import generator

FOLDER = Path("cache", "knowledge")
"""Folder in the project. It can be deleted; answers are then drawn again."""
UNNAMED = ("", "other")
"""Use cases of prompts for which nobody named one."""
AT_ONCE = 32
"""Questions whose answers are drawn and kept together."""
_SAME = """Two answers to one question. Do they mean the same, so that either both are right or both are wrong? {warned}

[Question]
{question}

[First answer]
{one}

[Second answer]
{other}

Reply with one word: YES or NO."""
_YES = re.compile(r"\W*(yes|no)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class OwnAnswer:
    """One answer that a model drew."""

    text: str
    logprob: float
    """Mean log-probability of its tokens."""


@dataclass(frozen=True)
class OwnAnswers:
    """A model's answers to each question, and how many of them were drawn now."""

    answers: list[list[OwnAnswer]]
    drawn: int
    tokens: int
    """Tokens that were drawn now."""


def own_answers(
    project: Project, model: Model, conversations: Sequence[Sequence[Message]], *, n: int, sampling: Sampling, seed: int, dtype: torch.dtype
) -> OwnAnswers:
    """Return n answers of a model to each conversation; those that are kept are not drawn again.

    Raises:
        InputError: a conversation is longer than the model's context.
    """
    keys: list[str] = []
    for turns in conversations:
        keys.append(lineage.digest_rows([turn.role, turn.content] for turn in turns))
    settings = [model.digest, dataclasses.asdict(sampling), seed, n, str(dtype)]
    file = project.path / FOLDER / f"{lineage.digest_rows(settings)[:20]}.jsonl"
    known = _read(file)
    missing = {key: turns for key, turns in zip(keys, conversations, strict=True) if key not in known}
    ids = {key: model.format.prompt(turns) for key, turns in missing.items()}
    order = sorted(missing, key=lambda key: (len(ids[key]), key))
    sampler, tokens = LocalSampler(model.lm, stop=model.format.stop, dtype=dtype), 0
    file.parent.mkdir(parents=True, exist_ok=True)
    with track(len(order) * n, f"what {model.name} says") as bar:
        for start in range(0, len(order), AT_ONCE):
            some = order[start : start + AT_ONCE]
            random = generator(seed, "knowledge", *some)
            drawn = sampler.sample([ids[key] for key in some], n=n, sampling=sampling, generator=random)
            lengths = drawn.keep.sum(1)
            means: list[float] = ((drawn.logprobs * drawn.keep).sum(1) / lengths.clamp(min=1)).tolist()
            texts = [model.format.text(row) for row in drawn.rows()]
            tokens += int(lengths.sum())
            for place, key in enumerate(some):
                own = range(place * n, (place + 1) * n)
                known[key] = [OwnAnswer(texts[row], means[row]) for row in own]
            rows = [{"key": key, "answers": [[each.text, each.logprob] for each in known[key]]} for key in some]
            append(file, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
            bar.advance(len(some) * n)
    return OwnAnswers([known[key] for key in keys], len(order) * n, tokens)


def _read(file: Path) -> dict[str, list[OwnAnswer]]:
    """Return the answers in a file; skip a line that was being written when the process was killed."""
    found: dict[str, list[OwnAnswer]] = {}
    for line in file.read_text("utf-8").split("\n")[:-1] if file.exists() else ():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        found[row["key"]] = [OwnAnswer(text, logprob) for text, logprob in row["answers"]]
    return found


def questions_of(prompts: Sequence[Prompt], use_cases: str) -> list[Prompt]:
    """Return the prompts that ask for a fact: those of the use cases; where no prompt has one of them, those that end as a question and
    have no use case."""
    wanted = set(use_cases.replace(",", " ").split())
    named = [prompt for prompt in prompts if prompt.use_case in wanted]
    return named or [prompt for prompt in prompts if prompt.use_case in UNNAMED and question_of(prompt).rstrip().endswith(("?", "？"))]


def question_of(prompt: Prompt) -> str:
    """Return the last turn of a prompt."""
    return prompt.messages[-1].content


def open_meaning(project: Project, name: str, admits: Admits) -> Meaning:
    """Return what tells which answers mean the same: ``short``, ``entailment:FOLDER``, ``judge:MODEL`` or ``judge:http://host/v1#MODEL``.

    Args:
        admits: the project's classifier; all admissions mean the same.

    Raises:
        UsageError: it is none of them.
        ModelError: there is no such model, or it is no entailment model.
    """
    kind, _, argument = name.partition(":")
    if name == "short":
        return ShortAnswers(admits)
    if kind == "entailment" and argument:
        entails = Entailment.open(argument if Path(argument).exists() else locate(project, argument))
        return Paired(f"entailment by {Path(argument).name}", entails.same, admits)
    if kind == "judge" and argument:
        address, _, model = argument.rpartition("#")
        return Paired(f"judged by {model}", JudgedSame(open_speaker(project, model, address)).same, admits)
    hint = "short, entailment:FOLDER, judge:MODEL, or judge:http://host/v1#MODEL"
    raise UsageError(f"there is no meaning {name!r}", where="meaning", hint=hint)


@dataclass(frozen=True)
class Paired:
    """A meaning that compares two answers at a time. A cluster is named by its first answer."""

    name: str
    same: Callable[[str, str, str], bool]
    """Whether two answers to a question, which comes first, mean the same."""
    admits: Admits

    def groups(self, rows: Sequence[Asked]) -> list[list[str]]:
        """Return for each question the name of each answer's cluster."""
        found: list[list[str]] = []
        for question, texts in rows:
            names: list[str] = []
            admitted = self.admits(texts)
            stated = [text for text, unsure in zip(texts, admitted, strict=True) if not unsure]
            numbers = iter(clusters(stated, partial(self.same, question)))
            for unsure in admitted:
                names.append(UNKNOWN if unsure else str(next(numbers)))
            found.append(names)
        return found


@dataclass(frozen=True)
class JudgedSame:
    """A language model that says whether two answers mean the same."""

    speaker: Speaker

    def same(self, question: str, one: str, other: str) -> bool:
        """Ask the judge.

        Raises:
            RunError: its answer begins neither with yes nor with no.
        """
        mark = mark_of(question, one, other)
        given = {"question": fenced(question, mark), "one": fenced(one, mark), "other": fenced(other, mark), "warned": warned(mark)}
        text = re.sub(r"\{(question|one|other|warned)\}", lambda found: given[found.group(1)], _SAME)
        said = self.speaker.answer([(Message("user", text),)], n=1, sampling=Sampling(temperature=0.0, max_tokens=16), seed=0)[0][0]
        if not (found := _YES.match(said)):
            hint = "does the model follow instructions? take another judge, an entailment model, or --meaning short"
            raise RunError(f"answered neither yes nor no: {said[:80]!r}", where=f"the judge {self.speaker.name}", hint=hint)
        return found.group(1).lower() == "yes"
