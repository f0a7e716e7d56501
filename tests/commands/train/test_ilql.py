"""`accord ilql`: the SFT model with a network that guides it, what it learned from, resuming, and labels that it cannot use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from small_project import CLOCK, FLAGS, labeled, lineage_of, plain_model, rankings, written
from tiny import chat, weights

from accord.commands.data.import_ import import_
from accord.commands.models import load_model
from accord.commands.serve.rules import rules_of
from accord.commands.train.ilql import _dialogue, ilql  # pyright: ignore[reportPrivateUsage]
from accord.data.token_rows import RowWindow
from accord.errors import InputError
from accord.models.folders import load_causal_lm
from accord.records import Message, Prompt, Ranking, Response, Worth
from accord.runtime.project import Project
from accord.settings import IlqlConfig, ServeConfig


@pytest.mark.parametrize("rank", [0, 2])
def test_it_leaves_the_sft_model_as_it_is_with_a_network_that_guides_it(rank: int, unlabeled: Project, tmp_path: Path) -> None:
    project = labeled(unlabeled, tmp_path / "p", rankings())
    config = IlqlConfig(lr=1e-2, warmup_steps=1, beta=8, held_out_group="far", lora_rank=rank)
    summary = ilql(project, config=config, flags=FLAGS).summary
    assert CLOCK | {"responses"} <= summary.keys()
    assert summary["responses"] == 21
    plain_model(project.model("ilql"))
    old, new = (weights(load_causal_lm(project.model(name))) for name in ("sft", "ilql"))
    assert all(torch.equal(new[key], value) for key, value in old.items())
    assert load_model(project, "ilql").lm.guide.beta == 8
    assert not hasattr(load_model(project, "sft").lm, "guide")
    assert lineage_of(project, "ilql", parents=["sft"], snapshots=["returns"])["stage"] == "ilql"


def test_the_chat_chooses_among_replies_by_q(unlabeled: Project, tmp_path: Path) -> None:
    """Each reply is worth the smaller of the two heads' products with the state before its last token, by transformers' own forward."""
    project = labeled(unlabeled, tmp_path / "p", rankings())
    ilql(project, config=IlqlConfig(lr=1e-2, warmup_steps=1), flags=FLAGS)
    rules = rules_of(project, ServeConfig(best_of=2, reward="ilql"), dtype="float32")
    asked, replies = [Message("user", "Where is bread number 3?")], ["At the market.", "The clock on the tower is always late."]
    assert rules.score
    found = rules.score(asked, replies)
    model = load_model(project, "ilql")
    network = model.lm.guide.network
    body = plain_model(project.model("ilql"))[0].base_model
    body.load_state_dict(network.body.state_dict())
    for reply, worth in zip(replies, found, strict=True):
        ids = [*model.format.prompt(asked), *model.format.response(asked, reply)]
        with torch.no_grad():
            state = body(torch.tensor([ids])).last_hidden_state[0, -2]
        assert worth == pytest.approx(float((network.q.detach()[:, ids[-1]] @ state).min()), abs=1e-4)
    assert found[0] != found[1]


def test_a_whole_dialogue_is_an_episode_whose_actions_are_the_assistants_words() -> None:
    said = (Message("user", "Hello."), Message("assistant", "For whom?"), Message("user", "For Ada."))
    prompt, spoken = Prompt("p", said), chat()
    row = Worth(prompt, Response("r", "p", "Bread, then.", "m"), 0.5, "ann", "near")
    made = _dialogue(spoken, row, RowWindow(200))
    own = made.own or ()
    assert len(own) == made.kept
    assert made.tokens == [*spoken.prompt(said), *spoken.response(said, "Bread, then.")], "no token is another than in one rendering"
    rest = made.tokens[-made.kept :]
    words = [spoken.tokenizer.decode([id for id, mine in zip(rest, own, strict=True) if mine is which]) for which in (True, False)]
    assert words == [" For whom?<|end|> Bread, then.<|end|>", "<|user|>Q: For Ada.<|end|><|assistant|>\nA:"]
    assert made.tokens[: -made.kept] == spoken.prompt(said[:1])


def test_whole_dialogues_are_learned_and_the_model_guides(unlabeled: Project, tmp_path: Path) -> None:
    project = labeled(unlabeled, tmp_path / "p", [])
    rows: list[dict[str, Any]] = []
    for number in range(6):
        turns = [("user", f"Where is bread number {number}?"), ("assistant", "Which bread?"), ("user", "The brown one.")]
        messages = [{"role": role, "content": text} for role, text in turns]
        rows.append({"prompt": messages, "chosen": "At the market.", "rejected": "No.", "user": f"u{number}", "split": "train"})
    path = tmp_path / "dialogues.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    import_(project.path, path, split="train", quiet=True)
    config = IlqlConfig(lr=1e-2, warmup_steps=1, turns="all")
    assert ilql(project, config=config, flags=FLAGS).summary["responses"] == 12
    assert load_model(project, "ilql").lm.guide.beta == config.beta


def test_a_finished_run_is_resumed_by_doing_nothing(unlabeled: Project, tmp_path: Path, typed: Any) -> None:
    project = labeled(unlabeled, tmp_path / "p", rankings())
    words = ["ilql", project.path, "--name", "guided", "--returns", "ranks", "--dtype", "float32"]
    summary, files = typed(*words), written(project, "guided")
    assert summary["responses"] == 42
    assert typed(*words, "--resume") == summary
    assert written(project, "guided") == files


@pytest.mark.parametrize(
    ("given", "config", "part"),
    [
        ([], IlqlConfig(), "no rated or ranked responses by person simulated"),
        (rankings(), IlqlConfig(returns="ratings"), "no ratings to learn from by person simulated"),
        (rankings([1, 1, 1], [4, 4, 4]), IlqlConfig(), "none worth more than another"),
    ],
)
def test_labels_that_it_cannot_use_are_refused_before_training(
    given: list[Ranking], config: IlqlConfig, part: str, unlabeled: Project, tmp_path: Path
) -> None:
    project = labeled(unlabeled, tmp_path / "p", given)
    with pytest.raises(InputError, match=part) as error:
        ilql(project, config=config, flags=FLAGS)
    assert error.value.hint
    assert not project.run("ilql").exists()
    assert not project.model("ilql").exists()
