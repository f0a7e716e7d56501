"""`accord export-model`: what other programs open, and what a hub is sent, by a small server of its API."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from shelved import real_model
from tiny import chat
from transformers import AutoModelForCausalLM, AutoTokenizer

from accord.commands.serve.export_model import export_model
from accord.errors import ModelError, RunError, UsageError
from accord.models.adapters import add_lora, merge_lora, save_adapter
from accord.models.folders import load_causal_lm, save_model
from accord.runtime.project import Project

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),  # of peft
    pytest.mark.filterwarnings("ignore:.*upload raw bytes:DeprecationWarning"),  # of huggingface_hub's own uploads
]
TURNS = [{"role": "user", "content": "Who keeps the mill?"}]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A base in bfloat16, and a model that kept its adapter."""
    made = Project.create(tmp_path / "p")
    real_model(made, "first")
    base = made.model("base")
    save_model(base, load_causal_lm(made.model("first")), chat().tokenizer, torch.bfloat16)
    (base / "README.md").write_text("---\nlicense: mit\n---\n\n# base\n")
    model = add_lora(load_causal_lm(base), 2, torch.Generator().manual_seed(1))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
    save_adapter(tmp_path / "adapter", model, str(base), chat().tokenizer)
    save_model(made.model("tuned"), merge_lora(model), chat().tokenizer, torch.float32)
    (tmp_path / "adapter").rename(made.model("tuned") / "adapter")
    return made


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    ids = chat().tokenizer.apply_chat_template(TURNS, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    model.set_attn_implementation("eager")
    return model.eval()(**ids).logits.float()


def test_a_folder_keeps_the_precision_it_came_in(project: Project, tmp_path: Path) -> None:
    told = export_model(project.path, "base")
    assert told["folder"] == str(project.path / "exports" / "base-merged")
    for folder, dtype in ((Path(told["folder"]), torch.bfloat16), (tmp_path / "whole", torch.float32)):
        if dtype == torch.float32:
            export_model(project.path, "base", dtype="float32", out=folder)
        kept = load_file(folder / "model.safetensors")
        assert {tensor.dtype for tensor in kept.values()} == {dtype}
        theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        assert torch.equal(logits(theirs), logits(AutoModelForCausalLM.from_pretrained(project.model("base"), dtype=torch.float32)))
        assert AutoTokenizer.from_pretrained(folder).chat_template == chat().tokenizer.chat_template
        assert (folder / "README.md").read_text().endswith("# base\n")


def test_an_adapter_goes_alone_or_merged_with_the_same_words(project: Project, tmp_path: Path) -> None:
    from peft import AutoPeftModelForCausalLM

    alone, merged = tmp_path / "alone", tmp_path / "merged"
    told = export_model(project.path, "tuned", to="adapter", out=alone, dtype="bfloat16")
    assert told["base"] == str(project.model("base"))
    assert {tensor.dtype for tensor in load_file(alone / "adapter_model.safetensors").values()} == {torch.bfloat16}
    export_model(project.path, f"{project.model('tuned') / 'adapter'} on base", out=merged, dtype="float32")
    whole = logits(AutoModelForCausalLM.from_pretrained(project.model("tuned"), dtype=torch.float32))
    assert torch.allclose(logits(AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32)), whole, atol=1e-4)
    theirs = AutoPeftModelForCausalLM.from_pretrained(alone, dtype=torch.float32).get_base_model()
    assert torch.allclose(logits(theirs), whole, atol=0.05)
    with pytest.raises(ModelError, match=r"no adapter by itself.*--keep-adapter"):
        export_model(project.path, "base", to="adapter")
    assert not (project.path / "exports").exists() or not list((project.path / "exports").iterdir())


def test_a_gguf_file_lies_beside_its_modelfile(project: Project) -> None:
    told = export_model(project.path, "tuned", to="gguf", dtype="float32")
    folder = Path(told["folder"])
    assert sorted(path.name for path in folder.iterdir()) == ["Modelfile", "tuned.gguf"]
    theirs = AutoModelForCausalLM.from_pretrained(folder, gguf_file="tuned.gguf", dtype=torch.float32)
    whole = AutoModelForCausalLM.from_pretrained(project.model("tuned"), dtype=torch.float32)
    assert torch.allclose(logits(theirs), logits(whole), atol=1e-4)
    lines = (folder / "Modelfile").read_text().splitlines()
    assert lines[0] == "FROM ./tuned.gguf"
    assert 'PARAMETER stop "<|end|>"' in lines


