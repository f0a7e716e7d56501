"""`accord watch`: evaluate the model that answers again, on the same prompts and on fresh traffic, and tell drift and decline.

Needs a model of the project or the address of a served one, prompts of held-out users, and a reward model or the built-in world as the
judge. Leaves a line per check in watch/NAME.jsonl: ids and scores, no texts. With --roll-back a decline goes back to the model before.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from accord.commands.app import Compute, ComputeFlags, Flat, ProjectPath, flat, shows
from accord.commands.models import LocalSpeaker, compute_dtype, digest_of, load_model, locate, reply_scorer
from accord.commands.scenes import staged_prompts
from accord.commands.serve.trials import answering, digest_of_language_model
from accord.commands.world import has_world, world_of
from accord.data.classifiers.project_set import of_project
from accord.errors import AccordError, InputError, ModelError, UsageError
from accord.evaluation import drift
from accord.evaluation.statistics import Interval, interval
from accord.feedback import deployments
from accord.feedback.provenance import papers
from accord.feedback.store import Store
from accord.feedback.traces import FROM_APPS, FROM_CHAT
from accord.protocols import Speaker
from accord.records import Prompt, Sampling
from accord.runtime.device import choose_device
from accord.runtime.files import append
from accord.runtime.jsonable import jsonable
from accord.runtime.language_models import reward_models
from accord.runtime.progress import say, table
from accord.runtime.project import Project
from accord.settings import WatchConfig
from accord.world import GoldJudge

FOLDER = "watch"
"""Folder in the project with a file per watched system."""
BY = "watch"
"""Who switches back, in the audit log."""
FRESH = (FROM_CHAT, FROM_APPS)
"""Prefixes of the ids of prompts that users sent."""


@dataclass(frozen=True)
class Check:
    """One check, as its line in the file has it."""

    at: str
    version: str
    judge: str
    prompts: list[str]
    scores: list[float]
    words: float
    refused: float
    how: str = ""
    """The settings that the answers were drawn by."""


def _show(metrics: Mapping[str, Any]) -> None:
    """Print a check as lines, and in words what it found."""
    table(f"watch: {metrics['system']}", ["metric", "value"], flat({key: value for key, value in metrics.items() if key != "system"}))
    if metrics["declined"]:
        print("declined: the answers to the same prompts score lower than at the first check, beyond the interval and the margin")
    if metrics["drifted"]:
        print("drifted: what users ask now has other words than what the project trains on, more than chance explains")


@shows(_show, failed=lambda metrics: bool(metrics["declined"]))
def watch(
    project: ProjectPath,
    system: Annotated[str, Parameter(help="A model, or http://host/v1#MODEL; the one that answers in the chat when not given.")] = "",
    *,
    reward: Annotated[str, Parameter(help="The reward model that judges; the newest when empty, the gold judge where there is none.")] = "",
    roll_back: Annotated[bool, Parameter(help="Go back to the model that answered before when it declined.", negative="")] = False,
    anew: Annotated[bool, Parameter(help="Forget earlier checks: this one is what later ones are held against.", negative="")] = False,
    times: Annotated[int, Parameter(help="Checks, with --every; 0 goes on until you stop it.")] = 0,
    flags: ComputeFlags = Compute(),
    config: Annotated[WatchConfig, Flat] = WatchConfig(),
) -> dict[str, Any]:
    """Evaluate the model that answers again on the same prompts and on fresh traffic; exit with 1 when it declined.

    Example: accord watch my-project --every 3600 --roll-back

    Raises:
        UsageError: an address names no model, or ``roll_back`` is given for a model that does not answer in the chat.
        ModelError: there is no such model, or no judge.
        InputError: the project has no prompts of held-out users.
        RunError: the server does not answer.
    """
    opened = Project.open(project)
    choose_device(flags.device)
    number = 0
    while True:
        number += 1
        last = not config.every or number == times
        try:
            found = _check(opened, system, reward, roll_back, anew and number == 1, flags.dtype, config)
        except AccordError as error:
            if last or number == 1:
                raise
            say(f"watch: {error}")  # a server may be there again at the next check
            found = {}
        if last:
            return found
        if found:
            _show(found)
        time.sleep(config.every)


def _check(project: Project, system: str, reward: str, roll_back: bool, anew: bool, dtype: str, config: WatchConfig) -> dict[str, Any]:
    with Store.open(project.store_url) as store:
        deployed = "" if system.startswith(("http://", "https://")) else answering(project, store)
        name = system or deployed
        if roll_back and name != deployed:
            raise UsageError("answers nobody in the chat, so there is nothing to go back to", where=name, hint="leave out --roll-back")
        at = {paper.prompt_id: paper.at for paper in papers(store)}
        every = list(store.prompts())
    ours = [prompt for prompt in every if not prompt.id.startswith(FRESH)]
    fresh = sorted((prompt for prompt in every if prompt.id.startswith(FRESH)), key=lambda prompt: at.get(prompt.id, ""))
    fixed = [prompt for prompt in ours if prompt.split == "test"]
    known = [prompt.messages[-1].content for prompt in ours if prompt.split == "train"]
    judge = _judge(project, reward, dtype)
    fixed = [prompt for prompt in fixed if judge.knows(prompt)]
    if not fixed:
        raise InputError("the store has no test prompts that can be judged", where=project.store_name, hint="`accord import` some")
    random.Random("held out").shuffle(fixed)
    fixed = sorted(fixed[: config.prompts], key=lambda prompt: prompt.id)
    fresh = fresh[-config.fresh :] if config.fresh else []
    speaker, version = _speaker(project, name, dtype)
    answers = _Answers(project, speaker, judge, config)
    now = answers.check(fixed, version)
    file = project.path / FOLDER / f"{_file_name(name)}.jsonl"
    earlier = (
        [] if anew else [check for check in _read(file) if (check.judge, check.prompts, check.how) == (now.judge, now.prompts, now.how)]
    )
    file.parent.mkdir(exist_ok=True)
    if anew and file.exists():
        file.unlink()
    append(file, json.dumps(asdict(now), ensure_ascii=False) + "\n")
    draw = {"resamples": config.bootstrap, "seed": config.seed}
    metrics: dict[str, Any] = {
        "system": name,
        "version": version,
        "judge": judge.name,
        "prompts": len(fixed),
        "checks": len(earlier) + 1,
        "score": interval(now.scores, **draw),
        "words": now.words,
        "refused": now.refused,
        "declined": False,
        "drifted": False,
    }
    if earlier:
        first = earlier[0]
        change = interval([new - old for new, old in zip(now.scores, first.scores, strict=True)], **draw)
        metrics |= {"first": {"at": first.at, "version": first.version, "score": interval(first.scores, **draw)}, "change": change}
        metrics["declined"] = change.high < -config.margin
    metrics |= _fresh(answers, fresh, known, draw)
    if roll_back and metrics["declined"]:
        metrics["rolled_back_to"] = _back(project, metrics["change"])
    return jsonable(metrics)


def _fresh(answers: _Answers, fresh: Sequence[Prompt], known: Sequence[str], draw: Mapping[str, int]) -> dict[str, Any]:
    """Return how far fresh prompts are from those of training, and what the answers to them score, where the judge can tell."""
    texts = [prompt.messages[-1].content for prompt in fresh]
    if not any(map(drift.words, texts)) or not any(map(drift.words, known)):
        return {"fresh": {"prompts": len(fresh)}}
    found = drift.drift(texts, known, seed=draw["seed"])
    judged = [prompt for prompt in fresh if answers.judge.knows(prompt)]
    told: dict[str, Any] = {"prompts": len(fresh), "drift": found.bits, "drift_by_chance": found.expected, "drift_p": found.p}
    if judged:
        told["score"] = interval(answers.check(judged, "").scores, **draw)
    return {"fresh": told, "drifted": found.p < 0.05}


def _back(project: Project, change: Interval) -> str:
    """Let the model answer that answered before; return its name, or that there is none."""
    with Store.open(project.store_url) as store:
        before = deployments.previous(store)
        if before is None:
            say("watch: there is no model to go back to")
            return ""
        digest = digest_of_language_model(project, before.model)
        why = f"declined by {-change.mean:.3f} ({-change.high:.3f} to {-change.low:.3f})"
        deployments.deploy(store, before.model, digest, by=BY, why=why, now=datetime.now(UTC))
    return before.model


@dataclass(frozen=True)
class _Judge:
    """What scores an answer: a reward model, or the world's gold judge for the prompts that it knows."""

    name: str
    digest: str
    score: Callable[[Prompt, str], float]
    ids: frozenset[str] | None = None

    def knows(self, prompt: Prompt) -> bool:
        return self.ids is None or prompt.id in self.ids


