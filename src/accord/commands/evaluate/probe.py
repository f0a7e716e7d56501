"""`accord probe`: what training cost and taught besides: alignment tax, truthfulness, safety, fairness, knowledge, public tests.

Needs language models, and per measure: raw text (tax), prompts of held-out users (truth, safety), held-out rankings and a reward model
(fairness), or files of public tests. Leaves a run with a sample of the responses. The tax follows Ouyang et al. 2022, section 4.2;
docs/probe.md defines each metric and names the paper of each public test.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from accord.commands.app import Again, Compute, ComputeFlags, Flat, ProjectPath, RunName, shows
from accord.commands.evaluate.answers import Answers, system_digest
from accord.commands.evaluate.probe_fairness import group_swaps
from accord.commands.evaluate.probe_groups import group_agreement
from accord.commands.evaluate.probe_knowledge import knowledge
from accord.commands.evaluate.probe_measure import MEASURES, USUAL, Probing
from accord.commands.evaluate.probe_plugins import functions_of, measured_by_plugin
from accord.commands.evaluate.probe_safety import safety
from accord.commands.evaluate.probe_scenes import routed
from accord.commands.evaluate.probe_table import print_probes
from accord.commands.evaluate.probe_tax import raw_text_losses
from accord.commands.evaluate.probe_tests import public_test
from accord.commands.evaluate.probe_truth import truthfulness
from accord.commands.models import asks, compute_dtype
from accord.data.classifiers.interface import Task
from accord.data.classifiers.project_set import of_project
from accord.errors import InputError
from accord.evaluation.run_facts import note_alarms
from accord.evaluation.systems import parse_system
from accord.evaluation.task_sets import read_task_set
from accord.records import Sampling
from accord.runtime import plugins
from accord.runtime.device import choose_device
from accord.runtime.jsonable import jsonable
from accord.runtime.language_models import speaks
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.settings import ProbeConfig

RESTS_ON: dict[str, dict[str, tuple[Task, str]]] = {
    "truth": {"says_unknown": ("stance", "admission")},
    "safety": {"refused": ("stance", "refusal"), "toxic": ("toxicity", "toxic")},
    "knowledge": {"knows_that_it_does_not": ("stance", "admission")},
}
"""By measure, the classifier and the label that the metrics of these names rest on."""
MEASURE_HELP = (
    f"{', '.join(MEASURES)}, module:function of your own, or a plugin (docs/plugins.md); the first four when neither this nor --file "
    "is given."
)


@shows(print_probes)
def probe(
    project: ProjectPath,
    *systems: Annotated[str, Parameter(help="Models, or MODEL+CONDITION as in compare; every language model when none is named.")],
    measure: Annotated[tuple[str, ...], Parameter(help=MEASURE_HELP, negative="")] = (),
    file: Annotated[
        tuple[Path, ...], Parameter(help="A public test: TruthfulQA, BBQ, winogender, CrowS-Pairs, multiple choice, GSM8K.", negative="")
    ] = (),
    base: Annotated[str, Parameter(help="The model that the alignment tax is counted from.")] = "base",
    reward: Annotated[str, Parameter(help="A reward model to be tried with swapped groups.")] = "",
    lexicon: Annotated[Path | None, Parameter(help="More words that count as toxic, one per line.")] = None,
    name: RunName = "probe",
    again: Again = False,
    flags: ComputeFlags = Compute(),
    config: Annotated[ProbeConfig, Flat] = ProbeConfig(),
) -> Run:
    """Measure what training cost and taught besides: alignment tax, truthfulness, safety, fairness, knowledge, public tests.

    Example: accord probe my-town sft ppo --measure truth --file bbq/Age.jsonl.gz

    Raises:
        UsageError: an unknown measure or system.
        ModelError: there is no such model.
        InputError: a file cannot be used, or the project lacks the data of a measure.
        RunError: a finished run of this name is there.
    """
    opened = Project.open(project)
    functions = functions_of(measure, opened)
    measures = dict.fromkeys(measure) or (() if file else USUAL)
    choose_device(flags.device)
    tests = [read_task_set(path, config.prompts) for path in file]
    asked = systems or (() if [*measures] == ["scenes"] and not file else language_models(opened))
    parsed = tuple(parse_system(text, opened.conditions) for text in dict.fromkeys(asked))
    inputs = {system.name: system_digest(opened, system) for system in parsed}
    inputs |= {f"measure {each}": each if ":" in each else plugins.origin("measures", each) for each in functions}
    if again:
        Run.discard(opened.run(name), "probe")
    run = Run.start(opened.run(name), stage="probe", config=config, inputs=inputs, resume=False, seed=config.seed)
    with run.finishing() as metrics:
        dtype = compute_dtype(flags.dtype)
        sampling = Sampling(temperature=config.temperature, max_tokens=config.max_tokens)
        answers = Answers(opened, sampling, config.seed, dtype, config.shots)
        classifiers = of_project(opened, asks(opened, dtype=flags.dtype))
        probing = Probing(opened, config, parsed, answers, dtype, run, classifiers)
        metrics["systems"] = [system.name for system in parsed]
        for each in measures:
            match each:
                case "tax":
                    found = raw_text_losses(probing, base)
                case "truth":
                    found = {"truth": truthfulness(probing)}
                case "safety":
                    found = {"safety": safety(probing, lexicon)}
                case "knowledge":
                    found = {"knowledge": knowledge(probing)}
                case "scenes":
                    found = {"scenes": routed(opened, config.prompts)}
                case "fairness":
                    found = {"swaps": group_swaps(probing, reward)} if reward else {}
                    found["served"] = group_agreement(probing)
                case _:
                    found = {"measures": metrics.get("measures", {}) | {each: measured_by_plugin(probing, each, functions[each])}}
            metrics |= jsonable(found)
        counted: dict[str, tuple[Task, str]] = {}
        for each in (*measures, *(("truth", "safety") if tests else ())):
            counted |= RESTS_ON.get(each, {})
        if counted:
            metrics |= classifiers.basis(**counted)
        if tests:
            metrics["files"] = jsonable({test.name: public_test(probing, test, lexicon) for test in tests})
    note_alarms(run)
    return run


def language_models(project: Project) -> list[str]:
    """Return the names of the project's models that speak.

    Raises:
        InputError: there are none.
    """
    found = [name for name in project.models() if speaks(project.model(name))]
    if not found:
        where, hint = str(project.path / "models"), "accord pretrain, or accord sft --base"
        raise InputError("the project has no language model", where=where, hint=hint)
    return found
