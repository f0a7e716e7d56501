"""Raw text as tokens on disk: every document once a pass, none of the held-out ones, and a place that is found again."""

from __future__ import annotations

from itertools import chain, groupby, islice
from pathlib import Path

import numpy as np
import pytest
from tiny import corpus

from accord.data.corpus import read_documents, write_corpus, write_documents
from accord.data.tokenizers import train_tokenizer
from accord.errors import InputError


def test_documents_come_back_as_text_between_end_tokens(tmp_path: Path) -> None:
    texts = ["The mill.", "A long river and a bridge over it. " * 8, "Bread 中文 🙂"]
    tokenizer = train_tokenizer(texts, 300)
    text = write_corpus(tmp_path / "c", texts, tokenizer, 40)
    pieces = [text.document(i) for i in range(len(text))]
    assert all(piece[0] == piece[-1] == tokenizer.eos_token_id and len(piece) <= 40 for piece in pieces)
    assert tokenizer.decode([token for piece in pieces for token in piece[1:-1]]) == "".join(texts)


def test_a_pass_reads_every_training_document_once_and_no_held_out_one(tmp_path: Path) -> None:
    _, text = corpus(tmp_path / "c", documents=120)
    held = [i for i in range(len(text)) if text.validation[i]]
    assert len(held) == 2
    training = sorted(text.document(i) for i in range(len(text)) if i not in held)
    seen: list[list[int]] = []
    for batch in text.batches(0, 300):
        assert sum(map(len, batch)) >= 300 > sum(map(len, batch[:-1]))
        seen += batch
        if len(seen) >= len(training):
            break
    assert sorted(seen[: len(training)]) == training


def test_shards_are_read_one_after_another_and_hold_every_document_once(tmp_path: Path) -> None:
    texts = [f"Document {n} of the town." for n in range(150)]
    tokenizer = train_tokenizer(texts, 300)
    one = write_corpus(tmp_path / "one", texts, tokenizer, 64)
    many = write_corpus(tmp_path / "many", texts, tokenizer, 64, shard_tokens=400)
    assert len(one.shards) == 1
    assert len(many.shards) > 3
    assert [many.document(i) for i in range(len(many))] == [one.document(i) for i in range(len(one))]
    owner = {tuple(many.document(i)): int(np.searchsorted(many.starts, i, side="right")) for i in range(len(many))}
    passes = [list(chain.from_iterable(islice(many.batches(seed, 1), 148))) for seed in (0, 1)]
    assert sorted(passes[0]) == sorted(passes[1]) == sorted(many.document(i) for i in np.flatnonzero(~many.validation).tolist())
    assert passes[0] != passes[1]
    visits = [[key for key, _ in groupby(owner[tuple(document)] for document in read)] for read in passes]
    assert all(len(set(visit)) == len(visit) == len(many.shards) for visit in visits)
    whole = list(islice(many.batches(3, 250), 40))
    assert list(islice(many.batches(3, 250, skip=23), 17)) == whole[23:]


def test_a_corpus_is_mapped_and_not_read(tmp_path: Path) -> None:
    _, text = corpus(tmp_path / "c")
    assert all(isinstance(shard, np.memmap) for shard in text.shards)


def test_a_resumed_reader_finds_its_place(tmp_path: Path) -> None:
    _, text = corpus(tmp_path / "c")
    whole = list(islice(text.batches(3, 250), 30))
    assert list(islice(text.batches(3, 250, skip=17), 13)) == whole[17:]


def test_too_little_text_is_refused_and_so_is_a_line_that_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="1 documents"):
        write_corpus(tmp_path / "c", ["one", "  "], train_tokenizer(["one"], 300), 64)
    with pytest.raises(InputError, match="empty"):
        write_documents(tmp_path / "text.jsonl", [" ", ""])
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.jsonl").write_text('{"text": "one"}\n{"body": "two"}\n')
    with pytest.raises(InputError, match=r"a\.jsonl:2"):
        list(read_documents(tmp_path / "raw"))
