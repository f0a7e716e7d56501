"""`accord reward`: train a reward model on the rankings.

Needs an SFT model and rankings. Leaves models/NAME, a sequence classifier whose demonstrations score 0 on average.
Follows Ouyang et al. 2022, section 3.5, and Stiennon et al. 2020, except as algorithms/reward.py says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, TypeVar

from accord.algorithms import reward as algorithm
from accord.commands.app import FindLr, Flat, Name, ProjectPath, RunFlags, Sft, TrainFlags, shows
from accord.commands.models import digest_of, load_model, locate, training_dtype
from accord.commands.scenes import in_scenes
from accord.commands.train import reward_tastes
from accord.commands.train.demonstrations import example, written_demonstrations
from accord.commands.train.range_test import few, print_run, range_test, run_folder
from accord.commands.train.run import (
    counted,
    parts,
    plan_run,
    save,
    scalar_model,
    snapshot,
    template_input,
    trainable,
    windowed,
    with_rates,
)
from accord.data.task_mixture import parse_weights
from accord.data.templates import ChatFormat
from accord.data.token_rows import RowWindow
from accord.errors import InputError, UsageError
from accord.evaluation.counterfactual import AXES, swap
from accord.evaluation.run_facts import note_alarms
from accord.feedback import questions
from accord.feedback.criteria import ranked_by
from accord.feedback.labeler_kinds import said_by
from accord.feedback.returns import returns
from accord.feedback.store import Store
from accord.models.folders import from_scratch
from accord.records import Demonstration, RankedPrompt, Worth
from accord.runtime import ranks
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.runtime.seeds import generator
from accord.runtime.text_only import heard
from accord.settings import RewardConfig

Grouped = TypeVar("Grouped", RankedPrompt, Worth)


@shows(print_run)
def reward(
    project: ProjectPath,
    *,
    sft: Sft = "sft",
    name: Name = "reward",
    flags: TrainFlags = RunFlags(),
    find_lr: FindLr = False,
    config: Annotated[RewardConfig, Flat] = RewardConfig(),
) -> Run:
    """Train a reward model on the rankings.

    Example: accord reward my-town --sft sft --held-out-group caring

    Raises:
        ModelError: the SFT model is missing.
        InputError: there are no rankings by these kinds of labelers, or with ``personal`` those of one person alone.
        UsageError: the criterion is none of those known, and no flag or question of the project.
    """
    opened = Project.open(project)
    flags.start()
    source, folder = locate(opened, sft), run_folder(opened, name, find_lr=find_lr, resume=flags.resume)
    with Store.open(opened.store_url) as store:
        worths: dict[str, tuple[float, ...]] = {}
        if config.learn_from == "ratings":
            rows = _of_group(said_by(store, returns(store, "ratings"), config.kinds), config)
            rated, digest = snapshot(folder / "ratings.jsonl", Worth, in_scenes(opened, rows))
            ranked, worths = _by_worth(rated)
        else:
            given = said_by(store, _ranked_prompts(opened, store, config), config.kinds)
            ranked, digest = snapshot(folder / "rankings.jsonl", RankedPrompt, in_scenes(opened, _of_group(given, config)))
        if not ranked:
            hint = "`accord sample`, then `accord label`"
            whose = f"{config.kinds}{f' of the group {config.group}' if config.group else ''}"
            raise InputError(f"the store has no {config.learn_from} by {whose}", where=opened.store_name, hint=hint)
        beside = reward_tastes.aside(store, config) if config.personal else None
        written = (row for row in written_demonstrations(store) if row.prompt.split == "train")
        demonstrations, shown = snapshot(folder / "demonstrations.jsonl", Demonstration, in_scenes(opened, written))
    inputs = {"sft": digest_of(source), config.learn_from: digest, "demonstrations": shown, **template_input(opened)}
    run = Run.start(folder, stage="reward", config=config, inputs=inputs, resume=flags.resume, seed=config.seed)
    if run.done:
        return run
    with run.finishing() as metrics:
        split = parts(ranked, config.held_out_group)
        _require_untied(opened, config, split.training)
        dtype = training_dtype(flags.dtype)
        plan_run(run, metrics, source, config, dtype)
        model = load_model(opened, sft, bits=config.lora_bits)
        config = with_rates(config, run, model.lm)
        if config.from_scratch:
            model = replace(model, lm=from_scratch(model.lm, generator(config.seed, "reward", "scratch")))
        scalar = trainable(scalar_model(model, config.seed, "reward"), config, "reward", "lora")
        if config.personal:
            reward_tastes.require_several(split.training)
        learned = algorithm.with_mismatched(split.training, _mismatched(config), config.seed)
        spoken, window = windowed(model.format, config)
        build = partial(ranked_rows, spoken, window=window, worths=worths)
        pairs = zip(learned, split.training, strict=True)

        weights, axes = _weights(config, split.training), _axes(config)

        def build_learned(pair: tuple[RankedPrompt, RankedPrompt]) -> algorithm.RankedRows:
            row, labeled = pair
            rows = ranked_rows(spoken, row, window, len(row.responses) - len(labeled.responses), worths)
            weight = weights.get(row.group, 1.0) * weights.get(row.prompt.use_case, 1.0)
            return replace(rows, weight=weight, group=row.group, swapped=_swapped(spoken, row, rows, axes))

        training = window.fit(pairs, build_learned, "rankings")
        validation = window.fit(split.validation, build, "rankings of held-out prompts", needed=False)
        held_out = window.fit(split.held_out_group, build, "rankings of the held-out group", needed=False)
        shown_rows = window.fit(demonstrations, partial(example, spoken, window=window), "demonstrations", needed=False)
        if find_lr:
            seen = few(training, config)
            learn = partial(algorithm.train, model=scalar, rankings=seen, validation=(), demonstrations=())
            metrics |= range_test(config, learn, len(seen), run, model.lm, dtype)
            return run
        scored = [row.tokens for row in shown_rows]
        scalar.config.reward_window = window.tokens
        measured = algorithm.train(
            config, model=scalar, rankings=training, validation=validation, demonstrations=scored, run=run, dtype=dtype
        )
        metrics |= {
            "rankings": len(training),
            "validation_rankings": len(validation),
            **counted(run, window),
            "reward_bias": scalar.config.reward_bias,
        }
        if validation:
            metrics["accuracy_labelers"] = measured["validation_accuracy"]
        tastes: reward_tastes.Found | None = None
        if beside:
            again = RowWindow(window.tokens, window.long_rows)  # these rows are counted already
            read = partial(reward_tastes.fitting, spoken, again)
            of_training, of_others = again.fit(split.training, read, "rankings"), again.fit(split.validation, read, "", needed=False)
            tastes = reward_tastes.learned(scalar, of_training, of_others, beside, config, dtype)
            metrics |= {"tastes": tastes.metrics}
            if ranks.first():
                tastes.write(run.folder)
        if held_out:
            metrics["accuracy_heldout_group"] = algorithm.accuracy(scalar, held_out, dtype=dtype, batch_tokens=config.micro_tokens)
        parents = {} if config.from_scratch else {sft: inputs["sft"]}
        data = {config.learn_from: digest, "demonstrations": shown}
        write = tastes.tastes.save if tastes else None
        tokenizer = model.format.tokenizer
        save(opened, name, scalar, tokenizer, run, parents=parents, data=data, config=config, metrics=metrics, beside=write)
    note_alarms(run)
    return run


def ranked_rows(
    chat_format: ChatFormat, row: RankedPrompt, window: RowWindow, strangers: int = 0, worths: Mapping[str, tuple[float, ...]] | None = None
) -> algorithm.RankedRows:
    """A ranking as token ids; responses are the very tokens that were sampled. The last ``strangers`` are of other prompts.

    ``worths`` holds the ratings of a ranking's responses, by labeler and prompt, where those are learned.
    """
    responses = [chat_format.tokens_of(row.prompt, response) for response in row.responses]
    prompt, name = chat_format.asked(row.prompt), f"prompt {row.prompt.id}"
    rated = (worths or {}).get(_key(row), ())
    return algorithm.ranked_rows(prompt, responses, row.ranks, window, name, strangers, rated)


def _weights(config: RewardConfig, rankings: Sequence[RankedPrompt]) -> dict[str, float]:
    """Return the weights of labelers' groups and of use cases.

    Raises:
        UsageError: a weight is none, or nothing that is learned from has this name.
    """
    weights = parse_weights(config.group_weights, "group_weights")
    known = {row.group for row in rankings} | {row.prompt.use_case for row in rankings}
    for name in weights:
        if name not in known:
            what = f"group_weights names {name!r}, which is neither a labelers' group nor a use case of these rankings"
            raise UsageError(what, where="reward", hint=f"there are {', '.join(sorted(filter(None, known)))}")
    return weights


def _axes(config: RewardConfig) -> list[str]:
    """Return the axes along which groups are swapped.

    Raises:
        UsageError: there is no such axis.
    """
    named = [name.strip() for name in config.swap_axes.split(",") if name.strip()]
    for name in named:
        if name not in AXES:
            raise UsageError(f"swap_axes names {name!r}", where="reward", hint=f"there are {', '.join(AXES)}")
    return named


def _swapped(spoken: ChatFormat, row: RankedPrompt, rows: algorithm.RankedRows, axes: Sequence[str]) -> tuple[tuple[int, list[int]], ...]:
    """Return the rows of a ranking about the other group of each axis, where its prompt or response names one.

    Rows that were cut or left out for their length have no twin: it would be another text.
    """
    found = list[tuple[int, list[int]]]()
    if not axes:
        return ()
    wholes = [[*spoken.asked(row.prompt), *spoken.tokens_of(row.prompt, response)] for response in row.responses]
    read = heard(row.prompt.messages, "a swapped prompt", where=f"prompt {row.prompt.id}")
    for axis in axes:
        turns = tuple(replace(turn, content=swap(turn.content, axis)) for turn in read)
        for response, whole in zip(row.responses, wholes, strict=True):
            text = swap(response.text, axis)
            if whole not in rows.rows or (turns == read and text == response.text):
                continue
            said = spoken.response(turns, text)
            found.append((rows.rows.index(whole), [*spoken.prompt(turns), *(said if response.finished else said[:-1])]))
    return tuple(found)


def _key(row: RankedPrompt | Worth) -> str:
    return f"{row.labeler} {row.prompt.id}"


def _of_group(rows: Iterable[Grouped], config: RewardConfig) -> Iterator[Grouped]:
    return (row for row in rows if not config.group or row.group == config.group)


def _by_worth(rated: Sequence[Worth]) -> tuple[list[RankedPrompt], dict[str, tuple[float, ...]]]:
    """Return each labeler's ratings of a prompt as a ranking, and the ratings by labeler and prompt."""
    together: dict[str, list[Worth]] = {}
    for row in rated:
        together.setdefault(_key(row), []).append(row)
    ranked: list[RankedPrompt] = []
    for rows in together.values():
        order = sorted({row.worth for row in rows}, reverse=True)
        places = tuple(1 + order.index(row.worth) for row in rows)
        ranked.append(RankedPrompt(rows[0].prompt, tuple(row.response for row in rows), places, rows[0].labeler, rows[0].group))
    return ranked, {key: tuple(row.worth for row in rows) for key, rows in together.items()}


def _ranked_prompts(opened: Project, store: Store, config: RewardConfig) -> Iterator[RankedPrompt]:
    if config.criterion == "overall":
        return store.ranked_prompts()
    return ranked_by(store, config.criterion, questions.load(opened.settings.get("label.questions"), opened.path))


def _require_untied(project: Project, config: RewardConfig, training: Sequence[RankedPrompt]) -> None:
    """Refuse rankings that are all ties, from which a comparison learns nothing. Raises InputError."""
    compares = config.learn_from == "rankings" and config.ties != "model"
    if compares and training and all(len(set(row.ranks)) == 1 for row in training):
        what = f"none of the {len(training)} rankings has a pair to learn from: they are ties, held out, or of prompts not for training"
        hint = "rank responses that differ: `accord sample` with more --prompts, --k or --max-tokens"
        raise InputError(what, where=project.store_name, hint=hint)


def _mismatched(config: RewardConfig) -> float:
    """A response to another prompt is unhelpful, and that is all: it need not do harm, or be worse by a criterion of the project's own."""
    return config.mismatched if config.criterion in ("overall", "helpful") else 0.0
