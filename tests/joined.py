"""Tokenizers unlike ours: line ends are one token with what stands before them, and padding is the end."""

from __future__ import annotations

from typing import Any

SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
TEXT = ["The user asks.\n\nThe assistant answers.\n\n\nYes.\n- one\n- two\n\n", "A trout.\n\n An owl.\nassistant\n\nuser\n\n"] * 40


def foreign(template: str, eos: str, special: tuple[str, ...]) -> Any:
    """A byte-level tokenizer that joins line ends to what stands before them, as those of Llama 3 and Qwen do."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bpe.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(SPLIT), "isolated"), level])
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=[eos, *special], initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator(TEXT, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token=eos, pad_token=eos, clean_up_tokenization_spaces=False)
    tokenizer.chat_template = template
    return tokenizer
