"""`accord labelers`: invite, list, qualify, pause, exclude or erase labelers.

Needs a project. Leaves accounts in the database, of every secret its hash alone, and a line in the audit log for every change.
A labeler is named by id, or by a name that only one account has.
"""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Annotated, Any

from cyclopts import App, Parameter

from accord.commands.app import ProjectPath, Why, shows
from accord.commands.feedback.labelers_states import Who, exclude, find_account, include, pause, qualify, resume, revoke
from accord.errors import UsageError
from accord.feedback import accounts
from accord.feedback.accounts import Role
from accord.feedback.audit import OPERATOR
from accord.feedback.privacy import erase_labeler
from accord.feedback.site_address import public_address, running_site
from accord.feedback.store import Store
from accord.runtime.progress import table
from accord.runtime.project import Project
from accord.settings import LabelConfig

labelers = App(name="labelers", help="Invite, list, qualify, pause, resume, revoke, exclude, include or erase labelers.")
for _change in (pause, resume, qualify, revoke, exclude, include):
    labelers.command(_change)


def _show_invitation(made: dict[str, Any]) -> None:
    """Print the link on a line of its own, whole at any width: the database has only its hash, so it is never shown again."""
    print(f"{made['name']} is invited as {made['role']}. The link works once, within {made['days']:g} days:")
    print(made["link"])


@labelers.command
@shows(_show_invitation)
def invite(
    project: ProjectPath,
    name: Annotated[str, Parameter(help="What you call the person.")],
    *,
    role: Annotated[Role, Parameter(help="What the person may do; a user chats.")] = "labeler",
    group: Annotated[str, Parameter(help="Group of labelers, for agreement and held-out groups.")] = "",
    days: Annotated[float, Parameter(help="How long the link holds.")] = 7,
    screened: Annotated[bool, Parameter(help="Begin with the qualification tasks.", negative="")] = False,
    again: Annotated[bool, Parameter(help="A new link for somebody who is there: NAME is the id or name.", negative="")] = False,
    url: Annotated[str, Parameter(help="Address of the site, as labelers reach it; the project's own when not given.")] = "",
) -> dict[str, Any]:
    """Invite a person by a link that opens the site once; the database keeps only the hash of its token.

    Example: accord labelers invite my-project "Ann Smith" --group nurses

    Raises:
        UsageError: days is out of range, or ``again`` names nobody or several.
        Refused: the role does not exist.
    """
    if not 0 < days <= 365:
        raise UsageError(f"days is {days}; above 0, at most 365", where="--days")
    opened = Project.open(project)
    with Store.open(opened.store_url) as store:
        known = find_account(store, name).id if again else ""
        token = accounts.invite(
            store, role, name, by=OPERATOR, now=datetime.now(UTC), days=days, group=group, labeler=known, screened=screened
        )
    address = url.rstrip("/") or _site_address(opened)
    return {"name": name, "role": role, "link": f"{address}/join?token={token}", "days": days}


def _show_list(found: dict[str, Any]) -> None:
    rows = list[tuple[str, str, str, str, str]]()
    for person in found["labelers"]:
        states = [state for state in ("paused", "revoked", "excluded") if person[state]]
        rows.append((person["id"], person["name"], person["role"], person["group"], ", ".join(states)))
    table("labelers", ["id", "name", "role", "group", "state"], rows)


@labelers.command(name="list")
@shows(_show_list)
def list_(project: ProjectPath) -> dict[str, Any]:
    """List everybody with access to the site, and what each may do.

    Example: accord labelers list my-project
    """
    with Store.open(Project.open(project).store_url) as store:
        return {"labelers": [dataclasses.asdict(person) for person in accounts.people(store)]}


@labelers.command
def erase(
    project: ProjectPath,
    who: Who,
    *,
    why: Why = "",
    answers: Annotated[bool, Parameter(help="Also empty and withdraw the person's answers.", negative="")] = False,
) -> dict[str, Any]:
    """Erase a labeler's personal data for good; the audit log keeps that it was done.

    Example: accord labelers erase my-project ann --why "asked for it" --answers

    Raises:
        UsageError: there is no such account, or several have this name.
    """
    with Store.open(Project.open(project).store_url) as store:
        id = find_account(store, who).id
        emptied = erase_labeler(store, id, by=OPERATOR, why=why, now=datetime.now(UTC), answers=answers)
    return {"labeler": id, **emptied}


def _site_address(project: Project) -> str:
    """Return the address of the project's site as it runs now, or else as accord.toml has it."""
    return running_site(project.path) or public_address(LabelConfig(**project.settings.get("label", {})))
