"""Tokenizers: training a byte-level BPE on raw text, and loading an existing one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from accord.errors import ModelError

END_OF_TEXT = "<|endoftext|>"
END_OF_TURN = "<|end|>"
SPECIAL_TOKENS = (END_OF_TEXT, END_OF_TURN, "<|system|>", "<|user|>", "<|assistant|>", "<|pad|>")

# Turn tokens keep the roles apart; within them a turn is written as the question and answer lines that raw text has, so that a base
# model which never saw a turn token knows where it is.
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>"
    "{% if message['role'] == 'assistant' %}{{ '\nA: ' }}{% elif message['role'] == 'user' %}{{ 'Q: ' }}{% endif %}"
    "{{ message['content'] }}<|end|>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{{ '\nA:' }}{% endif %}"
)

PLAIN_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'assistant' %}{{ 'A: ' + message['content'] + eos_token + '\n' }}"
    "{% elif message['role'] == 'user' %}{{ 'Q: ' + message['content'] + '\n' }}{% else %}{{ message['content'] + '\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'A:' }}{% endif %}"
)
"""Template for other base models; it uses no token that they lack."""

Tokenizer = Any
"""transformers' PreTrainedTokenizerBase, which carries no usable types."""


def train_tokenizer(documents: Iterable[str], vocab_size: int) -> Tokenizer:
    """Train a byte-level BPE that covers any text in any language and always keeps a newline as its own token."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    newline_apart = pre_tokenizers.Split(Regex(r"\n"), behavior="isolated")
    bpe.pre_tokenizer = pre_tokenizers.Sequence([newline_apart, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(documents, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token=END_OF_TEXT, eos_token=END_OF_TEXT, pad_token="<|pad|>", clean_up_tokenization_spaces=False
    )


def load_tokenizer(source: str | Path) -> Tokenizer:
    """Load the tokenizer of a model folder or hub name, without running code that comes with it.

    Raises:
        ModelError: there is none, or it cannot be read.
    """
    from transformers import AutoTokenizer

    folder = Path(source)
    if folder.is_dir() and not any((folder / name).exists() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        raise ModelError("the model folder has no tokenizer", where=str(folder), hint="copy the tokenizer.json of its base model into it")
    try:
        return cast("Any", AutoTokenizer).from_pretrained(str(source), trust_remote_code=False)
    except Exception as error:  # tokenizers raises bare Exception for a damaged file
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        hint = "copy or download the model folder again"
        raise ModelError(f"the tokenizer cannot be read: {reason}", where=str(source), hint=hint) from error
