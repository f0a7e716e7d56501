"""Raw text as tokenised documents on disk, memory-mapped and read in a seeded order that a resumed run reproduces."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from accord.data.tokenizers import Tokenizer, document_frame
from accord.errors import InputError
from accord.runtime import ranks
from accord.runtime.files import PENDING, disk_errors, new_folder, replacing, sync

SHARD_TOKENS = 1 << 27
"""Tokens per file (512 MiB), which bounds how much is read from disk in random order at a time."""


@dataclass(frozen=True)
class TokenCorpus:
    """Documents end to end in memory-mapped shards of tokens. Memory holds only their lengths and the documents in use."""

    shards: tuple[npt.NDArray[np.int32], ...]
    offsets: npt.NDArray[np.int64]
    """Document i is tokens ``offsets[i]`` to ``offsets[i + 1]`` of all shards laid end to end; the end of a shard never splits a
    document."""
    starts: npt.NDArray[np.int64]
    """The first document of each shard, followed by the number of documents."""
    validation: npt.NDArray[np.bool_]
    """True for validation documents, which nothing trains on: every hundredth of the source, whatever the seed or the context."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def size(self) -> int:
        """The total number of tokens."""
        return int(self.offsets[-1])

    def document(self, index: int) -> list[int]:
        """Return the token ids of one document, with the end-of-text token on both sides."""
        shard = int(np.searchsorted(self.starts, index, side="right")) - 1
        before = self.offsets[self.starts[shard]]
        return self.shards[shard][self.offsets[index] - before : self.offsets[index + 1] - before].tolist()

    def held_out(self) -> list[list[int]]:
        """Return the documents for the validation loss."""
        return [self.document(index) for index in np.flatnonzero(self.validation).tolist()]

    def batches(self, seed: int, batch_tokens: int, skip: int = 0) -> Iterator[list[list[int]]]:
        """Yield endless batches of about ``batch_tokens`` tokens; each pass over the training documents has its own seeded order.

        Args:
            seed: fixes the order of every pass.
            batch_tokens: a batch ends with the document that fills it.
            skip: number of batches to skip without building them, as a resumed run does.
        """
        lengths, group, total = np.diff(self.offsets), list[int](), 0
        for row in self._order(seed):
            group.append(row)
            total += int(lengths[row])
            if total < batch_tokens:
                continue
            if skip:
                skip -= 1
            else:
                yield [self.document(index) for index in group]
            group, total = [], 0

    def _order(self, seed: int) -> Iterator[int]:
        """Yield training documents endlessly. Each pass shuffles the shards and then the documents within each, so that it reads one
        shard after another from disk."""
        rows, epoch = np.flatnonzero(~self.validation), 0
        cuts = np.searchsorted(rows, self.starts)
        while True:
            rng = np.random.default_rng((seed, epoch))
            for shard in rng.permutation(len(self.shards)).tolist():
                yield from rng.permutation(rows[cuts[shard] : cuts[shard + 1]]).tolist()
            epoch += 1


def write_corpus(
    folder: Path, documents: Iterable[str], tokenizer: Tokenizer, context: int, *, shard_tokens: int = SHARD_TOKENS
) -> TokenCorpus:
    """Tokenise documents in batches on all cores, split those longer than the context, and write them to ``folder``.

    Each piece stands between the tokens that frame a document in the base's pretraining. Control tokens in a text are text.

    Raises:
        InputError: fewer than two documents contain text.
    """
    begin, end = document_frame(tokenizer)
    room = context - len(begin) - len(end)
    folder.mkdir(parents=True, exist_ok=True)
    lengths, validation, number = array("q"), array("b"), 0
    with _Shards(folder, shard_tokens) as shards:
        for batch in _batches(documents, 1000):
            written = tokenizer(batch, add_special_tokens=False, return_attention_mask=False, split_special_tokens=True)
            for ids in written["input_ids"]:
                for start in range(0, len(ids), room):
                    piece = [*begin, *ids[start : start + room], *end]
                    shards.write(piece)
                    lengths.append(len(piece))
                    validation.append(number % 100 == 0)
                number += 1
    if number < 2:
        what = f"the corpus has {number} documents with text; it needs one to train on and one to measure on"
        raise InputError(what, where=str(folder), hint="import more raw text")
    np.save(folder / "validation.npy", np.array(validation, dtype=np.bool_))
    np.save(folder / "starts.npy", np.array([*shards.starts, len(lengths)], dtype=np.int64))
    np.save(folder / "offsets.npy", np.concatenate([[0], np.cumsum(np.array(lengths, dtype=np.int64))]).astype(np.int64))
    return open_corpus(folder)


