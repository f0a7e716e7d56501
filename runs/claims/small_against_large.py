"""A small aligned model is preferred to a much larger base model: 1.3B PPO to 175B GPT-3 there, 0.14M parameters to 1.28M here."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from frame import OUYANG, Row, above, preferred, row, run

from accord import CompareConfig, Model, PpoConfig, PretrainConfig, Project, RunFlags, SftConfig, compare, load_model, ppo, pretrain, sft

WIDTH = {"hidden_size": 48, "heads": 1, "intermediate_size": 144}
"""A quarter of the demo's width."""
BASE, SFT, PPO = "claims-small-base", "claims-small-sft", "claims-small-ppo"


def small_sft(project: Project) -> Model:
    """Pretrained and fine-tuned as the demo's models were, or found so."""
    pretraining = dataclasses.replace(PretrainConfig(**project.settings.get("pretrain", {})), **WIDTH)
    flags = RunFlags(resume=True)
    pretrain(project, name=BASE, config=pretraining, flags=flags)
    sft(project, base=BASE, name=SFT, config=SftConfig(**project.settings.get("sft", {})), flags=flags)
    return load_model(project, SFT)


def rates(project: Project) -> dict[str, float]:
    """Win rates of the small PPO model over the large base model, bare and with three demonstrations in its prompt.

    The reward model is the demo's, for InstructGPT's policies of all sizes learned from one.
    """
    small_sft(project)
    ppo(project, sft=SFT, name=PPO, config=PpoConfig(**project.settings.get("ppo", {})), flags=RunFlags(resume=True))
    systems = (PPO, "base", "base+few-shot")
    found = compare(project, *systems, name="claims-small", again=True, config=CompareConfig(prompts=300))["win_rate"]
    return {other: preferred(found, PPO, other) for other in systems[1:]}


def measure(given: Sequence[Project]) -> list[Row]:
    found, source = [rates(project) for project in given], f"{OUYANG}, section 4.1"
    return [
        row(f"PPO of 0.14M parameters is preferred to {name} of 1.28M", [each[key] for each in found], above(0.5), source=source, note=note)
        for key, name, note in (
            ("base", "the base model", "135 times larger there, 9 times here"),
            ("base+few-shot", "the base model with a few-shot prompt", ""),
        )
    ]


if __name__ == "__main__":
    run(measure)
