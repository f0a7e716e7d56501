"""`accord provenance`: count prompts by origin, language, use case and consent, or set the kind or consent of some.

Needs prompts. Leaves a provenance record for each prompt that was set, and a line in the audit log. Whether a prompt may be used follows
from its consent; `accord prompts` acts on it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from accord.commands.app import ProjectPath, Why
from accord.feedback.audit import OPERATOR
from accord.feedback.provenance import Consent, mark, summary
from accord.feedback.store import Store
from accord.runtime.project import Project


def provenance(
    project: ProjectPath,
    *,
    source: Annotated[str, Parameter(help="Of prompts from here alone, e.g. a file's name.")] = "",
    user: Annotated[str, Parameter(help="Of this user's prompts alone.")] = "",
    kind: Annotated[Literal["plain", "few-shot", "user-based"] | None, Parameter(help="Which of the kinds that labelers write.")] = None,
    consent: Annotated[Consent | None, Parameter(help="Whether they may be used.")] = None,
    terms: Annotated[str, Parameter(help="The licence, or the version of the text that was agreed to.")] = "",
    why: Why = "",
) -> dict[str, Any]:
    """Count prompts by origin, kind, language, use case and consent; with --kind or --consent set those of a source or a user.

    Example: accord provenance my-project --source prompts.jsonl --consent public --terms "CC BY 4.0"

    Returns:
        ``marked``: how many prompts were set; and the counts.

    Raises:
        StoreError: there is something to set, and neither source nor user is given, or no prompt is of them.
    """
    with Store.open(Project.open(project).store_url) as store:
        marked = 0
        if kind is not None or consent is not None:
            now = datetime.now(UTC)
            marked = mark(store, source=source, user=user, kind=kind, consent=consent, terms=terms, by=OPERATOR, why=why, now=now)
        return {"marked": marked, **summary(store)}