class _Shards:
    """Token files of about ``tokens`` tokens each, one open at a time."""

    def __init__(self, folder: Path, tokens: int) -> None:
        self.folder, self.tokens = folder, tokens
        self.starts = list[int]()
        self.documents, self.written = 0, tokens
        self._file: IO[bytes] | None = None

    def __enter__(self) -> _Shards:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, document: Sequence[int]) -> None:
        if self._file is None or self.written >= self.tokens:
            self.__exit__()
            self._file = (self.folder / f"tokens-{len(self.starts):05}.bin").open("wb")
            self.starts.append(self.documents)
            self.written = 0
        self._file.write(np.asarray(document, dtype=np.int32).tobytes())
        self.documents += 1
        self.written += len(document)


def whole(folder: Path) -> bool:
    """Return whether a folder holds a complete tokenised corpus of this format."""
    return all((folder / f"{name}.npy").exists() for name in ("offsets", "starts", "validation"))


def open_corpus(folder: Path) -> TokenCorpus:
    """Open a corpus that ``write_corpus`` wrote, without reading it into memory.

    Raises:
        InputError: the folder holds no tokenised corpus.
    """
    if not whole(folder):
        raise InputError("no tokenised corpus here", where=str(folder), hint="run `accord pretrain` or import raw text")
    shards = tuple(np.memmap(path, dtype=np.int32, mode="r") for path in sorted(folder.glob("tokens-*.bin")))
    return TokenCorpus(shards, *(np.load(folder / f"{name}.npy") for name in ("offsets", "starts", "validation")))


def _batches(items: Iterable[str], size: int) -> Iterator[list[str]]:
    batch: list[str] = []
    for item in items:
        if item.strip():
            batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def write_documents(path: Path, texts: Iterable[str]) -> int:
    """Write raw-text documents as JSON lines, atomically, and return their number.

    Raises:
        InputError: no document contains text; then nothing was written.
    """
    lines = (json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts if text.strip())
    first = next(lines, None)
    if first is None:
        raise InputError("the corpus is empty: no document contains text", where=str(path))
    written = 1
    with disk_errors(path), replacing(path) as unfinished:
        with unfinished.open("w", encoding="utf-8", newline="\n") as file:
            file.write(first)
            for line in lines:
                file.write(line)
                written += 1
        sync(unfinished)
    return written


def document_files(folder: Path) -> list[Path]:
    """Return a folder's files of raw text, ordered by name.

    Raises:
        InputError: one belongs to an import or undo that has not ended.
    """
    for mark in sorted(folder.glob(f"*{PENDING}")):
        hint = "wait for it; if it was killed, run it again: the next import or undo settles what is left"
        raise InputError(
            "an import or undo of this raw text has not ended", where=str(mark.with_name(mark.name.removesuffix(PENDING))), hint=hint
        )
    return sorted(folder.glob("*.jsonl"))


def read_documents(folder: Path) -> Iterator[str]:
    """Yield the texts of every .jsonl file in a folder, ordered by file name.

    Raises:
        InputError: the folder has no such file, an import of one has not ended, or a line is not a JSON object with a "text"; the error
            names file and line.
    """
    files = document_files(folder)
    if not files:
        raise InputError("the project has no raw text", where=str(folder), hint="`accord import PROJECT FILE` takes .txt and .jsonl")
    for file in files:
        with open(file, encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                yield _text(line, f"{file}:{number}")


def _text(line: str, where: str) -> str:
    try:
        return str(json.loads(line)["text"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError('not a JSON object with a "text"', where=where, hint="import the raw text again") from error


def tokenized(folder: Path, tokenizer: Tokenizer, context: int) -> TokenCorpus:
    """Open a corpus folder's raw text as token ids, tokenising it once per text, tokenizer, frame of documents and context.

    Of several processes the first tokenises.

    Raises:
        InputError: there is no raw text.
    """
    text = hashlib.sha256(f"{tokenizer.backend_tokenizer.to_str()} {context} {document_frame(tokenizer)}".encode())
    for file in document_files(folder):
        with file.open("rb") as content:
            text.update(hashlib.file_digest(content, "sha256").digest())
    tokens = folder / f"tokens-{text.hexdigest()[:12]}"

    def write() -> None:
        if not whole(tokens):
            with new_folder(tokens) as unfinished:
                write_corpus(unfinished, read_documents(folder), tokenizer, context)

    ranks.from_first(write)
    return open_corpus(tokens)
