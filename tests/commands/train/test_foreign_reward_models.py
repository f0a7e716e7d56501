"""A reward model of another tokenizer and chat template scores what plain transformers gives for the same conversation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_project import FLAGS, copied
from tiny import FP32, chat, llama, scalar

from accord.algorithms.rewards import Rows
from accord.commands.models import load_reward_model
from accord.commands.train.rewards import ReadAnew
from accord.data.templates import ChatFormat
from accord.errors import ModelError
from accord.models.folders import save_model
from accord.records import Message, Prompt, PromptTokens
from accord.runtime.project import Project

CHATML = "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
CHATML += "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
BRACKETS = "{% for message in messages %}{% if message.role == 'user' %}[INST] {{ message.content }} [/INST]"
BRACKETS += "{% else %}{{ message.content }}{{ eos_token }}{% endif %}{% endfor %}"
TALKS = [
    (Message("user", "Where is the mill?"),),
    (Message("user", "Who keeps it?"), Message("assistant", "The miller."), Message("user", "Since when?")),
]
ANSWERS = ["By the river.", "Since he was young, and so did his father."]


def foreign(project: Project, template: str, vocab: int, marks: list[str], pad: str) -> str:
    """Write a reward model as a hub has them: a classifier with one label, a tokenizer and a template of its own."""
    tokenizer = chat(vocab).tokenizer
    tokenizer.add_special_tokens({"additional_special_tokens": marks})  # type: ignore[attr-defined]
    tokenizer.chat_template = template
    if pad == "eos":
        tokenizer.pad_token = tokenizer.eos_token
    model = scalar(llama(vocab=len(tokenizer)), 5)  # type: ignore[arg-type]
    model.config.pad_token_id = tokenizer.pad_token_id
    folder = project.model(f"stranger-{vocab}")
    save_model(folder, model, tokenizer)
    return str(folder)


@pytest.mark.parametrize(
    ("template", "vocab", "marks", "pad"),
    [(CHATML, 310, ["<|im_start|>", "<|im_end|>"], "own"), (BRACKETS, 330, [], "own"), (BRACKETS, 340, [], "eos")],
    ids=["chatml", "brackets", "padding that ends"],
)
def test_it_scores_exactly_what_plain_transformers_gives(
    template: str, vocab: int, marks: list[str], pad: str, project: Project, tmp_path: Any
) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    made = copied(project, tmp_path / "with-stranger")
    source = foreign(made, template, vocab, marks, pad)
    policy: ChatFormat = chat()
    asked = [Prompt(f"p{place}", talk) for place, talk in enumerate(TALKS)]
    ids = [PromptTokens(policy.prompt(prompt.messages), prompt) for prompt in asked]
    responses = [policy.response(prompt.messages, answer) for prompt, answer in zip(asked, ANSWERS, strict=True)]
    model = load_reward_model(made, source, FP32)
    ours = ReadAnew.of(model, made, source, Rows(asked, ids, policy.text), policy.stop).score(ids, responses)

    plain, tokenizer = AutoModelForSequenceClassification.from_pretrained(source).eval(), AutoTokenizer.from_pretrained(source)
    for place, (talk, answer) in enumerate(zip(TALKS, ANSWERS, strict=True)):
        said = [{"role": each.role, "content": each.content} for each in talk] + [{"role": "assistant", "content": answer}]
        encoded = tokenizer.apply_chat_template(said, return_tensors="pt", return_dict=True)
        with torch.no_grad():
            theirs = plain(input_ids=encoded["input_ids"]).logits[0, 0].item()
        assert ours[place].item() == pytest.approx(theirs, abs=1e-5)


def test_a_reward_model_without_a_template_is_refused(project: Project, tmp_path: Any) -> None:
    made = copied(project, tmp_path / "bare")
    tokenizer = chat(310).tokenizer
    tokenizer.chat_template = None
    save_model(made.model("bare"), scalar(llama(vocab=310)), tokenizer)
    from accord.commands.train.grpo import grpo
    from accord.settings import GrpoConfig

    with pytest.raises(ModelError, match="has no chat template"):
        grpo(made, reward="bare", config=GrpoConfig(steps=1, batch_size=8, minibatch_size=8, max_tokens=4), flags=FLAGS)
