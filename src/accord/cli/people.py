"""Who labels, what they are to do, and what they said as files."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from accord.cli.app import AsJson, Flat, ProjectPath, app, say
from accord.errors import UsageError
from accord.settings import LabelConfig

if TYPE_CHECKING:
    from accord.feedback.accounts import Account
    from accord.feedback.store import Store

labelers = App(name="labelers", help="Invites labelers, shows them, and qualifies, pauses, resumes, revokes, excludes or erases one.")
app.command(labelers)

OPERATOR = "operator"
"""Who acts in the audit when it is this command line."""
Who = Annotated[str, Parameter(help="A labeler's id, or a name that only one account has.")]
Why = Annotated[str, Parameter(help="The reason, for the audit.")]


@labelers.command
def invite(
    project: ProjectPath,
    name: Annotated[str, Parameter(help="What you call the person.")],
    *,
    role: Annotated[Literal["lead", "labeler", "viewer", "user"], Parameter(help="What the person may do; a user chats.")] = "labeler",
    group: Annotated[str, Parameter(help="Group of labelers, for agreement and held-out groups.")] = "",
    days: Annotated[float, Parameter(help="How long the link holds.")] = 7,
    screened: Annotated[bool, Parameter(help="Begins with the qualification tasks.", negative="")] = False,
    again: Annotated[bool, Parameter(help="A new link for somebody who is there: NAME is the id or name.", negative="")] = False,
    url: Annotated[str, Parameter(help="Address of the site, as labelers reach it; the project's own when not given.")] = "",
    json: AsJson = False,
) -> None:
    """Prints a link that opens the site once for a person; the store keeps its hash alone.

    Example: accord labelers invite my-project "Ann Smith" --group nurses
    """
    from datetime import UTC, datetime

    from accord.feedback import accounts

    if not 0 < days <= 365:
        raise UsageError(f"days is {days}; above 0, at most 365", where="--days")
    with _store(project) as store:
        known = _find(store, name).id if again else ""
        token = accounts.invite(
            store, role, name, by=OPERATOR, now=datetime.now(UTC), days=days, group=group, labeler=known, screened=screened
        )
    address = url.rstrip("/") or _address(project)
    say(f"invited {name}", {"name": name, "role": role, "link": f"{address}/join?token={token}", "days": days}, json)


@labelers.command(name="list")
def list_(project: ProjectPath, *, json: AsJson = False) -> None:
    """Shows everybody with access to the site, and what each may do.

    Example: accord labelers list my-project
    """
    from accord.feedback import accounts
    from accord.runtime.progress import table

    with _store(project) as store:
        people = accounts.people(store)
    if json:
        say("labelers", {"labelers": [dataclasses.asdict(person) for person in people]}, True)
        return
    rows = [(p.id, p.name, p.role, p.group, ", ".join(s for s in ("paused", "revoked", "excluded") if getattr(p, s))) for p in people]
    table("labelers", ["id", "name", "role", "group", "state"], rows)


@labelers.command
def pause(project: ProjectPath, who: Who, *, why: Why = "", json: AsJson = False) -> None:
    """Gives a labeler no more tasks until resumed.

    Example: accord labelers pause my-project ann --why "gold items missed"
    """
    _change(project, who, "paused", why, json)


@labelers.command
def resume(project: ProjectPath, who: Who, *, why: Why = "", json: AsJson = False) -> None:
    """Gives a paused labeler tasks again.

    Example: accord labelers resume my-project ann
    """
    _change(project, who, "resumed", why, json)


@labelers.command
def qualify(
    project: ProjectPath,
    who: Who,
    *,
    failed: Annotated[bool, Parameter(help="Back to the screening.", negative="")] = False,
    why: Why = "",
    json: AsJson = False,
) -> None:
    """Lets a screened labeler work; the site shows leads how each did in the screening.

    Example: accord labelers qualify my-project ann --why "79% and 6.2"
    """
    from datetime import UTC, datetime

    from accord.feedback import accounts

    with _store(project) as store:
        id = _find(store, who).id
        accounts.qualify(store, id, not failed, by=OPERATOR, why=why, now=datetime.now(UTC))
    say(f"qualified {id}", {"labeler": id, "qualified": not failed}, json)


@labelers.command
def revoke(project: ProjectPath, who: Who, *, why: Why = "", json: AsJson = False) -> None:
    """Ends a person's access at once. What was said stays.

    Example: accord labelers revoke my-project ann --why "left the team"
    """
    _change(project, who, "revoked", why, json)


@labelers.command
def exclude(project: ProjectPath, who: Who, *, why: Why = "", json: AsJson = False) -> None:
    """Leaves what a labeler said out of everything that is learned from here on; the records stay.

    Example: accord labelers exclude my-project ann --why "answers at random"
    """
    _change(project, who, "excluded", why, json)


@labelers.command
def include(project: ProjectPath, who: Who, *, why: Why = "", json: AsJson = False) -> None:
    """Takes an excluded labeler's records in again.

    Example: accord labelers include my-project ann
    """
    _change(project, who, "included", why, json)


@labelers.command
def erase(
    project: ProjectPath,
    who: Who,
    *,
    why: Why = "",
    answers: Annotated[bool, Parameter(help="Empty and withdraw what the person said, too.", negative="")] = False,
    json: AsJson = False,
) -> None:
    """Erases a labeler's personal data for good; the audit says that it was done.

    Example: accord labelers erase my-project ann --why "asked for it" --answers
    """
    from datetime import UTC, datetime

    from accord.feedback.privacy import erase_labeler

    with _store(project) as store:
        id = _find(store, who).id
        emptied = erase_labeler(store, id, by=OPERATOR, why=why, now=datetime.now(UTC), answers=answers)
    say(f"erased {id}", {"labeler": id, **emptied}, json)


@app.command
def queue(
    project: ProjectPath,
    *,
    kind: Annotated[
        Literal["rank", "compare", "demonstrate", "correct", "conversation", "evaluate"], Parameter(help="What labelers are to do.")
    ] = "rank",
    k: Annotated[int, Parameter(help="The most responses in a task, 2 to 9.")] = 9,
    overlap: Annotated[int, Parameter(help="How many labelers do each task.")] = 1,
    priority: Annotated[float, Parameter(help="Higher comes first.")] = 0.0,
    split: Annotated[Literal["train", "validation", "test"] | None, Parameter(help="Of these prompts alone.")] = None,
    model: Annotated[tuple[str, ...], Parameter(help="Of these models' responses alone.", negative="")] = (),
    by: Annotated[
        Literal["order", "random", "uncertainty", "information"],
        Parameter(help="What comes first: as it stands, by chance, what reward models are unsure of, or what would tell most."),
    ] = "order",
    reward: Annotated[tuple[str, ...], Parameter(help="For --by uncertainty; two or more are an ensemble.", negative="")] = (),
    count: Annotated[int, Parameter(help="The most tasks, of those that come first; 0 takes all.")] = 0,
    gold: Annotated[Path | None, Parameter(help="JSON lines of task and expected answer: gold tasks, mixed in for every labeler.")] = None,
    qualification: Annotated[Path | None, Parameter(help="The same, as the screening of new labelers.")] = None,
    as_world: Annotated[bool, Parameter(help="Reserve for each simulated labeler what it would rank.", negative="")] = False,
    json: AsJson = False,
    config: Annotated[LabelConfig, Flat] = LabelConfig(),
) -> None:
    """Makes tasks for labelers out of the responses in the store; again adds only what is new.

    Example: accord queue my-project --kind rank --k 8 --overlap 2
    """
    from accord.runtime.project import Project
    from accord.stages.choosing import gain_by
    from accord.stages.queueing import known_stage, queue_for_world, queue_stage

    if not 2 <= k <= 9 or overlap < 1 or count < 0:
        raise UsageError(f"k is {k}, overlap {overlap} and count {count}; 2 to 9, 1 at least, and 0 at least", where="queue")
    opened = Project.open(project)
    if gold or qualification:
        figures = known_stage(opened, gold or qualification or Path(), "gold" if gold else "qualification")
    elif as_world:
        figures = queue_for_world(opened, config)
    else:
        gain = gain_by(opened, by, rewards=reward, seed=config.seed)
        figures = queue_stage(opened, kind, k=k, overlap=overlap, priority=priority, split=split, models=model, gain=gain, count=count)
    say(f"queued for {kind}", figures, json)


def _store(project: Path) -> Store:
    from accord.feedback.store import Store
    from accord.runtime.project import Project

    return Store.open(Project.open(project).store_url)


def _address(project: Path) -> str:
    """Where the project's site is, as accord.toml has it."""
    from accord.runtime.project import Project

    config = LabelConfig(**Project.open(project).settings.get("label", {}))
    host = config.names.split(",")[0].strip() or config.host
    return f"https://{host}" if config.https else f"http://{host}:{config.port}"  # https is a proxy's, at its usual port


def _find(store: Store, who: str) -> Account:
    from accord.feedback import accounts

    found = [person for person in accounts.people(store) if who in (person.id, person.name)]
    if len(found) != 1:
        what = f"{len(found)} accounts are called {who!r}" if found else f"there is no account {who!r}"
        raise UsageError(what, where="labelers", hint="`accord labelers list PROJECT` shows their ids")
    return found[0]


def _change(project: Path, who: str, done: str, why: str, as_json: bool) -> None:
    from datetime import UTC, datetime

    from accord.feedback import accounts

    changes: dict[str, Callable[..., None]] = {
        "paused": accounts.pause,
        "resumed": accounts.resume,
        "revoked": accounts.revoke,
        "excluded": accounts.exclude,
        "included": accounts.include,
    }
    with _store(project) as store:
        id = _find(store, who).id
        changes[done](store, id, by=OPERATOR, why=why, now=datetime.now(UTC))
    say(f"{done} {id}", {"labeler": id, "done": done}, as_json)
