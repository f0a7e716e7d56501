"""The same budget of people's time spent on demonstrations or on comparisons, after the first 150 demonstrations: where the curves cross.

A unit is one prompt: somebody writes an answer to it, or ranks four answers of the SFT model, which DPO learns from. Where a ranking
takes a third of the time, three times as many rankings are held against the demonstrations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import small
from frame import Row, above, row

from accord.commands.world import world_of

FIRST = 150
BUDGETS = (100, 300, 900)
SOURCE = "after Ouyang et al. 2022, section 5.3, and Rafailov et al. 2023"


def measure(folder: Path, seed: int) -> Mapping[str, float]:
    """Gold utility by what the budget bought, and how much of it."""
    parent = small.begun(folder, seed)
    written = small.demonstrations(parent)
    start = small.child(parent, "start", written[:FIRST])
    small.fine_tuned(start, seed)
    found = {"sft": small.measured(start, "sft", seed).utility}
    asked = [prompt for prompt in small.prompts_of(parent, "train") if prompt.id not in {each.prompt.id for each in written[:FIRST]}]
    said = small.responses(start, "sft", asked[: max(BUDGETS)], 4, seed)
    for budget in BUDGETS:
        more = small.child(parent, f"written-{budget}", written[: FIRST + budget])
        small.fine_tuned(more, seed)
        found[f"written {budget}"] = small.measured(more, "sft", seed).utility
        compared = small.child(start, f"compared-{budget}", written[:FIRST], models=("base", "sft"))
        small.ranked(compared, list(zip(asked, said, strict=False))[:budget], small.people(world_of(parent)))
        small.preferences(compared, seed)
        found[f"compared {budget}"] = small.measured(compared, "dpo", seed).utility
    return found


def rows(each: Sequence[Mapping[str, float]]) -> list[Row]:
    made = list[Row]()
    for written, compared in ((100, 100), (300, 300), (900, 900), (100, 300), (300, 900)):
        ahead = [found[f"compared {compared}"] - found[f"written {written}"] for found in each]
        price = "as dear as" if written == compared else f"{compared // written} times as cheap as"
        claim = f"{compared} rankings of four are worth more than {written} demonstrations (a ranking {price} a demonstration)"
        made.append(row(claim, ahead, above(0.0), source=SOURCE, note="gold utility, difference; after 150 demonstrations; DPO"))
    for budget in BUDGETS:
        gained = [found[f"compared {budget}"] - found["sft"] for found in each]
        made.append(
            row(f"{budget} rankings of four raise the SFT model", gained, above(0.0), source=SOURCE, note="gold utility, difference")
        )
    return made


if __name__ == "__main__":
    small.run(measure, rows, __doc__)
