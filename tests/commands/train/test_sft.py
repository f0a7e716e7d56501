"""`accord sft`: a chat model that plain transformers opens, its losses, resuming, and demonstrations that it cannot use."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_project import FLAGS, PLANNED, PROMPTS, WINDOW, learned, lineage_of, plain_model, with_raw_text, written

from accord.commands.models import load_model
from accord.commands.train.ppo import ppo
from accord.commands.train.sft import sft
from accord.data.tokenizers import CHAT_TEMPLATE
from accord.errors import InputError, ModelError
from accord.feedback.store import Store
from accord.records import Demonstration, Labeler, Message, Prompt
from accord.runtime.project import Project
from accord.settings import SftConfig

CONFIG = SftConfig(epochs=2, batch_size=4, lr=1e-2, warmup_steps=1, ptx_tokens=64)


def loss_of(plain: Any, project: Project, model: str, prompts: list[Prompt], text: str) -> float:
    """The mean loss of a text's tokens as the answer to each prompt, by plain transformers."""
    chat, losses = load_model(project, model).format, []
    for prompt in prompts:
        asked, answer = chat.prompt(prompt.messages), chat.response(prompt.messages, text)
        with torch.no_grad():
            logits = plain(torch.tensor([[*asked, *answer]])).logits[0, len(asked) - 1 : -1]
        losses.append(torch.nn.functional.cross_entropy(logits, torch.tensor(answer), reduction="none"))
    return torch.cat(losses).mean().item()


def test_it_leaves_a_chat_model_whose_loss_it_says(project: Project) -> None:
    summary = sft(project, name="chat", config=CONFIG, flags=FLAGS).summary
    assert summary.keys() == PLANNED | WINDOW | {"demonstrations", "validation_demonstrations", "validation_loss"}
    assert (summary["demonstrations"], summary["validation_demonstrations"]) == (7, len(PROMPTS[7:]))
    plain, tokenizer = plain_model(project.model("chat"))
    assert summary["validation_loss"] == pytest.approx(loss_of(plain, project, "chat", PROMPTS[7:], "At the market."), abs=1e-4)
    assert tokenizer.chat_template == CHAT_TEMPLATE
    assert plain.config.eos_token_id == plain.generation_config.eos_token_id == list(load_model(project, "chat").format.stop)
    learned(project, "chat", "base")
    assert lineage_of(project, "chat", parents=["base"], snapshots=["demonstrations"])["stage"] == "sft"


def test_a_task_that_is_held_out_is_measured_and_not_learned(project: Project) -> None:
    odd = [Prompt(f"odd{i}", (Message("user", f"Sing song {i}."),), "songs", f"s{i}") for i in range(3)]
    with Store.open(project.store_url) as store:
        store.add_demonstrations(Demonstration(f"song{i}", prompt, "La la.", "ann") for i, prompt in enumerate(odd))
    summary = sft(project, name="chat", config=SftConfig(epochs=1, ptx_tokens=0, held_out_tasks="songs"), flags=FLAGS).summary
    assert summary["demonstrations"] == 7
    plain, _ = plain_model(project.model("chat"))
    assert summary["held_out_task_loss"] == pytest.approx(loss_of(plain, project, "chat", odd, "La la."), abs=1e-4)


def test_a_finished_run_is_resumed_by_doing_nothing(project: Project, typed: Any) -> None:
    words = ["sft", project.path, "--name", "chat", "--epochs", 1, "--ptx-tokens", 0, "--lora-rank", 2, "--dtype", "float32"]
    summary, files = typed(*words), written(project, "chat")
    assert typed(*words, "--resume") == summary
    assert written(project, "chat") == files


def test_demonstrations_that_it_cannot_learn_from_are_refused(tmp_path: Path) -> None:
    project = with_raw_text(tmp_path / "p")
    project.model("base").mkdir(parents=True)
    with Store.open(project.store_url) as store:
        store.add(
            labelers=[Labeler("ann", "person"), Labeler("bot", "model")],
            demonstrations=[Demonstration("key", PROMPTS[0], "#### 4", "ann"), Demonstration("ai", PROMPTS[1], "At home.", "bot")],
        )
    with pytest.raises(InputError, match="no demonstrations by person simulated") as error:
        sft(project, flags=FLAGS)
    assert error.value.hint
    assert not project.run("sft").exists()


def test_a_base_model_that_is_missing_is_refused(project: Project) -> None:
    with pytest.raises(ModelError, match="no such model"):
        sft(project, base="nowhere", name="chat", flags=FLAGS)


def test_without_raw_text_it_says_which_setting_trains_without_it(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "p")
    for command, off in ((sft, "--ptx-tokens 0"), (ppo, "--ptx-coef 0")):
        with pytest.raises(InputError, match="no raw text to mix in") as error:
            command(project, flags=FLAGS)
        assert off in error.value.hint
        assert not list((project.path / "runs").glob("*/config.json")), "nothing was begun that a second try would have to resume"


def test_without_validation_users_it_says_that_the_last_pass_is_kept(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    with Store.open(project.store_url) as store:
        store.add(labelers=[Labeler("bot", "model")], demonstrations=[Demonstration("d-bot", PROMPTS[0], "At the market.", "bot")])
    summary = sft(project, name="chat", config=replace(CONFIG, kinds="model"), flags=FLAGS).summary
    assert (summary["demonstrations"], summary["validation_demonstrations"]) == (1, 0)
    assert "no demonstration is of a validation user, so the weights after the last pass are kept" in capsys.readouterr().err
