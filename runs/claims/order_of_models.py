"""PPO is preferred to SFT, SFT to the prompted base model, and that to the base model, on held-out users' prompts by the gold judge."""

from __future__ import annotations

from collections.abc import Sequence

from frame import OUYANG, Row, above, preferred, row, run

from accord import CompareConfig, Project, compare

SYSTEMS = ("ppo", "sft", "base+few-shot", "base")
CLAIMS = (
    ("PPO is preferred to SFT", "ppo", "sft", 0.734),
    ("SFT is preferred to the base model with a few-shot prompt", "sft", "base+few-shot", None),
    ("The base model with a few-shot prompt is preferred to the base model", "base+few-shot", "base", None),
    ("PPO is preferred to the base model", "ppo", "base", 0.85),
    ("PPO is preferred to the base model with a few-shot prompt", "ppo", "base+few-shot", 0.71),
)


def rates(project: Project) -> dict[tuple[str, str], float]:
    """Win rates of ordered pairs."""
    found = compare(project, *SYSTEMS, name="claims-order", again=True, config=CompareConfig(prompts=300))["win_rate"]
    return {(a, b): preferred(found, a, b) for _, a, b, _ in CLAIMS}


def measure(given: Sequence[Project]) -> list[Row]:
    found = [rates(project) for project in given]
    source = f"{OUYANG}, section 4.1 (175B)"
    return [row(claim, [each[a, b] for each in found], above(0.5), source=source, theirs=theirs) for claim, a, b, theirs in CLAIMS]


if __name__ == "__main__":
    run(measure)
