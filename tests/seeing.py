"""Vision-language models of several architectures, a few thousand weights each, as folders with their processors, and drawn pictures."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tiny import SENTENCES

from accord.data.tokenizers import train_tokenizer
from accord.models.folders import save_model
from accord.models.small_vision import new_seeing, save_processor
from accord.records import MediaFile

FAMILIES = ("llava", "idefics3", "smolvlm", "gemma3", "qwen2_5_vl", "qwen3_vl")
TEXT: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.3,
    "tie_word_embeddings": True,
}
VISION: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
MARKS: Mapping[str, tuple[str, ...]] = {
    "idefics3": ("<image>", "<fake_token_around_image>", "<end_of_utterance>", "<global-img>", "<row_1_col_1>", "<row_1_col_2>"),
    "smolvlm": ("<image>", "<fake_token_around_image>", "<end_of_utterance>", "<global-img>", "<row_1_col_1>", "<row_1_col_2>"),
    "gemma3": ("<start_of_image>", "<image_soft_token>", "<end_of_image>"),
    "qwen2_5_vl": ("<|image_pad|>", "<|vision_start|>", "<|vision_end|>", "<|video_pad|>"),
    "qwen3_vl": ("<|image_pad|>", "<|vision_start|>", "<|vision_end|>", "<|video_pad|>"),
}
PLACES = {"gemma3": "<start_of_image>", "qwen2_5_vl": "<|vision_start|><|image_pad|><|vision_end|>"}
PLACES["qwen3_vl"] = PLACES["qwen2_5_vl"]
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}PLACE{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|end|>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def picture(seed: int = 0, size: tuple[int, int] = (40, 24)) -> MediaFile:
    """A picture of coloured squares, as it is stored."""
    from PIL import Image

    drawn = torch.randint(0, 256, (3, 4, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    file = io.BytesIO()
    Image.fromarray(drawn.numpy()).resize(size, Image.Resampling.NEAREST).save(file, "PNG")
    return MediaFile("image", "image/png", file.getvalue(), *size)


def seeing(folder: Path, family: str = "llava", seed: int = 0) -> Path:
    """Write a model with fresh weights and its processor."""
    torch.manual_seed(seed)
    tokenizer = train_tokenizer(SENTENCES * 4, 300)
    if family == "llava":
        made = new_seeing(tokenizer, side=16, patch=8, vision_width=16, vision_layers=2, width=16, layers=2, heads=2, context=512)
        for parameter in made.parameters():
            parameter.data.mul_(6.0) if parameter.ndim > 1 else None
        save_model(folder, made, tokenizer)
        save_processor(folder, tokenizer, side=16, patch=8)
        return folder
    tokenizer.add_special_tokens({"additional_special_tokens": list(MARKS[family])})
    tokenizer.chat_template, tokenizer.eos_token = TEMPLATE.replace("PLACE", PLACES.get(family, "<image>")), "<|end|>"
    model, image_processor, processor = _parts(family, tokenizer)
    model.save_pretrained(folder)
    if family == "gemma3":
        tokenizer.init_kwargs |= {"extra_special_tokens": GEMMA}
        tokenizer._set_model_specific_special_tokens(special_tokens=GEMMA)
    tokenizer.save_pretrained(folder)
    image_processor.save_pretrained(folder)
    (folder / "processor_config.json").write_text(json.dumps(processor), "utf-8")
    return folder


GEMMA = {"image_token": "<image_soft_token>", "boi_token": "<start_of_image>", "eoi_token": "<end_of_image>"}


def _parts(family: str, tokenizer: Any) -> tuple[Any, Any, dict[str, Any]]:
    """A model, its image processor and the processor's configuration."""
    import transformers

    t: Any = transformers

    ids = tokenizer.convert_tokens_to_ids
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": ids("<|end|>"), "pad_token_id": ids("<|pad|>")}
    text = {**TEXT, **ends, "vocab_size": len(tokenizer)}
    match family:
        case "idefics3" | "smolvlm":
            vision = {**VISION, "image_size": 16, "patch_size": 4}
            kind = t.Idefics3Config if family == "idefics3" else t.SmolVLMConfig
            config = kind(
                text_config={**text, "model_type": "llama"}, vision_config=vision, scale_factor=2, image_token_id=ids("<image>"),
                pad_token_id=ids("<|pad|>"), tie_word_embeddings=True,
            )  # fmt: skip
            model = (t.Idefics3ForConditionalGeneration if family == "idefics3" else t.SmolVLMForConditionalGeneration)(config)
            resized = t.Idefics3ImageProcessorPil if family == "idefics3" else t.SmolVLMImageProcessorPil
            image = resized(size={"longest_edge": 32}, max_image_size={"longest_edge": 16})
            return model, image, {"processor_class": f"{kind.__name__.removesuffix('Config')}Processor", "image_seq_len": 4}
        case "gemma3":
            vision = {**VISION, "image_size": 16, "patch_size": 4, "vision_use_head": False}
            config = t.Gemma3Config(
                text_config={**text, "head_dim": 8, "sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]},
                vision_config=vision, mm_tokens_per_image=4, image_token_id=ids("<image_soft_token>"),
                boi_token_index=ids("<start_of_image>"), eoi_token_index=ids("<end_of_image>"), tie_word_embeddings=True,
            )  # fmt: skip
            image = t.Gemma3ImageProcessorPil(size={"height": 16, "width": 16})
            return t.Gemma3ForConditionalGeneration(config), image, {"processor_class": "Gemma3Processor", "image_seq_length": 4}
        case "qwen2_5_vl":
            rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}
            vision = {"depth": 2, "hidden_size": 16, "intermediate_size": 24, "num_heads": 2, "patch_size": 4, "out_hidden_size": 16}
            vision |= {"window_size": 16, "fullatt_block_indexes": [1]}
            config = t.Qwen2_5_VLConfig(
                text_config={**text, "rope_parameters": rope}, vision_config=vision, image_token_id=ids("<|image_pad|>"),
                video_token_id=ids("<|video_pad|>"), vision_start_token_id=ids("<|vision_start|>"),
                vision_end_token_id=ids("<|vision_end|>"), tie_word_embeddings=True,
            )  # fmt: skip
            image = t.Qwen2VLImageProcessorPil(patch_size=4, size={"shortest_edge": 64, "longest_edge": 1024})
            return t.Qwen2_5_VLForConditionalGeneration(config), image, {"processor_class": "Qwen2_5_VLProcessor"}
        case _:
            rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1], "mrope_interleaved": True}
            vision = {"depth": 2, "hidden_size": 16, "intermediate_size": 24, "num_heads": 2, "patch_size": 4, "out_hidden_size": 16}
            vision |= {"num_position_embeddings": 64, "deepstack_visual_indexes": [0]}
            config = t.Qwen3VLConfig(
                text_config={**text, "head_dim": 8, "rope_parameters": rope}, vision_config=vision, image_token_id=ids("<|image_pad|>"),
                video_token_id=ids("<|video_pad|>"), vision_start_token_id=ids("<|vision_start|>"),
                vision_end_token_id=ids("<|vision_end|>"), tie_word_embeddings=True,
            )  # fmt: skip
            image = t.Qwen2VLImageProcessorPil(patch_size=4, size={"shortest_edge": 64, "longest_edge": 1024})
            return t.Qwen3VLForConditionalGeneration(config), image, {"processor_class": "Qwen3VLProcessor"}
