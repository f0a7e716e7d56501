"""What every training command does around its algorithm: snapshot what it learns from, choose what is trained, save with lineage."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import nn

from accord.algorithms.draws import Replayed
from accord.commands import COMMANDS
from accord.commands.models import Model
from accord.commands.recordings import counted_recordings, told
from accord.commands.scenes import scenes_input
from accord.commands.train.written_section import hints_section
from accord.data.template_variables import written_in
from accord.data.templates import ChatFormat, end_at_stop
from accord.data.token_rows import LongRows, RowWindow
from accord.errors import ModelError, RunError, UsageError
from accord.feedback import data_card
from accord.feedback.media import digests_in, keep_beside, recordings_in
from accord.feedback.snapshot import read_snapshot, snapshot_digest, write_snapshot
from accord.feedback.store import Store
from accord.models.adapters import add_lora, merge_lora, save_adapter, sharing
from accord.models.decoder import context_of, recomputing
from accord.models.folders import give_pad, save_model, scalar_from
from accord.models.memory import SAMPLED, Load, plan, shape_of, too_large
from accord.models.paths import path_of
from accord.models.pictures import Gallery, sees, tower_of
from accord.models.quantised import quantised, weights_in
from accord.models.scalar import head_width, new_head
from accord.models.sharding import Unadapted, gathered, sharded
from accord.models.weights import update_kept
from accord.records import Prompt, PromptTokens, Sampling
from accord.runtime import lineage, media_files, ranks
from accord.runtime.device import memory_bytes, pick_device
from accord.runtime.files import new_folder
from accord.runtime.logs import read_metrics
from accord.runtime.media_files import path_in, read_kept
from accord.runtime.model_card import About
from accord.runtime.model_files import CONFIG, ModelFiles, read_json
from accord.runtime.progress import say
from accord.runtime.project import Project
from accord.runtime.recordings import FOLDER, Recordings
from accord.runtime.runs import Run
from accord.runtime.seeds import generator
from accord.runtime.text_only import characters
from accord.settings.mixins import FineTuning, Recorded, Sharding, Training, Window
from accord.settings.rates import rate

UNLIMITED = 1 << 40
"""The window of prompts where the model's configuration sets no limit."""
KEPT = 0.9
"""Share of what was learned below which a run says that rounding loses it."""
SAMPLE_FIRST = "`accord sample`, then `accord label`, or `accord import` rankings"
Record = TypeVar("Record")
Tuned = TypeVar("Tuned", bound=FineTuning)


class Grouped(Protocol):
    """A labeled row: its prompt, and the group of the labeler who gave it."""

    @property
    def prompt(self) -> Prompt: ...

    @property
    def group(self) -> str: ...


GroupedRecord = TypeVar("GroupedRecord", bound=Grouped)


def snapshot(path: Path, kind: type[Record], rows: Iterable[Record]) -> tuple[list[Record], str]:
    """Return the rows a run learns from with their digest: written into its folder at first, read from there once it was started.

    Nothing is written when there are none. Of several processes the first writes, and all read the same file.

    Raises:
        RunError: another process does not see the file: the project's folder is not shared.
    """

    def written() -> bool:
        if path.exists() and Run.started(path.parent):
            return True
        remaining = iter(rows)
        for first in remaining:
            Run.claim(path.parent)
            write_snapshot(chain([first], remaining), path)
            _keep_media(path)
            return True
        return False

    if not ranks.from_first(written):
        return [], ""
    if not path.exists():
        raise RunError(f"rank {ranks.rank()} does not see what rank 0 wrote", where=str(path), hint="share the project's folder")
    return read_snapshot(path, kind), snapshot_digest(path)


def _keep_media(path: Path) -> None:
    """Copy the pictures and recordings that a snapshot names into the run's folder: a training reads no database."""
    if next(digests_in(path), None) is not None:
        with Store.open(Project.open(path.parents[2]).store_url) as store:
            keep_beside(store, path)


def template_input(project: Project) -> dict[str, str]:
    """Return the digests of [template] and [scenes] as inputs of a run, so that a resume under others is refused; none without them."""
    written = {"template": lineage.digest_rows([project.template])} if "template" in project.settings else {}
    return written | scenes_input(project)


@dataclass(frozen=True)
class Parts(Generic[GroupedRecord]):
    """Labeled rows by what they are for."""

    training: list[GroupedRecord]
    validation: list[GroupedRecord]
    """Prompts that nothing trains on, by labelers of the training groups."""
    held_out_group: list[GroupedRecord]
    """The same prompts by the group of labelers that is kept out of training."""


