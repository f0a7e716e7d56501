"""The stage that asks what training cost and what it taught besides: `accord probe`. Alignment tax, truthfulness, safety, fairness."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from accord.errors import InputError, UsageError
from accord.evaluation.statistics import interval
from accord.evaluation.systems import System, parse_system
from accord.evaluation.task_scores import by_occupation, same_number, scored
from accord.evaluation.task_sets import Item, TaskSet, read_task_set
from accord.evaluation.tax import alignment_tax
from accord.models.packing import by_tokens, pack
from accord.models.policy import logprobs
from accord.records import Message, Prompt, Sampling
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.settings import ProbeConfig
from accord.stages.answering import Answers
from accord.stages.comparing import forget, plain
from accord.stages.conduct import conduct, safety_of, truthfulness
from accord.stages.fairness import served, speaks, swapped
from accord.stages.opening import Model, compute_dtype, digest_of, finishing, load_model, locate, tokenised

Measure = Literal["tax", "truth", "safety", "fairness"]
MEASURES: tuple[Measure, ...] = get_args(Measure)


@dataclass(frozen=True)
class Asked:
    """What a probe has to work with."""

    project: Project
    config: ProbeConfig
    systems: tuple[System, ...]
    base: str
    answers: Answers
    reward: str
    lexicon: Path | None
    dtype: torch.dtype

    @property
    def models(self) -> list[str]:
        """Local models, each once."""
        return list(dict.fromkeys(system.model for system in self.systems if not system.remote))

    @property
    def draw(self) -> dict[str, int]:
        return {"resamples": self.config.bootstrap, "seed": self.config.seed}


def probe_stage(
    project: Project,
    config: ProbeConfig,
    *,
    systems: Sequence[str],
    measures: Sequence[str],
    files: Sequence[Path] = (),
    base: str = "base",
    reward: str = "",
    lexicon: Path | None = None,
    name: str = "probe",
    again: bool = False,
    dtype: str = "auto",
) -> Run:
    """Runs the measures on every system, and every file's test on every model; docs/probe.md defines each figure.

    Args:
        systems: as in compare; every language model of the project when empty.
        measures: of MEASURES; all when empty and no file is given.
        files: public tests, see evaluation.tasksets.
        base: what the alignment tax is counted from.
        reward: a reward model whose fairness is measured.
        lexicon: more words that count as toxic, one a line.

    Raises:
        UsageError: an unknown measure or system. ModelError: there is no such model. InputError: a file cannot be used.
    """
    unknown = [measure for measure in measures if measure not in MEASURES]
    if unknown:
        raise UsageError(f"there is no measure {unknown[0]!r}", where="probe", hint=f"known are {', '.join(MEASURES)}")
    chosen = list(dict.fromkeys(measures)) or ([] if files else list(MEASURES))
    tests = [read_task_set(path, config.prompts) for path in files]
    parsed = tuple(parse_system(text) for text in dict.fromkeys(systems or language_models(project)))
    compute = compute_dtype(dtype)
    sampling = Sampling(temperature=config.temperature, max_tokens=config.max_tokens)
    asked = Asked(project, config, parsed, base, Answers(project, sampling, config.seed, compute, config.shots), reward, lexicon, compute)
    inputs = {system.name: system.model if system.remote else digest_of(locate(project, system.model)) for system in parsed}
    if again:
        forget(project, name, "probe")
    run = Run.start(project.run(name), stage="probe", config=config, inputs=inputs, resume=False, seed=config.seed)
    with finishing(run) as figures:
        figures["systems"] = [system.name for system in parsed]
        for measure in chosen:
            figures |= plain(_MEASURED[measure](asked, run))
        if tests:
            figures["files"] = plain({test.name: _file(asked, test, run) for test in tests})
    return run


def language_models(project: Project) -> list[str]:
    """The project's models that speak. Raises InputError when there are none."""
    found = [name for name in project.models() if speaks(project.model(name))]
    if not found:
        raise InputError(
            "the project has no language model", where=str(project.path / "models"), hint="accord pretrain, or accord sft --base"
        )
    return found


def _tax(asked: Asked, run: Run) -> dict[str, Any]:
    """The loss of every model on raw text that no stage trained on, in nats a byte, so that other tokenizers compare."""
    first_of_all = [asked.base] if asked.base in asked.project.models() and asked.base not in asked.models else []
    names = [*first_of_all, *asked.models]
    losses = {name: raw_text_loss(asked.project, load_model(asked.project, name), asked.dtype) for name in names}
    first = losses.get(asked.base)
    taxes = {name: alignment_tax(first, loss).tax for name, loss in losses.items() if name != asked.base} if first else {}
    return {"raw_text_loss": losses, "alignment_tax": taxes}