def _judge(project: Project, reward: str, dtype: str) -> _Judge:
    name = reward or next(iter(reward_models(project)), "")
    if name:
        scored = reply_scorer(project, name, compute_dtype(dtype))

        def by_model(prompt: Prompt, text: str) -> float:
            return float(scored(prompt.messages, [text])[0])

        return _Judge(name, digest_of(locate(project, name)), by_model)
    if not has_world(project):
        raise ModelError("the project has no reward model to judge by", where=str(project.path), hint="accord reward trains one")
    world = world_of(project)
    gold = GoldJudge(world, rules="evaluation")

    def by_gold(prompt: Prompt, text: str) -> float:
        return gold.judge(prompt, text).utility

    return _Judge("gold", "gold", by_gold, frozenset(world.specs))


@dataclass(frozen=True)
class _Answers:
    """Asks the watched model, and has its answers judged."""

    project: Project
    speaker: Speaker
    judge: _Judge
    config: WatchConfig

    def check(self, prompts: Sequence[Prompt], version: str) -> Check:
        config = self.config
        asked = [prompt.messages for prompt in staged_prompts(self.project, prompts)]
        sampling = Sampling(temperature=config.temperature, max_tokens=config.max_tokens)
        said = [texts[0] for texts in self.speaker.answer(asked, n=1, sampling=sampling, seed=config.seed)]
        scores = [float(self.judge.score(prompt, text)) for prompt, text in zip(prompts, said, strict=True)]
        refused = of_project(self.project).refuses(said)
        words = sum(len(drift.words(text)) for text in said) / len(said)
        at = datetime.now(UTC).isoformat(timespec="seconds")
        how = f"temperature {config.temperature:g}, max_tokens {config.max_tokens}, seed {config.seed}"
        return Check(at, version, self.judge.digest, [prompt.id for prompt in prompts], scores, words, sum(refused) / len(refused), how)


def _speaker(project: Project, name: str, dtype: str) -> tuple[Speaker, str]:
    """Return what answers, and its version. A server is asked anew at every check: nothing of it is kept."""
    if not name.startswith(("http://", "https://")):
        model = load_model(project, name)
        return LocalSpeaker(model, compute_dtype(dtype)), f"{name}@{model.digest[:12]}"
    address, _, served = name.partition("#")
    if not served:
        raise UsageError("the address does not name a model", where=name, hint="write http://host:port/v1#MODEL")
    from accord.engine.remote import RemoteSpeaker  # needs httpx, of the extra remote

    return RemoteSpeaker(address, served), name


def _file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)


def _read(file: Path) -> list[Check]:
    """Return the earlier checks. A line that was being written when the process was killed is skipped."""
    found: list[Check] = []
    for line in file.read_text("utf-8").splitlines() if file.exists() else ():
        try:
            found.append(Check(**json.loads(line)))
        except (ValueError, TypeError):
            continue
    return found
