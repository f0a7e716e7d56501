"""The stages that train a model: pretrain, sft, reward, ppo."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Any

from accord.algorithms import ppo, pretrain, reward, sft
from accord.algorithms.rewards import is_answer_key
from accord.data.corpus import read_documents
from accord.data.task_mixture import mixed, parse_weights, without
from accord.data.templates import ChatFormat, chat_format, give_chat_template
from accord.data.tokenizers import load_tokenizer, train_tokenizer
from accord.engine.local import LocalSampler
from accord.errors import InputError
from accord.feedback.criteria import ranked_by
from accord.feedback.labeler_kinds import said_by
from accord.feedback.store import Store
from accord.models.folders import load_scalar_model, scalar_from
from accord.models.policy import mean_loss
from accord.models.scalar import new_head
from accord.records import Demonstration, Prompt, RankedPrompt, Response
from accord.runtime import lineage
from accord.runtime.device import pick_device
from accord.runtime.files import new_folder
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.runtime.seeds import derive, generator
from accord.settings import PpoConfig, PretrainConfig, RewardConfig, SftConfig
from accord.stages.opening import compute_dtype, digest_of, finishing, frozen, learner, load_model, locate, save, tokenised
from accord.stages.rewarding import ask, mixture, same_tokenizer

TOKENIZER_DOCUMENTS = 20_000
"""Documents that the tokenizer is trained on."""


def pretrain_stage(project: Project, config: PretrainConfig, *, name: str, resume: bool, dtype: str) -> Run:
    """Trains a tokenizer and a decoder on the project's raw text and saves models/NAME."""
    text = lineage.digest_rows(read_documents(project.path / "corpus"))
    run = Run.start(project.run(name), stage="pretrain", config=config, inputs={"raw_text": text}, resume=resume, seed=config.seed)
    if run.done:
        return run
    with finishing(run) as figures:
        compute = compute_dtype(dtype)
        if not (run.folder / "tokenizer").exists():
            trained = train_tokenizer(islice(read_documents(project.path / "corpus"), TOKENIZER_DOCUMENTS), config.vocab_size)
            with new_folder(run.folder / "tokenizer") as folder:
                trained.save_pretrained(folder)
        tokenizer = load_tokenizer(run.folder / "tokenizer")
        corpus = tokenised(project, tokenizer, config.context)
        model = pretrain.fresh(config, len(tokenizer), tokenizer.eos_token_id, tokenizer.pad_token_id).to(pick_device())
        pretrain.train(config, model=model, corpus=corpus, run=run, dtype=compute)
        figures |= {
            "validation_loss": mean_loss(model, corpus.held_out(), dtype=compute),
            "documents": len(corpus),
            "corpus_tokens": corpus.size,
        }
        save(project, name, model, tokenizer, run, parents={}, data={"raw_text": text}, config=config, figures=figures)
    return run


