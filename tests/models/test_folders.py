"""Models in and out of folders, and adapters in and out of models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import FP32, chat, llama, rng, scalar, sequences, weights

from accord.errors import ModelError
from accord.models.adapters import add_lora, merge_lora, sharing, trainable
from accord.models.folders import load_causal_lm, load_scalar_model, prepared, save_model, scalar_from
from accord.models.packing import pack
from accord.models.policy import logprobs
from accord.models.scalar import RewardModel, head_width, new_head, scores


def said(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return logprobs(model, pack(sequences([6, 11])), dtype=FP32)[0]


def test_a_saved_policy_opens_in_plain_transformers_with_the_same_logits(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, spoken = llama(vocab=300), chat()
    save_model(tmp_path / "m", model, spoken.tokenizer)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "m").eval()
    row = sequences([9])[0]
    with torch.no_grad():
        theirs = plain(torch.tensor([row])).logits[0, :-1].log_softmax(-1).gather(1, torch.tensor(row)[1:, None])[:, 0]
        assert torch.allclose(logprobs(model, pack([row]), dtype=FP32)[0], theirs, atol=1e-5)
    assert AutoTokenizer.from_pretrained(tmp_path / "m").chat_template == spoken.tokenizer.chat_template
    assert not list((tmp_path / "m").glob("*.bin"))


def test_a_saved_reward_model_opens_in_plain_transformers_with_the_same_scores_but_for_the_bias(tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    model, spoken = scalar(llama(vocab=300)), chat()
    model.config.reward_bias = -2.5
    save_model(tmp_path / "m", model, spoken.tokenizer)
    row = sequences([9])[0]
    ours = RewardModel.load(tmp_path / "m", dtype=FP32).score([row[:4]], [row[4:]])
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "m").eval()
    with torch.no_grad():
        assert ours.item() == pytest.approx(plain(torch.tensor([row])).logits.item() - 2.5, abs=1e-5)


def test_a_classifier_of_several_labels_is_no_reward_model(tmp_path: Path) -> None:
    from transformers import LlamaForSequenceClassification

    config = llama().config
    config.num_labels = 3
    LlamaForSequenceClassification(config).save_pretrained(tmp_path / "m")
    with pytest.raises(ModelError, match="3 labels"):
        load_scalar_model(tmp_path / "m")


def test_fresh_adapters_change_nothing_and_trained_ones_merge_to_the_same_function() -> None:
    model, before = llama(), said(llama())
    add_lora(model, 4, rng(1))
    assert torch.allclose(said(model), before, atol=1e-5)
    assert 0 < trainable(model) < trainable(llama())
    learns = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert all("lora_" in name for name in learns)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=rng(2)))
    after = said(model)
    assert (after - before).abs().max() > 0.01
    merge_lora(model)
    assert torch.allclose(said(model), after, atol=1e-5)
    assert weights(model).keys() == weights(llama()).keys()


def test_adapters_in_a_sharing_copy_leave_the_model_alone_and_take_no_second_copy_of_it() -> None:
    model = scalar(llama())
    batch = pack(sequences([6, 11]))
    before = scores(model, batch, dtype=FP32).detach()
    adapted = add_lora(sharing(model), 2, rng(1))
    theirs = dict(model.named_parameters())
    for name, parameter in adapted.named_parameters():
        shared = theirs.get(name.replace("base_layer.", ""))
        assert (shared is parameter) == ("lora_" not in name and not name.startswith("score")), name
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(0.5)
    assert torch.equal(scores(model, batch, dtype=FP32), before)
    assert not torch.allclose(scores(adapted, batch, dtype=FP32), before)


def test_a_merged_model_is_saved_without_adapters(tmp_path: Path) -> None:
    model = merge_lora(add_lora(llama(vocab=300), 2, rng(1)))
    save_model(tmp_path / "m", model, chat().tokenizer)
    assert not list((tmp_path / "m").glob("adapter*"))
    assert torch.allclose(said(load_causal_lm(tmp_path / "m")), said(model), atol=1e-6)


def test_an_adapted_reward_model_trains_its_head_too() -> None:
    model = scalar(llama())
    batch = pack(sequences([6, 11]))
    before = scores(model, batch, dtype=FP32).detach()
    add_lora(model, 2, rng(1))
    assert torch.allclose(scores(model, batch, dtype=FP32), before, atol=1e-5)
    assert model.score.weight.requires_grad


def test_dropout_is_off_for_good() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=60, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24, attention_dropout=0.5
    )
    model = prepared(LlamaForCausalLM(config))
    assert not model.training
    assert torch.equal(said(model), said(model))


def test_a_reward_model_of_an_architecture_without_a_class_for_it_is_refused() -> None:
    from transformers import ApertusConfig, ApertusForCausalLM

    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2}
    lm = ApertusForCausalLM(ApertusConfig(vocab_size=60, **shape, bos_token_id=1, eos_token_id=1, pad_token_id=0))
    with pytest.raises(ModelError, match="apertus: transformers has no class for reward and value models"):
        scalar_from(lm, new_head(head_width(lm), rng()))
