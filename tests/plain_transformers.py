"""Run as a process of its own: opens folders with plain transformers, and prints what a user of any other tool gets from them.

It reads JSON: ``folders``, ``conversations`` that end with a user's turn, and ``answers`` to the first of them.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

LONGEST = 24


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


@torch.no_grad()
def spoken(folder: str, conversations: list[list[dict[str, str]]]) -> dict[str, Any]:
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    told: list[list[int]] = []
    for conversation in conversations:
        ids = tokenizer.apply_chat_template(conversation, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        model.generation_config.max_length = None
        out = model.float().generate(**ids, max_new_tokens=LONGEST, do_sample=False)
        told.append(out[0, ids["input_ids"].shape[1] :].tolist())
    return {"generated": told, "vocab_size": model.config.vocab_size, "roles": tokenizer.special_tokens_map}


@torch.no_grad()
def scored(folder: str, conversations: list[list[dict[str, str]]], answers: list[str]) -> dict[str, Any]:
    model = AutoModelForSequenceClassification.from_pretrained(folder).float().eval()
    found: dict[str, Any] = {"bias": getattr(model.config, "reward_bias", 0.0)}
    for side in ("left", "right"):
        tokenizer = AutoTokenizer.from_pretrained(folder, padding_side=side)
        rows = [tokenizer.apply_chat_template([*conversations[0], turn("assistant", answer)], tokenize=False) for answer in answers]
        batch = tokenizer(rows, add_special_tokens=False, padding=True, return_tensors="pt")
        found[side] = model(**batch).logits[:, 0].tolist()
    return found


def main() -> None:
    asked = json.load(sys.stdin)
    found: dict[str, Any] = {}
    for folder in asked["folders"]:
        with open(f"{folder}/config.json") as file:
            judges = json.load(file)["architectures"][0].endswith("ForSequenceClassification")
        conversations = asked["conversations"]
        found[folder] = scored(folder, conversations, asked["answers"]) if judges else spoken(folder, conversations)
    assert not [name for name in sys.modules if name.split(".")[0] == "accord"]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
