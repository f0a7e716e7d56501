"""[template] of accord.toml through the loop: what a model is told in training it is told wherever it is opened."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from joined import foreign
from small_project import FLAGS

from accord.commands.models import TextScorer, compute_dtype, load_model
from accord.commands.train.reward import reward
from accord.commands.train.sft import sft
from accord.errors import RunError, UsageError
from accord.feedback.store import Store
from accord.records import Demonstration, Guideline, Labeler, Message, Prompt, Ranking, Response
from accord.runtime import lineage
from accord.runtime.project import Project
from accord.settings import RewardConfig, SftConfig

TEMPLATE = (
    "Today is {{ strftime_now('%d %B %Y') }}. Tools: {{ tools }}.\n{% for m in messages %}<|{{ m.role }}|>{{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% if not thinking | default(true) %}<think>\n\n</think>{% endif %}{% endif %}"
)
ASK = Prompt("p", (Message("user", "Name a fish."),), user="u")
SECTION = '\n[template]\nvariables = {thinking = false, tools = [{name = "look_up"}]}\ndate = "2025-03-01"\n'
TOLD = "Today is 01 March 2025. Tools: [{'name': 'look_up'}].\n<|user|>Name a fish.</s><|assistant|><think>\n\n</think>"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with [template], a base, and an SFT and a reward model trained in it."""
    from transformers import LlamaConfig, LlamaForCausalLM

    project = Project.create(tmp_path_factory.mktemp("template") / "p")
    tokenizer = foreign(TEMPLATE, "</s>", ("<|user|>", "<|assistant|>"))
    body: dict[str, Any] = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "max_position_embeddings": 256,
    }
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **body)).save_pretrained(project.model("base"))
    tokenizer.save_pretrained(project.model("base"))
    with (project.path / "accord.toml").open("a", encoding="utf-8") as file:
        file.write(SECTION)
    project = Project.open(project.path)
    with Store.open(project.store_url) as store:
        answers = [Response("a", "p", "A trout.", "x"), Response("b", "p", "No.", "x")]
        store.add(labelers=[Labeler("ann", "person")], demonstrations=[Demonstration("d", ASK, "A trout.", "ann")], responses=answers)
        told = (Guideline("training", "1"), "2025-01-01T00:00:00Z")
        store.add_rankings([Ranking("r", "p", "ann", ("a", "b"), (1, 2), *told)])
    sft(project, config=SftConfig(epochs=1, batch_size=1, warmup_steps=1, ptx_tokens=0, select="last"), flags=FLAGS)
    reward(project, config=RewardConfig(epochs=1, warmup_steps=1, mismatched=0.0), flags=FLAGS)
    return project


def prompt_of(project: Project, model: str) -> str:
    form = load_model(project, model).format
    return form.tokenizer.decode(form.prompt(ASK.messages))


def test_base_policy_and_reward_model_are_told_the_same(trained: Project) -> None:
    assert prompt_of(trained, "base") == prompt_of(trained, "sft") == TOLD
    scorer = TextScorer.open(trained, "reward", compute_dtype("float32"))
    assert scorer.format.tokenizer.decode(scorer.format.prompt(ASK.messages)) == TOLD


@pytest.mark.parametrize("model", ["sft", "reward"])
def test_another_tool_that_opens_the_folder_writes_the_same_prompt(trained: Project, model: str) -> None:
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(trained.model(model))
    assert tokenizer.apply_chat_template([{"role": "user", "content": "Name a fish."}], tokenize=False, add_generation_prompt=True) == TOLD


def test_the_lineage_records_what_the_template_was_told(trained: Project) -> None:
    told = {"variables": {"thinking": False, "tools": [{"name": "look_up"}]}, "date": "2025-03-01"}
    assert lineage.read(trained.model("sft"))["settings"]["template"] == told
    assert lineage.read(trained.model("reward"))["settings"]["template"] == told


def changed(trained: Project, folder: Path, section: str) -> Project:
    """The same models under another [template]."""
    (folder / "accord.toml").write_text((trained.path / "accord.toml").read_text("utf-8").replace(SECTION, section), "utf-8")
    (folder / "models").symlink_to(trained.path / "models")
    return Project.open(folder)


def test_a_model_keeps_what_it_was_trained_with_and_other_values_are_refused(trained: Project, tmp_path: Path) -> None:
    without, other, later = (tmp_path / name for name in ("without", "other", "later"))
    for folder in (without, other, later):
        folder.mkdir()
    assert prompt_of(changed(trained, without, ""), "sft") == TOLD
    moved = changed(trained, other, "\n[template]\nvariables = {thinking = true}\n")
    assert prompt_of(moved, "base").endswith("<|assistant|>")
    with pytest.raises(UsageError, match=r"variables is .*true.*but the model was trained with .*false") as refused:
        load_model(moved, "sft")
    assert "train the model again" in refused.value.hint
    with pytest.raises(UsageError, match=r"date is .*2026-01-01.*trained with .*2025-03-01"):
        load_model(changed(trained, later, '\n[template]\ndate = "2026-01-01"\n'), "sft")


@pytest.mark.parametrize("train", [sft, reward])
def test_a_run_is_not_resumed_under_another_template_section(train: Any, trained: Project, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(trained.path, tmp_path / "p"))
    config: Any = SftConfig(epochs=1, batch_size=1, warmup_steps=1, ptx_tokens=0, select="last")
    config = RewardConfig(epochs=1, warmup_steps=1, mismatched=0.0) if train is reward else config
    again = replace(FLAGS, resume=True)
    assert train(Project.open(folder), config=config, flags=again).done
    written = (folder / "accord.toml").read_text("utf-8")
    (folder / "accord.toml").write_text(written.replace("2025-03-01", "2025-03-02"), "utf-8")
    with pytest.raises(RunError, match=r"cannot resume the run: inputs\.template"):
        train(Project.open(folder), config=config, flags=again)


def test_a_variable_that_no_template_reads_ends_the_command(trained: Project, tmp_path: Path) -> None:
    odd = changed(trained, tmp_path, "\n[template]\nvariables = {enable_thinking = false}\n")
    with pytest.raises(UsageError, match=r"does not read 'enable_thinking'.*it reads: thinking, tools"):
        load_model(odd, "base")


@pytest.mark.parametrize("written", ['date = "2025-02-30"', 'date = "tomorrow"', "variables = 3", "values = {}"])
def test_a_section_that_makes_no_sense_is_refused(tmp_path: Path, written: str) -> None:
    (tmp_path / "accord.toml").write_text(f"[template]\n{written}\n", "utf-8")
    with pytest.raises(UsageError, match=r"accord\.toml") as refused:
        Project.open(tmp_path)
    assert refused.value.hint
