"""A reward model of another tokenizer and chat template scores what plain transformers gives for the same conversation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from small_project import FLAGS, copied
from tiny import FP32, chat, llama, scalar

from accord.algorithms.reward_parts import Ensemble
from accord.algorithms.rewards import Mixture, Rows, Term
from accord.commands.models import load_reward_model
from accord.commands.train.rewards import ReadAnew
from accord.data.templates import ChatFormat
from accord.errors import ModelError
from accord.models.folders import save_model
from accord.records import Episode, Message, Prompt, PromptTokens, Role
from accord.runtime.project import Project

CHATML = "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
CHATML += "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
BRACKETS = "{% for message in messages %}{% if message.role == 'user' %}[INST] {{ message.content }} [/INST]"
BRACKETS += "{% else %}{{ message.content }}{{ eos_token }}{% endif %}{% endfor %}"
REFUSES = "{% if message.role not in ('user', 'assistant') %}{{ raise_exception('no such role') }}{% endif %}"
STRICT = CHATML.replace("<|im_start|>{{", REFUSES + "<|im_start|>{{", 1)
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


def test_of_an_episode_every_part_that_asks_a_model_reads_the_whole_conversation(project: Project, tmp_path: Any) -> None:
    """The model alone and in an ensemble, in one reward; a tool speaks as the user where the model's template has no tools."""
    made = copied(project, tmp_path / "with-strangers")
    policy = chat()
    tool = Message(cast("Role", "tool"), "The mill is closed.")
    talk = (Message("user", "Is it open?"), Message("assistant", "I look."), tool, Message("assistant", "No."))
    prompt = Prompt("p", talk[:1])
    ids = PromptTokens(policy.prompt(prompt.messages), prompt)
    row = policy.response(prompt.messages, "I look.")
    readers: list[ReadAnew] = []
    for vocab in (310, 330):
        source = foreign(made, STRICT, vocab, ["<|im_start|>", "<|im_end|>"], "own")
        model = load_reward_model(made, source, FP32)
        readers.append(ReadAnew.of(model, made, source, Rows([prompt], [ids], policy.text), policy.stop))
    as_user = (*talk[:2], Message("user", tool.content))
    expected: list[float] = []
    for reader in readers:
        whole = Prompt("w", as_user)
        plain = replace(reader, rows=Rows([whole], [[1]], lambda tokens: "No."), heard=[])
        expected.append(plain.score([[1]], [[2]]).item())
    assert abs(expected[0] - expected[1]) > 1e-4
    parts = {"a": readers[0], "min(a+b)": Ensemble(readers, "min")}
    weighted = Mixture([Term("a"), Term("min(a+b)")], parts).at(1, 1)
    weighted.hear([Episode(list(ids), [True] * len(row), [0.0] * len(row), "done", talk)])
    assert weighted.score([ids], [row]).item() == pytest.approx(expected[0] + min(expected), abs=1e-5)
    assert weighted.mean("a") == pytest.approx(expected[0], abs=1e-5)
    assert weighted.mean("min(a+b)") == pytest.approx(min(expected), abs=1e-5)
