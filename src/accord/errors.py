"""One short exception tree.

AccordError                  any problem that the user can fix; the command line prints it on one line
├── UsageError (ValueError)      a bad flag, setting or combination             exit code 2
├── InputError (ValueError)      a file, row or record that cannot be used      exit code 1
├── ModelError (OSError)         a model folder that cannot be loaded or saved  exit code 1
├── StoreError (RuntimeError)    the feedback store refused or is not there     exit code 1
├── RunError (RuntimeError)      a run that failed or cannot be resumed         exit code 1
└── Preempted (RuntimeError)     a run that was told to end, and has saved      exit code 75
"""

from __future__ import annotations


class AccordError(Exception):
    """A problem that the user can fix: what went wrong, where, and how to fix it.

    Args:
        what: one sentence without a full stop.
        where: file, line, field or flag, if there is one.
        hint: how to fix it.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        self.what, self.where, self.hint = what, where, hint
        super().__init__(": ".join(part for part in (where, what) if part) + (f" ({hint})" if hint else ""))


class UsageError(AccordError, ValueError):
    exit_code = 2


class InputError(AccordError, ValueError):
    pass


class ModelError(AccordError, OSError):
    pass


class StoreError(AccordError, RuntimeError):
    pass


class RunError(AccordError, RuntimeError):
    pass


class Preempted(AccordError, RuntimeError):
    exit_code = 75  # EX_TEMPFAIL of sysexits.h: the same command may succeed later
