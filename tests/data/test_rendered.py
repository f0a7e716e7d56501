"""A conversation that a template has rendered to one text is read as its turns; a text that only mentions a mark is words."""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path
from typing import Any

import pytest

from accord.data.importers import Imported, read
from accord.data.rendered import asked_in, told_in, without_ends
from accord.data.rows import Row
from accord.errors import InputError

ROUNDS = ["u:Name a fish.", "a:Trout.", "u:And a bird?"]
RENDERED = {
    "ChatML": "<|im_start|>user\nName a fish.<|im_end|>\n<|im_start|>assistant\nTrout.<|im_end|>\n<|im_start|>user\nAnd a bird?<|im_end|>\n"
    "<|im_start|>assistant\n",
    "Llama 3": "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nName a fish.<|eot_id|><|start_header_id|>assistant"
    "<|end_header_id|>\n\nTrout.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nAnd a bird?<|eot_id|><|start_header_id|>assistant"
    "<|end_header_id|>\n\n",
    "Llama 2": "<s>[INST] Name a fish. [/INST] Trout. </s><s>[INST] And a bird? [/INST]",
    "Gemma": "<bos><start_of_turn>user\nName a fish.<end_of_turn>\n<start_of_turn>model\nTrout.<end_of_turn>\n<start_of_turn>user\n"
    "And a bird?<end_of_turn>\n<start_of_turn>model\n",
    "Zephyr": "<|user|>\nName a fish.</s>\n<|assistant|>\nTrout.</s>\n<|user|>\nAnd a bird?</s>\n<|assistant|>\n",
    "OpenAssistant": "<|prompter|>Name a fish.<|endoftext|><|assistant|>Trout.<|endoftext|><|prompter|>And a bird?<|endoftext|>"
    "<|assistant|>",
    "Alpaca": "### Instruction:\nName a fish.\n\n### Response:\nTrout.\n\n### Instruction:\nAnd a bird?\n\n### Response:\n",
    "Guanaco": "### Human: Name a fish.### Assistant: Trout.### Human: And a bird?### Assistant:",
    "Vicuna": "USER: Name a fish. ASSISTANT: Trout.</s>USER: And a bird? ASSISTANT:",
    "lines": "Human: Name a fish.\nAssistant: Trout.\nHuman: And a bird?\nAssistant:",
}
WORDS = (
    "What does <|im_start|>user mean?",
    "<|im_start|>user\nHi",
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>user\nHo<|im_end|>\n<|im_start|>assistant\n",
    "Go on:\nHuman: Name a fish.\nAssistant:",
    "Write a play. Begin it so:\nUser: Hi.\nAssistant: Yes?",
    "Is [INST] a mark of Llama's? [/INST] is another one.",
    "### Response: what is this heading for?",
)


def wrote(folder: Path, *rows: Any) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def talk(found: Imported) -> list[str]:
    return [f"{message.role[0]}:{message.content}" for message in found.prompts[0].messages]


@pytest.mark.parametrize("text", RENDERED.values(), ids=RENDERED)
def test_a_rendered_prompt_is_its_turns_in_every_kind_of_row(tmp_path: Path, text: str) -> None:
    for row in ({"response": "Owl."}, {"chosen": "Owl.", "rejected": "Cow."}, {"completion": "Owl.", "label": True}, {}):
        assert talk(read(wrote(tmp_path, {"prompt": text} | row))) == ROUNDS


@pytest.mark.parametrize("text", WORDS)
def test_words_that_look_like_marks_are_words(tmp_path: Path, text: str) -> None:
    assert not asked_in(text)
    assert not told_in(text)
    assert talk(read(wrote(tmp_path, {"prompt": text, "response": "Owl."}))) == [f"u:{text}"]


def test_the_mark_behind_an_answer_is_no_part_of_it(tmp_path: Path) -> None:
    pair = {"prompt": RENDERED["ChatML"], "chosen": "Owl.<|im_end|>\n", "rejected": "Cow.<|im_end|>"}
    assert [response.text for response in read(wrote(tmp_path, pair)).responses] == ["Owl.", "Cow."]
    unrendered = {"prompt": "Name a mark.", "response": "It is <|im_end|>"}
    assert read(wrote(tmp_path, unrendered)).demonstrations[0].text == "It is <|im_end|>"


def test_a_rendered_conversation_is_a_demonstration_and_a_pair_of_them_a_ranking(tmp_path: Path) -> None:
    def whole(answer: str) -> str:
        return f"{RENDERED['ChatML']}{answer}<|im_end|>\n"

    found = read(wrote(tmp_path, {"text": whole("Owl.")}))
    assert (talk(found), found.demonstrations[0].text) == (ROUNDS, "Owl.")
    ranked = read(wrote(tmp_path, {"chosen": whole("Owl."), "rejected": whole("Cow.")}))
    assert (talk(ranked), [response.text for response in ranked.responses]) == (ROUNDS, ["Owl.", "Cow."])
    assert read(wrote(tmp_path, {"text": "Human: Hi.\nAssistant: Yes?"})).metrics["format"] == "text"
    assert not read(wrote(tmp_path, {"text": "Human: Hi.\nAssistant: Yes?"})).demonstrations


