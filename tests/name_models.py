"""Tiny models for token classification: a random one, and one that knows a few names by their words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import BertConfig, BertForTokenClassification, PreTrainedTokenizerFast

WORDS = [
    *("[PAD]", "[UNK]", "ada", "lovelace", "lives", "in", "london", "and", "works", "at", "the", "mill", "with", "bob", "it", "rains"),
    *(".", "bread", "is", "sold"),
]
LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


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
