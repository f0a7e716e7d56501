"""`python benchmarks/memory.py`: planned against measured memory, a fresh process a cell; writes the table of docs/memory.md.

`--write` adds the cells to benchmarks/results/memory.json, in place of those with the same model, method and number format, and writes
the table of all of them. A processor without bfloat16 measures with `--dtype float32`, which is much faster there.

Eight models with random weights, five methods. A cell runs the real command for a few steps on texts that fill its passes, and reads the
peak of its resident memory. What the process takes before it opens a model is measured in the same process and left out on both sides.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent.parent / "docs" / "memory.md"
RESULTS = Path(__file__).parent / "results" / "memory.json"
BEGIN, END = "<!-- measured -->", "<!-- end of measured -->"
MODELS: dict[str, dict[str, Any]] = {
    "llama 5M": {"kind": "Llama", "vocab_size": 8192, "hidden_size": 256, "layers": 4, "heads": 4, "kv": 4, "inner": 768},
    "gpt2 8M": {"kind": "GPT2", "vocab_size": 8192, "hidden_size": 320, "layers": 4, "heads": 5, "kv": 5, "inner": 1280},
    "qwen2 15M": {"kind": "Qwen2", "vocab_size": 16384, "hidden_size": 384, "layers": 6, "heads": 6, "kv": 2, "inner": 1024},
    "mixtral 25M": {"kind": "Mixtral", "vocab_size": 8192, "hidden_size": 384, "layers": 4, "heads": 6, "kv": 2, "inner": 896},
    "llama 30M": {"kind": "Llama", "vocab_size": 16384, "hidden_size": 512, "layers": 8, "heads": 8, "kv": 4, "inner": 1408},
    "gpt2 51M": {"kind": "GPT2", "vocab_size": 16384, "hidden_size": 640, "layers": 8, "heads": 10, "kv": 10, "inner": 2560},
    "qwen2 80M": {"kind": "Qwen2", "vocab_size": 32768, "hidden_size": 640, "layers": 12, "heads": 10, "kv": 2, "inner": 2048},
    "llama 135M": {"kind": "Llama", "vocab_size": 49152, "hidden_size": 576, "layers": 30, "heads": 9, "kv": 3, "inner": 1536},
}
LENGTH, MICRO, PROMPT, RESPONSE, RANKED = 128, 512, 64, 64, 4
WORDS = ["the", "market", "opens", "at", "seven", "and", "the", "baker", "sells", "bread", "to", "everyone", "who", "comes", "by"]
SETTINGS: dict[str, dict[str, Any]] = {
    "sft": {"epochs": 1, "batch_size": 8, "max_tokens": LENGTH, "ptx_tokens": 0, "save_every": 1},
    "reward": {"batch_size": 2, "max_tokens": LENGTH, "mismatched": 0.0, "save_every": 1},
    "dpo": {"batch_size": 2, "max_tokens": LENGTH, "save_every": 1},
    "ppo": {"steps": 2, "batch_size": 16, "minibatch_size": 8, "epochs": 1, "max_tokens": RESPONSE, "ptx_coef": 0.0, "save_every": 1},
    "grpo": {"steps": 2, "batch_size": 16, "group_size": 8, "minibatch_size": 8, "epochs": 1, "max_tokens": RESPONSE, "save_every": 1},
}
EXTRAS: dict[str, dict[str, Any]] = {"": {}, "recompute": {"recompute": True}, "lora": {"lora_rank": 8}}


def make_project(folder: Path, model: str) -> None:
    """Write a project with a base model, its reward model, and texts that are as long as the passes."""
    import torch
    import transformers

    from accord import Demonstration, Guideline, Labeler, Message, Project, Prompt, Ranking, Response, Store
    from accord.data.templates import chat_format, give_chat_template
    from accord.data.tokenizers import train_tokenizer
    from accord.models.folders import prepared, save_model, scalar_from, set_ends
    from accord.models.scalar import new_head

    project, size = Project.create(folder), MODELS[model]
    tokenizer = train_tokenizer([" ".join(WORDS)] * 20, 300)
    give_chat_template(tokenizer)
    common = {"vocab_size": size["vocab_size"], "pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    if size["kind"] == "GPT2":
        shape = {"n_embd": size["hidden_size"], "n_layer": size["layers"], "n_head": size["heads"], "n_inner": size["inner"]}
        shape |= {"bos_token_id": tokenizer.eos_token_id, "n_positions": 1024}
    else:
        shape = {"hidden_size": size["hidden_size"], "num_hidden_layers": size["layers"], "num_attention_heads": size["heads"]}
        shape |= {"num_key_value_heads": size["kv"], "intermediate_size": size["inner"], "tie_word_embeddings": True}
        shape |= {"num_local_experts": 4} if size["kind"] == "Mixtral" else {}
    torch.manual_seed(0)
    name = "GPT2LMHeadModel" if size["kind"] == "GPT2" else f"{size['kind']}ForCausalLM"
    lm = prepared(getattr(transformers, name)(getattr(transformers, f"{size['kind']}Config")(**common, **shape)))
    chat = chat_format(tokenizer, 1024, ())
    set_ends(lm, chat.stop)
    project.model("base").parent.mkdir(exist_ok=True)
    save_model(project.model("base"), lm, tokenizer)
    scalar = scalar_from(lm, new_head(lm.config.hidden_size, torch.Generator().manual_seed(0)))
    save_model(project.model("reward"), scalar, tokenizer)

    def text(tokens: int, start: int) -> str:
        said = ""
        while len(chat.response((Message("user", "x"),), said)) < tokens:
            said = f"{said} {WORDS[(start + len(said)) % len(WORDS)]}".strip()
        return said

    prompts = [Prompt(f"p{i}", (Message("user", text(PROMPT - 12, i)),), user=f"u{i}", split="train") for i in range(32)]
    rankings = []
    for prompt in prompts[:4]:
        ids = tuple(f"{prompt.id}-{k}" for k in range(RANKED))
        rankings.append(
            Ranking(f"r{prompt.id}", prompt.id, "ann", ids, (1, 2, 3, 4), Guideline("training", "1"), "2025-01-01T00:00:00Z", ())
        )
    with Store.open(project.store_url) as store:
        store.add(
            labelers=[Labeler("ann", "person")],
            demonstrations=[Demonstration(f"d{i}", prompt, text(LENGTH - PROMPT, i), "ann") for i, prompt in enumerate(prompts[:16])],
            responses=[Response(f"{p.id}-{k}", p.id, text(LENGTH - PROMPT, k), "base") for p in prompts[:4] for k in range(RANKED)],
        )
        store.add_rankings(rankings)


def _warm_up(project: Any, dtype: Any) -> None:
    """Train a very small model for a step, so that what the libraries need for themselves counts to the process."""
    import torch

    from accord import SftConfig, load_model
    from accord.algorithms.optim import constant, make_optimizers, scaled, update
    from accord.models.folders import new_decoder
    from accord.models.packing import pack
    from accord.models.policy import logprobs

    small = new_decoder(vocab_size=300, hidden_size=64, layers=1, heads=2, intermediate_size=128, context=1024, end=1, pad=0)
    for rows in range(1, 9):
        logprobs(small, pack([list(range(2, 66))] * rows), dtype=dtype)[0].mean().backward()
    optimizers = make_optimizers(small, SftConfig(), lr=1e-3, muon_lr=0.0)
    update(scaled(optimizers, constant(0, 1)), max_norm=1.0)
    torch.save(small.state_dict(), project.path / "small.pt")
    del small, optimizers
    load_model  # noqa: B018 - its imports belong to the process


def run_cell(folder: Path, method: str, extra: str, dtype: str) -> dict[str, Any]:
    """Run a command in this process; return its peak, what it took before, and the plan, in bytes."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification  # noqa: F401

    import accord
    from accord.models.memory import PROCESS, Load, plan, shape_of
    from accord.runtime.device import keep_few_kernels, keep_freed_memory, peak_rss_mb

    project = accord.Project.open(folder)
    command = getattr(accord, method)
    config = getattr(accord, f"{method.capitalize()}Config")(**SETTINGS[method] | EXTRAS[extra], micro_tokens=MICRO)
    keep_freed_memory()
    keep_few_kernels()
    _warm_up(project, torch.bfloat16 if dtype == "bfloat16" else torch.float32)
    shape = shape_of(project.model("base"))
    Path("/proc/self/clear_refs").write_text("5")
    base = peak_rss_mb() * 2**20
    parts = {"sft": {"base": "base"}, "reward": {"sft": "base"}, "dpo": {"sft": "base"}}.get(method, {"sft": "base", "reward": "reward"})
    command(project, name="run", config=config, flags=accord.RunFlags(dtype=dtype, device="cpu"), **parts)
    peak = peak_rss_mb() * 2**20
    load = Load(method, config, 2 if dtype == "bfloat16" else 4, prompt_tokens=PROMPT, responses=RANKED)
    found = plan(shape, load)
    planned = {key: value for key, value in found.parts.items() if key != "process"}
    moments = {key: value - PROCESS["cpu"] for key, value in found.moments.items()}
    return {
        "base": base,
        "measured": peak - base,
        "planned": sum(planned.values()),
        "moment": found.moment,
        "parts": planned,
        "moments": moments,
    }  # type: ignore[dict-item]


