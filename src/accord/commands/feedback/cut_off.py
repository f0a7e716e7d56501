"""Responses that break off because they reached the length limit: what becomes of them before people rank them.

A labeler cannot say which of two unfinished sentences is better, and a reward model learns from the choice all the same.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Literal

from cyclopts import Parameter

from accord.errors import UsageError
from accord.records import Response
from accord.runtime.progress import say

MANY = 0.2
"""Share of responses above which you are asked, as the doctor's finding `cut_samples`."""
Choice = Literal["ask", "queue", "leave_out", "refuse"]
CutOff = Annotated[
    Choice,
    Parameter(
        name="--cut-off",
        help="Responses that break off: ask in a terminal when they are many, queue them, leave them out, or refuse when they are many.",
    ),
]
AGAIN = "`accord sample` with a larger --max-tokens and another --name, or --cut-off leave_out"


def rankable_of(responses: Sequence[Response], choice: Choice) -> list[Response]:
    """Return the responses to queue, and say how many of them break off.

    With ``ask`` a terminal asks when more than a fifth do; where nobody can answer, they are queued and counted. With ``refuse`` it is
    an error that more than a fifth do.

    Raises:
        UsageError: the answer was no, or they are refused.
    """
    whole = [response for response in responses if response.finished]
    cut = len(responses) - len(whole)
    if not cut or choice == "queue":
        return list(responses)
    told = f"{cut:,} of {len(responses):,} responses break off at the length limit"
    if choice == "leave_out":
        say(f"{told}; they are left out")
        return whole
    many = cut > MANY * len(responses)
    if many and choice == "refuse":
        raise UsageError(f"{told}; nothing was queued", where="--cut-off", hint=f"{AGAIN}; --cut-off queue queues them")
    say(f"{told}; labelers cannot rank what is not finished ({AGAIN})")
    asked = choice == "ask" and many and sys.stdin.isatty() and sys.stderr.isatty()
    if asked and not _agreed("Queue them for labelers all the same? [y/N] "):
        raise UsageError("nothing was queued", where="--cut-off", hint=AGAIN)
    return list(responses)


def _agreed(question: str) -> bool:
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
