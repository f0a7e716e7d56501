"""A base model of somebody else's through sft, sampling and reward: plain transformers stops and scores where we do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from joined import foreign
from small_project import FLAGS

from accord.commands.evaluate.examine_invariance import invariances
from accord.commands.evaluate.examine_scores import score_all
from accord.commands.models import LocalSampler, TextScorer, load_model, respond
from accord.commands.train.reward import reward
from accord.commands.train.sft import sft
from accord.evaluation.diagnoses import diagnose
from accord.evaluation.run_facts import read_facts
from accord.feedback.store import Store
from accord.records import Demonstration, Guideline, Labeler, Message, Prompt, Ranking, Response, Sampling
from accord.runtime.project import Project
from accord.settings import RewardConfig, SftConfig

TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|stop|>\n{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
SPECIAL = ("<|user|>", "<|assistant|>", "<|system|>", "<|stop|>", "<|call|>")
WORDS = {"fish": "A trout.", "bird": "An owl.", "tree": "An oak.", "river": "The Ebro."}
PROMPTS = [Prompt(f"p-{word}", (Message("user", f"Name a {word}."),), user=f"u-{word}") for word in WORDS]


@pytest.fixture(scope="module")
def foreign_project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose base has a template that ends answers otherwise than its tokenizer, and ends in its generation_config."""
    from transformers import LlamaConfig, LlamaForCausalLM

    project = Project.create(tmp_path_factory.mktemp("foreign") / "p")
    tokenizer = foreign(TEMPLATE, "</s>", SPECIAL)
    torch.manual_seed(0)
    body: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 256,
    }
    ends: dict[str, Any] = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), tie_word_embeddings=True, **body, **ends))
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|call|>")]
    model.save_pretrained(project.model("base"))
    tokenizer.save_pretrained(project.model("base"))
    responses = [Response(f"{p.id}-{i}", p.id, t, "x") for p in PROMPTS for i, t in enumerate((WORDS[p.id[2:]], f"No {p.id[2:]} for you"))]
    with Store.open(project.store_url) as store:
        store.add(
            labelers=[Labeler("ann", "person")],
            demonstrations=[Demonstration(f"d-{p.id}", p, WORDS[p.id[2:]], "ann") for p in PROMPTS],
            responses=responses,
        )
        told = (Guideline("training", "1"), "2025-01-01T00:00:00Z")
        store.add_rankings([Ranking(f"r-{p.id}", p.id, "ann", (f"{p.id}-0", f"{p.id}-1"), (1, 2), *told) for p in PROMPTS])
    config = SftConfig(epochs=60, batch_size=4, lr=1e-2, warmup_steps=1, ptx_tokens=0, select="last")
    sft(project, config=config, flags=FLAGS)
    reward(project, config=RewardConfig(epochs=8, lr=3e-3, warmup_steps=1, mismatched=0.0), flags=FLAGS)
    return project


def test_plain_transformers_stops_where_the_template_ends_an_answer(foreign_project: Project) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = foreign_project.model("sft")
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    plain: Any = AutoModelForCausalLM.from_pretrained(folder)
    ends = ["</s>", "<|stop|>", "<|call|>"]
    assert tokenizer.convert_ids_to_tokens(plain.generation_config.eos_token_id) == ends
    assert tokenizer.convert_ids_to_tokens(plain.config.eos_token_id) == ends
    turns = [{"role": "user", "content": "Name a fish."}]
    ids = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    out = plain.generate(**ids, max_new_tokens=20, do_sample=False)
    assert tokenizer.decode(out[0, ids["input_ids"].shape[1] :]) == "A trout.<|stop|>"


def test_ours_stops_there_too_and_where_generation_config_says(foreign_project: Project) -> None:
    model = load_model(foreign_project, "sft")
    sampler = LocalSampler(model.lm, stop=model.format.stop, dtype=torch.float32)
    groups, _ = respond(model, sampler, PROMPTS, n=1, sampling=Sampling(max_tokens=20, temperature=0.0), seed=0, batch_size=4)
    assert [(group[0].text, group[0].finished) for group in groups] == [(text, True) for text in WORDS.values()]
    assert model.format.tokenizer.convert_tokens_to_ids("<|call|>") in load_model(foreign_project, "base").format.stop


