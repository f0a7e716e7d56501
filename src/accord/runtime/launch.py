"""`--processes N`: start a command as N processes by torchrun, with the same words, and say which of them failed."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from accord.errors import Preempted
from accord.runtime.preemption import NAMES
from accord.runtime.ranks import STAGES
from accord.runtime.threads import ENVIRONMENT


def launch(words: Sequence[str], processes: int) -> int:
    """Run ``accord`` with these words as so many processes of this machine; return the exit code of the first that failed, or 0.

    It is ``torchrun --standalone --nproc-per-node N -m accord WORDS``, within this process. Each has its share of the processors' threads,
    unless OMP_NUM_THREADS says otherwise.
    """
    import logging

    import torch
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    os.environ.setdefault("TORCHELASTIC_SIGNALS_TO_HANDLE", ",".join(dict.fromkeys([*NAMES, "SIGINT", "SIGHUP", "SIGQUIT"])))
    os.environ.setdefault(ENVIRONMENT, str(max(torch.get_num_threads() // processes, 1)))
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # it would list each stopped process as a failure
    with tempfile.TemporaryDirectory(prefix="accord-stages-") as stages:
        os.environ[STAGES] = stages
        try:
            run.main(["--standalone", "--nproc-per-node", str(processes), "-m", "accord", *words])
        except ChildFailedError as error:
            number, failure = error.get_first_failure()
            if failure.exitcode >= 0:
                return failure.exitcode
            name = signal.Signals(-failure.exitcode).name
            noted = Path(stages, str(number))
            stage = noted.read_text("utf-8") if noted.exists() else "its start"
            print(f"accord: process {number} of {processes} was stopped by {name}; it was last at {stage}", file=sys.stderr, flush=True)
            return 128 - failure.exitcode
        except SignalException as error:  # passed on to the processes, which have saved and left, or were killed
            name = signal.Signals(error.sigval).name
            return Preempted.exit_code if name in NAMES else 128 + error.sigval
    return 0
