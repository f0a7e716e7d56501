"""Where a command asks for a model, an adapter and a .gguf file will do, and lineage names them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from small_project import FLAGS, copied, labeled, rankings
from tiny import chat, llama

from accord.commands.models import load_model
from accord.commands.train.dpo import dpo
from accord.commands.train.sft import sft
from accord.errors import ModelError, UsageError
from accord.models.folders import load_causal_lm, save_model
from accord.models.weights import update_kept
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


def test_a_run_says_when_rounding_loses_what_it_learned(unlabeled: Project, tmp_path: Path) -> None:
    project = copied(unlabeled, tmp_path / "p")
    base = load_model(project, "base")
    save_model(project.model("half"), base.lm, base.format.tokenizer, torch.bfloat16)
    for name, lr, dtype in (("slow", 1e-6, "auto"), ("fast", 1e-2, "auto"), ("exact", 1e-6, "float32")):
        config = SftConfig(epochs=1, ptx_tokens=0, lr=lr, warmup_steps=1, save_dtype=dtype)
        sft(project, base="half", name=name, config=config, flags=FLAGS)
        log = project.run(name) / "log.txt"
        assert (log.exists() and "bfloat16 keeps" in log.read_text()) == (name == "slow"), name
    before, after = (load_causal_lm(project.model(name)).state_dict() for name in ("half", "slow"))
    changed = sum(int((before[name] != tensor).sum()) for name, tensor in after.items())
    assert changed < 0.2 * sum(tensor.numel() for tensor in after.values()), "so it is: most weights are the base's again"


def test_the_share_that_is_kept(tmp_path: Path) -> None:
    save_model(tmp_path / "m", llama(vocab=300), chat().tokenizer, torch.bfloat16)
    for step, share in ((1e-5, 0.0), (1e-2, 1.0)):
        model = load_causal_lm(tmp_path / "m")
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1 + step)
        assert update_kept(model, tmp_path / "m", torch.bfloat16) == pytest.approx(share, abs=0.1)
        assert update_kept(model, tmp_path / "m", torch.float32) == pytest.approx(1.0)
