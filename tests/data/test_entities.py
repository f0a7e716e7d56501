"""A folder for token classification as the classifier of personal data, held against transformers' own pipeline on a tiny random model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import BertConfig, BertForTokenClassification, PreTrainedTokenizerFast, pipeline

from accord.data.classifiers.entities import EntityFolder, holds_entities, is_personal
from accord.data.classifiers.registry import opened
from accord.errors import ModelError

WORDS = [
    *("[PAD]", "[UNK]", "ada", "lovelace", "lives", "in", "london", "and", "works", "at", "the", "mill", "with", "bob", "it", "rains"),
    *(".", "bread", "is", "sold"),
]
LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
TEXTS = ["ada lovelace lives in london", "bread is sold at the mill .", "bob works with ada ada lovelace and it rains", "it rains"]


def folder_of(folder: Path, layers: int, labels: tuple[str, ...] = LABELS, kind: Any = BertForTokenClassification) -> tuple[Path, Any]:
    torch.manual_seed(3)
    known = {word: number for number, word in enumerate(WORDS)}
    words = Tokenizer(WordLevel(known, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", model_max_length=12)
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=32, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64, id2label=dict(enumerate(labels)), label2id={name: number for number, name in enumerate(labels)},
    )  # fmt: skip
    model = kind(config).eval()
    with torch.no_grad():
        model.bert.embeddings.position_embeddings.weight.zero_()
        model.classifier.weight.mul_(40)  # so that a random model says something of every kind
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    return folder, model


def test_it_finds_what_the_pipeline_finds(tmp_path: Path) -> None:
    folder, _ = folder_of(tmp_path / "random", 2)
    ours, theirs = EntityFolder(folder), pipeline("token-classification", model=str(folder), aggregation_strategy="simple")
    found, expected = list[tuple[str, int, int]](), list[tuple[str, int, int]]()
    for text in TEXTS:
        found += [(each.label, each.start, each.end) for each in ours.find(text)]
        expected += [(each["entity_group"], each["start"], each["end"]) for each in theirs(text) if each["entity_group"] == "PER"]
    assert found == expected
    assert len(found) > 2, "a test of nothing"


def known_names(folder: Path) -> Path:
    """A model by words alone: ada and bob begin a name, lovelace goes on with it, london is a place."""
    folder, model = folder_of(folder, 0)
    with torch.no_grad():
        states = model.bert(torch.arange(len(WORDS))[:, None]).last_hidden_state[:, 0]
        wanted = torch.zeros(len(WORDS), len(LABELS))
        for place, word in enumerate(WORDS):
            wanted[place, {"ada": 1, "bob": 1, "lovelace": 2, "london": 3}.get(word, 0)] = 5.0
        model.classifier.weight.copy_((torch.linalg.pinv(states) @ wanted).T)
        model.classifier.bias.zero_()
    model.save_pretrained(folder)
    return folder


def test_all_of_a_long_text_is_read_and_the_rules_stay(tmp_path: Path) -> None:
    folder = known_names(tmp_path / "names")
    classify = opened("personal", "folder:names", root=tmp_path)
    assert isinstance(classify, EntityFolder)
    long = "it rains . " * 20 + "ada lovelace lives"
    (entity,) = classify.find(long)
    assert long[entity.start : entity.end] == "ada lovelace"
    assert classify.find("ada lovelace ada bob lives in london")[-1].start == len("ada lovelace ada ")
    labels = [each.label for each in classify([long, "it rains in london", "bread . jo@example.org", ""])]
    assert labels == ["personal", "none", "personal", "none"]
    assert all(0.5 < each.probability <= 1 for each in classify([*TEXTS, long]))
    assert holds_entities(folder)


def test_labels_and_folders_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    assert [is_personal(name) for name in ("B-PER", "I-GIVENNAME", "TELEPHONENUM", "O", "B-ORG", "S-GPE", "DATE", "LABEL_3")] == [
        True, True, True, False, False, False, False, False,
    ]  # fmt: skip
    places, _ = folder_of(tmp_path / "places", 1, ("O", "B-LOC", "I-LOC"))
    with pytest.raises(ModelError, match="none of its labels is an entity of a person: O, B-LOC, I-LOC"):
        opened("personal", "folder:places", root=tmp_path)
    (places / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match="no model for token classification"):
        EntityFolder(places)
    with pytest.raises(ModelError, match="no model for text classification"):
        opened("personal", "folder:nowhere", root=tmp_path)
