"""Learning from the policy's own samples without a value model: what grpo, rloo, reinforce, raft and online-dpo have in common."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from accord.commands.app import RunFlags
from accord.commands.models import digest_of, load_model, locate, training_dtype
from accord.commands.train.episodes import playing
from accord.commands.train.rewards import HELD_OUT, held_out, mixture, open_held_out, open_rewards
from accord.commands.train.run import (
    askable,
    counted_prompts,
    ending,
    plan_run,
    replayed,
    rollouts_of,
    save,
    template_input,
    with_rates,
    with_reference,
)
from accord.commands.train.samplers import opened_sampler
from accord.evaluation.run_facts import note_alarms
from accord.runtime.project import Project
from accord.runtime.runs import Run


def learn_from_samples(
    project: Project, algorithm: Any, config: Any, *, stage: str, sft: str, reward: str, name: str, flags: RunFlags
) -> Run:
    """Improve the SFT model by an algorithm that samples, and save models/NAME.

    Args:
        algorithm: a module of accord.algorithms whose ``train`` takes policy, reference, sampler, rewards and prompts.
        stage: the command's name.

    Raises:
        ModelError: a model is missing, or the reward model reads another tokenizer's ids.
        InputError: there are no training prompts, or none that the rewards can be given for.
    """
    flags.start()
    source = locate(project, sft)
    replay = replayed(project, config)
    spec, held_out_spec = open_rewards(project, config, reward, name), open_held_out(project, config, reward, name)
    inputs = {"sft": digest_of(source), **spec.inputs, **template_input(project)}
    inputs |= {"replay": replay.recordings.digest()} if replay else {}
    run = Run.start(project.run(name), stage=stage, config=config, inputs=inputs, resume=flags.resume, seed=config.seed)
    if run.done:
        return run
    with run.finishing() as metrics:
        dtype = training_dtype(flags.dtype)
        plan_run(run, metrics, source, config, dtype, prompts=spec.prompts, reward_models=len(set(spec.models.values())))
        model = load_model(project, sft, bits=config.lora_bits)
        config = with_rates(config, run, model.lm)
        chat_format = model.format
        policy, reference = with_reference(model.lm, config, lambda: load_model(project, sft).lm, stage, "lora")
        asked, prompts, window = askable(chat_format, spec.prompts, config.max_tokens, config.long_rows)
        spec = replace(spec, prompts=asked)
        metrics |= counted_prompts(run, window)
        built: dict[str, Any] = {"sharding": config, "bits": config.lora_bits, "micro_tokens": config.micro_tokens, "loaded": {}}
        with opened_sampler(
            config, policy, reference, chat_format, run, dtype, prompts=prompts, metrics=metrics, replay=replay
        ) as drawn_by:
            algorithm.train(
                config,
                policy=policy,
                reference=reference,
                rewards=mixture(project, run, spec, model, config, prompts, dtype, **built),
                held_out=held_out(project, run, held_out_spec, model, config, dtype, **built),
                sampler=drawn_by if replay else playing(project, config, drawn_by, chat_format, run),
                prompts=prompts,
                decode=chat_format.written,
                run=run,
                dtype=dtype,
            )
        metrics |= ending(run, "reward", "kl_k1", "finished", *HELD_OUT)
        parents = {sft: inputs["sft"], **spec.parents}
        data = spec.data | rollouts_of(run)
        save(project, name, policy, chat_format.tokenizer, run, parents=parents, data=data, config=config, metrics=metrics)
    note_alarms(run)
    return run
