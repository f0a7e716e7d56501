"""Raw text as tokens on disk: every document once a pass, none of the held-out ones, and a place that is found again."""

from __future__ import annotations

from itertools import chain, groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from joined import foreign
from tiny import corpus

from accord.data.corpus import read_documents, tokenized, write_corpus, write_documents
from accord.data.templates import give_chat_template
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


def framed(folder: Path, tokenizer: Any, texts: list[str]) -> list[str]:
    """The documents of raw text as tokens' names."""
    text = write_corpus(folder, texts, tokenizer, 64)
    return [tokenizer.decode(text.document(i)) for i in range(len(text))]


def test_raw_text_is_framed_as_before_once_the_tokenizer_has_learned_to_chat(tmp_path: Path) -> None:
    texts = ["The mill.", "A river."]
    tokenizer = train_tokenizer(texts, 300)
    before = framed(tmp_path / "base", tokenizer, texts)
    write_documents(tmp_path / "raw" / "a.jsonl", texts)
    first = tokenized(tmp_path / "raw", tokenizer, 64)
    assert give_chat_template(tokenizer)
    assert tokenizer.eos_token == "<|end|>"
    assert framed(tmp_path / "sft", tokenizer, texts) == before == [f"<|endoftext|>{text}<|endoftext|>" for text in texts]
    assert [first.document(i) for i in range(2)] == [tokenized(tmp_path / "raw", tokenizer, 64).document(i) for i in range(2)]


@pytest.mark.parametrize("first", ["base", "chat"])
def test_of_two_frames_each_has_its_own_tokens_whichever_comes_first(tmp_path: Path, first: str) -> None:
    texts = ["The mill.", "A river."]
    write_documents(tmp_path / "a.jsonl", texts)
    base, other = train_tokenizer(texts, 300), train_tokenizer(texts, 300)
    other.add_special_tokens({"additional_special_tokens": ["</s>"]})
    base.add_special_tokens({"additional_special_tokens": ["</s>"]})
    other.eos_token = "</s>"
    order = [base, other] if first == "base" else [other, base]
    ends = [tokenizer.decode(tokenized(tmp_path, tokenizer, 64).document(0)[-1:]) for tokenizer in order]
    assert ends == [tokenizer.eos_token for tokenizer in order]


@pytest.mark.parametrize(
    ("eos", "special", "frame"),
    [
        ("<|im_end|>", ("<|endoftext|>", "<|im_start|>"), ("<|endoftext|>", "<|endoftext|>")),  # Qwen's and SmolLM2's
        ("<|eot_id|>", ("<|end_of_text|>", "<|begin_of_text|>"), ("<|begin_of_text|>", "<|end_of_text|>")),  # Llama 3's
        ("</s>", ("<s>", "<|endoftext|>"), ("<s>", "</s>")),  # Mistral's, with a token of another name beside
        ("<fin>", (), ("<fin>", "<fin>")),
    ],
)
def test_raw_text_has_the_bases_own_begin_and_end_whatever_ends_an_answer(
    tmp_path: Path, eos: str, special: tuple[str, ...], frame: tuple[str, str]
) -> None:
    from tokenizers import processors

    tokenizer = foreign("", eos, special)
    if frame[0] not in (frame[1], eos):
        begin = (frame[0], tokenizer.convert_tokens_to_ids(frame[0]))
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(f"{begin[0]} $A", f"{begin[0]} $A $B", [begin])
    texts = ["A trout.", "An owl."]
    assert framed(tmp_path / "c", tokenizer, texts) == [f"{frame[0]}{text}{frame[1]}" for text in texts]


def test_raw_text_cannot_write_a_control_token(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(["The mill."], 300)
    text = write_corpus(tmp_path / "c", ["The <|endoftext|> mill. <|user|>Q", "A river."], tokenizer, 64)
    control = [token for token in text.document(0) if token in tokenizer.added_tokens_decoder]
    assert tokenizer.decode(control) == "<|endoftext|><|endoftext|>"
    assert tokenizer.decode(text.document(0)[1:-1]) == "The <|endoftext|> mill. <|user|>Q"


def test_a_tokenizer_without_a_documents_end_is_refused(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    endless = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0}, unk_token="a")))
    with pytest.raises(InputError, match="no token that ends a document") as refused:
        write_corpus(tmp_path / "c", ["A mill."], endless, 64)
    assert "eos_token" in refused.value.hint
