"""A small vision-language model with fresh weights: a LLaVA (Liu et al. 2023) of a few hundred thousand, for picture town and for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from accord.models.folders import prepared

IMAGE = "<image>"
"""The token of a picture."""
SPREAD = 0.1
"""Standard deviation of fresh weights. transformers' 0.02 is for models ten times as wide: so small a one would hardly see anything."""
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|end|>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def new_seeing(
    tokenizer: Any, *, side: int, patch: int, vision_width: int, vision_layers: int, width: int, layers: int, heads: int, context: int
) -> Any:
    """Return a LLaVA with fresh weights, drawn from torch's global generator; give the tokenizer a token and a template for pictures.

    Args:
        side: of a picture in pixels, once the processor has resized it.
        patch: side of the squares that the vision tower reads.
    """
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    if IMAGE not in tokenizer.get_vocab():
        tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE]})
    tokenizer.chat_template, tokenizer.eos_token = TEMPLATE, "<|end|>"
    end, pad = tokenizer.convert_tokens_to_ids(["<|end|>", "<|pad|>"])
    vision = CLIPVisionConfig(
        hidden_size=vision_width,
        intermediate_size=2 * vision_width,
        num_hidden_layers=vision_layers,
        num_attention_heads=heads,
        image_size=side,
        patch_size=patch,
        projection_dim=vision_width,
        initializer_range=SPREAD,
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        initializer_range=SPREAD,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=end,
        pad_token_id=pad,
    )
    config = cast("Any", LlavaConfig)(
        vision_config=vision,
        text_config=text,
        image_token_id=tokenizer.convert_tokens_to_ids(IMAGE),
        vision_feature_layer=-1,
        tie_word_embeddings=True,
    )
    return prepared(LlavaForConditionalGeneration(config))


def save_processor(folder: Path, tokenizer: Any, *, side: int, patch: int) -> None:
    """Write the processor of such a model into its folder: pictures become squares of ``side`` pixels."""
    from transformers import CLIPImageProcessorPil, LlavaProcessor

    square = {"height": side, "width": side}
    resized: Any = CLIPImageProcessorPil(size=square, crop_size=square, do_center_crop=False)
    LlavaProcessor(
        resized, tokenizer, patch_size=patch, vision_feature_select_strategy="default", num_additional_image_tokens=1
    ).save_pretrained(folder)