def parts(rows: Sequence[GroupedRecord], held_out_group: str) -> Parts[GroupedRecord]:
    """Split labeled rows by their prompts' split and their labelers' group."""
    inside = [row for row in rows if not held_out_group or row.group != held_out_group]
    outside = [row for row in rows if held_out_group and row.group == held_out_group]
    return Parts(
        [row for row in inside if row.prompt.split == "train"],
        [row for row in inside if row.prompt.split != "train"],
        [row for row in outside if row.prompt.split != "train"],
    )


def with_rates(config: Tuned, run: Run, lm: Any, critic: Any = None) -> Tuned:
    """Return the settings with each learning rate of 0 replaced by the method's rate for a model of this size, and a length of 0 by the
    model's own. Says which, and records it, beside how the models are computed.

    Args:
        critic: PPO's value model, which has a rate of its own.
    """
    look_into(lm, run)
    run.record_paths(model=path_of(lm.base_model), **({"critic": path_of(critic.base_model)} if critic is not None else {}))
    learners = {"lr": (config.recipe, lm)} | ({"value_lr": ("value", critic)} if critic is not None else {})
    open_ = {name: learner for name, learner in learners.items() if getattr(config, name) == 0}
    lora = config.lora_rank > 0
    found: dict[str, float] = {name: rate(recipe, weights_in(model), lora=lora) for name, (recipe, model) in open_.items()}
    found |= own_length(run.stage, config, context_of(lm))
    settled = run.settle(config, **found)
    for name, (recipe, model) in open_.items():
        what = f"{'adapters on' if lora else 'all weights of'} a model of {weights_in(model):,}"
        line = f"{name} {getattr(settled, name):g}, the rate of {recipe} for {what} (docs/rates.md)"
        say(f"{run.stage}: {line}")
        run.note(line)
    return settled


def look_into(lm: Any, run: Run) -> None:
    """Let a vision-language model see the pictures that the run keeps beside its snapshots, before those of the store."""
    gallery: Gallery | None = getattr(lm.base_model, "gallery", None)
    if gallery is None:
        return
    folder, stored = run.folder / media_files.FOLDER, gallery.read

    def read(digest: str) -> bytes:
        return read_kept(folder, digest) if path_in(folder, digest) else stored(digest)

    gallery.read = read


def own_length(method: str, config: Any, context: int) -> dict[str, int]:
    """Return the length of responses that a method's settings leave to the model; nothing where they say it, or none is drawn."""
    draws = method in (*SAMPLED, "distill") and not config.max_tokens
    return {"max_tokens": Sampling(max_tokens=0).limit(context)} if draws else {}


def replayed(project: Project, config: Recorded) -> Replayed | None:
    """Return the recorded rollouts of the run that the settings name, as a sampler; None where they name none.

    Raises:
        UsageError: the project has no such run.
        RunError: it kept no rollouts.
    """
    if not config.replay:
        return None
    folder = project.run(config.replay)
    if not folder.is_dir():
        raise UsageError(f"the project has no run {config.replay!r}", where="--replay", hint="runs/ holds the runs, by name")
    return Replayed(Recordings(folder / FOLDER))


def rollouts_of(run: Run) -> dict[str, str]:
    """Return the digest of the recorded rollouts that a run learned from, for its lineage; nothing where none is recorded."""
    digest = Recordings(run.folder / FOLDER).digest()
    return {"rollouts": digest} if digest else {}


def ending(run: Run, *names: str) -> dict[str, float]:
    """Return these metrics of a run's last step, for its summary."""
    ranks.barrier()  # rank 0 has written them all
    rows = read_metrics(run.folder / "metrics.jsonl")
    return {name: float(rows.values(name)[-1]) for name in names if rows.values(name).size}


def windowed(chat_format: ChatFormat, config: Window) -> tuple[ChatFormat, RowWindow]:
    """Return the window of the rows that a run learns from, and the format that writes them: the window alone limits a prompt's length.

    Raises:
        UsageError: the window is longer than the model's context.
    """
    window = RowWindow.of(config.max_tokens, config.long_rows, chat_format.context, config.stage)
    return dataclasses.replace(chat_format, context=0), window


