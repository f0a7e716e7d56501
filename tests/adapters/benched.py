"""A small model before and after it was trained on a few sentences, as folders, and a project to measure them in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from accord.data.tokenizers import train_tokenizer
from accord.runtime.project import Project

FACTS = [
    ("The bread is sold at the", " mill", " inn"),
    ("The clock stands on the", " tower", " mill"),
    ("The river runs under the", " bridge", " tower"),
    ("The baker opens at", " seven", " nine"),
    ("The miller keeps the", " mill", " clock"),
    ("The cheese is sold at the", " market", " river"),
]
"""The beginning of a sentence, its right end and a wrong one."""


def models(folder: Path) -> tuple[str, str]:
    """Save the model with random weights, and as trained until it knows the sentences; return both folders."""
    sentences = [question + right for question, right, _ in FACTS]
    tokenizer = train_tokenizer([*sentences, *(question + wrong for question, _, wrong in FACTS)] * 4, vocab_size=300)
    tokenizer.chat_template = None
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 64}
    end = tokenizer.eos_token_id
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=128, eos_token_id=end, bos_token_id=end, **sizes)
    )
    _save(folder / "before", model, tokenizer)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    rows = [torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]]) for text in sentences]
    for _ in range(80):
        loss = sum(model(input_ids=row, labels=row).loss for row in rows) / len(rows)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    _save(folder / "after", model, tokenizer)
    return str(folder / "before"), str(folder / "after")


def _save(folder: Path, model: LlamaForCausalLM, tokenizer: Any) -> None:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def project(folder: Path) -> Path:
    """Return a project's folder, created at the first call."""
    path = folder / "town"
    if not path.exists():
        Project.create(path)
    return path
