"""Learn from a data frame of comparisons by DPO.

    python examples/dpo_from_dataframe.py
    python examples/dpo_from_dataframe.py --project my-project

Takes a pandas data frame; where pandas is not installed, a list of dicts does as well. The comparisons here prefer the answer that a
labeler wrote to the same words backwards. Prints how often the policy prefers the better side.
"""

from __future__ import annotations

from typing import Any

from small_town import project_of_arguments

import accord


def comparisons(project: accord.Project) -> list[dict[str, Any]]:
    """Return rows as you may have them, in columns of your own names."""
    rows: list[dict[str, Any]] = []
    for row in accord.rows(project, "demonstrations"):
        backwards = " ".join(reversed(row["response"].split()))
        if backwards != row["response"]:
            rows.append({"question": row["prompt"], "good": row["response"], "bad": backwards})
    return rows


def main() -> None:
    project = project_of_arguments(__doc__)
    table: Any = comparisons(project)
    try:
        import pandas as pd

        table = pd.DataFrame(table)
    except ImportError:
        print("pandas is not installed: a list of dicts is taken")

    added = accord.add(project, table, columns={"prompt": "question", "chosen": "good", "rejected": "bad"})
    print(f"{added['read']} comparisons, {added['rankings']} of them new")

    config = accord.config(project, accord.DpoConfig, epochs=2, beta=0.3)
    run = accord.dpo(project, name="from-a-table", config=config)

    steps = accord.metrics(project, run)
    print("\nstep  loss   prefers the better side")
    for row in steps[:: max(1, len(steps) // 6)]:
        print(f"{row['step']:4}  {row['loss']:.3f}  {row['accuracy']:.0%}")
    print(f"on comparisons that it did not learn from: {run.summary['validation_accuracy']:.0%}")


if __name__ == "__main__":
    main()
