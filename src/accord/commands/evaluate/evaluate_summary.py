"""The project's summary.json: an evaluation's metrics under fixed names, with time and memory by run; and how it is printed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from accord.commands.evaluate.text_figures import print_text_figures
from accord.runtime.progress import table
from accord.runtime.project import Project
from accord.runtime.runs import Run


def summary_of(project: Project, metrics: Mapping[str, Any], *, base: str, sft: str, policies: Sequence[str]) -> dict[str, Any]:
    """Return the content of summary.json, which `make demo` prints at its end."""
    runs = {name: Run(project.run(name), name, {}).summary for name in project.runs()}
    seconds = {name: summary["seconds"] for name, summary in runs.items() if "seconds" in summary}
    speeds = {name: _median_speed(project, name) or summary.get("tokens_per_second") for name, summary in runs.items()}
    ppo, plain = policies[0], next((name for name in policies if name.endswith("no-ptx")), "")
    made_up, tax = metrics["hallucination"], metrics["alignment_tax"]
    duels = {"sft_vs_base": f"{sft}_vs_{base}", "ppo_vs_sft": f"{ppo}_vs_{sft}", "bon_vs_sft": f"best-of-n_vs_{sft}"}
    duels |= ({"ppo_no_ptx_vs_sft": f"{plain}_vs_{sft}"} if plain else {}) | {"ppo_vs_bon": f"{ppo}_vs_best-of-n"}
    return {
        "seconds": seconds | {"total": round(sum(seconds.values()), 1)},
        "tokens_per_second": {name: round(speed) for name, speed in speeds.items() if speed},
        "peak_rss_mb": max(summary.get("peak_rss_mb", 0) for summary in runs.values()),
        "agreement": metrics["agreement"],
        "reward_model": metrics["reward_model"],
        "win_rate": {name: metrics["win_rate"][duel] for name, duel in duels.items()},
        "ties": {name: metrics["ties"][duel] for name, duel in duels.items()},
        "kl": metrics["kl"],
        "alignment_tax": {"sft": tax[sft], "ppo_ptx": tax[ppo]} | ({"ppo_no_ptx": tax[plain]} if plain else {}),
        "hallucination": {key: made_up[name] for key, name in (("base", base), ("sft", sft), ("ppo", ppo)) if name in made_up},
        "criteria": metrics["criteria"],
        "text": metrics["text"],
        "measured_by": metrics["measured_by"],
        **({"utility_by_scene": metrics["utility_by_scene"]} if "utility_by_scene" in metrics else {}),
    }


def _median_speed(project: Project, name: str) -> float | None:
    path = project.run(name) / "metrics.jsonl"
    if not path.exists():
        return None
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    speeds = sorted(row["tokens_per_second"] for row in rows if row.get("tokens_per_second"))
    return speeds[len(speeds) // 2] if speeds else None


def print_summary(summary: Mapping[str, Any]) -> None:
    """Print the tables that the demo ends with."""
    duels = [(name.replace("_", " "), _percent(rate), f"{summary['ties'][name]:.0%}") for name, rate in summary["win_rate"].items()]
    table("who is preferred, by the gold judge (95% interval)", ["duel", "win rate, a tie half", "ties"], duels)
    names = list(next(iter(summary["criteria"].values())))
    means: list[list[str]] = []
    for model, row in summary["criteria"].items():
        means.append([model, *(f"{row[name]:.2f}" for name in names)])
    table("criteria, 0 to 1", ["model", *names], means)
    if scenes := summary.get("utility_by_scene"):
        systems = list(next(iter(scenes.values())))
        table(
            "utility by scene",
            ["scene", *systems],
            [(scene, *(_percent(each[name]) for name in systems)) for scene, each in scenes.items()],
        )

    print_text_figures(summary)
    rows = [("labelers agree", _percent(summary["agreement"]))]
    rows.append(("reward model against gold", _percent(summary["reward_model"]["accuracy_gold"])))
    for key, share in summary["reward_model"].items():
        if key != "accuracy_gold":
            rows.append((f"reward model: {key.replace('_', ' ')}", f"{share:.0%}"))
    rows += [(f"KL to SFT: {key}", f"{nats:.1f} nats") for key, nats in summary["kl"].items()]
    rows += [(f"alignment tax: {key}", f"{tax:+.1%}") for key, tax in summary["alignment_tax"].items()]
    rows += [(f"makes things up: {key}", _percent(share)) for key, share in summary["hallucination"].items()]
    table("what it cost, and what it knows", ["metric", "value"], rows)


def _percent(interval: Sequence[float]) -> str:
    mean, low, high = interval
    return f"{mean:.0%}  ({low:.0%} to {high:.0%})"
