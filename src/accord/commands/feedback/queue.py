"""`accord queue`: turn stored responses into tasks for labelers.

Needs responses in the database (`accord sample`, `accord import`), or prompts alone for demonstrations. Leaves tasks, which the
labeling site hands out by priority. `--by` puts the tasks first that would teach most: BALD (Houlsby et al. 2011) over reward models,
or the information of a ranking under Bradley-Terry. Loads no torch, except for `--by uncertainty`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from accord.commands.app import Device, Flat, ProjectPath
from accord.commands.feedback.cut_off import CutOff
from accord.commands.feedback.queue_candidates import drafted, of_prompts, of_responses, unranked_of
from accord.commands.feedback.queue_facts import fact_tasks
from accord.commands.feedback.queue_gain import By, gain_by
from accord.commands.feedback.queue_known import queue_known
from accord.commands.feedback.simulated import assignments, rankable
from accord.commands.world import world_of
from accord.errors import InputError, UsageError
from accord.feedback import tasks, written
from accord.feedback.acquisition import choose
from accord.feedback.queue import DRAFTED, WEIGHED
from accord.feedback.store import Store
from accord.feedback.tasks import PARTS, Kind, Part, Task
from accord.feedback.written import Ask
from accord.records import Split
from accord.runtime.device import choose_device
from accord.runtime.project import Project
from accord.settings import LabelConfig
from accord.world import labelers


def queue(
    project: ProjectPath,
    *,
    kind: Annotated[Kind, Parameter(help="What labelers are to do.")] = "rank",
    k: Annotated[int, Parameter(help="The most responses in a task, 2 to 9.")] = 9,
    overlap: Annotated[int, Parameter(help="How many labelers do each task.")] = 1,
    priority: Annotated[float, Parameter(help="Higher comes first.")] = 0.0,
    split: Annotated[Split | None, Parameter(help="Of these prompts alone.")] = None,
    model: Annotated[tuple[str, ...], Parameter(help="Of these models' responses alone.", negative="")] = (),
    by: Annotated[
        By, Parameter(help="What comes first: as it stands, by chance, what reward models are unsure of, or what would tell most.")
    ] = "order",
    reward: Annotated[tuple[str, ...], Parameter(help="For --by uncertainty; two or more are an ensemble.", negative="")] = (),
    count: Annotated[int, Parameter(help="The most tasks, of those that come first; 0 takes all.")] = 0,
    gold: Annotated[Path | None, Parameter(help="JSON lines of task and expected answer: gold tasks, mixed in for every labeler.")] = None,
    qualification: Annotated[Path | None, Parameter(help="The same, as the screening of new labelers.")] = None,
    ask: Annotated[Ask, Parameter(help="For --kind prompt: which kind of prompt labelers write.")] = "plain",
    intents: Annotated[Path | None, Parameter(help="For --ask user-based: a text file, one user's intent per line.")] = None,
    draft: Annotated[
        str, Parameter(help="For --kind demonstrate and correct: begin with this model's stored response, for the labeler to change.")
    ] = "",
    facts: Annotated[
        Path | None, Parameter(help="For --kind fact: JSON lines of response_id, document and, for single claims, claim.")
    ] = None,
    cut_off: CutOff = "ask",
    without: Annotated[
        tuple[Part, ...], Parameter(help="Leave out of rankings: flags, or ratings with their flags; both make one page.", negative="")
    ] = (),
    dry_run: Annotated[bool, Parameter(help="Count the tasks that would come, and add none.", negative="")] = False,
    again: Annotated[bool, Parameter(help="Also responses that have been ranked against each other already.", negative="")] = False,
    as_world: Annotated[bool, Parameter(help="Reserve for each simulated labeler what it would rank.", negative="")] = False,
    device: Device = "auto",
    config: Annotated[LabelConfig, Flat] = LabelConfig(),
) -> dict[str, int]:
    """Turn stored responses into tasks for labelers; a second call adds only what is new.

    Returns how many tasks there are and how many are new; ``cut_off`` counts their responses that break off, where they are ranked.
    Responses that were all ranked against each other, here or in an imported file, are left out unless ``again`` is given.

    With ``by`` other than "order", tasks that wait already are moved as well, and compare tasks are chosen among all pairs of a
    prompt's responses.

    Example: accord queue my-project --kind rank --k 8 --overlap 2

    Raises:
        UsageError: a number is out of range, a reward model is named without need or missing, there is no world to queue for, or you
            would not have responses ranked that break off.
        InputError: there is nothing to make such a task of, or the file of known answers has an unusable row.
        ModelError: a reward model is missing.
    """
    if not 2 <= k <= 9 or overlap < 1 or count < 0:
        raise UsageError(f"k is {k}, overlap {overlap} and count {count}; 2 to 9, 1 at least, and 0 at least", where="queue")
    if without and kind not in ("rank", "evaluate"):
        raise UsageError(f"a {kind} task has no flags or ratings to leave out", where="--without", hint="--kind rank or evaluate")
    if dry_run and (gold or qualification or as_world):
        raise UsageError("known answers and simulated labelers have no dry run", where="--dry-run", hint="leave it out")
    opened = Project.open(project)
    if gold:
        return queue_known(opened, gold, "gold")
    if qualification:
        return queue_known(opened, qualification, "qualification")
    if (facts is not None) != (kind == "fact"):
        what = "a fact task needs claims and documents" if kind == "fact" else f"a {kind} task checks no facts"
        raise UsageError(what, where="--facts", hint="--kind fact --facts FILE, JSON lines of response_id, document and claim")
    if draft and kind not in DRAFTED:
        raise UsageError(f"a {kind} task begins with no draft", where="--draft", hint=f"--kind {' or '.join(DRAFTED)}")
    if facts:
        with Store.open(opened.store_url) as store:
            claims = list(fact_tasks(store, facts, overlap=overlap, priority=priority))[: count or None]
            return _add(store, claims, "there is no claim in the file", str(facts), dry_run=dry_run)
    if kind == "prompt":
        return _queue_writing(opened, ask, intents, count=count, overlap=overlap, priority=priority, dry_run=dry_run)
    if as_world:
        return _queue_as_world(opened, config)
    if reward:
        choose_device(device)
    gain = gain_by(opened, by, rewards=reward, seed=config.seed)
    with Store.open(opened.store_url) as store:
        prompts = {prompt.id: prompt for prompt in store.prompts(split)}
        if kind in ("demonstrate", "conversation"):
            candidates = list(of_prompts(prompts, kind, overlap, priority))
        else:
            every_pair = gain is not None and kind == "compare"
            parts: tuple[Part, ...] = tuple(part for part in PARTS if part in without)
            candidates = of_responses(
                store,
                prompts,
                kind,
                model,
                every_pair=every_pair,
                cut_off=cut_off,
                k=k,
                overlap=overlap,
                priority=priority,
                without=parts,
            )
        if draft:
            candidates = drafted(store, [task for task in candidates if not any(shown.model == draft for shown in task.shown)], draft)
        nothing, skipped = f"nothing to make a {kind} task of", dict[str, int]()
        pairwise = kind in ("rank", "compare", "evaluate") and by in ("order", "random")  # a gain knows what has been ranked
        if pairwise and not again and candidates:
            new = unranked_of(store, candidates)
            left_out, candidates = len(candidates) - len(new), new
            skipped = {"already_ranked": left_out} if left_out else {}
            if not new:
                hint = "`--again` queues them for other labelers all the same"
                raise InputError(f"all responses have been ranked: {left_out} {kind} tasks", where=opened.store_name, hint=hint)
        if gain is None:
            return _add(store, candidates[: count or None], nothing, opened.store_name, dry_run=dry_run) | skipped
        gains: Mapping[str, float] = gain(store, candidates) if candidates else {}
        by_id = {task.id: task for task in candidates}
        queued = [replace(by_id[id], priority=priority + gains[id]) for id in choose(gains, count or len(gains))]
        moved = 0 if dry_run else tasks.prioritise(store, {task.id: task.priority for task in queued})
        return _add(store, queued, nothing, opened.store_name, dry_run=dry_run) | {"moved": moved} | skipped


def _queue_writing(
    project: Project, ask: Ask, intents: Path | None, *, count: int, overlap: int, priority: float, dry_run: bool
) -> dict[str, int]:
    """Queue tasks in which labelers write prompts."""
    if ask == "user-based" and intents is None:
        raise UsageError("user-based prompts are written for a user's intent", where="--intents", hint="name a text file, one per line")
    if ask != "user-based" and (intents or not count):
        what = "intents are for user-based prompts" if intents else "how many prompts should be written?"
        raise UsageError(what, where="--intents" if intents else "--count", hint=f"for example --kind prompt --ask {ask} --count 50")
    lines = read_intents(intents) if intents else []
    with Store.open(project.store_url) as store:
        made = list(written.tasks_for(store, ask, count=count, intents=lines, overlap=overlap, priority=priority))
        if dry_run:
            return {"tasks": len(made), "new": tasks.unknown(store, made)}
        return {"tasks": len(made), "new": written.queue_all(store, made, now=datetime.now(UTC))}


def read_intents(file: Path) -> list[str]:
    """Return the lines of a file that hold an intent, each once.

    Raises:
        InputError: the file cannot be read, or there is nothing in it.
    """
    try:
        lines = file.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("cannot be read as UTF-8 text", where=str(file), hint="one user's intent per line") from error
    found = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not found:
        raise InputError("there is nothing in it", where=str(file), hint="one user's intent per line")
    return found


def _queue_as_world(project: Project, config: LabelConfig) -> dict[str, int]:
    """Reserve for each simulated labeler the tasks that ``accord label --by world`` would have ranked by it."""
    world = world_of(project)
    simulated = labelers(world)
    with Store.open(project.store_url) as store:
        store.add_labelers(labeler.record for labeler in simulated)
        reserved = list[Task]()
        for prompt, responses, chosen in assignments(config, rankable(store, world), simulated):
            for labeler in chosen:
                id = tasks.task_id("rank", "training", prompt.id, (response.id for response in responses), labeler.record.id)
                reserved.append(Task(id, "rank", prompt, tuple(responses), reserved_for=labeler.record.id))
        return _add(store, reserved, "the store has no responses that wait to be ranked", project.store_name)


def _add(store: Store, queued: Sequence[Task], nothing: str, where: str, *, dry_run: bool = False) -> dict[str, int]:
    if not queued:
        raise InputError(nothing, where=where, hint="`accord sample` or `accord import` comes first")
    cut = sum(not response.finished for task in queued if task.kind in WEIGHED for response in task.responses)
    counts = {"tasks": len(queued), "new": tasks.unknown(store, queued) if dry_run else tasks.add(store, queued)}
    return counts | ({"cut_off": cut} if cut else {})
