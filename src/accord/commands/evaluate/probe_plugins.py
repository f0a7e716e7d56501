"""Measures of other packages: functions that put their own questions to each system and return numbers (docs/plugins.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from accord.commands.evaluate.held_out import held_out_prompts, shown_prompt
from accord.commands.evaluate.probe_measure import MEASURES, Probing
from accord.errors import AccordError, InputError, RunError, UsageError
from accord.evaluation.statistics import interval
from accord.evaluation.systems import System
from accord.records import Message, Prompt
from accord.runtime import plugins

Answer = Callable[[Sequence[str]], list[str]]
"""Prompts in, a system's answers out."""
MeasureFunction = Callable[[Answer, list[str]], Mapping[str, "float | Sequence[float]"]]
"""``measure(answer, prompts)``: numbers by name, of one system; a list of numbers, one per prompt, becomes a mean with its interval."""


def measured_by_plugin(probing: Probing, name: str, measure: MeasureFunction) -> dict[str, Any]:
    """Return a measure's numbers by system.

    Raises:
        RunError: the measure raises, or returns something other than numbers by name.
        InputError: a prompt is longer than a model's context.
    """
    try:
        prompts = [shown_prompt(prompt) for prompt in probing.some(held_out_prompts(probing.project))]
    except InputError:
        prompts = list[str]()  # a measure may bring prompts of its own
    return {system.name: _measured(probing, name, measure, system, prompts) for system in probing.systems}


def _measured(probing: Probing, name: str, measure: MeasureFunction, system: System, prompts: list[str]) -> dict[str, Any]:
    where = f"the measure {name}"

    def answer(asked: Sequence[str]) -> list[str]:
        rows = [Prompt(f"{name}-{i}", (Message("user", text),)) for i, text in enumerate(asked)]
        return list(probing.answers.of_system(system, rows))

    try:
        found = dict(measure(answer, list(prompts)))
    except AccordError:
        raise
    except Exception as error:
        raise RunError(f"raised {type(error).__name__}: {error}", where=where) from error
    metrics: dict[str, Any] = {}
    for key, value in found.items():
        try:
            metrics[key] = interval(value, **probing.draw) if isinstance(value, Sequence) else float(value)
        except (TypeError, ValueError) as error:
            hint = "it returns numbers by name, or lists of numbers, one per prompt"
            raise RunError(f"returned {value!r:.80} as {key!r}", where=where, hint=hint) from error
    return metrics


def functions_of(measures: Sequence[str]) -> dict[str, MeasureFunction]:
    """Return the functions of the measures that are plugins.

    Raises:
        UsageError: there is no such measure, or its plugin cannot be imported.
    """
    functions: dict[str, MeasureFunction] = {}
    for name in measures:
        if plugins.has("measures", name, MEASURES):
            functions[name] = plugins.load_function("measures", name)
        elif name not in MEASURES:
            raise UsageError(f"there is no measure {name!r}", where="--measure", hint=plugins.known(MEASURES, "measures"))
    return functions
