"""Labelers who had no part in training prefer PPO to SFT as often as those who had."""

from __future__ import annotations

import json
from collections.abc import Sequence
from statistics import fmean

from frame import OUYANG, Row, above, row, run, within

from accord import Project, Prompt, Response
from accord.commands.evaluate.held_out import held_out_prompts_by_id
from accord.commands.world import world_of
from accord.feedback.guidelines import reference
from accord.world import HELD_OUT_GROUP, SimulatedLabeler, labelers

PAIR = ("ppo", "sft")


def answers(project: Project) -> list[tuple[Prompt, list[Response]]]:
    """What PPO and SFT said to each held-out prompt when the demo was evaluated."""
    rows = [json.loads(line) for line in (project.run("evaluate") / "samples.jsonl").read_text("utf-8").splitlines()]
    prompts = held_out_prompts_by_id(project, len(rows))
    found = zip(prompts, rows, strict=True)
    return [
        (prompt, [Response(f"{prompt.id}-{name}", prompt.id, said["responses"][name], name) for name in PAIR]) for prompt, said in found
    ]


def rate(people: Sequence[SimulatedLabeler], asked: Sequence[tuple[Prompt, list[Response]]]) -> float:
    """Share of prompts on which they prefer PPO's, a tie counting half: each prompt is ranked by one of them in turn."""
    worth: list[float] = []
    for number, (prompt, pair) in enumerate(asked):
        person = people[number % len(people)]
        ranking = person.rank(prompt, pair, guideline=reference("evaluation"), at="", id=f"{prompt.id}-{person.record.id}")
        ranks = dict(zip(ranking.response_ids, ranking.ranks, strict=True))
        ours, theirs = (ranks[response.id] for response in pair)
        worth.append(0.5 if ours == theirs else float(ours < theirs))
    return fmean(worth)


def measure(given: Sequence[Project]) -> list[Row]:
    pairs: list[tuple[float, float]] = []
    for project in given:
        people, asked = labelers(world_of(project)), answers(project)
        inside = [person for person in people if person.record.group != HELD_OUT_GROUP]
        outside = [person for person in people if person.record.group == HELD_OUT_GROUP]
        pairs.append((rate(inside, asked), rate(outside, asked)))
    source, theirs = f"{OUYANG}, section 4.1", "similar rates"
    return [
        row("Training labelers prefer PPO to SFT", [one for one, _ in pairs], above(0.5), source=source, theirs=theirs),
        row("Held-out labelers prefer PPO to SFT", [other for _, other in pairs], above(0.5), source=source, theirs=theirs),
        row(
            "Held-out labelers prefer it as often as training ones, to 5 points",
            [other - one for one, other in pairs],
            within(0.05),
            source=source,
            theirs=theirs,
        ),
    ]


if __name__ == "__main__":
    run(measure)
