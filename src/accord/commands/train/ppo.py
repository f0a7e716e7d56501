"""`accord ppo`: improve the SFT model against the reward model under a KL penalty.

Needs an SFT model, training prompts and a reward (a reward model, unless --rewards names another); raw text for the pretraining mix.
Leaves models/NAME and its critic, models/NAME-value. Follows Ouyang et al. 2022, section 3.5; the algorithm and where it departs are in
algorithms/ppo.py.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from accord.algorithms import ppo as algorithm
from accord.commands.app import Flat, Name, ProjectPath, Reward, RunFlags, Sft, TrainFlags
from accord.commands.models import digest_of, load_model, load_reward_model, locate, training_dtype
from accord.commands.train.episodes import playing
from accord.commands.train.raw_text import need_raw_text, raw_text_batches
from accord.commands.train.rewards import HELD_OUT, critic_source, held_out, mixture, open_held_out, open_rewards
from accord.commands.train.run import (
    askable,
    counted_prompts,
    ending,
    plan_run,
    replayed,
    rollouts_of,
    save,
    scalar_model,
    template_input,
    with_rates,
    with_reference,
)
from accord.commands.train.samplers import opened_sampler
from accord.data.tokenizers import load_tokenizer
from accord.evaluation.run_facts import note_alarms
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.settings import PpoConfig


def ppo(
    project: ProjectPath,
    *,
    sft: Sft = "sft",
    reward: Reward = "reward",
    name: Name = "ppo",
    flags: TrainFlags = RunFlags(),
    config: Annotated[PpoConfig, Flat] = PpoConfig(),
) -> Run:
    """Improve the SFT model against the reward model under a KL penalty.

    Example: accord ppo my-town --steps 60 --kl-coef 0.05

    Raises:
        ModelError: a model is missing.
        InputError: there are no training prompts, or none that the rewards can be given for.
    """
    opened = Project.open(project)
    flags.start()
    if config.ptx_coef:
        need_raw_text(opened, "--ptx-coef 0")
    source = locate(opened, sft)
    replay = replayed(opened, config)
    critic_from = critic_source(opened, reward, source, config)
    rewards, held_out_spec = open_rewards(opened, config, reward, name), open_held_out(opened, config, reward, name)
    parents = {sft: digest_of(source), **({reward: digest_of(critic_from)} if critic_from else {}), **rewards.parents}
    inputs = {"sft": digest_of(source), **({"reward": digest_of(critic_from)} if critic_from else {})}
    inputs |= rewards.inputs | template_input(opened)
    inputs |= {"replay": replay.recordings.digest()} if replay else {}
    run = Run.start(opened.run(name), stage="ppo", config=config, inputs=inputs, resume=flags.resume, seed=config.seed)
    if run.done:
        return run
    with run.finishing() as metrics:
        dtype = training_dtype(flags.dtype)
        plan_run(run, metrics, source, config, dtype, prompts=rewards.prompts, reward_models=len(set(rewards.models.values())))
        model = load_model(opened, sft, bits=config.lora_bits)
        if critic_from:
            critic = load_reward_model(opened, critic_from, dtype, bits=config.lora_bits).model
            critic_tokenizer = load_tokenizer(critic_from)
        else:
            run.note("the critic starts as the SFT model with a new head: there is no reward model that reads the policy's tokens")
            begun = load_model(opened, sft, bits=config.lora_bits)
            critic, critic_tokenizer = scalar_model(begun, config.seed, "ppo"), begun.format.tokenizer
        config = with_rates(config, run, model.lm, critic)
        chat_format = model.format
        asked, prompts, window = askable(chat_format, rewards.prompts, config.max_tokens, config.long_rows)
        rewards = replace(rewards, prompts=asked)
        metrics |= counted_prompts(run, window)
        policy, reference = with_reference(model.lm, config, lambda: load_model(opened, sft).lm, "ppo", "lora")
        value, judge = with_reference(critic, config, None, "ppo", "value-lora")
        loaded = {critic_from: judge} if config.lora_rank and critic_from else {}
        built: dict[str, Any] = {"sharding": config, "bits": config.lora_bits, "micro_tokens": config.micro_tokens, "loaded": loaded}
        with opened_sampler(
            config, policy, reference, chat_format, run, dtype, prompts=prompts, metrics=metrics, replay=replay
        ) as drawn_by:
            algorithm.train(
                config,
                policy=policy,
                reference=reference,
                value=value,
                sampler=drawn_by if replay else playing(opened, config, drawn_by, chat_format, run),
                scorer=mixture(opened, run, rewards, model, config, prompts, dtype, **built),
                held_out=held_out(opened, run, held_out_spec, model, config, dtype, **built),
                prompts=prompts,
                pretraining=raw_text_batches(opened, chat_format, config.seed, config.ptx_tokens) if config.ptx_coef else None,
                decode=chat_format.written,
                run=run,
                dtype=dtype,
            )
        metrics |= ending(run, "reward", "kl_k1", "finished", *HELD_OUT)
        # The critic pads as the reward model does, which is not always how the policy pads.
        saved = ((name, policy, chat_format.tokenizer), (f"{name}-value", value, critic_tokenizer))
        data = rewards.data | rollouts_of(run)
        for target, trained, tokenizer in saved:
            save(opened, target, trained, tokenizer, run, parents=parents, data=data, config=config, metrics=metrics)
    note_alarms(run)
    return run