def askable(
    chat_format: ChatFormat, prompts: Sequence[Prompt], max_tokens: int, long_rows: LongRows
) -> tuple[list[Prompt], list[list[int]], RowWindow]:
    """Return the prompts that leave room for a response, their token ids, and the count of those that do not.

    A response has room when it can be ``max_tokens`` long, or half of the model's context where that is less.
    """
    context, spoken = chat_format.context, dataclasses.replace(chat_format, context=0)
    window = RowWindow(context - min(max_tokens, context // 2) or UNLIMITED, long_rows)

    def build(prompt: Prompt) -> tuple[Prompt, list[int]]:
        return prompt, PromptTokens(window.fit_prompt(spoken.asked(prompt), f"prompt {prompt.id}"), prompt)

    fitting = window.fit(prompts, build, "prompts")
    return [prompt for prompt, _ in fitting], [ids for _, ids in fitting], window


def counted_prompts(run: Run, window: RowWindow) -> dict[str, int]:
    """Return how many prompts were left out or cut, for the run's summary; its log names some of them."""
    for line in window.remarks():
        run.note(line)
    return {"prompts": window.rows - window.left_out, "prompts_left_out": window.left_out, "prompts_cut": window.cut, **_transcripts(run)}


def counted(run: Run, window: RowWindow) -> dict[str, int]:
    """Return how many rows were left out or cut, for the run's summary; its log names some of them."""
    for line in window.remarks():
        run.note(line)
    return {**window.counts(), **_transcripts(run)}


def _transcripts(run: Run) -> dict[str, int]:
    """Say how many recordings of a run's data were read as their transcripts, and how many could not be read, and return it."""
    found = counted_recordings(each for path in run.folder.glob("*.jsonl") for each in recordings_in(path))
    for line in told(found):
        say(f"{run.stage}: {line}")
        run.note(line)
    return found


def trainable(lm: Any, config: Training, *stream: str) -> Any:
    """Return what is trained of a model: all of it, or adapters on its weights, as ``config`` says, sharded over the processes or not.

    Args:
        stream: names the random numbers of the adapters.

    Raises:
        UsageError: the adapter is to be kept, but would have no base model that other tools open.
    """
    return as_held(adapted(lm, config, *stream), config)


def with_reference(lm: Any, config: Training, again: Callable[[], Any] | None, *stream: str) -> tuple[Any, Any]:
    """Return what is trained of a model, and beside it the model as it is now.

    With adapters the two share their weights. A sharded model has one tree of modules, so there the adapters are switched off instead.

    Args:
        again: opens the model once more, for training without adapters; without it there is no second one then.
        stream: names the random numbers of the adapters.
    """
    if not config.lora_rank:
        return trainable(lm, config, *stream), again and as_held(again(), config)
    if not shards(lm, config):
        return adapted(lm, config, *stream, apart=True), lm
    learner = adapted(lm, config, *stream)
    reference = Unadapted(learner)
    return as_held(learner, config), reference


def shards(model: Any, config: Sharding) -> bool:
    """Return whether the processes shard a model; the first one decides for all of them."""
    if ranks.world() == 1 or config.shard == "replicate":
        return False
    return config.shard == "full" or ranks.from_first(partial(_too_large, model, bool(getattr(config, "lora_rank", 0))))


def _too_large(model: nn.Module, adapters: bool) -> bool:
    """Return whether a model would take more than half of a process's memory: weights and, where they learn, gradients and AdamW's two."""
    held = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
    learned = 0 if adapters else sum(p.numel() for p in model.parameters())
    return too_large(held, learned, memory_bytes())


def as_held(model: Any, config: Sharding) -> Any:
    """Return a model as the processes hold it, sharded where ``config`` says so. Nothing may change its modules any more."""
    return sharded(model, offload=config.offload) if shards(model, config) else model


def adapted(lm: Any, config: Training, *stream: str, apart: bool = False) -> Any:
    """Return a model with what ``config`` puts into it before it is trained: four bits, adapters, recomputation.

    Args:
        stream: names the random numbers of the adapters.
        apart: put adapters into modules of their own over the same weights, so that the model itself stays the reference.

    Raises:
        UsageError: the adapter is to be kept, but would have no base model that other tools open.
    """
    files: ModelFiles | None = getattr(lm, "files", None)
    if config.keep_adapter and (files is None or files.adapter or files.gguf):
        what = "keep_adapter: an adapter is opened on a folder or a hub name, and this model comes from none"
        raise UsageError(what, where=files.named if files else "", hint="leave it out, or save the base as a folder first")
    tower = tower_of(lm.base_model)
    if config.lora_bits:
        lm = quantised(lm)
    if tower and not (config.train_vision or config.lora_rank):
        for _, parameter in tower:
            parameter.requires_grad_(False)
    if config.lora_rank:
        body, numbers = sharing(lm) if apart else lm, generator(config.seed, *stream)
        lm = add_lora(body, config.lora_rank, numbers, alpha=config.lora_alpha, targets=config.lora_targets, vision=config.train_vision)
    return recomputing(lm) if config.recompute else lm


def plan_run(
    run: Run,
    metrics: dict[str, Any],
    source: str,
    config: Any,
    dtype: torch.dtype,
    *,
    prompts: Sequence[Prompt] = (),
    reward_models: int = 0,
    teacher: str = "",
) -> None:
    """Say in one line how much memory a run will take, and put it among its metrics; the models are not opened yet.

    Args:
        source: folder or hub name of the model that the run starts from.
        prompts: what a method that samples asks; a token is taken to have three characters.
        teacher: folder or hub name of the model that `accord distill` learns from.
    """
    longest = max((sum(map(characters, prompt.messages)) for prompt in prompts), default=0) // 3 + 16
    try:
        shape = shape_of(source)
        config = dataclasses.replace(config, **own_length(run.stage, config, shape.context))
        load = Load(
            run.stage,
            config,
            dtype.itemsize,
            pick_device().type,
            prompt_tokens=longest,
            reward_models=reward_models,
            teacher=shape_of(teacher) if teacher else None,
            processes=ranks.world(),
            room=memory_bytes(),
        )
        found = plan(shape, load)
    except (ModelError, AttributeError, TypeError) as error:  # an architecture without these sizes can still be trained
        run.note(f"memory: not planned ({error})")
        return
    metrics |= {"memory_plan_mb": round(found.total / 2**20), "memory_plan": found.line()}
    run.note(found.line())
    say(f"{run.stage}: {found.line()}")


def scalar_model(model: Model, seed: int, stream: str) -> Any:
    """A model with a fresh scalar head on a language model's body, which it takes from it, on the device."""
    made = scalar_from(model.lm, new_head(head_width(model.lm), generator(seed, stream, "head")), share=True)
    give_pad(made, model.format.tokenizer, model.format.stop)
    if not model.format.raw:
        end_at_stop(model.format.tokenizer)
    return made.to(pick_device())


def save(
    project: Project,
    name: str,
    model: Any,
    tokenizer: Any,
    run: Run,
    *,
    parents: Mapping[str, str],
    data: Mapping[str, str],
    config: Any,
    metrics: Mapping[str, Any],
    beside: Callable[[Path], None] | None = None,
) -> None:
    """Write models/NAME whole or not at all, with its lineage and card. Of several processes the first writes.

    Args:
        parents: digests of the models it was trained from, by name.
        data: digests of the snapshots it learned from, by kind.
        beside: writes more files into the folder.
    """
    model = gathered(model, everywhere=False)
    if not ranks.first():
        return
    with new_folder(project.model(name)) as folder:
        if isinstance(config, Training) and config.keep_adapter:
            base = Path(model.files.source)
            save_adapter(folder / "adapter", model, str(base.resolve() if base.is_dir() else base), tokenizer)
        merged = merge_lora(model)
        _tell_what_is_rounded_away(merged, run, _precision(config))
        save_model(folder, merged, tokenizer, _precision(config))
        if beside:
            beside(folder)
        settings = dataclasses.asdict(config)
        if told := written_in(tokenizer):
            settings["template"] = told
        if run.paths:
            settings["paths"] = run.paths
        card = _data_card(project, run, data, config)
        about = dataclasses.replace(_about(folder, run.stage, model, tokenizer), data=card)
        lineage.write(folder, stage=run.stage, parents=parents, data=data, settings=settings, metrics=metrics, name=name, about=about)


def _data_card(project: Project, run: Run, data: Mapping[str, str], config: Any) -> str:
    chosen = {name: getattr(config, name, "") for name in ("kinds", "held_out_group")}
    return data_card.write(project, run.folder, stage=run.stage, data=data, more=hints_section(project, run.folder, data), **chosen)


def _precision(config: Any) -> torch.dtype | None:
    """Precision of the saved weights; None leaves it to the model."""
    asked = config.save_dtype if isinstance(config, Training) else "auto"
    return None if asked == "auto" else getattr(torch, asked)


def _tell_what_is_rounded_away(model: Any, run: Run, asked: torch.dtype | None) -> None:
    """Say so when the precision of the files loses a good part of what was learned."""
    files: ModelFiles | None = getattr(model, "files", None)
    dtype: torch.dtype = asked or getattr(model, "stored_dtype", torch.float32)
    if dtype == torch.float32 or files is None or files.gguf or files.adapter or not Path(files.source).is_dir():
        return
    kept = update_kept(model, Path(files.source), dtype)
    if kept < KEPT:
        line = f"{str(dtype).removeprefix('torch.')} keeps {kept:.0%} of what the weights learned; --save-dtype float32 keeps all"
        say(f"{run.stage}: {line}")
        run.note(line)


def _about(folder: Path, stage: str, model: Any, tokenizer: Any) -> About:
    """What the card of a saved model says of its method and format."""
    files: ModelFiles | None = getattr(model, "files", None)
    ends = getattr(model.config, "eos_token_id", None)
    return About(
        method=next((command.line for command in COMMANDS if command.name == stage), ""),
        source="" if files is None else files.named if files.adapter else files.source,
        judges=hasattr(model, "score"),
        sees=sees(model),
        template=tokenizer.chat_template if isinstance(tokenizer.chat_template, str) else "",
        ends=tuple(tokenizer.convert_ids_to_tokens(ends if isinstance(ends, list) else [ends])) if ends is not None else (),
        dtype=str(read_json(folder / CONFIG).get("dtype", "")),
        adapter=(folder / "adapter").is_dir(),
    )
