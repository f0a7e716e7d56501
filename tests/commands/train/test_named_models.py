"""Where a command asks for a model, an adapter and a .gguf file will do, and lineage names them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from small_project import FLAGS, copied, labeled, rankings

from accord.commands.models import load_model
from accord.commands.train.dpo import dpo
from accord.commands.train.sft import sft
from accord.errors import ModelError, UsageError
from accord.models.folders import load_causal_lm
from accord.runtime.lineage import digest_folder
from accord.runtime.project import Project
from accord.settings import DpoConfig, SftConfig

LORA = SftConfig(epochs=1, ptx_tokens=0, lora_rank=2, keep_adapter=True, lr=1e-2, warmup_steps=1)


def test_an_adapter_is_trained_on_as_its_merged_folder_is(unlabeled: Project, tmp_path: Path) -> None:
    project = labeled(unlabeled, tmp_path / "p", rankings())
    sft(project, base="base", name="adapted", config=LORA, flags=FLAGS)
    adapter = project.model("adapted") / "adapter"
    merged, opened = load_causal_lm(project.model("adapted")).state_dict(), load_model(project, str(adapter))
    for name, tensor in opened.lm.state_dict().items():
        assert torch.allclose(tensor, merged[name], atol=1e-6), name
    assert not opened.format.raw, "the template lies beside the adapter"
    assert opened.digest == f"{digest_folder(adapter)} on {digest_folder(project.model('base'))}"
    dpo(project, sft=str(adapter), config=DpoConfig(epochs=1, lr=1e-3), flags=FLAGS)
    record = json.loads((project.model("dpo") / "lineage.json").read_text())
    assert record["parents"] == {str(adapter): opened.digest}
    with pytest.raises(UsageError, match="keep_adapter: an adapter is opened on a folder"):
        dpo(project, sft=str(adapter), name="again", config=DpoConfig(epochs=1, lora_rank=2, keep_adapter=True), flags=FLAGS)


def test_keep_adapter_needs_adapters() -> None:
    with pytest.raises(UsageError, match="keep_adapter without lora_rank"):
        SftConfig(keep_adapter=True)


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(unlabeled: Project, tmp_path: Path) -> None:
    project = copied(unlabeled, tmp_path / "p")
    folder = Path(shutil.copytree(project.model("base"), project.model("grown")))
    tokenizer = load_model(project, "base").format.tokenizer
    tokenizer.add_tokens(["<new>"])
    tokenizer.save_pretrained(folder)
    with pytest.raises(ModelError, match=r"the tokenizer has '<new>' \(300\), but the model's embedding has 300 rows"):
        load_model(project, "grown")
