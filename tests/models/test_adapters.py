"""Adapters in and out: peft opens ours on the base, and ours opens peft's, with the same outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import chat, llama, rng, scalar, sequences
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from accord.data.tokenizers import load_tokenizer
from accord.errors import ModelError
from accord.models.adapters import add_lora, merge_lora, save_adapter
from accord.models.folders import load_causal_lm, load_scalar_model, prepared, save_model

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),  # of peft
    pytest.mark.filterwarnings("ignore:.*_pattern keys:RuntimeWarning"),  # of peft, about fused experts
    pytest.mark.filterwarnings("ignore:.*fan_in_fan_out:UserWarning"),  # of peft, which then does what is right
]
ROW = torch.tensor(sequences([11], vocab=300))


def gpt2() -> Any:
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=300, n_positions=64, n_embd=16, n_layer=2, n_head=2, bos_token_id=1, eos_token_id=1, initializer_range=0.3
    )
    return prepared(GPT2LMHeadModel(config))


def experts() -> Any:
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8}
    shape |= {"intermediate_size": 32, "moe_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2}
    config = Qwen3MoeConfig(**shape, vocab_size=300, max_position_embeddings=64, initializer_range=0.3)
    return prepared(Qwen3MoeForCausalLM(config))


def untied() -> Any:
    config = llama(vocab=300).config
    config.tie_word_embeddings = False
    return prepared(LlamaForCausalLM(config))


def moved(model: Any) -> Any:
    """Adapters that have learned something."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=rng(2)))
    return model


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    """By transformers' own forward pass."""
    getattr(model, "get_base_model", lambda: model)().set_attn_implementation("eager")
    return model.eval()(ROW.clamp(max=299)).logits