def sft_stage(project: Project, config: SftConfig, *, base: str, name: str, resume: bool, dtype: str) -> Run:
    """Fine-tunes a base model on the store's demonstrations and saves models/NAME."""
    source = locate(project, base)
    folder = project.run(name)
    with Store.open(project.store_url) as store:
        demonstrations, digest = frozen(folder / "demonstrations.jsonl", Demonstration, said_by(store, _written(store), config.kinds))
    if not demonstrations:
        raise InputError(
            f"the store has no demonstrations by {config.kinds}", where=project.store_url, hint="`accord import` some, or write them"
        )
    inputs = {"base": digest_of(source), "demonstrations": digest}
    run = Run.start(folder, stage="sft", config=config, inputs=inputs, resume=resume, seed=config.seed)
    if run.done:
        return run
    with finishing(run) as figures:
        compute = compute_dtype(dtype)
        model = load_model(project, base)
        tokenizer = model.format.tokenizer
        give_chat_template(tokenizer)
        spoken = chat_format(tokenizer, model.format.context)
        model.lm.config.eos_token_id = model.lm.generation_config.eos_token_id = spoken.stop[0]
        shown, strange = without(demonstrations, config.held_out_tasks)
        training = mixed([row for row in shown if row.prompt.split == "train"], parse_weights(config.tasks), config.seed)
        examples = {
            split: [_example(spoken, row, config.max_tokens) for row in rows]
            for split, rows in (("train", training), ("validation", [row for row in shown if row.prompt.split != "train"]))
        }
        lm = learner(model.lm, config, "sft", "lora")
        raw_text = _raw_text(project, tokenizer, spoken.context, config.seed, config.ptx_tokens) if config.ptx_tokens else None
        sft.train(
            config, model=lm, examples=examples["train"], validation=examples["validation"], pretraining=raw_text, run=run, dtype=compute
        )
        figures |= {"demonstrations": len(examples["train"])}
        if examples["validation"]:
            figures["validation_loss"] = sft.response_loss(lm, examples["validation"], dtype=compute)
        if strange:
            unseen = [_example(spoken, row, config.max_tokens) for row in strange]
            figures["held_out_task_loss"] = sft.response_loss(lm, unseen, dtype=compute)
        save(
            project,
            name,
            lm,
            tokenizer,
            run,
            parents={base: inputs["base"]},
            data={"demonstrations": digest},
            config=config,
            figures=figures,
        )
    return run


def reward_stage(project: Project, config: RewardConfig, *, sft_model: str, name: str, resume: bool, dtype: str) -> Run:
    """Trains a reward model from the SFT model on the store's rankings and saves models/NAME."""
    source = locate(project, sft_model)
    folder = project.run(name)
    with Store.open(project.store_url) as store:
        ranked, digest = frozen(folder / "rankings.jsonl", RankedPrompt, said_by(store, _ranked_prompts(store, config), config.kinds))
        if not ranked:
            raise InputError(
                f"the store has no rankings by {config.kinds}", where=project.store_url, hint="`accord sample`, then `accord label`"
            )
        written = (row for row in _written(store) if row.prompt.split == "train")
        demonstrations, shown = frozen(folder / "demonstrations.jsonl", Demonstration, written)
    inputs = {"sft": digest_of(source), "rankings": digest, "demonstrations": shown}
    run = Run.start(folder, stage="reward", config=config, inputs=inputs, resume=resume, seed=config.seed)
    if run.done:
        return run
    with finishing(run) as figures:
        compute = compute_dtype(dtype)
        model = load_model(project, sft_model)
        spoken = model.format
        scalar = scalar_from(model.lm, new_head(model.lm.config.hidden_size, generator(config.seed, "reward", "head"))).to(pick_device())
        scalar = learner(scalar, config, "reward", "lora")
        insiders = [row for row in ranked if not config.held_out_group or row.group != config.held_out_group]
        outsiders = [row for row in ranked if config.held_out_group and row.group == config.held_out_group]
        learned = reward.with_mismatched([row for row in insiders if row.prompt.split == "train"], _mismatched(config), config.seed)
        training = [_ranked(spoken, row, config.max_tokens) for row in learned]
        validation = [_ranked(spoken, row, config.max_tokens) for row in insiders if row.prompt.split != "train"]
        held_out = [_ranked(spoken, row, config.max_tokens) for row in outsiders if row.prompt.split != "train"]
        scored = [_example(spoken, row, config.max_tokens).tokens for row in demonstrations]
        reward.train(config, model=scalar, rankings=training, validation=validation, demonstrations=scored, run=run, dtype=compute)
        figures |= {"rankings": len(training), "reward_bias": scalar.config.reward_bias}
        for key, rows in (("accuracy_labelers", validation), ("accuracy_heldout_group", held_out)):
            if rows:
                figures[key] = reward.accuracy(scalar, rows, dtype=compute)
        data = {"rankings": digest, "demonstrations": shown}
        save(project, name, scalar, spoken.tokenizer, run, parents={sft_model: inputs["sft"]}, data=data, config=config, figures=figures)
    return run


