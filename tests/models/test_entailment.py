"""An entailment model from a folder: its label of entailment is found, and two answers are the same when each follows from the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from accord.errors import ModelError
from accord.models.entailment import Entailment

WORDS = ["[PAD]", "[UNK]", "where", "hill", "street", "mill"]


def folder(path: Path, labels: list[str]) -> str:
    """A classifier of random weights, of six words."""
    tokenizer = Tokenizer(models.WordLevel({word: at for at, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]
    fast: Any = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", model_max_length=32)
    fast.save_pretrained(path)
    sizes: dict[str, int] = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    named: dict[str, Any] = {"vocab_size": len(WORDS), "num_labels": len(labels), "id2label": dict(enumerate(labels))}
    config = BertConfig(**sizes, **named)
    torch.manual_seed(0)
    BertForSequenceClassification(config).save_pretrained(path)
    return str(path)


def test_each_has_to_follow_from_the_other(tmp_path: Path) -> None:
    opened = Entailment.open(folder(tmp_path / "nli", ["CONTRADICTION", "NEUTRAL", "ENTAILMENT"]))
    assert opened.entails == 2
    follows = {("where hill", "where hill street"), ("where hill street", "where hill"), ("where hill", "where mill")}

    class Told:
        """Logits that say what follows from what."""

        device = opened.model.device

        def __call__(self, input_ids: torch.Tensor, **_: Any) -> Any:
            rows = [opened.tokenizer.decode(row, skip_special_tokens=True).split("where ") for row in input_ids]
            pairs = [(f"where {first}".strip(), f"where {second}".strip()) for _, first, second in rows]
            logits = torch.tensor([[0.0, 0.5, float(pair in follows)] for pair in pairs])
            return type("Output", (), {"logits": logits})()

    told = Entailment(Told(), opened.tokenizer, opened.entails)
    assert told.same("where", "hill", "hill street")
    assert not told.same("where", "hill", "mill"), "mill follows from hill, and not the other way round"
    assert isinstance(opened.same("where", "hill", "mill"), bool)


def test_labels_that_do_not_say_which_is_entailment_are_refused(tmp_path: Path) -> None:
    assert Entailment.open(folder(tmp_path / "two", ["entailment", "not_entailment"])).entails == 0
    with pytest.raises(ModelError, match="which one is entailment"):
        Entailment.open(folder(tmp_path / "toxic", ["toxic", "kind"]))
    with pytest.raises(ModelError, match="cannot be read as an entailment model"):
        Entailment.open(str(tmp_path))
