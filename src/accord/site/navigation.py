"""The bar of every page: which areas the site has, which pages they have, and who sees them. A new page gets its line here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from accord.feedback.accounts import Role
from accord.feedback.web.access import Area

LEADING: tuple[Role, ...] = ("lead", "viewer")
LABELING: tuple[Role, ...] = ("lead", "labeler")
CHATTING: tuple[Role, ...] = ("lead", "viewer", "user")
EVERYBODY: tuple[Role, ...] = ("lead", "labeler", "viewer", "user")
ARENA = "/arena"
"""The area that a project opens by a setting."""


def _(text: str) -> str:
    """Mark a text for translation where it is shown."""
    return text


@dataclass(frozen=True, slots=True)
class Entry:
    """A link of the bar."""

    text: str
    address: str
    roles: tuple[Role, ...]
    """Who sees it. The page itself decides who may open it."""
    pages: tuple[Entry, ...] = ()
    """The pages of an area, shown while one of them is."""
    also: tuple[str, ...] = ()
    """How the addresses of further pages begin that belong to this one."""

    def fits(self, path: str) -> int:
        """Return how much of a page's address names this entry or one of its pages: the most specific entry is where the page is."""
        starts = [*self.also, *([f"{self.address}/"] if self.address != "/" else [])]
        own = len(path) + 1 if path == self.address else max((len(start) for start in starts if path.startswith(start)), default=0)
        return max(own, *(page.fits(path) for page in self.pages)) if self.pages else own


AREAS = (
    Entry(_("Home"), "/", LEADING),
    Entry(
        _("Data"),
        "/data",
        LEADING,
        pages=(
            Entry(_("Imports"), "/data", LEADING),
            Entry(_("Records"), "/records", LEADING),
        ),
    ),
    Entry(
        _("Labeling"),
        "/label",
        (*LABELING, "viewer"),
        pages=(
            Entry(_("Work"), "/next", LABELING, also=("/tasks/",)),
            Entry(_("My answers"), "/answers", LABELING),
            Entry(_("Guidelines"), "/guidelines", (*LABELING, "viewer")),
            Entry(_("Doubts"), "/doubts", (*LABELING, "viewer")),
            Entry(_("People"), "/lead/people", LEADING, also=("/lead/queue", "/lead/screening")),
            Entry(_("Quality"), "/lead", LEADING),
            Entry(_("Audit log"), "/lead/audit", LEADING),
            Entry(_("About you"), "/profile", LABELING),
        ),
    ),
    Entry(
        _("Chat"),
        "/chat",
        CHATTING,
        pages=(
            Entry(_("Conversations"), "/chat", CHATTING, also=("/c/",)),
            Entry(_("My data"), "/mine", CHATTING),
            Entry(_("Review"), "/review", LEADING),
        ),
    ),
    Entry(_("Runs"), "/runs", LEADING, also=("/run/", "/jobs/")),
    Entry(_("Arena"), ARENA, EVERYBODY),
    Entry(_("Project report"), "/report", LEADING),
)
"""The areas in the order of the bar."""
LANDING: dict[Role, str] = {"lead": "/", "viewer": "/", "labeler": "/label", "user": "/chat"}
"""The page at which each role comes in."""


def links(role: Role, path: str, *, arena: bool = False) -> Sequence[Area]:
    """Return the areas that a role sees, with the pages of the one that is open. A role with one area sees its pages in the bar.

    Args:
        arena: whether the arena is open.
    """
    seen = [entry for entry in AREAS if role in entry.roles and (arena or entry.address != ARENA)]
    return _shown(seen if len(seen) > 1 else seen[0].pages, role, path)


def _shown(entries: Sequence[Entry], role: Role, path: str) -> tuple[Area, ...]:
    best = max((entry.fits(path) for entry in entries), default=0)
    found = list[Area]()
    for entry in entries:
        if role in entry.roles:
            here = best > 0 and entry.fits(path) == best
            found.append(Area(entry.text, entry.address, here, _shown(entry.pages, role, path) if here else ()))
    return tuple(found)
