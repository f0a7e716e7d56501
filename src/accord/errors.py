"""One short exception tree.

AccordError                  anything that is the user's to mend; the command line prints it in one line
├── UsageError (ValueError)      a bad flag, setting or combination             exit code 2
├── InputError (ValueError)      a file, row or record that cannot be used      exit code 1
├── ModelError (OSError)         a model folder that cannot be loaded or saved  exit code 1
├── StoreError (RuntimeError)    the feedback store refused or is not there     exit code 1
└── RunError (RuntimeError)      a run that failed or cannot be resumed         exit code 1
"""

from __future__ import annotations


class AccordError(Exception):
    """What went wrong, where, and what to do about it.

    Args:
        what: one sentence, no full stop needed.
        where: file, line, field or flag, when there is one.
        hint: what the user can do.
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
