"""`accord frontier`: reward against KL of the policies that a run kept, and of best-of-n from its SFT model; says where to stop.

Needs a run that learned from a reward model and kept policies (--keep-every) or saved a model, its SFT model and reward model, and
prompts of held-out users. Leaves a run with a row per policy. Curves and peaks follow Gao, Schulman and Hilton 2022, section 3.
docs/frontier.md defines each metric.
"""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from accord.commands.app import Again, Compute, ComputeFlags, Flat, ProjectPath, RunName, interval_text, shows
from accord.commands.evaluate.frontier_curves import point_means, powers_of_two, reward_metrics
from accord.commands.evaluate.frontier_points import GOLD, best_of_n_point, open_judges, policy_point, sample_rows
from accord.commands.evaluate.frontier_run import logged_rewards, parents_of, policies_of, run_record
from accord.commands.evaluate.held_out import held_out_prompts
from accord.commands.models import answerable, compute_dtype, digest_of, load_model, locate
from accord.commands.world import has_world, world_of
from accord.errors import InputError
from accord.evaluation.run_facts import note_alarms
from accord.runtime.device import choose_device
from accord.runtime.jsonable import jsonable
from accord.runtime.progress import table
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.settings import FrontierConfig


def print_frontier(run: Run) -> None:
    """Print a line per policy and per n of best-of-n, and where to stop."""
    found = run.summary
    rows: list[tuple[str, str, str, str]] = []
    for point in found["policies"]:
        gold = interval_text(point["gold"]) if "gold" in point else ""
        rows.append((f"step {point['step']}", interval_text(point["kl"], 2), interval_text(point["proxy"]), gold))
    for point in found["best_of_n"]:
        gold = interval_text(point["gold"]) if "gold" in point else ""
        rows.append((f"best of {point['n']}", f"{point['kl']:.2f}", interval_text(point["proxy"]), gold))
    title = f"{found['run']}: reward against KL, {found['prompts']} prompts"
    table(title, ["policy", "KL", "proxy", f"gold by {found['gold_by']}"], rows)
    no_gold = "There is no gold reward to say where to stop: --gold NAME takes a second reward model."
    print(found["stop"]["line"] if "stop" in found else no_gold)


@shows(print_frontier)
def frontier(
    project: ProjectPath,
    run: Annotated[str, Parameter(help="A run of ppo (or another that was rewarded by a reward model).")],
    *,
    gold: Annotated[str, Parameter(help="A second reward model in the place of the world's gold judge.")] = "",
    name: RunName = "frontier",
    again: Again = False,
    flags: ComputeFlags = Compute(),
    config: Annotated[FrontierConfig, Flat] = FrontierConfig(),
) -> Run:
    """Measure reward and KL of a run's kept policies and of best-of-n, and say where to stop.

    Example: accord ppo my-town --keep-every 5 --name ppo2 && accord frontier my-town ppo2

    Raises:
        InputError: there is no such run, it had no reward model, or it kept no policy and saved no model.
        RunError: a finished run of this name is there.
    """
    opened = Project.open(project)
    choose_device(flags.device)
    record = run_record(opened, run)
    sft, proxy = parents_of(opened, record, run)
    truth = gold or (GOLD if has_world(opened) else "")
    prompts = held_out_prompts(opened, config.prompts, known=world_of(opened).specs if truth == GOLD else None)
    inputs = {"sft": digest_of(locate(opened, sft)), "reward": digest_of(locate(opened, proxy)), "gold": truth}
    if not Run(opened.run(run), "", {}).kept() and run not in opened.models():
        raise InputError("the run kept no policy and saved no model", where=str(opened.run(run)), hint="accord ppo --keep-every 5")
    if again:
        Run.discard(opened.run(name), "frontier")
    measured = Run.start(opened.run(name), stage="frontier", config=config, inputs=inputs, resume=False, seed=config.seed)
    with measured.finishing() as metrics:
        dtype = compute_dtype(flags.dtype)
        judges = open_judges(opened, proxy, truth, dtype)
        reference = load_model(opened, sft)
        asked, prompts = prompts, answerable(prompts, reference.format)
        first, candidates = best_of_n_point(reference, judges, prompts, config, dtype)
        points = [first]
        for step, policy in policies_of(opened, record, run, sft):
            points.append(policy_point(policy, step, reference, judges, prompts, config, dtype))
        metrics |= jsonable({"gold_by": truth} | reward_metrics(points, candidates, powers_of_two(config.best_of), config))
        metrics |= {"run": run, "sft": sft, "proxy": proxy, "prompts": len(prompts), "prompts_left_out": len(asked) - len(prompts)}
        metrics["logged"] = logged_rewards(opened, run)
        for point in points:
            measured.log(point.step, **point_means(point))
            measured.samples(point.step, sample_rows(point, prompts))
    note_alarms(measured)
    return measured