def measured(model: str, method: str, extra: str, dtype: str, folder: Path) -> dict[str, Any]:
    """Measure a cell in a process of its own."""
    import shutil

    shutil.rmtree(folder / model / "runs" / "run", ignore_errors=True)
    for name in ("run", "run-value"):
        shutil.rmtree(folder / model / "models" / name, ignore_errors=True)
    words = [sys.executable, __file__, "--cell", str(folder / model), method, extra, dtype]
    done = subprocess.run(words, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    if done.returncode:
        raise SystemExit(done.stderr)
    found = json.loads(done.stdout.splitlines()[-1])
    return {"model": model, "method": method, "extra": extra, "dtype": dtype} | {key: found[key] for key in ("planned", "measured")}


def table(cells: Sequence[Mapping[str, Any]]) -> str:
    """Return the cells as a Markdown table."""
    lines = ["| model | method | numbers | planned MB | measured MB | planned / measured |", "|---|---|---|---|---|---|"]
    for cell in cells:
        ratio, name = cell["planned"] / cell["measured"], f"{cell['method']} {cell['extra']}".strip()
        mark = "" if abs(ratio - 1) <= 0.15 else " (outside)"
        planned, measured = (f"{cell[key] / 1e6:,.0f}" for key in ("planned", "measured"))
        lines.append(f"| {cell['model']} | {name} | {cell['dtype']} | {planned} | {measured} | {ratio:.2f}{mark} |")
    return "\n".join(lines)


def joined(known: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the known cells with the new ones in their places, by model, method and number format."""
    places = {name: place for place, name in enumerate([*MODELS, *SETTINGS, *EXTRAS])}
    every = {tuple(cell[key] for key in ("model", "method", "extra", "dtype")): cell for cell in [*known, *new]}
    return sorted(every.values(), key=lambda cell: [places[cell[key]] for key in ("model", "extra", "method")] + [len(cell["dtype"])])


def main() -> None:
    """Measure the cells that are asked for, all by default."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cell", nargs=4)
    parser.add_argument("--models", nargs="*", default=list(MODELS))
    parser.add_argument("--methods", nargs="*", default=list(SETTINGS))
    parser.add_argument("--extras", nargs="*", default=[""])
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--write", action="store_true", help="write the table into docs/memory.md")
    asked = parser.parse_args()
    if asked.cell:
        folder, method, extra, dtype = asked.cell
        print(json.dumps(run_cell(Path(folder), method, extra, dtype)))
        return
    cells: list[Mapping[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for model in asked.models:
            make_project(Path(folder) / model, model)
            for method in asked.methods:
                for extra in asked.extras:
                    cells.append(measured(model, method, extra, asked.dtype, Path(folder)))
                    print(json.dumps(cells[-1]), file=sys.stderr)
    print(table(cells))
    if asked.write:
        cells = joined(json.loads(RESULTS.read_text("utf-8")), cells)
        RESULTS.write_text("[\n" + ",\n".join(json.dumps(cell) for cell in cells) + "\n]\n", "utf-8")
        text = PAGE.read_text("utf-8")
        before, after = text.partition(BEGIN)[0], text.partition(END)[2]
        PAGE.write_text(f"{before}{BEGIN}\n\n{table(cells)}\n\n{END}{after}", "utf-8")


if __name__ == "__main__":
    main()
