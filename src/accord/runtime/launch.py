"""`--processes N`: start a command as N processes by torchrun, with the same words, and say which of them failed."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from accord.errors import Preempted
from accord.runtime.ranks import STAGES, exit_stage
from accord.runtime.threads import ENVIRONMENT

GRACE = {"--signals-to-handle": "SIGTERM,SIGINT,SIGHUP,SIGUSR1", "--shutdown-timeout": "300"}
"""torchrun passes these signals on; after so many seconds it kills a process that has not saved and ended, or does not miss a dead one."""


def launch(words: Sequence[str], processes: int) -> int:
    """Run ``accord`` with these words as so many processes of this machine; return the exit code of the first that failed, or 0.

    It is ``torchrun --standalone --nproc-per-node N -m accord WORDS``, within this process. Each has its share of the processors' threads,
    unless OMP_NUM_THREADS says otherwise. A signal that lets every process save and end gives their exit code.
    """
    import logging

    import torch
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    os.environ.setdefault(ENVIRONMENT, str(max(torch.get_num_threads() // processes, 1)))
    for name in [name for name in logging.root.manager.loggerDict if name.startswith("torch.distributed.elastic")]:
        logging.getLogger(name).setLevel(logging.CRITICAL)  # they list each stopped process as a failure
    known = run.get_args_parser().format_help()
    grace = [word for option, value in GRACE.items() if option in known for word in (option, value)]  # older versions have none
    with tempfile.TemporaryDirectory(prefix="accord-stages-") as stages:
        os.environ[STAGES] = stages
        try:
            run.main(["--standalone", "--nproc-per-node", str(processes), *grace, "-m", "accord", *words])
        except ChildFailedError as error:
            number, failure = error.get_first_failure()
            if failure.exitcode >= 0:
                return failure.exitcode
            name = signal.Signals(-failure.exitcode).name
            stage = _stage(stages, number)
            print(f"accord: process {number} of {processes} was stopped by {name}; it was last at {stage}", file=sys.stderr, flush=True)
            return 128 - failure.exitcode
        except SignalException as error:
            saved = all(_stage(stages, number) == exit_stage(Preempted.exit_code) for number in range(processes))
            return Preempted.exit_code if saved else 128 + error.sigval
    return 0


def _stage(folder: str, number: int) -> str:
    noted = Path(folder, str(number))
    return noted.read_text("utf-8") if noted.exists() else "its start"
