"""`accord evaluate`: compare base, SFT, best-of-n and policies on held-out users' prompts by the world's gold judge.

Needs a base model, an SFT model, a reward model, policies, and the built-in world. Leaves a run with the answers side by side, and
summary.json in the project. Win rates follow Ouyang et al. 2022, section 3.6. Only here does the gold judge meet a model's words,
after all training is over.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from cyclopts import Parameter

from accord.commands.app import Compute, ComputeFlags, Flat, ProjectPath, RunName, shows
from accord.commands.evaluate import evaluate_metrics as measure
from accord.commands.evaluate.evaluate_answers import Asker, side_by_side
from accord.commands.evaluate.evaluate_metrics import rounded
from accord.commands.evaluate.evaluate_summary import print_summary, summary_of
from accord.commands.evaluate.held_out import held_out_prompts_by_id
from accord.commands.evaluate.text_figures import RESTS_ON, references_of, text_figures
from accord.commands.models import answerable, asks, compute_dtype, digest_of, load_model, load_reward_model, locate
from accord.commands.scenes import staged_prompts
from accord.commands.world import world_of
from accord.data.classifiers.project_set import of_project
from accord.evaluation.run_facts import note_alarms
from accord.evaluation.statistics import best_of_n_kl
from accord.feedback.agreement import single_label_accuracy
from accord.runtime.device import choose_device
from accord.runtime.files import write_atomic
from accord.runtime.jsonable import jsonable
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.settings import EvaluateConfig
from accord.world import GoldJudge

BEST_OF_N = "best-of-n"


@shows(print_summary)
def evaluate(
    project: ProjectPath,
    *,
    base: Annotated[str, Parameter(help="Base model.")] = "base",
    sft: Annotated[str, Parameter(help="SFT model.")] = "sft",
    reward: Annotated[str, Parameter(help="Reward model, for best-of-n.")] = "reward",
    policy: Annotated[tuple[str, ...], Parameter(help="Policies to compare, best first.", negative="")] = ("ppo",),
    name: RunName = "evaluate",
    flags: ComputeFlags = Compute(),
    config: Annotated[EvaluateConfig, Flat] = EvaluateConfig(),
) -> dict[str, Any]:
    """Compare the models on held-out users' prompts by the world's gold judge, and write summary.json.

    The first policy is "ppo" in the summary; one whose name ends in "no-ptx" is the run without pretraining mix.

    Example: accord evaluate my-town --policy ppo --policy ppo-no-ptx

    Raises:
        UsageError: the project has no built-in world.
        InputError: it has no prompts of held-out users.
        ModelError: a model is missing.
    """
    opened = Project.open(project)
    choose_device(flags.device)
    world = world_of(opened)
    judge = GoldJudge(world, rules="evaluation")
    prompts = staged_prompts(opened, held_out_prompts_by_id(opened, config.prompts, known=world.specs))
    agreement = measure.training_agreement(opened)
    names = [base, sft, *policy]
    inputs = {model: digest_of(locate(opened, model)) for model in [*names, reward]}
    run = Run.start(opened.run(name), stage="evaluate", config=config, inputs=inputs, resume=False, seed=config.seed)
    with run.finishing() as metrics:
        models = {model: load_model(opened, model) for model in names}
        asked, prompts = prompts, answerable(prompts, *(model.format for model in models.values()))
        asker = Asker(judge, prompts, config, compute_dtype(flags.dtype))
        systems = {model: asker.answered(models[model]) for model in names}
        scorer = load_reward_model(opened, locate(opened, reward), asker.dtype)
        systems[BEST_OF_N], accuracy = asker.best_of_n(models[sft], scorer)

        duels = [(sft, base), *((each, sft) for each in policy), (BEST_OF_N, sft), *((each, BEST_OF_N) for each in policy)]
        metrics |= measure.win_rates(prompts, systems, duels, config)
        metrics |= measure.by_scenes(prompts, systems, config)
        metrics["kl"] = {
            each: measure.kl(models[each], models[sft], systems[each], prompts, config.temperature, asker.dtype) for each in policy
        }
        metrics["kl"]["best_of_n"] = round(best_of_n_kl(config.best_of), 3)
        metrics["alignment_tax"], metrics["raw_text_loss"] = measure.taxes(opened, models, base, asker.dtype)
        absent = [prompt for prompt in prompts if world.fact_class(prompt.id) == "absent"]
        metrics["hallucination"] = measure.hallucination(judge, absent, models, config, asker.dtype)
        metrics["prompts_left_out"] = len(asked) - len(prompts)
        metrics["finished"] = {model: measure.finished(system) for model, system in systems.items()}
        metrics["criteria"] = {model: measure.criteria(system) for model, system in systems.items()}
        texts = {model: [response.text for response in system.responses] for model, system in systems.items()}
        draw = {"resamples": config.bootstrap, "seed": config.seed}
        classifiers = of_project(opened, asks(opened, dtype=flags.dtype))
        metrics["text"] = jsonable(text_figures(prompts, texts, references_of(opened, prompts), draw, classifiers))
        metrics |= classifiers.basis(**RESTS_ON)
        metrics["reward_model"] = {"accuracy_gold": rounded(accuracy)} | measure.trained_accuracy(opened, reward)
        metrics["agreement"] = rounded(agreement)
        metrics["reward_model"]["noise_ceiling"] = round(single_label_accuracy(agreement.mean), 4)
        run.samples(0, side_by_side(prompts, systems))
    note_alarms(run)
    summary = summary_of(opened, run.summary, base=base, sft=sft, policies=policy)
    write_atomic(opened.path / "summary.json", json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    return summary