def ppo_stage(project: Project, config: PpoConfig, *, sft_model: str, reward_model: str, name: str, resume: bool, dtype: str) -> Run:
    """Improves the SFT model against the reward model and saves models/NAME, and its critic as models/NAME-value."""
    source, reward_source = locate(project, sft_model), locate(project, reward_model)
    asked = ask(project, config, reward_model, name)
    inputs = {"sft": digest_of(source), "reward": digest_of(reward_source), **asked.inputs}
    run = Run.start(project.run(name), stage="ppo", config=config, inputs=inputs, resume=resume, seed=config.seed)
    if run.done:
        return run
    with finishing(run) as figures:
        compute = compute_dtype(dtype)
        model = load_model(project, sft_model)
        same_tokenizer(model, reward_source)
        spoken = model.format
        prompts = [spoken.prompt(prompt.messages) for prompt in asked.prompts]
        actor = model.lm if config.lora_rank else load_model(project, sft_model).lm
        policy = learner(actor, config, "ppo", "lora", apart=True)
        value = learner(load_scalar_model(reward_source).to(pick_device()), config, "ppo", "value-lora", apart=True)
        ppo.train(
            config,
            policy=policy,
            reference=model.lm,
            value=value,
            sampler=LocalSampler(policy, stop=spoken.stop, dtype=compute),
            scorer=mixture(asked, model, config, prompts, compute),
            prompts=prompts,
            pretraining=_raw_text(project, spoken.tokenizer, spoken.context, config.seed, config.ptx_tokens) if config.ptx_coef else None,
            decode=lambda ids: spoken.tokenizer.decode(ids),
            run=run,
            dtype=compute,
        )
        parents = {sft_model: inputs["sft"], reward_model: inputs["reward"], **asked.parents}
        for target, trained in ((name, policy), (f"{name}-value", value)):
            save(project, target, trained, spoken.tokenizer, run, parents=parents, data=asked.data, config=config, figures=figures)
    return run


def _written(store: Store) -> Iterator[Demonstration]:
    """What somebody wrote out; a problem's answer alone is no demonstration of how to answer."""
    return (row for row in store.demonstrations() if not is_answer_key(row.text))


def _ranked_prompts(store: Store, config: RewardConfig) -> Iterator[RankedPrompt]:
    return store.ranked_prompts() if config.criterion == "overall" else ranked_by(store, config.criterion)


def _mismatched(config: RewardConfig) -> float:
    """A stranger's best response does no harm, so harm cannot be learned from it."""
    return 0.0 if config.criterion == "harmless" else config.mismatched


def _raw_text(project: Project, tokenizer: Any, context: int, seed: int, tokens: int) -> Callable[[int], Iterator[list[list[int]]]]:
    """Batches of raw-text documents from the n-th on, never those that validation reads."""
    corpus = tokenised(project, tokenizer, min(context, tokens))
    return partial(corpus.batches, derive(seed, "ptx"), tokens)


def _example(spoken: ChatFormat, row: Demonstration, max_tokens: int) -> sft.Example:
    return sft.example(
        spoken.prompt(row.prompt.messages), spoken.response(row.prompt.messages, row.text), max_tokens, f"demonstration {row.id}"
    )


def _ranked(spoken: ChatFormat, row: RankedPrompt, max_tokens: int) -> reward.RankedRows:
    responses = [_tokens(spoken, row.prompt, response) for response in row.responses]
    return reward.ranked_rows(spoken.prompt(row.prompt.messages), responses, row.ranks, max_tokens)


def _tokens(spoken: ChatFormat, prompt: Prompt, response: Response) -> list[int]:
    """The very tokens that were sampled, unless they are of another tokenizer."""
    sampled = list(response.tokens)
    return sampled if sampled and spoken.text(sampled) == response.text else spoken.response(prompt.messages, response.text)
