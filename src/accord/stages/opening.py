"""What the stages share: models in, models out, the run's clock, frozen inputs, tokenised raw text."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from accord.data.corpus import TokenCorpus, open_corpus, read_documents, whole, write_corpus
from accord.data.templates import ChatFormat, chat_format, raw_format
from accord.data.tokenizers import load_tokenizer
from accord.engine.guided import QGuide
from accord.errors import AccordError, ModelError
from accord.evaluation.run_facts import note_alarms
from accord.feedback.snapshot import freeze, thaw
from accord.models.adapters import add_lora, merge_lora, sharing
from accord.models.decoder import recomputing
from accord.models.folders import load_causal_lm, save_model
from accord.models.quantised import quantised
from accord.models.qvalues import load_q
from accord.runtime import lineage
from accord.runtime.device import keep_few_kernels, keep_freed_memory, matmul_dtype, peak_rss_mb, pick_device
from accord.runtime.files import new_folder
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.runtime.seeds import generator

Row = TypeVar("Row")


@dataclass(frozen=True)
class Model:
    """A causal language model and the way it is spoken to."""

    name: str
    lm: Any
    format: ChatFormat
    digest: str


def compute_dtype(requested: str = "auto") -> torch.dtype:
    """The dtype of matrix products here; also makes the allocator keep freed memory."""
    keep_freed_memory()
    keep_few_kernels()
    return matmul_dtype(pick_device(), requested)


def locate(project: Project, name: str) -> str:
    """A model of the project by name, else a folder or hub name as it is.

    Raises:
        ModelError: it is none of them.
    """
    if name in project.models():
        return str(project.model(name))
    if "/" in name or Path(name).exists():
        return name
    raise ModelError("the project has no such model", where=name, hint=f"it has: {', '.join(project.models()) or 'none yet'}")


def load_model(project: Project, name: str) -> Model:
    """Opens a language model with its tokenizer; it speaks by its chat template, or as raw text when it has none.

    One that ``accord ilql`` made brings the Q network that guides it: samplers find it as ``lm.guide``.

    Raises:
        ModelError: it is missing or damaged.
    """
    source = locate(project, name)
    tokenizer, lm = load_tokenizer(source), load_causal_lm(source).to(pick_device())
    if guide := load_q(Path(source), lm):
        network, beta = guide
        lm.guide = QGuide(network, beta=beta)
    context = int(getattr(lm.config, "max_position_embeddings", 0) or 0)
    spoken = chat_format(tokenizer, context) if tokenizer.chat_template else raw_format(tokenizer, context)
    return Model(name, lm, spoken, digest_of(source))


def learner(lm: Any, config: Any, *stream: str, apart: bool = False) -> Any:
    """What is trained of a model: all of it, or adapters on its weights, as ``config`` says; ``stream`` names their random numbers.

    With ``apart`` adapters are put into modules of their own over the same weights, so that the model itself stays the reference.
    """
    if config.lora_bits:
        lm = quantised(lm)
    if config.lora_rank:
        lm = add_lora(sharing(lm) if apart else lm, config.lora_rank, generator(config.seed, *stream))
    return recomputing(lm) if config.recompute else lm


def digest_of(source: str) -> str:
    """A folder's digest, or a hub name as it is."""
    return lineage.digest_folder(Path(source)) if Path(source).is_dir() else source


@contextmanager
def finishing(run: Run) -> Generator[dict[str, Any]]:
    """Finishes the run with its seconds, peak memory and the figures that the block puts into what it is given.

    A run whose input turns out to be unusable before its first step leaves nothing behind.
    """
    started, figures = time.perf_counter(), dict[str, Any]()
    try:
        yield figures
    except AccordError:
        if not run.begun:
            shutil.rmtree(run.folder, ignore_errors=True)
        raise
    run.finish(**figures, seconds=round(time.perf_counter() - started, 2), peak_rss_mb=round(peak_rss_mb()))
    note_alarms(run)


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
    figures: Mapping[str, Any],
    beside: Callable[[Path], None] | None = None,
) -> None:
    """Writes models/NAME whole or not at all, with its lineage and card, and what ``beside`` puts into its folder."""
    with new_folder(project.model(name)) as folder:
        save_model(folder, merge_lora(model), tokenizer)
        if beside:
            beside(folder)
        settings = dataclasses.asdict(config)
        lineage.write(folder, stage=run.stage, parents=parents, data=data, settings=settings, figures=figures, name=name)


def frozen(path: Path, kind: type[Row], rows: Iterable[Row]) -> tuple[list[Row], str]:
    """The rows a run learns from, with their digest: frozen into its folder at first, read back from there once it was started.

    Nothing is written when there are none.
    """
    if not (path.exists() and Run.started(path.parent)):
        present = list(rows)
        if not present:
            return [], ""
        path.parent.mkdir(parents=True, exist_ok=True)
        freeze(present, path)
    return thaw(path, kind), hashlib.sha256(path.read_bytes()).hexdigest()


def tokenised(project: Project, tokenizer: Any, context: int) -> TokenCorpus:
    """The project's raw text in a tokenizer's ids, made once for each text, tokenizer and context.

    Raises:
        InputError: the project has no raw text.
    """
    text = hashlib.sha256(f"{tokenizer.backend_tokenizer.to_str()} {context}".encode())
    for file in sorted((project.path / "corpus").glob("*.jsonl")):
        with file.open("rb") as content:
            text.update(hashlib.file_digest(content, "sha256").digest())
    key = text.hexdigest()[:12]
    folder = project.path / "corpus" / f"tokens-{key}"
    if not whole(folder):
        with new_folder(folder) as unfinished:
            write_corpus(unfinished, read_documents(project.path / "corpus"), tokenizer, context)
    return open_corpus(folder)
