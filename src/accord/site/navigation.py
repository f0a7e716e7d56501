"""The bar of every page: which areas the site has, which pages they have, and who sees them. A new page gets its line here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from accord.feedback.accounts import Role
from accord.feedback.web.access import Area

LEADING: tuple[Role, ...] = ("lead", "viewer")
LABELING: tuple[Role, ...] = ("lead", "labeler")
CHATTING: tuple[Role, ...] = ("lead", "viewer", "user")


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
    exact: bool = False
    """Whether the addresses below are other pages'."""
    also: tuple[str, ...] = ()
    """How the addresses of further pages begin that belong to this one."""

    def holds(self, path: str) -> bool:
        """Return whether a page belongs here."""
        below = self.address != "/" and not self.exact and path.startswith(f"{self.address}/")
        return path == self.address or below or path.startswith(self.also) or any(page.holds(path) for page in self.pages)


AREAS = (
    Entry(_("Home"), "/", LEADING),
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
            Entry(_("Quality"), "/lead", LEADING, exact=True),
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
)
"""The areas in the order of the bar."""
LANDING: dict[Role, str] = {"lead": "/", "viewer": "/", "labeler": "/label", "user": "/chat"}
"""The page at which each role comes in."""


def links(role: Role, path: str) -> Sequence[Area]:
    """Return the areas that a role sees, with the pages of the one that is open. A role with one area sees its pages in the bar."""
    seen = [entry for entry in AREAS if role in entry.roles]
    return tuple(_shown(entry, role, path) for entry in (seen if len(seen) > 1 else seen[0].pages) if role in entry.roles)


def _shown(entry: Entry, role: Role, path: str) -> Area:
    here = entry.holds(path)
    pages = tuple(_shown(page, role, path) for page in entry.pages if role in page.roles) if here else ()
    return Area(entry.text, entry.address, here, pages)