@pytest.mark.parametrize("side", ["left", "right"])
def test_plain_transformers_scores_as_we_do_alone_and_in_batches(foreign_project: Project, side: str) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = foreign_project.model("reward")
    texts = ["A trout.", "No fish for you", "An owl sits in an oak by the Ebro.", "A"]
    scorer = TextScorer.open(foreign_project, "reward", torch.float32)
    ours = scorer.scores([PROMPTS[0]] * len(texts), texts)
    assert ours[0] > ours[1] + 1, "it has learned what the labeler ranks"
    plain: Any = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer: Any = AutoTokenizer.from_pretrained(folder, padding_side=side)
    assert tokenizer.pad_token_id == plain.config.pad_token_id not in scorer.format.stop
    rows: list[str] = []
    for text in texts:
        turns = [{"role": "user", "content": "Name a fish."}, {"role": "assistant", "content": text}]
        written: str = tokenizer.apply_chat_template(turns, tokenize=False)
        rows.append(written)
    assert all(row.endswith("<|stop|>") for row in rows), "the score's place is the end"
    bias: float = plain.config.reward_bias
    batch = tokenizer(rows, add_special_tokens=False, padding=True, return_tensors="pt")
    with torch.no_grad():
        together = plain(**batch).logits[:, 0] + bias
        alone = [plain(**tokenizer(row, add_special_tokens=False, return_tensors="pt")).logits.item() for row in rows]
    assert together.tolist() == pytest.approx(ours, abs=1e-4)
    assert alone == pytest.approx([score - bias for score in ours], abs=1e-4)


def test_examine_sees_a_padding_token_that_ends_answers(foreign_project: Project, tmp_path: Path) -> None:
    with Store.open(foreign_project.store_url) as store:
        ranked = list(store.ranked_prompts())
    scores = score_all(TextScorer.open(foreign_project, "reward", torch.float32), ranked)
    spoiled = Path(shutil.copytree(foreign_project.model("reward"), tmp_path / "spoiled"))
    told = json.loads((spoiled / "config.json").read_text())
    stop = scores.scorer.format.tokenizer.convert_tokens_to_ids("<|stop|>")
    (spoiled / "config.json").write_text(json.dumps(told | {"pad_token_id": stop}))
    assert invariances(scores, ranked, str(foreign_project.model("reward")), 0)["padding"]["shift"] < 1e-3
    assert invariances(scores, ranked, str(spoiled), 0)["padding"]["shift"] > 0.05


def test_a_template_that_fails_ends_a_run_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from accord.commands.app import main

    project = Project.create(tmp_path / "p")
    tokenizer = foreign("{% for m in messages %}{{ m.content + 1 }}{% endfor %}", "</s>", SPECIAL)
    from transformers import LlamaConfig, LlamaForCausalLM

    body: dict[str, Any] = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "max_position_embeddings": 64,
    }
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **body)).save_pretrained(project.model("base"))
    tokenizer.save_pretrained(project.model("base"))
    with Store.open(project.store_url) as store:
        store.add(labelers=[Labeler("ann", "person")], demonstrations=[Demonstration("d", PROMPTS[0], "A trout.", "ann")])
    with pytest.raises(SystemExit) as stopped:
        main(["sft", str(project.path), "--ptx-tokens", "0"])
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert stopped.value.code == 1
    assert told.startswith("accord: prompt 'Name a fish.': the chat template of ")
    assert "TypeError" in told
    assert "fix the template" in told


def test_the_path_of_a_model_is_found_at_its_first_use_and_kept_in_the_project(foreign_project: Project) -> None:
    assert load_model(foreign_project, "base").path == "fused"
    kept = json.loads((foreign_project.path / "cache" / "paths.json").read_text("utf-8"))
    assert list(kept.values()) == ["fused"] * 3, "one for the foreign base, one for all language models and one for the judge trained here"


def test_the_doctor_takes_the_reward_models_end_and_padding_for_no_other_format(foreign_project: Project, tmp_path: Path) -> None:
    """Its template ends at the stop token and its tokenizer has a padding token of its own, both written by us."""
    folders = [foreign_project.model(name) for name in ("sft", "reward")]
    for name in ("chat_template.jinja", "tokenizer.json"):
        assert len({(folder / name).read_text("utf-8") for folder in folders}) == 2, f"{name} says the same, so that nothing is shown"
    assert "template_mismatch" not in {each.name for each in diagnose(read_facts(foreign_project.path / "runs" / "reward"))}
    copy = tmp_path / "p"
    shutil.copytree(foreign_project.path, copy)
    vocabulary = copy / "models" / "reward" / "tokenizer.json"
    told = json.loads(vocabulary.read_text("utf-8"))
    told["model"]["merges"] = told["model"]["merges"][:-1]
    vocabulary.write_text(json.dumps(told), "utf-8")
    assert "template_mismatch" in {each.name for each in diagnose(read_facts(copy / "runs" / "reward"))}


@pytest.mark.parametrize("end", [9, 10**6, "</s>", -1])
def test_an_end_of_another_vocabulary_is_left_out_and_told(
    foreign_project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str], end: object
) -> None:
    folder = tmp_path / "left over"
    shutil.copytree(foreign_project.model("base"), folder)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, end]}))
    model = load_model(foreign_project, str(folder))
    assert end not in model.format.stop
    assert end not in model.lm.generation_config.eos_token_id
    assert f"ends a response at {end!r}" in capsys.readouterr().err
