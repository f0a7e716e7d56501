"""Is it really better? Comparisons, the KL-reward frontier, a reward model's examination, probes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, cast

from cyclopts import Parameter

from accord.cli.app import AsJson, Flat, Precision, ProjectPath, app, say
from accord.settings import CompareConfig, ExamineConfig, FrontierConfig, ProbeConfig

ACCURACIES = ("accuracy", "accuracy_train", "accuracy_heldout_group", "accuracy_gold", "longer_is_better", "agreement", "noise_ceiling")
RunName = Annotated[str, Parameter(help="Name of this run.")]
Again = Annotated[bool, Parameter(help="Take the place of a finished run of this name.", negative="")]


@app.command
def compare(
    project: ProjectPath,
    *systems: Annotated[
        str,
        Parameter(help="Two or more: MODEL, MODEL+few-shot (or +chain-of-thought, +honest, +respectful, +quote), or http://host/v1#MODEL."),
    ],
    by: Annotated[Literal["gold", "reward", "llm", "people"], Parameter(help="Who judges.")] = "gold",
    reward: Annotated[str, Parameter(help="The reward model that judges, by reward.")] = "reward",
    judge: Annotated[str, Parameter(help="OpenAI-compatible address of the judge, by llm.")] = "",
    judge_model: Annotated[str, Parameter(help="The judge's name at that address.")] = "",
    criteria: Annotated[
        tuple[str, ...], Parameter(help="Also ask an LLM judge for helpful, truthful or harmless alone.", negative="")
    ] = (),
    name: RunName = "compare",
    again: Again = False,
    json: AsJson = False,
    dtype: Precision = "auto",
    config: Annotated[CompareConfig, Flat] = CompareConfig(),
) -> None:
    """Says which of two or more systems is preferred on held-out prompts, and how sure that is.

    Example: accord compare my-town base+few-shot sft ppo --by gold
    """
    from accord.runtime.project import Project
    from accord.stages.comparing import compare_stage

    found = compare_stage(
        Project.open(project),
        config,
        systems=systems,
        by=by,
        name=name,
        dtype=dtype,
        reward=reward,
        judge=judge,
        judge_model=judge_model,
        criteria=criteria,
        again=again,
    )
    _compared(found, json)


@app.command
def frontier(
    project: ProjectPath,
    run: Annotated[str, Parameter(help="A run of ppo (or another that was rewarded by a reward model).")],
    *,
    gold: Annotated[str, Parameter(help="A second reward model in the place of the world's gold judge.")] = "",
    name: RunName = "frontier",
    again: Again = False,
    json: AsJson = False,
    dtype: Precision = "auto",
    config: Annotated[FrontierConfig, Flat] = FrontierConfig(),
) -> None:
    """Draws reward against KL for a run's kept policies and for best-of-n, and says where to stop.

    Example: accord ppo my-town --keep-every 5 --name ppo2 && accord frontier my-town ppo2
    """
    from accord.runtime.progress import table
    from accord.runtime.project import Project
    from accord.stages.frontier import frontier_stage

    found = frontier_stage(Project.open(project), config, run=run, name=name, gold=gold, again=again, dtype=dtype).summary
    if json:
        return say("frontier", found, True)
    points = [
        (f"step {p['step']}", _three(p["kl"], 2), _three(p["proxy"]), _three(p["gold"]) if "gold" in p else "") for p in found["policies"]
    ]
    best = [
        (f"best of {p['n']}", f"{p['kl']:.2f}", _three(p["proxy"]), _three(p["gold"]) if "gold" in p else "") for p in found["best_of_n"]
    ]
    table(f"{run}: reward against KL, {found['prompts']} prompts", ["policy", "KL", "proxy", f"gold by {found['gold_by']}"], points + best)
    print(
        found["stop"]["line"]
        if "stop" in found
        else "There is no gold reward to say where to stop: --gold NAME takes a second reward model."
    )


@app.command
def examine(
    project: ProjectPath,
    reward: Annotated[str, Parameter(help="A reward model of the project.")] = "reward",
    *,
    name: RunName = "examine",
    again: Again = False,
    json: AsJson = False,
    dtype: Precision = "auto",
    config: Annotated[ExamineConfig, Flat] = ExamineConfig(),
) -> None:
    """Says how good a reward model is: accuracy, calibration, ceiling, biases, and the comparisons it gets most wrong.

    Example: accord examine my-town reward --curve 4 --requeue 20
    """
    from accord.runtime.progress import table
    from accord.runtime.project import Project
    from accord.stages.examining import examine_stage

    found = examine_stage(Project.open(project), config, reward=reward, name=name, again=again, dtype=dtype).summary
    if json:
        return say("examine", found, True)
    rows = [(key, _three(found[key])) for key in ACCURACIES if found.get(key)]
    rows += [(f"calibration: {key}", f"{value:.3f}") for key, value in found["calibration"].items() if not isinstance(value, list)]
    table(f"{reward} on {found['comparisons']} held-out comparisons", ["figure", "value"], rows)
    form = [(name, *(_number(each[key]) for key in ("score", "labels", "excess"))) for name, each in found["form"].items()]
    table("correlation with form, within prompts", ["form", "reward", "labels", "beyond labels"], form)
    moved = [(name, f"{each['shift']:.3f}", f"{each['turned']:.1%}") for name, each in found["invariance"].items()]
    table("changes that should not matter", ["change", "shift in sd", "pairs turned"], moved)
    if "curve" in found:
        table("learning curve", ["comparisons", "accuracy"], [(p["comparisons"], _three(p["accuracy"])) for p in found["curve"]])
        print(f"Twice the labels would bring about {found['twice_the_labels']:+.3f}.")
    print(f"{found['wrong']} comparisons are ordered otherwise than labelers do; the worst stand in runs/{name}/samples.jsonl.")


@app.command
def probe(
    project: ProjectPath,
    *systems: Annotated[str, Parameter(help="Models, or MODEL+CONDITION as in compare; every language model when none is named.")],
    measure: Annotated[
        tuple[Literal["tax", "truth", "safety", "fairness"], ...],
        Parameter(help="What is measured; everything when neither this nor --file is given.", negative=""),
    ] = (),
    file: Annotated[
        tuple[Path, ...], Parameter(help="A public test: TruthfulQA, BBQ, winogender, CrowS-Pairs, multiple choice, GSM8K.", negative="")
    ] = (),
    base: Annotated[str, Parameter(help="What the alignment tax is counted from.")] = "base",
    reward: Annotated[str, Parameter(help="A reward model to be tried with swapped groups.")] = "",
    lexicon: Annotated[Path | None, Parameter(help="More words that count as toxic, one a line.")] = None,
    name: RunName = "probe",
    again: Again = False,
    json: AsJson = False,
    dtype: Precision = "auto",
    config: Annotated[ProbeConfig, Flat] = ProbeConfig(),
) -> None:
    """Says what training cost and taught besides: alignment tax, truthfulness, safety, fairness, public tests.

    Example: accord probe my-town sft ppo --measure truth --file bbq/Age.jsonl.gz
    """
    from accord.runtime.project import Project
    from accord.stages.probing import probe_stage

    found = probe_stage(
        Project.open(project),
        config,
        systems=systems,
        measures=measure,
        files=file,
        base=base,
        reward=reward,
        lexicon=lexicon,
        name=name,
        again=again,
        dtype=dtype,
    ).summary
    if json:
        return say("probe", found, True)
    _probed(found)


def _probed(found: dict[str, Any]) -> None:
    from accord.runtime.progress import table

    if "raw_text_loss" in found:
        taxes = [(model, f"{loss:.4f}", _percent(found["alignment_tax"].get(model))) for model, loss in found["raw_text_loss"].items()]
        table("alignment tax on raw text", ["model", "nats a byte", "tax"], taxes)
    for part in ("truth", "safety", "swaps", "served"):
        if found.get(part):
            table(part, ["of", "figure", "value"], [(name, *row) for name, each in found[part].items() for row in _flat(each)])
    for name, each in found.get("files", {}).items():
        rows = [(system, *row) for system in found["systems"] if system in each for row in _flat(each[system])]
        table(f"{name}: {each['kind']}, {each['items']} items", ["model", "figure", "value"], rows)


def _flat(figures: dict[str, Any], before: str = "") -> list[tuple[str, str]]:
    """Figures inside figures as rows; long lists by occupation stay in the JSON."""
    rows: list[tuple[str, str]] = []
    for key, value in figures.items():
        if isinstance(value, dict) and key != "by_occupation":
            rows += _flat(cast("dict[str, Any]", value), f"{before}{key} ")
        elif isinstance(value, list):
            rows.append((before + key, _three(cast("list[float | None]", value))))
        elif isinstance(value, int | float):
            rows.append((before + key, f"{value:g}"))
    return rows


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:+.1%}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:+.2f}"


def _compared(found: dict[str, Any], json: bool) -> None:
    from accord.runtime.progress import table

    if json or "win_rate" not in found:
        if not json:
            print("Nobody has answered yet: the blind comparisons wait in the site (accord label), then run this again.")
        return say("compare", found.get("people", found) if not json else found, json)
    rows = [
        (duel, _three(rate), f"{found['ties'][duel]:.0%}", _three(found["win_rate_length_controlled"][duel]), _more(found, duel))
        for duel, rate in found["win_rate"].items()
    ]
    table(
        f"win rates by {found['judge']}, {found['prompts']} prompts", ["duel", "win rate", "ties", "at equal length", "to settle it"], rows
    )
    ranks = [(name, _three(each["strength"], 2), "{} to {}".format(*each["rank_range"])) for name, each in found["strength"].items()]
    table("Bradley-Terry strengths", ["system", "log-odds", "rank"], ranks)


def _more(found: dict[str, Any], duel: str) -> str:
    more = found["more_prompts"][duel]
    return "settled" if more == 0 else "no number of prompts would" if more is None else f"{more} more prompts"


def _three(figure: list[float | None], digits: int = 3) -> str:
    mean, low, high = figure
    return "not defined" if mean is None else f"{mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
