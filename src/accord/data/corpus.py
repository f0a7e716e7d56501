"""Raw text as token documents on disk, memory-mapped, read in a seeded order that a resumed run finds again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from accord.data.tokenizers import Tokenizer
from accord.errors import InputError
from accord.runtime.files import write_atomic


@dataclass(frozen=True)
class TokenCorpus:
    """Documents end to end in ``tokens`` (memory-mapped); document i is ``tokens[offsets[i]:offsets[i + 1]]``."""

    tokens: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    validation: npt.NDArray[np.bool_]
    """True for a document that nothing trains on: every hundredth of the source, whatever the seed or the context."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def document(self, index: int) -> list[int]:
        """Token ids of one document, the end-of-text token on both sides."""
        return self.tokens[self.offsets[index] : self.offsets[index + 1]].tolist()

    def held_out(self) -> list[list[int]]:
        """The documents for the validation loss."""
        return [self.document(index) for index in np.flatnonzero(self.validation).tolist()]

    def batches(self, seed: int, batch_tokens: int, skip: int = 0) -> Iterator[list[list[int]]]:
        """Endless batches of about ``batch_tokens`` tokens; each pass over the training documents has its own seeded order.

        Args:
            seed: fixes the order of every pass.
            batch_tokens: a batch ends with the document that fills it.
            skip: batches to pass over first, as a resumed run does; they are not built.
        """
        lengths, rows = np.diff(self.offsets), np.flatnonzero(~self.validation)
        epoch, group, total = 0, list[int](), 0
        while True:
            for row in np.random.default_rng((seed, epoch)).permutation(rows).tolist():
                group.append(row)
                total += int(lengths[row])
                if total < batch_tokens:
                    continue
                if skip:
                    skip -= 1
                else:
                    yield [self.document(index) for index in group]
                group, total = [], 0
            epoch += 1


def write_corpus(folder: Path, documents: Iterable[str], tokenizer: Tokenizer, context: int) -> TokenCorpus:
    """Tokenises documents (all cores, in batches), cuts those longer than the context, and writes them to ``folder``.

    Raises:
        InputError: there are fewer than two with text.
    """
    folder.mkdir(parents=True, exist_ok=True)
    end = tokenizer.eos_token_id
    lengths, validation, number = list[int](), list[bool](), 0
    with open(folder / "tokens.bin", "wb") as file:
        for batch in _batches(documents, 1000):
            for ids in tokenizer(batch, add_special_tokens=False, return_attention_mask=False)["input_ids"]:
                for start in range(0, len(ids), context - 2):
                    piece = [end, *ids[start : start + context - 2], end]
                    file.write(np.asarray(piece, dtype=np.int32).tobytes())
                    lengths.append(len(piece))
                    validation.append(number % 100 == 0)
                number += 1
    if number < 2:
        raise InputError(
            f"the corpus has {number} documents with text; one to learn from and one to measure on are needed", where=str(folder)
        )
    np.save(folder / "validation.npy", np.array(validation))
    np.save(folder / "offsets.npy", np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
    return open_corpus(folder)


def open_corpus(folder: Path) -> TokenCorpus:
    """Opens what ``write_corpus`` wrote, without reading it into memory.

    Raises:
        InputError: it is not there.
    """
    if not (folder / "offsets.npy").exists():
        raise InputError("no tokenised corpus here", where=str(folder), hint="run `accord pretrain` or import raw text")
    return TokenCorpus(
        np.memmap(folder / "tokens.bin", dtype=np.int32, mode="r"), np.load(folder / "offsets.npy"), np.load(folder / "validation.npy")
    )


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
    """Writes raw-text documents as JSON lines, atomically; returns how many.

    Raises:
        InputError: there is not one document with text, and nothing was written.
    """
    lines = [json.dumps({"text": text}, ensure_ascii=False) for text in texts if text.strip()]
    if not lines:
        raise InputError("the corpus is empty: not one document with text", where=str(path))
    write_atomic(path, "\n".join(lines) + "\n")
    return len(lines)


def read_documents(folder: Path) -> Iterator[str]:
    """The texts of every .jsonl file in a folder, in the order of their names.

    Raises:
        InputError: there is none, or a line is no JSON object with a "text"; names file and line.
    """
    files = sorted(folder.glob("*.jsonl"))
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
