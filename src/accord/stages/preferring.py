"""The stages that learn from people's preferences without a reward model: dpo, kto."""

from __future__ import annotations

from accord.algorithms import dpo, kto
from accord.data.templates import ChatFormat
from accord.errors import InputError
from accord.feedback.labeler_kinds import said_by
from accord.feedback.store import Store
from accord.feedback.thumbs import thumbs
from accord.records import Prompt, RankedPrompt, Response, Thumb
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.settings import DpoConfig, KtoConfig
from accord.stages.opening import compute_dtype, digest_of, finishing, frozen, learner, load_model, locate, save

SAMPLE = "`accord sample`, then `accord label`, or `accord import` rankings"


def dpo_stage(project: Project, config: DpoConfig, *, sft_model: str, name: str, resume: bool, dtype: str) -> Run:
    """Trains the SFT model on the store's rankings by the chosen loss and saves models/NAME."""
    source = locate(project, sft_model)
    folder = project.run(name)
    with Store.open(project.store_url) as store:
        ranked, digest = frozen(folder / "rankings.jsonl", RankedPrompt, said_by(store, store.ranked_prompts(), config.kinds))
    if not ranked:
        raise InputError(f"the store has no rankings by {config.kinds}", where=project.store_url, hint=SAMPLE)
    inputs = {"sft": digest_of(source), "rankings": digest}
    run = Run.start(folder, stage="dpo", config=config, inputs=inputs, resume=resume, seed=config.seed)
    if run.done:
        return run
    with finishing(run) as figures:
        usable = [row for row in ranked if len(set(row.ranks)) > 1 or config.ties == "model"]
        training = [row for row in usable if row.prompt.split == "train" and not outside(row.group, config.held_out_group)]
        if not training:
            what = f"none of the {len(ranked)} rankings has a pair to learn from: they are ties, held out, or of prompts not for training"
            raise InputError(what, where=project.store_url, hint=SAMPLE)
        unseen = [row for row in usable if row.prompt.split != "train"]
        compute = compute_dtype(dtype)
        model = load_model(project, sft_model)
        policy = learner(model.lm, config, "dpo", "lora")
        figures |= dpo.train(
            config,
            policy=policy,
            rankings=[_ranked(model.format, row, config.max_tokens) for row in training],
            validation=[_ranked(model.format, row, config.max_tokens) for row in unseen if not outside(row.group, config.held_out_group)],
            outsiders=[_ranked(model.format, row, config.max_tokens) for row in unseen if outside(row.group, config.held_out_group)],
            run=run,
            dtype=compute,
        )
        figures |= {"rankings": len(training)}
        parents, data = {sft_model: inputs["sft"]}, {"rankings": digest}
        save(project, name, policy, model.format.tokenizer, run, parents=parents, data=data, config=config, figures=figures)
    return run


def kto_stage(project: Project, config: KtoConfig, *, sft_model: str, name: str, resume: bool, dtype: str) -> Run:
    """Trains the SFT model on thumbs out of the store's rankings and saves models/NAME."""
    source = locate(project, sft_model)
    folder = project.run(name)
    with Store.open(project.store_url) as store:
        said = said_by(store, thumbs(store, config.thumbs, good=config.good_quality, bad=config.bad_quality), config.kinds)
        given, digest = frozen(folder / "thumbs.jsonl", Thumb, said)
    if not given:
        what = "the store has no ratings to make thumbs of" if config.thumbs == "ratings" else "the store has nothing to make thumbs of"
        raise InputError(f"{what} by {config.kinds}", where=project.store_url, hint=SAMPLE)
    inputs = {"sft": digest_of(source), "thumbs": digest}
    run = Run.start(folder, stage="kto", config=config, inputs=inputs, resume=resume, seed=config.seed)
    if run.done:
        return run
    with finishing(run) as figures:
        training = [row for row in given if row.prompt.split == "train" and not outside(row.group, config.held_out_group)]
        ups = sum(row.up for row in training)
        if not 0 < ups < len(training):
            what = f"{ups} thumbs up and {len(training) - ups} down to train on; it takes both"
            raise InputError(
                what, where=project.store_url, hint="mind good_quality, bad_quality and held_out_group, or take --thumbs ranks"
            )
        unseen = [row for row in given if row.prompt.split != "train"]
        compute = compute_dtype(dtype)
        model = load_model(project, sft_model)
        policy = learner(model.lm, config, "kto", "lora")
        figures |= kto.train(
            config,
            policy=policy,
            thumbs=[_thumb(model.format, row, config.max_tokens) for row in training],
            validation=[_thumb(model.format, row, config.max_tokens) for row in unseen if not outside(row.group, config.held_out_group)],
            outsiders=[_thumb(model.format, row, config.max_tokens) for row in unseen if outside(row.group, config.held_out_group)],
            run=run,
            dtype=compute,
        )
        figures |= {"thumbs_up": ups, "thumbs_down": len(training) - ups}
        parents, data = {sft_model: inputs["sft"]}, {"thumbs": digest}
        save(project, name, policy, model.format.tokenizer, run, parents=parents, data=data, config=config, figures=figures)
    return run


def outside(group: str, held_out: str) -> bool:
    """Whether a labeler's group is the one that is held out."""
    return bool(held_out) and group == held_out


def _ranked(spoken: ChatFormat, row: RankedPrompt, max_tokens: int) -> dpo.RankedResponses:
    responses = [sampled_tokens(spoken, row.prompt, response) for response in row.responses]
    return dpo.ranked_responses(spoken.prompt(row.prompt.messages), responses, row.ranks, max_tokens, f"prompt {row.prompt.id}")


def _thumb(spoken: ChatFormat, row: Thumb, max_tokens: int) -> kto.ThumbRow:
    response = sampled_tokens(spoken, row.prompt, row.response)
    return kto.thumb_row(spoken.prompt(row.prompt.messages), response, row.up, max_tokens, f"response {row.response.id}")


def sampled_tokens(spoken: ChatFormat, prompt: Prompt, response: Response) -> list[int]:
    """The very tokens that were sampled, unless they are of another tokenizer."""
    sampled = list(response.tokens)
    return sampled if sampled and spoken.text(sampled) == response.text else spoken.response(prompt.messages, response.text)
