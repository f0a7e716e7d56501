"""Raw text as tokens on disk: every document once a pass, none of the held-out ones, and a place that is found again."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

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