def test_a_system_turn_within_the_first_question(tmp_path: Path) -> None:
    text = "<s>[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nName a fish. [/INST]"
    assert talk(read(wrote(tmp_path, {"prompt": text, "response": "Trout."}))) == ["s:Be kind.", "u:Name a fish."]


def test_turns_that_a_data_frame_wrote_as_text(tmp_path: Path) -> None:
    several = (
        "[{'content': 'Name a fish.', 'role': 'user'}\n {'content': 'Trout.', 'role': 'assistant'}\n"
        " {'content': 'And a bird?', 'role': 'user'}]"
    )
    one = ['{"role": "assistant", "content": "Owl."}', "{'role': 'assistant', 'content': 'Cow.'}"]
    path = tmp_path / "rows.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["prompt", "chosen", "rejected"], [several, *one]])
    found = read(path)
    assert (talk(found), [response.text for response in found.responses]) == (ROUNDS, ["Owl.", "Cow."])


def test_a_table_with_tabs_under_the_name_of_another(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("prompt\tresponse\nName a fish, please.\tTrout.\n")
    assert read(path).demonstrations[0].text == "Trout."


@pytest.mark.parametrize("words", [("AI", "human"), ("助手", "用户"), ("Chatbot", "User")])
def test_names_of_the_two_sides(tmp_path: Path, words: tuple[str, str]) -> None:
    answer, question = words
    row = {"messages": [{"role": question, "content": "Name a fish."}, {"role": answer, "content": "Trout."}]}
    assert read(wrote(tmp_path, row)).demonstrations[0].text == "Trout."


@pytest.mark.parametrize("column", ["model", "model_id", "generated_by", "source_model", "generator_name"])
@pytest.mark.parametrize("fields", ["instruction output", "prompt completion", "messages", "conversations"])
def test_what_a_model_wrote_is_nobodys_demonstration(tmp_path: Path, fields: str, column: str) -> None:
    talked = {
        "messages": [{"role": "user", "content": "Name a fish."}, {"role": "assistant", "content": "Dog."}],
        "conversations": [{"from": "human", "value": "Name a fish."}, {"from": "gpt", "value": "Dog."}],
    }
    asks = dict(zip(fields.split(), ("Name a fish.", "Dog."), strict=False)) if " " in fields else {fields: talked[fields]}
    found = read(wrote(tmp_path, asks | {column: "big-7"}))
    assert [(response.text, response.model) for response in found.responses] == [("Dog.", "big-7")]
    assert not found.demonstrations
    asked = read(wrote(tmp_path, {"messages": talked["messages"][:1], "model": "big-7"}))
    assert (talk(asked), asked.responses, asked.metrics["unread"]) == (["u:Name a fish."], [], {"model": 1})


def test_a_question_about_a_picture_that_is_not_there_is_refused(tmp_path: Path) -> None:
    for row in ({"prompt": "<image>\nWhat is it?", "response": "A barn."}, {"prompt": "What is it?\n<video>", "response": "A barn."}):
        with pytest.raises(InputError, match="but the row has none"):
            read(wrote(tmp_path, row))
    turns = [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "A barn."}]
    with pytest.raises(InputError, match="begins or ends with <image>"):
        read(wrote(tmp_path, {"conversations": turns, "image": "barn.jpg"}), drop=("image",))
    page = "Why is this film black?\n<video>\n<source src='a.mp4'></video>\nand <image>"
    assert talk(read(wrote(tmp_path, {"prompt": page, "response": "No idea."}))) == [f"u:{page}"]


@pytest.mark.parametrize("filling", [" ", "\n", "</s> ", "<|im_end|>  ", "[INST] ", "### ", "\nUser", "<s> "])
def test_a_text_of_marks_and_spaces_takes_time_in_proportion_to_its_length(filling: str) -> None:
    """A pattern with spaces around a repeated mark tries every way to divide them: a row of 200 kB would take hours."""
    for hint in ("<|im_start|>user\n", "[/INST]", "### Human:", "Human:", "<|assistant|>"):
        text = f"{hint}y{filling * (200_000 // len(filling))}x"
        began = time.process_time()
        asked_in(text)
        told_in(text)
        read_ends = without_ends(Row({"prompt": RENDERED["ChatML"], "response": text[:-1]}, Path("rows.jsonl"), 1), ("prompt",))
        assert read_ends.value["prompt"] == RENDERED["ChatML"]
        assert time.process_time() - began < 2
