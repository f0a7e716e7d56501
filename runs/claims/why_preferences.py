"""Three hypotheses of why learning from preferences works (Goldberg 2023), each by an ablation on the same prompts.

Diversity: a demonstration is one of many good answers, and fitting it punishes the others. Ablation: fine-tuning on the best of the
model's own answers in place of one that somebody wrote. Negative signal: only preferences say what is bad. Ablation: fine-tuning on the
best answer of each ranking against DPO on the whole ranking. Hallucination: only preferences reach what the model itself does not know.
Ablation: DPO without the rankings of questions about facts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import small
from frame import Row, above, below, row
from small import Measured

from accord import Demonstration, Project
from accord.commands.world import world_of

FIRST, PROMPTS = 400, 600
SOURCE = "Goldberg 2023 (note on RL for language models)"


def measure(folder: Path, seed: int) -> Mapping[str, Measured]:
    """What each arm's model does on held-out users' prompts."""
    parent = small.begun(folder, seed)
    world, written = world_of(parent), small.demonstrations(parent)
    start = small.child(parent, "why", written[:FIRST])
    small.fine_tuned(start, seed)
    later = written[FIRST : FIRST + PROMPTS]
    asked = [each.prompt for each in later]
    said = small.responses(start, "sft", asked, 4, seed)
    groups = list(zip(asked, said, strict=True))

    def arm(name: str, demonstrations: Sequence[Demonstration]) -> Project:
        return small.child(start, name, demonstrations, models=("base", "sft"))

    whole = arm("whole", [])
    rankings = small.ranked(whole, groups, small.people(world))
    small.preferences(whole, seed)

    texts = {answer.id: answer.text for _, answers in groups for answer in answers}
    by_id = {prompt.id: prompt for prompt in asked}
    best = list[Demonstration]()
    for ranking in rankings:
        first = ranking.response_ids[ranking.ranks.index(min(ranking.ranks))]
        best.append(Demonstration(f"best-{ranking.id}", by_id[ranking.prompt_id], texts[first], ranking.labeler))
    chosen, taught = arm("chosen", best), arm("taught", later)
    for project in (chosen, taught):
        small.fine_tuned(project, seed, base="sft", name="more", epochs=1)

    def knowable(prompt_id: str) -> bool:
        spec = world.specs[prompt_id]
        return spec.kind not in ("fact", "unknowable", "premise")

    without = arm("no-facts", [])
    small.ranked(without, [(prompt, answers) for prompt, answers in groups if knowable(prompt.id)], small.people(world))
    small.preferences(without, seed)
    found = {"sft": start, "dpo": whole, "chosen": chosen, "written": taught, "dpo without facts": without}
    names = {"sft": "sft", "chosen": "more", "written": "more"}
    return {arm: small.measured(project, names.get(arm, "dpo"), seed) for arm, project in found.items()}


def rows(each: Sequence[Mapping[str, Measured]]) -> list[Row]:
    def ahead(one: str, other: str, figure: str) -> list[float]:
        return [getattr(found[one], figure) - getattr(found[other], figure) for found in each]

    utility, made_up = "gold utility, difference", "share made up about what cannot be known, difference"
    return [
        row(
            "Diversity: its own best answers teach more than one written answer to the same prompts",
            ahead("chosen", "written", "utility"),
            above(0.0),
            source=SOURCE,
            note=utility,
        ),
        row(
            "Diversity: its own best answers leave it more different answers than written ones",
            ahead("chosen", "written", "different"),
            above(0.0),
            source=SOURCE,
            note="different answers of four, difference in share",
        ),
        row(
            "Negative signal: DPO on whole rankings is above fine-tuning on the best of each",
            ahead("dpo", "chosen", "utility"),
            above(0.0),
            source=SOURCE,
            note=utility,
        ),
        row(
            "Hallucination: DPO makes less up than fine-tuning on written answers to the same prompts",
            ahead("dpo", "written", "made_up"),
            below(0.0),
            source="Schulman 2023 (talk, Berkeley); Goldberg 2023",
            note=made_up,
        ),
        row(
            "Hallucination: rankings of questions about facts are what makes DPO make less up",
            ahead("dpo", "dpo without facts", "made_up"),
            below(0.0),
            source="Schulman 2023 (talk, Berkeley); Goldberg 2023",
            note=made_up,
        ),
    ]


if __name__ == "__main__":
    small.run(measure, rows, __doc__)
