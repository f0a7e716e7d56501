"""From conversations to token ids and back: the one place where a chat template is applied.

A response's tokens are built from structure (prompt ids, then the response's own ids, then the stop token), never found by
searching the rendered text, so that the prompt's ids are a prefix of the whole by construction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from accord.data.tokenizers import CHAT_TEMPLATE, END_OF_TURN, Tokenizer
from accord.errors import InputError
from accord.records import Message


@dataclass(frozen=True)
class ChatFormat:
    """How a model is spoken to: its tokenizer, what ends a response, and whether turns are a chat or raw text."""

    tokenizer: Tokenizer
    stop: tuple[int, ...]
    """Token ids that end a response; the first is the one that training writes."""
    raw: bool = False
    """True for a base model: turns are written as "Q: ..." and "A: ..." lines of plain text."""
    context: int = 0
    """Longest prompt in tokens; 0 sets no limit."""

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of a conversation up to where the assistant speaks.

        Raises:
            InputError: the prompt does not fit the context.
        """
        ids = self._raw_prompt(messages) if self.raw else self._chat_prompt(messages)
        if self.context and len(ids) >= self.context:
            raise InputError(f"the prompt has {len(ids)} tokens, the model's context {self.context}", where=f"prompt {messages[-1].content[:40]!r}")
        return ids

    def response(self, text: str) -> list[int]:
        """Token ids of a response with its stop token, which is a token to learn like any other."""
        return [*self._encode(text), self.stop[0]]

    def text(self, ids: Sequence[int]) -> str:
        """A response's text without its stop token."""
        ids = list(ids)
        return self.tokenizer.decode(ids[:-1] if ids and ids[-1] in self.stop else ids, skip_special_tokens=True).strip()

    def _encode(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def _chat_prompt(self, messages: Sequence[Message]) -> list[int]:
        turns = [{"role": message.role, "content": message.content} for message in messages]
        rendered = self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        return self._encode(rendered)

    def _raw_prompt(self, messages: Sequence[Message]) -> list[int]:
        lines = [("A: " if message.role == "assistant" else "Q: ") + message.content for message in messages]
        return [self.tokenizer.bos_token_id, *self._encode("\n".join([*lines, "A:"]))]


def chat_format(tokenizer: Tokenizer, context: int = 0) -> ChatFormat:
    """The format of a chat model: its own template, stopping at its end of turn and end of text.

    Raises:
        InputError: the tokenizer has no chat template.
    """
    if not tokenizer.chat_template:
        raise InputError("the tokenizer has no chat template", hint="run `accord sft`, which gives it one")
    return ChatFormat(tokenizer, _stops(tokenizer), context=context)


def raw_format(tokenizer: Tokenizer, context: int = 0) -> ChatFormat:
    """The format of a base model: question and answer lines, stopping at the end of the line or of the text."""
    newline = tokenizer("\n", add_special_tokens=False)["input_ids"]
    stop = (*newline[-1:], tokenizer.eos_token_id)
    return ChatFormat(tokenizer, stop, raw=True, context=context)


def give_chat_template(tokenizer: Tokenizer) -> bool:
    """Gives a tokenizer of ours without template the project's own; says whether it did.

    Raises:
        InputError: it has neither a template nor the turn tokens that ours needs.
    """
    if tokenizer.chat_template:
        return False
    if tokenizer.convert_tokens_to_ids(END_OF_TURN) in (None, tokenizer.unk_token_id):
        raise InputError("the tokenizer has neither a chat template nor turn tokens", hint="set tokenizer.chat_template and save the folder")
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.eos_token = END_OF_TURN
    return True


def _stops(tokenizer: Tokenizer) -> tuple[int, ...]:
    names = ("<|end|>", "<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|endoftext|>")
    present = [tokenizer.get_vocab()[name] for name in names if name in tokenizer.get_vocab()]
    stops = [tokenizer.eos_token_id, *present]
    return tuple(dict.fromkeys(stop for stop in stops if stop is not None))
