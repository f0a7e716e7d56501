"""Batches of the project's raw text: the pretraining mix of SFT and PPO."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from accord.data.corpus import tokenized
from accord.data.templates import ChatFormat
from accord.errors import InputError
from accord.runtime.project import Project
from accord.runtime.seeds import derive


def need_raw_text(project: Project, without: str) -> None:
    """Refuse a project without raw text, before a model is opened.

    Args:
        without: the setting that trains without it.

    Raises:
        InputError: the project has no raw text.
    """
    folder = project.path / "corpus"
    if not any(folder.glob("*.jsonl")):
        hint = f"{without} trains without it; `accord import PROJECT FILE` takes .txt and .jsonl"
        raise InputError("the project has no raw text to mix in", where=str(folder), hint=hint)


def raw_text_batches(project: Project, chat_format: ChatFormat, seed: int, tokens: int) -> Callable[[int], Iterator[list[list[int]]]]:
    """Return a function that gives batches of documents from the n-th on, never those that validation reads.

    Raises:
        InputError: the project has no raw text.
    """
    corpus = tokenized(project.path / "corpus", chat_format.tokenizer, min(chat_format.context or tokens, tokens))
    return partial(corpus.batches, derive(seed, "ptx"), tokens)
