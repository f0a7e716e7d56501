"""What `--patience` does: a policy that stops when its held-out reward no longer rises, against one that learns to the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import small
from frame import Row, above, row
from whose_values import prepared

from accord import GrpoConfig, RewardConfig, config, grpo, reward

STEPS = 24
SOURCE = "after Gao et al. 2023 (overoptimisation)"


def measure(folder: Path, seed: int) -> Mapping[str, float]:
    """Gold utility of GRPO with and without patience, and the share of the steps that patience took."""
    _, project = prepared(folder, seed)
    reward(project, name="reward", flags=small.FLAGS, config=config(project, RewardConfig, seed=seed))
    found = dict[str, float]()
    for name, patience in (("patient", 2), ("to-the-end", 0)):
        settings = config(
            project,
            GrpoConfig,
            seed=seed,
            steps=STEPS,
            batch_size=64,
            minibatch_size=64,
            kl_coef=0.0,
            max_tokens=small.MAX_TOKENS,
            evaluate_every=3,
            evaluate_prompts=60,
            patience=patience,
            final_policy="best" if patience else "last",
        )
        run = grpo(project, name=name, flags=small.FLAGS, config=settings)
        found[name] = small.measured(project, name, seed).utility
        found[f"{name} steps"] = len((run.folder / "metrics.jsonl").read_text("utf-8").splitlines()) / STEPS
    found["sft"] = small.measured(project, "sft", seed).utility
    return found


def rows(each: Sequence[Mapping[str, float]]) -> list[Row]:
    ahead = [found["patient"] - found["to-the-end"] for found in each]
    claim, note = "Patience gives no worse a policy than learning to the end", "gold utility, difference; GRPO without a KL penalty"
    return [row(claim, ahead, above(-0.01), source=SOURCE, note=note)]


if __name__ == "__main__":
    small.run(measure, rows, __doc__)
