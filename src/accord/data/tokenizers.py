"""Tokenizers: training a byte-level BPE on raw text, and loading an existing one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from accord.errors import InputError, ModelError
from accord.runtime.model_files import model_files, need_gguf

END_OF_TEXT = "<|endoftext|>"
END_OF_TURN = "<|end|>"
PAD = "<|pad|>"
SPECIAL_TOKENS = (END_OF_TEXT, END_OF_TURN, "<|system|>", "<|user|>", "<|assistant|>", PAD)

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

DOCUMENT_ENDS = (
    "<|endoftext|>",
    "<|end_of_text|>",
    "</s>",
    "<eos>",
    "<｜end▁of▁sentence｜>",
    "<EOS_TOKEN>",
    "<|endofdoc|>",
    "[EOS]",
)
"""Tokens that end a document in pretraining, whatever the tokenizer calls its end once it chats."""

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
        tokenizer_object=bpe, bos_token=END_OF_TEXT, eos_token=END_OF_TEXT, pad_token=PAD, clean_up_tokenization_spaces=False
    )


def document_frame(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Return the token ids that stand before and behind a document of raw text, as in the base model's pretraining.

    Before it stand the tokens that the tokenizer itself puts before a text, such as Llama's BOS, or else the end of the document before.

    Raises:
        InputError: the tokenizer has no token that ends a document.
    """
    control = {str(token): id for id, token in tokenizer.added_tokens_decoder.items()}
    names = (tokenizer.eos_token, *DOCUMENT_ENDS) if tokenizer.eos_token in DOCUMENT_ENDS else (*DOCUMENT_ENDS, tokenizer.eos_token)
    ends = [control[name] for name in names if name in control]
    if not ends:
        hint = "set tokenizer.eos_token and save the folder, or leave the raw text out"
        raise InputError("the tokenizer has no token that ends a document", where=str(tokenizer.name_or_path), hint=hint)
    alone: list[int] = tokenizer("a", add_special_tokens=False)["input_ids"]
    framed: list[int] = tokenizer("a")["input_ids"]
    start = next((i for i in range(len(framed)) if framed[i : i + len(alone)] == alone), 0)
    return framed[:start] or ends[:1], ends[:1]


def load_tokenizer(source: str | Path) -> Tokenizer:
    """Load the tokenizer of a model folder, a .gguf file, an adapter or a hub name, without running code that comes with it.

    An adapter without a tokenizer of its own has that of its base model.

    Raises:
        ModelError: there is none, or it cannot be read.
        UsageError: it needs a package that is not installed.
    """
    from transformers import AutoTokenizer

    files = None if _has_tokenizer(Path(source)) else model_files(source)
    if files and files.adapter and _has_tokenizer(files.adapter):
        source, files = files.adapter, None
    folder = Path(files.source if files else source)
    extra = {"gguf_file": need_gguf(files)} if files and files.gguf else {}
    if folder.is_dir() and not extra and not _has_tokenizer(folder):
        raise ModelError("the model folder has no tokenizer", where=str(folder), hint="copy the tokenizer.json of its base model into it")
    try:
        return cast("Any", AutoTokenizer).from_pretrained(str(folder if files is None else files.source), trust_remote_code=False, **extra)
    except Exception as error:  # tokenizers raises bare Exception for a damaged file
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        hint = "copy or download the model folder again"
        raise ModelError(f"the tokenizer cannot be read: {reason}", where=str(source), hint=hint) from error


def _has_tokenizer(folder: Path) -> bool:
    return any((folder / name).exists() for name in ("tokenizer.json", "tokenizer.model", "vocab.json"))


def check_vocabulary(tokenizer: Tokenizer, embeddings: int, where: str) -> None:
    """Refuse a tokenizer that writes ids which the model's embedding does not hold.

    Control tokens that neither the chat template nor a role such as padding uses may lie beyond it, as Gemma 3's image token does.

    Raises:
        ModelError: naming the tokens.
    """
    beyond = {token: id for token, id in tokenizer.get_vocab().items() if id >= embeddings}
    unused = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special} - set(_in_roles(tokenizer))
    template = str(tokenizer.chat_template or "")
    used = sorted((id, token) for token, id in beyond.items() if token not in unused or token in template)
    if used:
        tokens = ", ".join(f"{token!r} ({id})" for id, token in used[:3]) + (f" and {len(used) - 3} more" if len(used) > 3 else "")
        what = f"the tokenizer has {tokens}, but the model's embedding has {embeddings} rows"
        hint = "give the model its own tokenizer, or resize it in transformers: model.resize_token_embeddings(len(tokenizer))"
        raise ModelError(what, where=where, hint=hint)


def _in_roles(tokenizer: Tokenizer) -> list[str]:
    roles = (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token, tokenizer.unk_token)
    return [str(token) for token in roles if token is not None]
