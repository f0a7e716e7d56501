"""The untrained base model of picture town: a vision-language model of a few hundred thousand weights, with its processor."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from accord.data.tokenizers import train_tokenizer
from accord.models.folders import save_model
from accord.models.small_vision import new_seeing, save_processor
from accord.runtime.files import new_folder
from accord.runtime.project import Project

VOCABULARY, PATCH, WIDTH, LAYERS, HEADS, CONTEXT = 320, 8, 64, 2, 4, 128


def write_base(project: Project, texts: Iterable[str], *, side: int, seed: int) -> None:
    """Write models/base: a tokenizer of these texts, and fresh weights that read pictures of ``side`` pixels."""
    tokenizer = train_tokenizer(texts, VOCABULARY)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        sizes = {"vision_width": WIDTH, "vision_layers": LAYERS, "width": WIDTH, "layers": LAYERS, "heads": HEADS}
        model = new_seeing(tokenizer, side=side, patch=PATCH, context=CONTEXT, **sizes)
    with new_folder(project.model("base")) as folder:
        save_model(folder, model, tokenizer)
        save_processor(folder, tokenizer, side=side, patch=PATCH)
