"""The command line: one command a stage. Flags come from accord.settings, accord.toml stands between them and the defaults.

Heavy imports stay inside the commands, so that `accord --help` answers at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import cyclopts

from accord.cli import (
    advising,
    chatting,
    curating,
    labeling,
    looking,
    measuring,
    moving,
    people,
    preferring,
    reasoning,
    reinforcing,
    serving,
    starting,
    training,
)
from accord.cli.app import app
from accord.errors import AccordError, UsageError

__all__ = [
    "advising",
    "app",
    "chatting",
    "curating",
    "labeling",
    "looking",
    "main",
    "measuring",
    "moving",
    "people",
    "preferring",
    "reasoning",
    "reinforcing",
    "serving",
    "starting",
    "training",
]


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command: exit code 0 for success, 1 for work that failed, 2 for bad usage, 130 for Ctrl-C.

    Args:
        arguments: what stands after `accord`; the process's own when None.
    """
    try:
        app(arguments, print_error=False, exit_on_error=False)
        sys.stdout.flush()
    except AccordError as error:
        _fail(str(error), error.exit_code)
    except cyclopts.CycloptsError as error:
        _fail(f"{' '.join(str(error).split())} (accord --help, or accord COMMAND --help)", UsageError.exit_code)
    except BrokenPipeError:
        _unread()
    except OSError as error:
        _fail(f"{error.filename or 'input or output'}: {error.strerror or error}", AccordError.exit_code)
    except KeyboardInterrupt:
        _fail("stopped; a training command goes on from its last checkpoint with --resume", 130)


def _unread() -> NoReturn:
    """Ends in silence: whoever read the output is gone (`| head`). The signal stays ignored, for a server's clients go away as well."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(AccordError.exit_code)


def _fail(message: str, code: int) -> NoReturn:
    print(f"accord: {message}", file=sys.stderr)
    sys.exit(code)
