"""Changes to a labeler's state: paused, qualified, without access, or left out of training. The audit log keeps each."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

from cyclopts import Parameter

from accord.commands.app import ProjectPath, Why
from accord.errors import UsageError
from accord.feedback import accounts
from accord.feedback.accounts import Account
from accord.feedback.audit import OPERATOR
from accord.feedback.store import Store
from accord.runtime.project import Project

Who = Annotated[str, Parameter(help="A labeler's id, or a name that only one account has.")]


def pause(project: ProjectPath, who: Who, *, why: Why = "") -> dict[str, Any]:
    """Give a labeler no more tasks until resumed.

    Example: accord labelers pause my-project ann --why "gold items missed"

    Raises:
        UsageError: there is no such account, or several have this name.
    """
    return _change(project, who, accounts.pause, "paused", why)


def resume(project: ProjectPath, who: Who, *, why: Why = "") -> dict[str, Any]:
    """Give a paused labeler tasks again.

    Example: accord labelers resume my-project ann

    Raises:
        UsageError: there is no such account, or several have this name.
    """
    return _change(project, who, accounts.resume, "resumed", why)


def qualify(
    project: ProjectPath,
    who: Who,
    *,
    failed: Annotated[bool, Parameter(help="Send the labeler back to the screening.", negative="")] = False,
    why: Why = "",
) -> dict[str, Any]:
    """Let a screened labeler work; the site shows leads how each did in the screening.

    Example: accord labelers qualify my-project ann --why "79% and 6.2"

    Raises:
        UsageError: there is no such account, or several have this name.
    """
    with Store.open(Project.open(project).store_url) as store:
        id = find_account(store, who).id
        accounts.qualify(store, id, not failed, by=OPERATOR, why=why, now=datetime.now(UTC))
    return {"labeler": id, "qualified": not failed}


def revoke(project: ProjectPath, who: Who, *, why: Why = "") -> dict[str, Any]:
    """End a person's access at once; the answers stay.

    Example: accord labelers revoke my-project ann --why "left the team"

    Raises:
        UsageError: there is no such account, or several have this name.
    """
    return _change(project, who, accounts.revoke, "revoked", why)


def exclude(project: ProjectPath, who: Who, *, why: Why = "") -> dict[str, Any]:
    """Leave a labeler's answers out of every training from now on; the records stay.

    Example: accord labelers exclude my-project ann --why "answers at random"

    Raises:
        UsageError: there is no such account, or several have this name.
    """
    return _change(project, who, accounts.exclude, "excluded", why)


def include(project: ProjectPath, who: Who, *, why: Why = "") -> dict[str, Any]:
    """Use an excluded labeler's answers again.

    Example: accord labelers include my-project ann

    Raises:
        UsageError: there is no such account, or several have this name.
    """
    return _change(project, who, accounts.include, "included", why)


def _change(project: ProjectPath, who: str, change: Callable[..., None], done: str, why: str) -> dict[str, Any]:
    with Store.open(Project.open(project).store_url) as store:
        id = find_account(store, who).id
        change(store, id, by=OPERATOR, why=why, now=datetime.now(UTC))
    return {"labeler": id, "done": done}


def find_account(store: Store, who: str) -> Account:
    """Return the account with this id, or with this name if only one has it.

    Raises:
        UsageError: there is no such account, or several have this name.
    """
    found = [person for person in accounts.people(store) if who in (person.id, person.name)]
    if len(found) != 1:
        what = f"{len(found)} accounts are called {who!r}" if found else f"there is no account {who!r}"
        raise UsageError(what, where="labelers", hint="`accord labelers list PROJECT` shows their ids")
    return found[0]
