"""What is made up: InstructGPT makes half as much up in closed-domain tasks as GPT-3; demonstrations teach it to make things up."""

from __future__ import annotations

import json
from collections.abc import Sequence
from statistics import fmean

from frame import OUYANG, Row, above, below, row, run, summary

from accord import Project
from accord.commands.evaluate.held_out import held_out_prompts_by_id
from accord.commands.world import world_of
from accord.world import GoldJudge

CLOSED = ("closed_qa", "summarise", "extract")


def closed_domain(project: Project) -> dict[str, float]:
    """Share of answers to closed-domain prompts that state something the passage does not say, by model."""
    rows = [json.loads(line) for line in (project.run("evaluate") / "samples.jsonl").read_text("utf-8").splitlines()]
    judge = GoldJudge(world_of(project), rules="evaluation")
    prompts = held_out_prompts_by_id(project, len(rows))
    asked = [(prompt, said["responses"]) for prompt, said in zip(prompts, rows, strict=True) if prompt.use_case in CLOSED]
    return {name: fmean(judge.judge(prompt, said[name]).made_up for prompt, said in asked) for name in ("base", "sft", "ppo")}


def measure(given: Sequence[Project]) -> list[Row]:
    closed = [closed_domain(project) for project in given]
    absent = [{name: share[0] for name, share in summary(project)["hallucination"].items()} for project in given]
    source, schulman = f"{OUYANG}, section 4.2", "Schulman 2023 (talk, Berkeley)"
    less = [each["ppo"] - each["base"] for each in closed]
    taught = [each["sft"] - each["base"] for each in absent]
    more = [each["ppo"] - each["sft"] for each in absent]
    return [
        row("Closed domain: PPO makes less up than the base model", less, below(0.0), source=source, theirs=0.21 - 0.41),
        row("Facts nobody was told: SFT makes more up than the base model", taught, above(0.0), source=schulman),
        row("Facts nobody was told: PPO makes less up than SFT", more, below(0.0), source=schulman),
    ]


if __name__ == "__main__":
    run(measure)
