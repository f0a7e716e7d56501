"""The rules around every model that people or programs use: filters, best of n, examples and system prompt, as [serve] sets them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, cast

from accord.commands.scenes import documents_of, router_of
from accord.data.classifiers.project_set import DEFAULT, ClassifierSet, of_project
from accord.data.retrieval import Document
from accord.errors import InputError, ModelError, UsageError
from accord.feedback import choices, tastes
from accord.feedback.store import Store
from accord.records import Demonstration
from accord.runtime import plugins
from accord.runtime.project import Project
from accord.serving import apart, screens
from accord.serving.guards import FAILED, Rules, Score, Screen
from accord.serving.prompt_styles import system_prompt
from accord.serving.scenes import Stage, Stages
from accord.settings import ChatConfig, ServeConfig

Guard = Callable[[str], Iterable[str]]
"""From a text to the kinds of findings in it."""
MOST_CHOICES = 500
"""Choices of each kind, in rankings and in the chat, by which an answer is chosen for a person."""
KINDS = ("harm", "injection", "personal", "unsure")
"""Kinds that our own rules find; no guard may have such a name."""


def rules_of(project: Project, config: ServeConfig, dtype: str = "auto", *, score: Score | None = None) -> Rules:
    """Return the rules that the settings ask for.

    Args:
        score: the reward model, if it is open already.

    Raises:
        UsageError: there is no system prompt of this name, no such guard or classifier, or no such run of a probe.
        InputError: the probe found no threshold.
        ModelError: the reward model or the folder of a classifier is missing, or [chat] tastes needs one that knows tastes.
    """
    demonstrations: tuple[Demonstration, ...] = ()
    if config.best_of > 1 and score is None:
        from accord.commands.models import compute_dtype, reply_scorer  # loads torch, which rules alone do not need

        score = reply_scorer(project, config.reward, compute_dtype(dtype))
    if config.shots:
        with Store.open(project.store_url) as store:
            demonstrations = tuple(store.demonstrations("train"))
    classifiers = of_project(project)
    if config.input_filter != "off" or config.output_filter != "off":
        for task in screens.TASKS:
            classifiers.open(task)  # one that cannot be had is named now, and not at the first request
    if config.agree_run or config.agree_below:
        classifiers.open("stance")
    chat = ChatConfig(**project.settings.get("chat", {}))
    return Rules(
        input_filter=config.input_filter,
        output_filter=config.output_filter,
        screen=screen_with(config.guards, classifiers),
        unsure_below=config.unsure_below,
        agree_below=config.agree_below,
        agree_models=thresholds(project, config.agree_run) if config.agree_run else {},
        agree_samples=config.agree_samples,
        admits=classifiers.admits,
        best_of=config.best_of,
        seconds=config.best_of_seconds,
        score=score,
        score_for=_by_taste(project, config, dtype) if chat.tastes else None,
        system=system_prompt(config.system),
        demonstrations=demonstrations,
        shots=config.shots,
        reasoning=config.reasoning,
    )


def stages_of(project: Project, config: ServeConfig, rules: Rules, dtype: str = "auto", *, upstream: bool = False) -> Stages | None:
    """Return the scenes of a project, each with its rules; None where it has none.

    Args:
        rules: those of the server, which hold where a scene says nothing else.
        upstream: whether another server has the models, so that their names cannot be checked here.

    Raises:
        UsageError: a scene names no classifier of ours, or an alias is a model's name.
        ModelError: a scene's model is not there.
        InputError: a scene's document cannot be read.
    """
    router = router_of(project)
    if router is None:
        return None
    router.open()
    stages: dict[str, Stage] = {}
    for name, scene in router.scenes.items():
        there = project.models()
        if scene.model and not upstream and scene.model not in there:
            raise ModelError(
                "a scene's model is not there", where=f"[scenes.{name}] model, {scene.model}", hint=f"there are: {', '.join(there)}"
            )
        if taken := [alias for alias in scene.alias_names if alias in there]:
            raise UsageError(f"the alias {taken[0]!r} is the name of a model", where=f"[scenes.{name}] aliases", hint="choose another name")
        changed, own = scene.rules(), rules
        if changed:
            config_there = replace(config, **changed, **_guards(config, changed))
            own = rules_of(project, config_there, dtype, score=rules.score)
        documents = tuple(Document(title, text) for title, text in documents_of(project, scene.document_files))
        stages[name] = Stage(replace(own, system=scene.system or own.system), scene.model, documents, scene.sampling())
    return Stages(router, stages)


def _guards(config: ServeConfig, changed: dict[str, Any]) -> dict[str, Any]:
    """Return that a scene whose filters are off asks no guards."""
    filters = (changed.get("input_filter", config.input_filter), changed.get("output_filter", config.output_filter))
    return {"guards": ""} if filters == ("off", "off") else {}


def _by_taste(project: Project, config: ServeConfig, dtype: str) -> Callable[[str], Score | None]:
    """Return what gives the score of a user who switched their taste on; None for all others.

    Raises:
        UsageError: there is one answer, so that nothing is chosen.
        ModelError: the reward model knows no tastes.
    """
    if config.best_of < 2:
        raise UsageError("there is one answer to choose from", where="[chat] tastes", hint="set best_of in [serve], for example to 4")
    from accord.commands.models import compute_dtype
    from accord.commands.tastes import PersonalScorer

    personal = PersonalScorer.open(project, config.reward, compute_dtype(dtype))

    def score_for(user: str) -> Score | None:
        with Store.open(project.store_url) as store:
            kept = tastes.of(store, user)
            if not kept.on:
                return None
            chosen = choices.of_person(store, user, most=MOST_CHOICES)
            found = personal.fit(chosen)
            tastes.learned(store, user, personal.tastes.leans(found), found.choices, choices.contradictions(chosen))
        own = personal.tastes.told(found, kept.said)
        return lambda conversation, replies: personal.scores(conversation, replies, own)

    return score_for


def thresholds(project: Project, run: str) -> dict[str, float]:
    """Return the shares of agreement that a probe found for its systems, from which the answers they state are right often enough.

    Raises:
        UsageError: there is no such run, or it measured no knowledge.
        InputError: no system reached the accuracy that was asked for.
    """
    file, hint = project.run(run) / "knowledge.json", "accord probe PROJECT MODEL --measure knowledge --name NAME"
    try:
        systems = cast("dict[str, dict[str, Any]]", json.loads(file.read_text("utf-8"))["systems"])
    except (OSError, ValueError, KeyError):
        raise UsageError("is no run that measured what models know", where=f"[serve] agree_run, {run}", hint=hint) from None
    found = {name: float(each["threshold"]["threshold"]) for name, each in systems.items() if each.get("threshold")}
    if not found:
        hint = "probe again with a lower --accuracy, or set agree_below yourself"
        raise InputError("no model of this run is right often enough at any threshold", where=f"[serve] agree_run, {run}", hint=hint)
    return found


def screen_with(names: str, classifiers: ClassifierSet = DEFAULT) -> Screen:
    """Return our screen with the guards of other packages behind it.

    Args:
        names: of guards, with commas or blanks between them.
        classifiers: of the project.

    Raises:
        UsageError: there is no such guard, or it cannot be imported.
    """
    guards: dict[str, Guard] = {}
    for name in dict.fromkeys(names.replace(",", " ").split()):
        if not plugins.has("guards", name, KINDS):
            raise UsageError(f"there is no guard {name!r}", where="[serve] guards", hint=plugins.known((), "guards"))
        guards[name] = plugins.load_function("guards", name)

    chosen = classifiers.config.harm or classifiers.config.injection or classifiers.config.personal
    ours: Screen = (lambda text: screens.kinds(text, classifiers)) if chosen else apart.kinds

    def screened(text: str) -> list[str]:
        found = ours(text)
        for name, guard in guards.items():
            found += _kinds(name, guard, text)
        return found

    return screened if guards else ours


def _kinds(name: str, guard: Guard, text: str) -> list[str]:
    """The findings of a guard. One that fails counts as a finding, ``NAME-failed``: a filter that refuses then refuses everything."""
    try:
        found: object = guard(text)
        kinds = list(cast("Iterable[object]", found))
    except Exception:
        return [name + FAILED]
    if isinstance(found, str):  # one kind in place of a list of them: its letters are no kinds
        return [name + FAILED]
    return [kind if isinstance(kind, str) and kind else name + FAILED for kind in kinds]
