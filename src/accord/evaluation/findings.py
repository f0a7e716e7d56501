"""The findings of the doctor and the alarms: severity, confidence, metrics and quoted responses.

Their texts stand in ``remedies`` and ``alarm_words``. This module holds the records alone, so that rules,
report and command line share them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from accord.evaluation.alarm_words import HACKING
from accord.evaluation.remedies import LEARNING, Remedy

Severity = Literal["high", "medium", "low"]
REMEDIES: Mapping[str, Remedy] = MappingProxyType(LEARNING | HACKING)
ALARMS = frozenset(HACKING)
"""Findings that are signs of reward hacking."""
ORDER: dict[Severity, int] = {"high": 0, "medium": 1, "low": 2}
MEASURED_BY = "measured_by"
"""The metric of a finding that says which classifier it rests on and how good that is; ``card`` names its card."""
QUOTED = 3
"""Most responses that a finding quotes."""


@dataclass(frozen=True, slots=True)
class Said:
    """One response of a run's samples.jsonl, or of an evaluation."""

    prompt: str
    response: str
    step: int = 0
    score: float | None = None
    """Score by the reward model that is optimised."""
    finished: bool = True
    others: Mapping[str, float] = field(default_factory=dict[str, float])
    """Scores by judges that are not optimised: a second reward model, the gold judge."""
    use_case: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem, or a possible one. ``name`` is its entry in docs/doctor.md or docs/hacking.md."""

    name: str
    severity: Severity
    sure: float
    """Confidence from 0 to 1: from the metric's own noise when it is measured, 1 when it was read from a file."""
    metrics: Mapping[str, float | str] = field(default_factory=dict[str, "float | str"])
    quotes: tuple[Said, ...] = ()
    causes: tuple[str, ...] = ()
    """Names of the remedies' causes that the evidence points to, likeliest first. Empty means all of them."""
    about: str = ""
    """The model concerned, when a run holds several."""

    @property
    def remedy(self) -> Remedy:
        return REMEDIES[self.name]

    def title(self, language: Literal["en", "zh"] = "en") -> str:
        return self.remedy.title[language == "zh"]

    def what(self, language: Literal["en", "zh"] = "en") -> str:
        """Return one sentence with this run's metrics."""
        written = {key: value if isinstance(value, str) else number(value) for key, value in self.metrics.items()}
        return self.remedy.what[language == "zh"].format(**written)

    def change(self, language: Literal["en", "zh"] = "en") -> list[str]:
        """Return the possible changes, the most promising first."""
        lines = self.remedy.change
        return [lines[name][language == "zh"] for name in (self.causes or lines)]

    def as_json(self) -> dict[str, Any]:
        """Return the finding as JSON values."""
        quotes = [{"step": said.step, "prompt": said.prompt, "response": said.response, "score": said.score} for said in self.quotes]
        head = {"name": self.name, "about": self.about, "severity": self.severity, "sure": round(self.sure, 3)}
        words = {"title": self.title(), "what": self.what(), "change": self.change()}
        return head | words | {"metrics": dict(self.metrics), "causes": list(self.causes), "quotes": quotes}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Finding:
        """Return the finding that ``as_json`` wrote, here or in an older version. Raises KeyError or TypeError for anything else."""
        quotes = tuple(Said(said["prompt"], said["response"], int(said["step"]), said["score"]) for said in row["quotes"])
        if row["name"] not in REMEDIES or row["severity"] not in ORDER:
            raise KeyError(row["name"])
        metrics = row["metrics"] if "metrics" in row else row["figures"]
        return cls(row["name"], row["severity"], float(row["sure"]), metrics, quotes, tuple(row["causes"]), row["about"])


def number(value: float) -> str:
    """Return a number with three digits."""
    return f"{value:.3g}".replace("-", "\N{MINUS SIGN}")


def in_order(findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings, the gravest first and among these the surest."""
    return sorted(findings, key=lambda finding: (ORDER[finding.severity], -finding.sure, finding.name))