def test_flags_that_do_not_go_together_are_refused_before_anything_is_opened(project: Project) -> None:
    for how, why in (
        ({"to": "hub"}, "go together"),
        ({"repo": "me/it"}, "go together"),
        ({"public": True}, "--public is for"),
        ({"dtype": "q8_0"}, "q8_0 is a precision of .gguf"),
    ):
        with pytest.raises(UsageError, match=why):
            export_model(project.path, "base", **how)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ModelError, match="no such model"):
        export_model(project.path, "none")


class Hub(ThreadingHTTPServer):
    """What a hub does when a folder is uploaded: a repository, the way of each file, large files apart, one commit."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.made: list[dict[str, Any]] = []
        self.tokens: set[str] = set()
        self.blobs: dict[str, bytes] = {}
        self.files: dict[str, bytes] = {}
        self.refuses = False


class Handler(BaseHTTPRequestHandler):
    server: Hub  # pyright: ignore[reportIncompatibleVariableOverride]

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding", "") == "chunked":
            whole = b""
            while size := int(self.rfile.readline(), 16):
                whole += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return whole
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    def _answer(self, told: Any, status: int = 200) -> None:
        body = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self) -> None:
        body = self._body()
        self.server.blobs[hashlib.sha256(body).hexdigest()] = body
        self._answer({})

    def do_GET(self) -> None:
        self._answer({"id": "me/it", "sha": "0" * 40, "siblings": []})

    def do_POST(self) -> None:
        body = self._body()
        self.server.tokens.add(self.headers.get("authorization", ""))
        if self.server.refuses:
            return self._answer({"error": f"no write access for {self.headers.get('authorization')}"}, 403)
        if self.path == "/api/repos/create":
            self.server.made.append(json.loads(body))
            return self._answer({"url": f"{self.server.url}/me/it"})
        if self.path == "/api/validate-yaml":
            return self._answer({"errors": [], "warnings": []})
        if "/preupload/" in self.path:
            ways = {True: "lfs", False: "regular"}
            files = [{"path": f["path"], "uploadMode": ways[f["path"].endswith("safetensors")]} for f in json.loads(body)["files"]]
            return self._answer({"files": [{**each, "shouldIgnore": False} for each in files]})
        if self.path.endswith("/objects/batch"):
            objects = [
                {**each, "actions": {"upload": {"href": f"{self.server.url}/blobs/{each['oid']}"}}} for each in json.loads(body)["objects"]
            ]
            return self._answer({"transfer": "basic", "objects": objects})
        if "/commit/" in self.path:
            for line in body.decode().splitlines():
                told = json.loads(line)
                value = told["value"]
                if told["key"] == "file":
                    self.server.files[value["path"]] = base64.b64decode(value["content"])
                elif told["key"] == "lfsFile":
                    self.server.files[value["path"]] = self.server.blobs[value["oid"]]
            return self._answer({"commitOid": "c" * 40, "commitUrl": f"{self.server.url}/me/it/commit/{'c' * 40}"})
        return self._answer({}, 404)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)  # what the variable of this name does at its import
    yield server
    server.shutdown()
    server.server_close()


def test_a_hub_gets_the_folder_with_its_card_and_nobody_sees_the_token(
    project: Project, hub: Hub, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    told = export_model(project.path, "base", to="hub", repo="me/it")
    assert (told["repository"], told["commit"]) == ("me/it", "c" * 40)
    assert [each["name"] for each in hub.made] == ["it"]
    assert hub.made[0].get("private", hub.made[0].get("visibility")) in (True, "private")
    assert hub.tokens == {"Bearer hf_secret"}
    uploaded = tmp_path / "uploaded"
    uploaded.mkdir()
    for name, content in hub.files.items():
        (uploaded / name).write_bytes(content)
    theirs = AutoModelForCausalLM.from_pretrained(uploaded, dtype=torch.float32)
    assert torch.equal(logits(theirs), logits(AutoModelForCausalLM.from_pretrained(project.model("base"), dtype=torch.float32)))
    assert (uploaded / "README.md").read_text().endswith("# base\n")
    said = capfd.readouterr()
    assert "hf_secret" not in f"{told} {said.out} {said.err}"
    assert not [path for path in project.path.rglob("*") if path.is_file() and b"hf_secret" in path.read_bytes()]


def test_a_hub_that_refuses_is_said_without_the_token(project: Project, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.refuses = True
    with pytest.raises(RunError, match="the hub did not take it") as refused:
        export_model(project.path, "base", to="hub", repo="me/it")
    assert "hf_secret" not in str(refused.value)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(UsageError, match="there is no token: the environment variable HF_TOKEN"):
        export_model(project.path, "base", to="hub", repo="me/it")
