"""Best-of-n is about as good as PPO at the same KL."""

from __future__ import annotations

from collections.abc import Sequence

from frame import Row, row, run, summary, within

from accord import Project


def measure(given: Sequence[Project]) -> list[Row]:
    found = [summary(project) for project in given]
    distance = [each["kl"]["ppo"] - each["kl"]["best_of_n"] for each in found]
    rate = [each["win_rate"]["ppo_vs_bon"][0] - 0.5 for each in found]
    source = "Gao et al. 2022, section 3"
    return [
        row(
            "PPO and best-of-8 are equally far from SFT, to half a nat",
            distance,
            within(0.5),
            source=source,
            note="KL, PPO minus best-of-8",
        ),
        row(
            "Neither is preferred, to 5 points", rate, within(0.05), source=source, theirs="similar", note="win rate of PPO minus one half"
        ),
    ]


if __name__ == "__main__":
    run(measure)
