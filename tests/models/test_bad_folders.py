"""Folders that are no model, or not the one that they say they are: each is refused with what, where and the way out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from joined import foreign
from safetensors.torch import load_file, save_file
from tiny import chat, llama, scalar

from accord.data.tokenizers import check_vocabulary, load_tokenizer
from accord.errors import ModelError
from accord.models.folders import load_causal_lm, load_scalar_model, save_model
from accord.runtime.language_models import speaks

UP = "model.layers.1.mlp.up_proj.weight"


def weights(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    held = load_file(folder / "model.safetensors")
    change(held)
    save_file(held, folder / "model.safetensors", metadata={"format": "pt"})


def config(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def cut(file: Path, left: int) -> None:
    file.write_bytes(file.read_bytes()[:left])


def in_shards(folder: Path) -> list[Path]:
    model = load_causal_lm(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="20KB")
    return sorted(folder.glob("*.safetensors"))


def as_pickle(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "a file cut short": (lambda f: cut(f / "model.safetensors", 5000), "not fully covered.*download the model folder again"),
    "a file of nothing": (lambda f: cut(f / "model.safetensors", 0), "cannot be read.*download the model folder again"),
    "a shard cut short": (lambda f: cut(in_shards(f)[0], 9000), "not fully covered.*download the model folder again"),
    "a shard missing": (lambda f: in_shards(f)[1].unlink(), "model-00002-of-00003.safetensors.*download the model folder again"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "no file named model.safetensors.*download the model folder again"),
    "a tensor missing": (lambda f: weights(f, lambda w: w.pop(UP)), f"the weights lack {UP}, which config.json asks for"),
    "a layer too many": (lambda f: config(f, num_hidden_layers=3), r"the weights lack model\.layers\.2\..* and 6 more"),
    "a layer too few": (lambda f: config(f, num_hidden_layers=1), r"the weights hold model\.layers\.1\..* and 6 more, which config.json"),
    "no head of its own": (lambda f: config(f, tie_word_embeddings=False), r"the weights lack lm_head\.weight"),
    "another shape": (lambda f: weights(f, lambda w: w.update({UP: torch.zeros(3, 3)})), rf"{UP} \[3, 3\] for \[32, 16\]"),
    "another shape and a dtype that is none": (lambda f: config(f, intermediate_size=8, dtype="llama"), "has no attribute 'llama'"),
    "NaN": (lambda f: weights(f, lambda w: w[UP].fill_(float("nan"))), f"NaN or infinity in {UP} "),
    "infinity": (lambda f: weights(f, lambda w: w[UP][3, 4].fill_(float("-inf"))), f"NaN or infinity in {UP} "),
    "pickles": (as_pickle, r"pickles \(pytorch_model\.bin\).*save_pretrained"),
    "quantised": (lambda f: config(f, quantization_config={"quant_method": "gptq"}), r"quantised \(gptq\).*not quantised"),
    "broken config": (lambda f: cut(f / "config.json", 30), "not a valid JSON file"),
    "an unknown kind": (lambda f: config(f, model_type="evil"), "model type `evil`"),
    "no config": (lambda f: (f / "config.json").unlink(), r"no config\.json.*Hugging Face"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_folder_whose_weights_are_not_those_of_its_config_is_refused(tmp_path: Path, name: str) -> None:
    spoil, told = BAD[name]
    save_model(tmp_path / "m", llama(vocab=300), chat().tokenizer)
    load_causal_lm(tmp_path / "m")
    spoil(tmp_path / "m")
    with pytest.raises(ModelError, match=told) as refused:
        load_causal_lm(tmp_path / "m")
    assert str(tmp_path / "m") in str(refused.value)
    assert "\n" not in str(refused.value)


def test_tied_heads_and_shards_are_no_fault(tmp_path: Path) -> None:
    save_model(tmp_path / "m", llama(vocab=300), chat().tokenizer)
    assert "lm_head.weight" not in load_file(tmp_path / "m" / "model.safetensors")
    assert len(in_shards(tmp_path / "m")) == 3
    load_causal_lm(tmp_path / "m")


def test_a_reward_model_is_no_language_model_and_the_other_way_round(tmp_path: Path) -> None:
    save_model(tmp_path / "reward", scalar(llama(vocab=300)), chat().tokenizer)
    save_model(tmp_path / "policy", llama(vocab=300), chat().tokenizer)
    with pytest.raises(ModelError, match="a reward model, not a language model"):
        load_causal_lm(tmp_path / "reward")
    config(tmp_path / "policy", id2label={"0": "score"}, label2id={"score": 0})
    with pytest.raises(ModelError, match=r"a language model, not a reward model.*`accord reward` trains one"):
        load_scalar_model(tmp_path / "policy")
    assert speaks(tmp_path / "policy")
    assert not speaks(tmp_path / "reward")


def test_a_pickle_beside_safetensors_is_not_opened(tmp_path: Path) -> None:
    save_model(tmp_path / "m", llama(vocab=300), chat().tokenizer)
    (tmp_path / "m" / "pytorch_model.bin").write_bytes(b"no pickle at all")
    load_causal_lm(tmp_path / "m")


def test_code_that_comes_with_a_model_is_not_run(tmp_path: Path) -> None:
    save_model(tmp_path / "m", llama(vocab=300), chat().tokenizer)
    (tmp_path / "m" / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    code = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
    config(tmp_path / "m", auto_map=code)
    load_causal_lm(tmp_path / "m")  # transformers has a Llama of its own
    config(tmp_path / "m", auto_map=code, model_type="evil")
    with pytest.raises(ModelError, match=r"'evil', is code that comes with it \(auto_map\).*transformers has itself"):
        load_causal_lm(tmp_path / "m")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["nowhere", "nowhere.gguf"])
def test_a_path_that_is_not_there_is_no_name_on_a_hub(tmp_path: Path, name: str) -> None:
    for opened in (load_causal_lm, load_tokenizer):
        with pytest.raises(ModelError, match="there is no such file or folder"):
            opened(tmp_path / name)


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ModelError, match=r"no model.*a \.gguf file or the folder"):
        load_causal_lm(tmp_path / "notes.txt")


def test_tokens_beyond_the_embedding_are_refused_but_for_marks_that_nothing_writes() -> None:
    tokenizer = foreign("{{ messages[0].content }}<|stop|>", "</s>", ("<|stop|>",))
    size = len(tokenizer)
    check_vocabulary(tokenizer, size, "m")
    check_vocabulary(tokenizer, size + 64, "m")  # an embedding padded to a round number
    with pytest.raises(ModelError, match=rf"'\S+' \({size - 1}\), but the model's embedding has {size - 1} rows.*resize_token_embeddings"):
        check_vocabulary(tokenizer, size - 1, "m")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    check_vocabulary(tokenizer, size, "m")
    tokenizer.chat_template += "<image>"
    with pytest.raises(ModelError, match="<image>"):
        check_vocabulary(tokenizer, size, "m")
    tokenizer.chat_template = None
    tokenizer.pad_token = "<image>"
    with pytest.raises(ModelError, match="<image>"):
        check_vocabulary(tokenizer, size, "m")
