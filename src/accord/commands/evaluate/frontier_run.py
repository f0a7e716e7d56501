"""The run whose frontier is measured: its record, its parents, the policies that it kept, and its log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from accord.commands.models import Model, digest_of, load_model
from accord.errors import InputError, RunError
from accord.models.adapters import add_lora, restore_trained
from accord.models.quantised import quantised
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.runtime.seeds import generator

LOGGED = 400
"""Logged steps that are written down; a longer run is thinned."""


def run_record(project: Project, run: str) -> dict[str, Any]:
    """Return a run's config.json.

    Raises:
        InputError: there is no such run.
    """
    file = project.run(run) / "config.json"
    if not file.is_file():
        raise InputError("there is no such run", where=str(file.parent), hint=f"it has: {', '.join(project.runs()) or 'none yet'}")
    return json.loads(file.read_text("utf-8"))


def parents_of(project: Project, record: dict[str, Any], run: str) -> tuple[str, str]:
    """Return the names of the models that a run started from and was rewarded by, found by their digests.

    Raises:
        InputError: one of them is not among the project's models.
    """
    by_digest = {digest_of(str(project.model(name))): name for name in project.models()}
    inputs = record.get("inputs", {})
    sft, reward = (by_digest.get(inputs.get(key, "")) for key in ("sft", "reward"))
    if sft is None or reward is None:
        missing = "SFT model" if sft is None else "reward model"
        hint = "its models must be as they were when it ran; a run without a reward model has no frontier"
        raise InputError(f"the run's {missing} is not among the project's models", where=str(project.run(run)), hint=hint)
    return sft, reward


def policies_of(project: Project, record: dict[str, Any], run: str, sft: str) -> Iterator[tuple[int, Model]]:
    """Yield every policy with its step: those that were kept, and the saved model where it is a later one."""
    kept, settings = Run(project.run(run), "", {}), record["config"]
    for step in kept.kept():
        model = load_model(project, sft)
        lm = quantised(model.lm) if settings.get("lora_bits") else model.lm
        # The adapters' first weights do not matter: the kept policy's take their place.
        if settings.get("lora_rank"):
            alpha, targets = settings.get("lora_alpha", 0.0), settings.get("lora_targets", "all-linear")
            lm = add_lora(lm, settings["lora_rank"], generator(0, "frontier"), alpha=alpha, targets=targets)
        restore_trained(lm, kept.policy(step)["policy"])
        yield step, Model(f"{run}@{step}", lm.eval(), model.format, f"{model.digest} {run} {step}")
    last = int(settings.get("steps") or settings.get("rounds") or 0)
    if run in project.models() and last not in kept.kept():
        yield last, load_model(project, run)


def logged_rewards(project: Project, run: str) -> list[list[float | None]]:
    """Return [step, kl_k1, reward] as the run logged them on its training prompts, thinned.

    Raises:
        RunError: a line is broken.
    """
    file = project.run(run) / "metrics.jsonl"
    if not file.exists():
        return []
    try:
        rows = [json.loads(line) for line in file.read_text("utf-8").split("\n")[:-1]]
    except ValueError as error:
        raise RunError("is no JSON lines file", where=str(file)) from error
    thinned = rows[:: max(1, len(rows) // LOGGED)]
    return [[row["step"], row.get("kl_k1"), row.get("reward")] for row in thinned]
