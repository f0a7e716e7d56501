"""A polite end from outside: SIGTERM and SIGUSR1 let a training finish its step and save, before it leaves with a code to restart on."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
"""SIGTERM is what schedulers send before they kill; SIGUSR1 is the warning that they can send earlier (Slurm: ``--signal``)."""
NAMES = tuple(number.name for number in SIGNALS)


class Preemption:
    """Whether this process was asked to end. It listens from ``listen`` to ``ignore``, where the program has no handlers of its own."""

    def __init__(self) -> None:
        self.asked = ""
        """The name of the signal; empty while there was none."""
        self._listens: list[signal.Signals] = []

    def listen(self) -> None:
        """Note a signal instead of ending by it. Only the main thread of a process can."""
        if self._listens or threading.current_thread() is not threading.main_thread():
            return
        for number in SIGNALS:
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, self._note)
                self._listens.append(number)

    def ignore(self) -> None:
        """End by a signal again, as a process does by itself."""
        for number in self._listens:
            if signal.getsignal(number) == self._note:
                signal.signal(number, signal.SIG_DFL)
        self._listens.clear()

    def _note(self, number: int, _frame: FrameType | Any) -> None:
        """Note the first signal. A second SIGTERM ends the process at once.

        Not under torchrun: there a scheduler may reach each process twice, by itself and through torchrun, which kills it after a time.
        """
        if self.asked == "SIGTERM" and number == signal.SIGTERM and "TORCHELASTIC_RUN_ID" not in os.environ:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        if self.asked != "SIGTERM":
            self.asked = signal.Signals(number).name