@torch.no_grad()
def raw_text_loss(project: Project, model: Model, dtype: torch.dtype) -> float:
    """Mean cross-entropy on the project's held-out raw text, in nats a UTF-8 byte. Raises InputError when it has none."""
    rows = tokenised(project, model.format.tokenizer, min(model.format.context or 1024, 1024)).held_out()
    total, size = 0.0, 0
    for group in by_tokens([len(row) for row in rows], 16_384):
        batch = pack([rows[i] for i in group]).to(model.lm.device)
        total -= float(logprobs(model.lm, batch, dtype=dtype)[0].double().sum())
        size += sum(len(model.format.tokenizer.decode(rows[i], skip_special_tokens=True).encode()) for i in group)
    return total / size


def _truth(asked: Asked, run: Run) -> dict[str, Any]:
    return {"truth": truthfulness(asked.project, asked.answers, asked.systems, asked.config, run)}


def _safety(asked: Asked, run: Run) -> dict[str, Any]:
    return {"safety": conduct(asked.project, asked.answers, asked.systems, asked.config, asked.lexicon, run)}


def _fairness(asked: Asked, run: Run) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if asked.reward:
        found["swaps"] = swapped(asked.project, asked.reward, asked.config, asked.dtype, run)
    return found | {"served": served(asked.project, asked.models, asked.config, asked.dtype)}


_MEASURED: dict[str, Callable[[Asked, Run], dict[str, Any]]] = {"tax": _tax, "truth": _truth, "safety": _safety, "fairness": _fairness}


def _file(asked: Asked, test: TaskSet, run: Run) -> dict[str, Any]:
    """A public test's figures by system; those that read probabilities are measured on local models alone."""
    found: dict[str, Any] = {"kind": test.kind, "items": len(test.items)}
    if test.kind in ("worked", "harm"):
        ask: Callable[[System], dict[str, Any]] = partial(_asked_file, asked, test, run)
        return found | {system.name: ask(system) for system in asked.systems}
    for name in asked.models:
        model = load_model(asked.project, name)
        rows = item_logprobs(model, test.items, asked.dtype)
        found[name] = scored(test, rows, **asked.draw)
        if test.kind == "winogender":
            found[name] |= {"by_occupation": by_occupation(test.items, rows)}
        run.samples(0, [_likeliest(test, name, item, row) for item, row in list(zip(test.items, rows, strict=True))[:20]])
    return found


def _likeliest(test: TaskSet, model: str, item: Item, row: Sequence[float]) -> Mapping[str, object]:
    taken = max(range(len(row)), key=lambda i: row[i])
    told = {"kind": test.kind, "file": test.name, "model": model, "prompt": item.question, "response": item.choices[taken]}
    return told | {"right": taken in item.right if item.right else None, "logprobs": [round(value, 3) for value in row]}


@torch.no_grad()
def item_logprobs(model: Model, items: Sequence[Item], dtype: torch.dtype) -> list[list[float]]:
    """The summed log-probability of each choice after its question, or of each whole sentence where there is no question.

    Raises:
        InputError: a question is longer than the model's context.
    """
    rows, counts = list[list[int]](), list[int]()
    for item in items:
        turns = (Message("user", item.question),)
        for choice in item.choices:
            if item.question:
                prompt, said = model.format.prompt(turns), model.format.response(turns, choice)[:-1]
            else:
                prompt, said = [model.format.tokenizer.bos_token_id], model.format.tokenizer(choice, add_special_tokens=False)["input_ids"]
            rows.append([*prompt, *said])
            counts.append(len(said))
    sums = [0.0] * len(rows)
    for group in by_tokens([len(row) for row in rows], 16_384):
        batch = pack([rows[i] for i in group], [counts[i] for i in group]).to(model.lm.device)
        parts = torch.split(logprobs(model.lm, batch, dtype=dtype)[0].double().cpu(), [counts[i] for i in group])
        for i, part in zip(group, parts, strict=True):
            sums[i] = float(part.sum())
    values = iter(sums)
    return [[next(values) for _ in item.choices] for item in items]


def _asked_file(asked: Asked, test: TaskSet, run: Run, system: System) -> dict[str, Any]:
    """Tests that are answered in words: worked problems by their final number, prompts that are to be refused or not."""
    prompts = [Prompt(f"{test.name}-{i}", (Message("user", item.question),)) for i, item in enumerate(test.items)]
    texts = asked.answers.of([system.name], prompts).texts[0]
    if test.kind == "harm":
        return safety_of(texts, [bool(item.facts["harmful"]) for item in test.items], asked.lexicon, **asked.draw)
    right = [same_number(text, str(item.facts["answer"])) for text, item in zip(texts, test.items, strict=True)]
    shown = list(zip(test.items, texts, right, strict=True))[:20]
    run.samples(
        0,
        [
            {"kind": test.kind, "file": test.name, "model": system.name, "prompt": i.question, "response": t, "right": r}
            for i, t, r in shown
        ],
    )
    return {"accuracy": interval([float(each) for each in right], **asked.draw)}
