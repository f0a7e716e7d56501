"""A run that is cut, for the tests of T40."""

from __future__ import annotations

from accord.runtime.runs import Run


class Killed(BaseException):
    """Stands for the power cut: nothing may catch it."""


class Doomed(Run):
    """A run that dies when it is about to write down step 15."""

    def log(self, step: int, **figures: float) -> None:
        if step == 15:
            raise Killed
        super().log(step, **figures)
