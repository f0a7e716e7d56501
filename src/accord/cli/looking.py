"""How good it became: evaluation, the report, and where a model came from."""

from __future__ import annotations

import json as jsons
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from accord.cli.app import AsJson, Flat, Name, Precision, ProjectPath, app, say
from accord.settings import EvaluateConfig


@app.command
def evaluate(
    project: ProjectPath,
    *,
    base: Annotated[str, Parameter(help="Base model.")] = "base",
    sft: Annotated[str, Parameter(help="SFT model.")] = "sft",
    reward: Annotated[str, Parameter(help="Reward model, for best-of-n.")] = "reward",
    policy: Annotated[tuple[str, ...], Parameter(help="Policies to compare, best first.", negative="")] = ("ppo",),
    name: Name = "evaluate",
    json: AsJson = False,
    dtype: Precision = "auto",
    config: Annotated[EvaluateConfig, Flat] = EvaluateConfig(),
) -> None:
    """Compares the models on held-out users' prompts by the world's gold judge and writes summary.json.

    Example: accord evaluate my-town --policy ppo --policy ppo-no-ptx
    """
    from accord.runtime.project import Project
    from accord.stages.evaluating import evaluate_stage

    opened = Project.open(project)
    evaluate_stage(opened, config, base=base, sft=sft, reward=reward, policies=policy, name=name, dtype=dtype)
    _summary(opened.path / "summary.json", json)


def _summary(path: Path, as_json: bool) -> None:
    """The table that the demo ends with."""
    from accord.runtime.progress import table

    summary = jsons.loads(path.read_text("utf-8"))
    if as_json:
        print(jsons.dumps(summary, ensure_ascii=False))
        return
    percent: Callable[[list[float]], str] = lambda three: f"{three[0]:.0%}  ({three[1]:.0%} to {three[2]:.0%})"  # noqa: E731
    table(
        "who is preferred, by the gold judge (95% interval)",
        ["duel", "win rate, a tie half", "ties"],
        [(k.replace("_", " "), percent(v), f"{summary['ties'][k]:.0%}") for k, v in summary["win_rate"].items()],
    )
    criteria = summary["criteria"]
    names = list(next(iter(criteria.values())))
    table("criteria, 0 to 1", ["model", *names], [(model, *(f"{row[name]:.2f}" for name in names)) for model, row in criteria.items()])
    rows = [
        ("labelers agree", percent(summary["agreement"])),
        ("reward model against gold", percent(summary["reward_model"]["accuracy_gold"])),
    ]
    rows += [
        (f"reward model: {key.replace('_', ' ')}", f"{value:.0%}")
        for key, value in summary["reward_model"].items()
        if key != "accuracy_gold"
    ]
    rows += [(f"KL to SFT: {key}", f"{value:.1f} nats") for key, value in summary["kl"].items()]
    rows += [(f"alignment tax: {key}", f"{value:+.1%}") for key, value in summary["alignment_tax"].items()]
    rows += [(f"makes things up: {key}", percent(value)) for key, value in summary["hallucination"].items()]
    table("what it cost, and what it knows", ["figure", "value"], rows)
