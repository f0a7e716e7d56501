"""Conversion of conversations to token ids and back. Chat templates are applied only here.

A response's tokens are those that the whole conversation adds to the prompt's, up to the first stop token. They follow from the
structure, not from a search in the text. A template whose prompt is not a prefix of the whole conversation is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from accord.data.tokenizers import CHAT_TEMPLATE, END_OF_TEXT, END_OF_TURN, PLAIN_TEMPLATE, Tokenizer
from accord.errors import InputError
from accord.records import Message, Prompt, Response


@dataclass(frozen=True)
class ChatFormat:
    """The prompt format of a model: its tokenizer, its stop tokens, and whether turns are a chat or raw text."""

    tokenizer: Tokenizer
    stop: tuple[int, ...]
    """Token ids that end a response; training writes the first."""
    raw: bool = False
    """True for a base model: turns are written as "Q: ..." and "A: ..." lines of plain text."""
    context: int = 0
    """Longest prompt in tokens; 0 sets no limit."""

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """Return the token ids of a conversation up to the start of the assistant's turn.

        Raises:
            InputError: the prompt does not fit the context.
        """
        ids = self._raw_prompt(messages) if self.raw else self._encode(self._render(messages))
        if self.context and len(ids) >= self.context:
            hint = "shorten it, remove it, or use a model with a longer context"
            where = f"prompt {messages[-1].content[:40]!r}"
            raise InputError(f"the prompt has {len(ids)} tokens, the model's context {self.context}", where=where, hint=hint)
        return ids

    def response(self, messages: Sequence[Message], text: str) -> list[int]:
        """Return the token ids of a response to a conversation, including its stop token, which is learned like any other.

        Raises:
            InputError: the template writes the prompt differently once a response follows.
        """
        if self.raw:
            return [*self._encode(" " + text), self.stop[0]]
        prompt, whole = self._render(messages), self._render([*messages, Message("assistant", text)], reply=False)
        ids, whole_ids = self._encode(prompt), self._encode(whole)
        if whole_ids[: len(ids)] != ids:
            what = "the chat template's prompt is not a prefix of prompt and response"
            raise InputError(what, where=f"prompt {messages[-1].content[:40]!r}", hint="use a template that only appends the response")
        rest = whole_ids[len(ids) :]
        end = next((i for i, token in enumerate(rest) if token in self.stop), len(rest))
        return [*rest[:end], rest[end] if end < len(rest) else self.stop[0]]

    def tokens_of(self, prompt: Prompt, response: Response) -> list[int]:
        """Return the token ids of a stored response: the sampled ids, or those of its text if another tokenizer sampled it.

        Raises:
            InputError: the template writes the prompt differently once a response follows.
        """
        sampled = list(response.tokens)
        return sampled if sampled and self.text(sampled) == response.text else self.response(prompt.messages, response.text)

    def text(self, ids: Sequence[int]) -> str:
        """Return a response's text without its stop token."""
        ids = list(ids)
        return self.tokenizer.decode(ids[:-1] if ids and ids[-1] in self.stop else ids, skip_special_tokens=True).strip()

    def _encode(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def _render(self, messages: Sequence[Message], *, reply: bool = True) -> str:
        """Render the template. A system turn that the template refuses is prepended to the user's first turn."""
        from jinja2 import TemplateError

        for given in (messages, merged(messages)):
            try:
                turns = [{"role": message.role, "content": message.content} for message in given]
                return self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=reply)
            except TemplateError as error:
                refused = error
        where, hint = f"prompt {messages[-1].content[:40]!r}", "roles alternate in most templates; fix the conversation or the template"
        raise InputError(f"the chat template refuses the conversation: {refused}", where=where, hint=hint)

    def _raw_prompt(self, messages: Sequence[Message]) -> list[int]:
        lines = [("A: " if message.role == "assistant" else "Q: ") + message.content for message in messages]
        begin = [] if self.tokenizer.bos_token_id is None else [self.tokenizer.bos_token_id]
        return [*begin, *self._encode("\n".join([*lines, "A:"]))]


def chat_format(tokenizer: Tokenizer, context: int = 0) -> ChatFormat:
    """Return the format of a chat model: its own template, stopping at its end of turn and end of text.

    Raises:
        InputError: the tokenizer has no chat template.
    """
    if not tokenizer.chat_template:
        raise InputError("the tokenizer has no chat template", hint="run `accord sft`, which gives it one")
    return ChatFormat(tokenizer, _stops(tokenizer), context=context)


def raw_format(tokenizer: Tokenizer, context: int = 0) -> ChatFormat:
    """Return the format of a base model: question and answer lines, stopping at the end of the line or of the text."""
    newline = tokenizer("\n", add_special_tokens=False)["input_ids"]
    stop = (*newline[-1:], tokenizer.eos_token_id)
    return ChatFormat(tokenizer, stop, raw=True, context=context)


def give_chat_template(tokenizer: Tokenizer) -> bool:
    """Give a tokenizer without template one of the project's, and return whether it was needed.

    A tokenizer with our turn tokens gets the template that uses them. For another base model, whose vocabulary stays as it is, turns are
    lines and its end of text ends an answer.

    Raises:
        InputError: it has neither a template nor an end of text.
    """
    if tokenizer.chat_template:
        return False
    if END_OF_TURN in tokenizer.get_vocab():
        tokenizer.chat_template = CHAT_TEMPLATE
        tokenizer.eos_token = END_OF_TURN
        return True
    if tokenizer.eos_token is None:
        hint = "set tokenizer.eos_token and save the folder"
        raise InputError("the tokenizer has neither a chat template nor an end of text", hint=hint)
    tokenizer.chat_template = PLAIN_TEMPLATE
    return True


def plainly(messages: Sequence[Message], text: str | None) -> tuple[str, str]:
    """Render a conversation and its continuation with our own template, for use before there is a tokenizer."""
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    turns = [{"role": message.role, "content": message.content} for message in messages]
    template = ImmutableSandboxedEnvironment().from_string(CHAT_TEMPLATE)
    prompt = template.render(messages=turns, bos_token=END_OF_TEXT, add_generation_prompt=text is not None) if turns else ""
    return prompt, "" if text is None else f" {text}{END_OF_TURN}" if turns else text


def _stops(tokenizer: Tokenizer) -> tuple[int, ...]:
    names = ("<|end|>", "<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|endoftext|>")
    present = [tokenizer.get_vocab()[name] for name in names if name in tokenizer.get_vocab()]
    stops = [tokenizer.eos_token_id, *present, *_written_after_answers(tokenizer)]
    return tuple(dict.fromkeys(stop for stop in stops if stop is not None))


def _written_after_answers(tokenizer: Tokenizer) -> list[int]:
    """Return the special token that the template puts after an answer, whatever its name."""
    from jinja2 import TemplateError

    answer = "answer"
    turns = [{"role": "user", "content": "question"}, {"role": "assistant", "content": answer}]
    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False)
    except TemplateError:
        return []
    after = tokenizer(text.rpartition(answer)[2], add_special_tokens=False)["input_ids"]
    special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    return [token for token in after if token in special][:1]


def merged(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Return the conversation with its system turn prepended to the user's first turn."""
    if len(messages) < 2 or messages[0].role != "system":
        return tuple(messages)
    return (Message(messages[1].role, f"{messages[0].content}\n\n{messages[1].content}"), *messages[2:])
