"""Measures of one's own: functions that put questions to each system and return numbers (docs/plugins.md).

They come from the project's folder as ``module:function``, or from another package by the name of a plugin.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast, get_args

from accord.commands.evaluate.held_out import held_out_prompts, shown_prompt
from accord.commands.evaluate.probe_measure import MEASURES, SHOWN, Probing, sample_row
from accord.errors import AccordError, InputError, RunError, UsageError
from accord.evaluation.statistics import mean_of
from accord.evaluation.systems import System
from accord.records import Message, Prompt, Role
from accord.runtime import plugins
from accord.runtime.own_code import imported
from accord.runtime.project import Project
from accord.runtime.seeds import derive

Asked = str | Sequence[Mapping[str, str]]
"""A prompt as a text, or a conversation as a list of messages."""
Answer = Callable[[Sequence[Asked]], list[str]]
"""Prompts in, a system's answers out."""
MeasureFunction = Callable[..., Mapping[str, "float | Sequence[float]"]]
"""``measure(answer, prompts)``: numbers by name, of one system; a list of numbers, one per prompt, becomes a mean with its interval.
With a third argument it gets the prompts as rows, with the conversation, the use case and the data beside each."""


def measured_by_plugin(probing: Probing, name: str, measure: MeasureFunction) -> dict[str, Any]:
    """Return a measure's numbers by system.

    Raises:
        RunError: the measure raises, or returns something other than numbers by name.
        InputError: a prompt is longer than a model's context.
    """
    try:
        prompts = probing.some(held_out_prompts(probing.project))
    except InputError:
        prompts = list[Prompt]()  # a measure may bring prompts of its own
    return {system.name: _measured(probing, name, measure, system, prompts) for system in probing.systems}


def _measured(probing: Probing, name: str, measure: MeasureFunction, system: System, prompts: list[Prompt]) -> dict[str, Any]:
    where = f"the measure {name}"
    shown = list[tuple[Prompt, str]]()

    def answer(asked: Sequence[Asked]) -> list[str]:
        rows = [Prompt(f"{name}-{i}", _messages(each, f"{where}, prompt {i}")) for i, each in enumerate(asked)]
        texts = list(probing.answers.of_system(system, rows)) if rows else []
        shown.extend(zip(rows, texts, strict=True))
        return texts

    texts = [shown_prompt(prompt) for prompt in prompts]
    try:
        found = dict(measure(answer, texts, _rows(prompts, probing.config.seed)) if _takes_rows(measure) else measure(answer, texts))
    except AccordError:
        raise
    except Exception as error:
        raise RunError(f"raised {type(error).__name__}: {error}", where=where) from error
    probing.run.samples(0, [sample_row(name, system, prompt, text) for prompt, text in shown[:SHOWN]])
    metrics: dict[str, Any] = {}
    for key, value in found.items():
        try:
            metrics[key] = mean_of(value, **probing.draw) if isinstance(value, Sequence) else float(value)
        except (TypeError, ValueError) as error:
            hint = "it returns numbers by name, or lists of numbers, one per prompt"
            raise RunError(f"returned {value!r:.80} as {key!r}", where=where, hint=hint) from error
    return metrics


def _messages(asked: Asked, where: str) -> tuple[Message, ...]:
    """Return what a measure asks as turns.

    Raises:
        RunError: it is neither a text nor a conversation that ends with the user's turn.
    """
    if isinstance(asked, str):
        return (Message("user", asked),)
    try:
        turns = [(str(turn["role"]), turn["content"]) for turn in asked]
    except (TypeError, KeyError):
        turns = []
    if not turns or turns[-1][0] != "user" or any(role not in get_args(Role) for role, _ in turns):
        hint = 'ask a text, or [{"role": "user", "content": ...}] that ends with the user'
        raise RunError(f"asked {asked!r:.80}", where=where, hint=hint)
    return tuple(Message(cast("Role", role), str(content)) for role, content in turns)


def _rows(prompts: Sequence[Prompt], seed: int) -> list[dict[str, Any]]:
    """Return prompts as an environment sees them, so that a measure can let the same simulated users speak."""
    rows: list[dict[str, Any]] = []
    for prompt in prompts:
        turns = [{"role": message.role, "content": message.content} for message in prompt.messages]
        about = {"id": prompt.id, "messages": turns, "use_case": prompt.use_case, "user": prompt.user}
        rows.append({**about, "extra": dict(prompt.extra), "seed": derive(seed, prompt.id)})
    return rows


def _takes_rows(measure: MeasureFunction) -> bool:
    try:
        parameters = inspect.signature(measure).parameters.values()
    except (TypeError, ValueError):
        return False
    return len([each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]) > 2


def functions_of(measures: Sequence[str], project: Project) -> dict[str, MeasureFunction]:
    """Return the functions of the measures that are plugins, or stand in the project's folder as ``module:function``.

    Raises:
        UsageError: there is no such measure, or it cannot be imported.
    """
    functions: dict[str, MeasureFunction] = {}
    for name in measures:
        if ":" in name:
            hint = "a file MODULE.py in the project's folder, with a function measure(answer, prompts, rows)"
            functions[name] = imported(name, project.path, where=f"--measure {name}", hint=hint)
            if not callable(functions[name]):
                raise UsageError("is no function", where=f"--measure {name}", hint=hint)
        elif plugins.has("measures", name, MEASURES):
            functions[name] = plugins.load_function("measures", name)
        elif name not in MEASURES:
            raise UsageError(f"there is no measure {name!r}", where="--measure", hint=plugins.known(MEASURES, "measures"))
    return functions
