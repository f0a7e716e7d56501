"""Every folder that a command leaves, from bases laid out as the well-known ones are, opened by plain transformers in a fresh process.

It says what ours says and stops where ours stops; it scores what ours scores, in padded batches; and it keeps what its base had.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from joined import foreign
from small_project import FLAGS
from transformers import (
    AutoTokenizer,
    GemmaConfig,
    GemmaForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from accord.commands.models import LocalSampler, TextScorer, load_model
from accord.commands.train.dpo import dpo
from accord.commands.train.grpo import grpo
from accord.commands.train.kto import kto
from accord.commands.train.ppo import ppo
from accord.commands.train.raft import raft
from accord.commands.train.reward import reward
from accord.commands.train.sft import sft
from accord.feedback.store import Store
from accord.records import Demonstration, Guideline, Labeler, Message, Prompt, Ranking, Response, Sampling
from accord.runtime.project import Project
from accord.settings import DpoConfig, GrpoConfig, KtoConfig, PpoConfig, RaftConfig, RewardConfig, SftConfig

CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
CHATML += "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
GEMMA = "{{ bos_token }}{% for m in messages %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content }}"
GEMMA += "<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
PHI = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
LLAMA = "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content }}<|eot_id|>{% endfor %}"
LLAMA += "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
WORDS = {"fish": "A trout.", "bird": "An owl.", "tree": "An oak.", "river": "The Ebro."}
PROMPTS = [Prompt(f"p-{word}", (Message("user", f"Name a {word}."),), user=f"u-{word}") for word in WORDS]
ANSWERS = ["A trout.", "No fish for you", "An owl sits in an oak by the Ebro.", "A"]
FORGETFUL = "forgetful"
SCRIPT = Path(__file__).parents[2] / "plain_transformers.py"
BODY: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
BODY |= {"intermediate_size": 64, "max_position_embeddings": 256}


@dataclass(frozen=True)
class Layout:
    """A base model as its makers laid it out."""

    template: str
    eos: str
    special: tuple[str, ...]
    make: Callable[[dict[str, Any]], Any]
    ends: tuple[str, ...]
    """What its generation_config says."""
    stops: tuple[str, ...]
    """Where a model trained from it stops."""
    pad: str = ""
    bos: str = ""
    sampling: Mapping[str, Any] = field(default_factory=dict[str, Any])
    tied: bool = True
    dtype: torch.dtype = torch.float32
    rows: int = 0
    """Rows of the embedding beyond the tokenizer."""
    templates: Mapping[str, str] = field(default_factory=dict[str, str])
    """Templates beside the one for conversations."""


def gpt2(ids: dict[str, Any]) -> Any:
    return GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=2, n_head=2, n_positions=256, **ids))


LAYOUTS = {
    "gemma": Layout(
        GEMMA,
        "<eos>",
        ("<pad>", "<bos>", "<start_of_turn>", "<end_of_turn>"),
        lambda ids: GemmaForCausalLM(GemmaConfig(**BODY, head_dim=16, **ids)),
        ends=("<eos>", "<end_of_turn>"),
        stops=("<eos>", "<end_of_turn>"),
        pad="<pad>",
        bos="<bos>",
        sampling={"do_sample": True, "top_k": 64, "top_p": 0.95},
        dtype=torch.bfloat16,
    ),
    "phi-3": Layout(
        PHI,
        "<|endoftext|>",
        ("<|user|>", "<|assistant|>", "<|end|>"),
        lambda ids: Phi3ForCausalLM(Phi3Config(**BODY, **ids)),
        ends=("<|endoftext|>", "<|assistant|>", "<|end|>"),
        stops=("<|endoftext|>", "<|assistant|>", "<|end|>"),
        tied=False,
    ),
    "qwen-2.5, base": Layout(
        CHATML,
        "<|endoftext|>",
        ("<|im_start|>", "<|im_end|>"),
        lambda ids: Qwen2ForCausalLM(Qwen2Config(**BODY, **ids)),
        ends=("<|endoftext|>",),
        stops=("<|endoftext|>", "<|im_end|>"),
        sampling={"do_sample": False, "repetition_penalty": 1.05, "temperature": 0.7},
        rows=45,
        templates={"tool_use": "{{ 'tools' }}" + CHATML},
    ),
    "llama-3": Layout(
        LLAMA,
        "<|eot_id|>",
        ("<|begin|>", "<|start_header_id|>", "<|end_header_id|>", "<|end_of_text|>", "<|eom_id|>", "<|reserved_special_token_0|>"),
        lambda ids: LlamaForCausalLM(LlamaConfig(**BODY, **ids)),
        ends=("<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"),
        stops=("<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"),
        bos="<|begin|>",
        sampling={"do_sample": True, "temperature": 0.6, "top_p": 0.9},
        tied=False,
        dtype=torch.bfloat16,
    ),
    "smollm-2": Layout(
        CHATML,
        "<|im_end|>",
        ("<|im_start|>", "<|endoftext|>"),
        lambda ids: LlamaForCausalLM(LlamaConfig(**BODY, **ids)),
        ends=("<|im_end|>",),
        stops=("<|im_end|>", "<|endoftext|>"),
        pad="<|im_end|>",
    ),
    "gpt-2": Layout(
        "", "<|endoftext|>", (), gpt2, ends=("<|endoftext|>",), stops=("<|endoftext|>",), pad="<|endoftext|>", bos="<|endoftext|>"
    ),
}


def base(layout: Layout, folder: Path) -> None:
    tokenizer = foreign(layout.template or "x", layout.eos, layout.special)
    tokenizer.chat_template = {"default": layout.template, **layout.templates} if layout.templates else layout.template or None
    tokenizer.pad_token, tokenizer.bos_token = layout.pad or None, layout.bos or None
    id_of = tokenizer.convert_tokens_to_ids
    torch.manual_seed(0)
    ids = {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.bos_token_id, "pad_token_id": tokenizer.pad_token_id}
    model = layout.make({"vocab_size": len(tokenizer) + layout.rows, "tie_word_embeddings": layout.tied, "initializer_range": 0.1} | ids)
    ends = [id_of(end) for end in layout.ends]
    model.to(layout.dtype).save_pretrained(folder)
    told = json.loads((folder / "generation_config.json").read_text())
    told |= {**layout.sampling, "eos_token_id": ends if len(ends) > 1 else ends[0]}
    (folder / "generation_config.json").write_text(json.dumps(told))
    tokenizer.save_pretrained(folder)


SMALL: dict[str, Any] = {"steps": 1, "batch_size": 4, "max_tokens": 6, "lr": 1e-4, "warmup_steps": 1}
ALSO: dict[str, Callable[[Project], object]] = {
    "gemma": lambda p: dpo(p, config=DpoConfig(epochs=1, lora_rank=2, lr=1e-3), flags=FLAGS),
    "phi-3": lambda p: grpo(p, config=GrpoConfig(**SMALL, group_size=2, minibatch_size=4, save_dtype="bfloat16"), flags=FLAGS),
    "qwen-2.5, base": lambda p: kto(p, config=KtoConfig(epochs=1, lora_rank=2, keep_adapter=True, lr=1e-3), flags=FLAGS),
    "llama-3": lambda p: ppo(
        p, config=PpoConfig(**SMALL, minibatch_size=4, ptx_coef=0.0, lora_rank=2, keep_adapter=True, save_dtype="float32"), flags=FLAGS
    ),
    "smollm-2": lambda p: raft(
        p, config=RaftConfig(rounds=1, batch_size=4, group_size=2, max_tokens=6, lr=1e-4, warmup_steps=1), flags=FLAGS
    ),
    "gpt-2": lambda p: dpo(p, config=DpoConfig(epochs=1, lr=1e-4, save_dtype="float16"), flags=FLAGS),
}


@dataclass(frozen=True)
class Made:
    """A project of folders from one base, and what plain transformers found in each of them."""

    project: Project
    layout: Layout
    plain: dict[str, dict[str, Any]]

    def names(self, kind: str) -> list[str]:
        return [name for name in self.plain if kind in self.plain[name] and name != FORGETFUL]


def forgetful(project: Project) -> Path:
    """A copy of the SFT model that stops only where its tokenizer ends a text."""
    folder = Path(shutil.copytree(project.model("sft"), project.path / FORGETFUL))
    said = load_model(project, "sft").format.response(PROMPTS[0].messages, "A trout.")[-1]
    for name in ("config.json", "generation_config.json"):
        told = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(told | {"eos_token_id": [end for end in told["eos_token_id"] if end != said]}))
    return folder


@pytest.fixture(scope="module", params=LAYOUTS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    layout = LAYOUTS[request.param]
    project = Project.create(tmp_path_factory.mktemp("any") / "p")
    base(layout, project.model("base"))
    responses = [Response(f"{p.id}-{i}", p.id, t, "x") for p in PROMPTS for i, t in enumerate((WORDS[p.id[2:]], f"No {p.id[2:]} for you"))]
    with Store.open(project.store_url) as store:
        store.add(
            labelers=[Labeler("ann", "person")],
            demonstrations=[Demonstration(f"d-{p.id}", p, WORDS[p.id[2:]], "ann") for p in PROMPTS],
            responses=responses,
        )
        told = (Guideline("training", "1"), "2025-01-01T00:00:00Z")
        store.add_rankings([Ranking(f"r-{p.id}", p.id, "ann", (f"{p.id}-0", f"{p.id}-1"), (1, 2), *told) for p in PROMPTS])
    lora = {"lora_rank": 4, "keep_adapter": True} if request.param == "llama-3" else {}
    sft(project, config=SftConfig(epochs=60, batch_size=4, lr=1e-2, warmup_steps=1, ptx_tokens=0, select="last"), flags=FLAGS)
    reward(project, config=RewardConfig(epochs=8, lr=3e-3, warmup_steps=1, mismatched=0.0, **lora), flags=FLAGS)
    ALSO[request.param](project)
    folders = [str(project.model(name)) for name in project.models() if name != "base"]
    if len(layout.stops) > 1:
        folders.append(str(forgetful(project)))
    asked = {"folders": folders, "conversations": [turns(prompt) for prompt in PROMPTS], "answers": ANSWERS}
    ran = subprocess.run([sys.executable, SCRIPT], input=json.dumps(asked), capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return Made(project, layout, {Path(folder).name: found for folder, found in json.loads(ran.stdout).items()})


def turns(prompt: Prompt) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in prompt.messages]


def test_it_says_what_ours_says_and_stops_where_ours_stops(made: Made) -> None:
    assert len(made.names("generated")) >= 2
    for name in made.names("generated"):
        model = load_model(made.project, name)
        sampler = LocalSampler(model.lm, stop=model.format.stop, dtype=torch.float32)
        ids = [model.format.prompt(prompt.messages) for prompt in PROMPTS]
        drawn = sampler.sample(ids, n=1, sampling=Sampling(max_tokens=24, temperature=0.0), generator=torch.Generator().manual_seed(0))
        ours = drawn.rows()
        assert made.plain[name]["generated"] == ours, name
    stops = {model.format.tokenizer.convert_tokens_to_ids(stop) for stop in made.layout.stops}
    assert [row[-1] in stops and len(row) < 24 for row in made.plain["sft"]["generated"]] == [True] * len(PROMPTS)


def test_it_scores_what_ours_scores_in_padded_batches(made: Made) -> None:
    assert "reward" in made.names("bias")
    for name in made.names("bias"):
        ours = TextScorer.open(made.project, name, torch.float32).scores([PROMPTS[0]] * len(ANSWERS), ANSWERS)
        # GPT-2 counts places from the left end of the row, padding included, so nobody pads it there.
        for side in ("right",) if not made.layout.template else ("left", "right"):
            theirs = [score + made.plain[name]["bias"] for score in made.plain[name][side]]
            assert theirs == pytest.approx(ours, abs=1e-3), (name, side)
    assert max(ours) - min(ours) > 0.1, "rows that differ"


def test_it_keeps_what_its_base_had(made: Made) -> None:
    def read(name: str, file: str) -> dict[str, Any]:
        return json.loads((made.project.model(name) / file).read_text())

    before = read("base", "generation_config.json")
    for name in made.names("generated"):
        after = read(name, "generation_config.json")
        tokenizer = load_model(made.project, name).format.tokenizer
        ends = after["eos_token_id"] if isinstance(after["eos_token_id"], list) else [after["eos_token_id"]]
        assert set(tokenizer.convert_ids_to_tokens(ends)) == set(made.layout.stops), name
        assert read(name, "config.json")["eos_token_id"] == after["eos_token_id"]
        unlike = {"eos_token_id", "transformers_version"}
        assert {k: v for k, v in after.items() if k not in unlike} == {k: v for k, v in before.items() if k not in unlike}, name
        config, was = read(name, "config.json"), read("base", "config.json")
        same = ("vocab_size", "tie_word_embeddings", "pad_token_id", "bos_token_id", "architectures")
        assert [config.get(key) for key in same] == [was.get(key) for key in same]
        assert made.plain[name]["roles"] == AutoTokenizer.from_pretrained(made.project.model("base")).special_tokens_map
        templates = tokenizer.chat_template
        if made.layout.templates:
            assert templates == {"default": made.layout.template, **made.layout.templates}
        elif made.layout.template:
            assert templates == made.layout.template


def test_it_is_saved_in_the_precision_of_its_base_or_the_one_asked_for(made: Made) -> None:
    from safetensors.torch import load_file

    for name in made.project.models():
        if name == "base":
            continue
        settings = json.loads((made.project.model(name) / "lineage.json").read_text())["settings"]
        asked = settings["save_dtype"]
        expected = made.layout.dtype if asked == "auto" else getattr(torch, asked)
        weights = load_file(made.project.model(name) / "model.safetensors")
        assert {tensor.dtype for tensor in weights.values()} == {expected}, name
        assert json.loads((made.project.model(name) / "config.json").read_text())["dtype"] == str(expected).removeprefix("torch.")


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_a_kept_adapter_gives_what_the_merged_folder_gives(made: Made) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    kept = [name for name in made.project.models() if (made.project.model(name) / "adapter").exists()]
    assert bool(kept) == (made.layout.template in (LLAMA, CHATML) and made.layout.eos != "<|im_end|>")
    row = torch.tensor([[3, 40, 50, 60, 70]])
    for name in kept:
        kind: Any = AutoModelForSequenceClassification if name in made.names("bias") else AutoModelForCausalLM
        folder = made.project.model(name)
        source = json.loads((folder / "adapter" / "adapter_config.json").read_text())["base_model_name_or_path"]
        labels = {"num_labels": 1} if name in made.names("bias") else {}
        adapted = PeftModel.from_pretrained(kind.from_pretrained(source, dtype=torch.float32, **labels), folder / "adapter").eval()
        with torch.no_grad():
            theirs, merged = adapted(row).logits, kind.from_pretrained(folder, dtype=torch.float32).eval()(row).logits
        close = 1e-4 if name.startswith("ppo") or made.layout.dtype == torch.float32 else 0.05
        assert torch.allclose(theirs, merged, atol=close), name


def test_a_folder_that_forgets_the_templates_end_would_be_seen(made: Made) -> None:
    if len(made.layout.stops) > 1:
        assert made.plain[FORGETFUL]["generated"] != made.plain["sft"]["generated"]
        assert all(len(row) == 24 for row in made.plain[FORGETFUL]["generated"])