@pytest.fixture(params=[llama, gpt2, experts])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder with a base, an adapter on it that Accord kept, and the two merged."""
    base = request.param(**({"vocab": 300} if request.param is llama else {}))
    save_model(tmp_path / "base", base, chat().tokenizer)
    model = moved(add_lora(load_causal_lm(tmp_path / "base"), 2, rng(1)))
    save_adapter(tmp_path / "run" / "adapter", model, str(tmp_path / "base"), chat().tokenizer)
    save_model(tmp_path / "run" / "merged", merge_lora(model), chat().tokenizer)
    return tmp_path


def test_peft_opens_a_kept_adapter_on_the_base_with_the_logits_of_the_merged_model(kept: Path) -> None:
    from peft import AutoPeftModelForCausalLM

    base, theirs = AutoModelForCausalLM.from_pretrained(kept / "base"), AutoPeftModelForCausalLM.from_pretrained(kept / "run" / "adapter")
    merged = logits(AutoModelForCausalLM.from_pretrained(kept / "run" / "merged"))
    assert torch.allclose(logits(theirs), merged, atol=1e-5)
    assert (logits(base) - merged).abs().max() > 0.1
    config = json.loads((kept / "run" / "adapter" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["task_type"]) == (2, 4, "CAUSAL_LM")
    assert all("." not in name for name in config["target_modules"]), "servers ask for q_proj rather than model.layers.0.self_attn.q_proj"
    assert config["base_model_name_or_path"] == str(kept / "base")


def test_an_adapter_is_a_model_that_can_be_named(kept: Path) -> None:
    opened = load_causal_lm(kept / "run" / "adapter")
    assert torch.allclose(logits(opened), logits(load_causal_lm(kept / "run" / "merged")), atol=1e-5)
    assert not [name for name, _ in opened.named_parameters() if "lora" in name]
    assert load_tokenizer(kept / "run" / "adapter").get_vocab() == chat().tokenizer.get_vocab()


def test_an_adapter_of_a_moved_project_finds_its_base_beside_its_model(kept: Path) -> None:
    models = kept / "elsewhere"
    models.mkdir()
    for name in ("base", "run"):
        (kept / name).rename(models / name)
    assert torch.allclose(logits(load_causal_lm(models / "run" / "adapter")), logits(load_causal_lm(models / "run" / "merged")), atol=1e-5)
    (models / "base").rename(models / "renamed")
    with pytest.raises(ModelError, match=r"which is not there.*base_model_name_or_path into"):
        load_causal_lm(models / "run" / "adapter")


def test_an_adapter_that_peft_itself_trained_is_opened_with_what_it_changes(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    save_model(tmp_path / "base", untied(), chat().tokenizer)
    asked = LoraConfig(r=3, lora_alpha=5, target_modules=["q_proj", "v_proj"], modules_to_save=["embed_tokens"], use_dora=True)
    theirs = moved(get_peft_model(AutoModelForCausalLM.from_pretrained(tmp_path / "base"), asked))
    with torch.no_grad():
        next(p for n, p in theirs.named_parameters() if "embed_tokens.modules_to_save" in n).mul_(1.1)
    theirs.save_pretrained(tmp_path / "adapter")
    opened = load_causal_lm(tmp_path / "adapter")
    assert torch.allclose(logits(opened), logits(theirs), atol=1e-5)
    assert len(load_tokenizer(tmp_path / "adapter")) == len(chat().tokenizer), "that of its base"


@pytest.mark.filterwarnings("ignore:.*tie_word_embeddings:UserWarning")
def test_an_adapter_that_brings_new_tokens_or_unties_the_head(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    save_model(tmp_path / "untied", untied(), chat().tokenizer)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "untied")
    model.resize_token_embeddings(320, mean_resizing=False)
    theirs = moved(get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"])))
    theirs.save_pretrained(tmp_path / "new", save_embedding_layers=True)
    opened = load_causal_lm(tmp_path / "new")
    assert opened.config.vocab_size == 320
    assert torch.allclose(logits(opened), logits(theirs), atol=1e-5)

    save_model(tmp_path / "tied", llama(vocab=300), chat().tokenizer)
    asked = LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["embed_tokens"])
    unties = get_peft_model(AutoModelForCausalLM.from_pretrained(tmp_path / "tied"), asked)
    with torch.no_grad():
        next(p for n, p in unties.named_parameters() if "embed_tokens.modules_to_save" in n).mul_(1.5)
    unties.save_pretrained(tmp_path / "unties")
    save_model(tmp_path / "plain", load_causal_lm(tmp_path / "unties"), chat().tokenizer)
    assert torch.allclose(logits(load_causal_lm(tmp_path / "plain")), logits(unties), atol=1e-5)


def test_an_adapter_on_another_model_than_its_own_is_refused(kept: Path) -> None:
    path = kept / "run" / "adapter" / "adapter_config.json"
    for name, model in (
        ("deeper", llama(vocab=300, layers=3)),
        ("wider", llama(vocab=300, hidden=32)),
        ("shallower", llama(vocab=300, layers=1)),
    ):
        save_model(kept / name, model, chat().tokenizer)
        path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": str(kept / name)}))
        with pytest.raises(ModelError, match=r"adapter.*adapter_config\.json"):
            load_causal_lm(kept / "run" / "adapter")


def test_adapter_folders_that_cannot_be_opened_say_why(tmp_path: Path, kept: Path) -> None:
    adapter = kept / "run" / "adapter"
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": None}))
    with pytest.raises(ModelError, match=r"names no base model.*base_model_name_or_path"):
        load_causal_lm(adapter)
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": str(adapter)}))
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    with pytest.raises(ModelError, match=r"no adapter_model\.safetensors.*pickles are not opened"):
        load_causal_lm(adapter)
    merged = kept / "run" / "merged"
    (merged / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match="both a model and an adapter"):
        load_causal_lm(merged)


def test_a_reward_models_adapter_scores_in_peft_as_the_merged_one_does(tmp_path: Path) -> None:
    from peft import AutoPeftModelForSequenceClassification

    save_model(tmp_path / "base", llama(vocab=300), chat().tokenizer)
    model = moved(add_lora(scalar(load_causal_lm(tmp_path / "base"), 3), 2, rng(1)))
    save_adapter(tmp_path / "adapter", model, str(tmp_path / "base"), chat().tokenizer)
    save_model(tmp_path / "merged", merge_lora(model), chat().tokenizer)
    score = logits(AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged")).item()
    theirs = AutoPeftModelForSequenceClassification.from_pretrained(tmp_path / "adapter", num_labels=1)
    assert logits(theirs).item() == pytest.approx(score, abs=1e-5)
    assert logits(load_scalar_model(tmp_path / "adapter")).item() == pytest.approx(score, abs=1e-5)
    with pytest.raises(ModelError):
        load_causal_lm(tmp_path / "adapter")
