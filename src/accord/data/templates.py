"""Conversion of conversations to token ids and back. Chat templates are applied only here.

A response's tokens are those that the whole conversation adds to the prompt's, up to the first stop token. They follow from the
structure, not from a search in the text. A template whose prompt is not a prefix of the whole conversation is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast

from accord.data.literal_text import THOUGHTS, LiteralText
from accord.data.template_render import MEND, EndlessTemplate, merged, render, stands_in, template_name
from accord.data.token_rows import RowTooLong
from accord.data.tokenizers import CHAT_TEMPLATE, END_OF_TEXT, END_OF_TURN, PLAIN_TEMPLATE, Tokenizer
from accord.data.tool_turns import ToolCall, ToolTurn
from accord.data.turn_text import functions_of, with_calls
from accord.errors import InputError
from accord.records import Message, Prompt, Response, Role
from accord.runtime.pictures import words_of
from accord.runtime.text_only import as_text

__all__ = ["ChatFormat", "chat_format", "control_ends", "end_at_stop", "give_chat_template", "merged", "not_ended", "plainly", "raw_format"]
PROBE = "accord7probe"
"""An answer that no template writes by itself."""
THOUGHT, THOUGHT_END = THOUGHTS
NO_THOUGHT = re.compile(r"(?:<think>\s*)?</think>\s*$")
"""A thought that the prompt itself closes, for an answer without one."""
WHOLE_THOUGHT = re.compile(r"<think>.*?</think>\s*", re.DOTALL)
TOOL = "tool"
"""The role of what a tool says, in episodes alone: the messages that people write have none."""
THOUGHT_MARKS = re.compile("|".join(THOUGHTS))
BEFORE_ENDED = "{% set accord_rendered %}"
BEHIND_ENDED = "{% endset %}{{ accord_rendered if add_generation_prompt else accord_rendered.rstrip() }}"
CHANNEL, MESSAGE = "<|channel|>", "<|message|>"
FINAL = "final"
"""The channel of the answer to the user, in a turn that is written in channels, as gpt-oss does. All others are reasoning."""
CHANNEL_MARKS = (CHANNEL, MESSAGE, "<|start|>", "<|end|>", "<|return|>", "<|call|>")


@dataclass(frozen=True)
class Frame:
    """What a template writes around an answer, between the end of the prompt and the end of the conversation."""

    head: str
    tail: str
    opens_thought: bool = False
    """Whether the prompt ends inside a thought, which the head then closes."""


@dataclass(frozen=True)
class Part:
    """What a response says in one channel."""

    name: str
    text: str
    begin: int
    """Where its text begins, in tokens of the response."""


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

    @property
    def sees(self) -> bool:
        """Whether a conversation may hold pictures; in this format it holds text."""
        return False

    def prompt(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> list[int]:
        """Return the token ids of a conversation up to the start of the assistant's turn.

        Args:
            tools: descriptions of functions that the assistant may call (name, description, parameters).

        Raises:
            RowTooLong: the prompt does not fit the context.
            InputError: the template has no tools, or leaves out a call.
        """
        where = f"prompt {messages[-1].content[:40]!r}"
        if self.raw:
            self._refuse_tools(messages, tools, "", where)
            ids = self._raw_prompt(messages)
        else:
            text = self._render(messages, tools=tools)
            self._refuse_tools(messages, tools, text, where)
            ids = self._literal.encode(text, where)
        if self.context and len(ids) >= self.context:
            hint = "shorten it, take it out, or use a model with a longer context"
            raise RowTooLong(f"the prompt has {len(ids)} tokens, the model's context {self.context}", len(ids), where=where, hint=hint)
        return ids

    def asked(self, prompt: Prompt) -> list[int]:
        """Return the token ids of a stored prompt. Where its row declares tools and the template writes tools, both stand as the template
        has them: the descriptions, earlier calls, and their results.

        Raises:
            RowTooLong, InputError: as ``prompt`` does.
        """
        tools = self._tools(prompt)
        return self.prompt(with_calls(prompt.messages) if tools else prompt.messages, tools)

    def answered(self, prompt: Prompt, text: str) -> list[int]:
        """Return the token ids of a response to a stored prompt, its calls of tools in the template's form as in ``asked``.

        Raises:
            InputError: as ``response`` does.
        """
        tools = self._tools(prompt)
        if not tools:
            return self.response(prompt.messages, text)
        *messages, answer = with_calls([*prompt.messages, Message("assistant", text)])
        return self._call(messages, answer, tools) if isinstance(answer, ToolTurn) else self.response(messages, text, tools)

    def _tools(self, prompt: Prompt) -> tuple[Mapping[str, Any], ...]:
        """The functions that a row declares; none where the template does not write them, so that calls stay text."""
        functions = functions_of(prompt.extra, f"prompt {prompt.id}")
        return functions if functions and self._writes_calls else ()

    def _call(self, messages: Sequence[Message], answer: ToolTurn, tools: Sequence[Mapping[str, Any]]) -> list[int]:
        """Token ids of an answer that calls tools: all that the template writes behind the prompt, up to the first stop token."""
        where = f"prompt {messages[-1].content[:40]!r}"
        prompt = self._render(messages, tools=tools)
        whole = self._render([*messages, answer], reply=False, tools=tools)
        before, thought, space = prompt.rpartition(THOUGHT)
        closed = NO_THOUGHT.search(prompt)
        if whole.startswith(prompt):
            rest = whole[len(prompt) :]
        elif thought and not space.strip() and whole.startswith(before):  # the prompt opens a thought
            rest = whole[len(before) :]
            rest = rest.removeprefix(THOUGHT).lstrip() if rest.startswith(THOUGHT) else f"\n{THOUGHT_END}\n\n{rest}"
        elif closed and whole.startswith(prompt[: closed.start()]):
            rest = whole[closed.start() :]
        else:
            what = f"{template_name(self.tokenizer)} writes the prompt differently once a call follows"
            raise InputError(what, where=where, hint=MEND)
        self._refuse_tools([answer], (), rest, where)
        ids = self._behind(rest, where)
        if whole.startswith(prompt):
            known, all_ = self._literal.encode(prompt, where), self._literal.encode(whole, where)
            ids = all_[len(known) :] if all_[: len(known)] == known else ids
        end = next((i for i, token in enumerate(ids) if token in self.stop), len(ids))
        return [*ids[:end], ids[end] if end < len(ids) else self.stop[0]]

    def response(self, messages: Sequence[Message], text: str, tools: Sequence[Mapping[str, Any]] = ()) -> list[int]:
        """Return the token ids of a response to a conversation, including its stop token, which is learned like any other.

        Args:
            tools: those that the prompt describes.

        Raises:
            InputError: the template writes the prompt differently once a response follows.
        """
        where = f"prompt {messages[-1].content[:40]!r}"
        if self.raw:
            return [*self._literal.encode(" " + self._literal.mark(text, "assistant", where), where), self.stop[0]]
        rest = self._after_prompt(messages, text, where, tools)
        end = next((i for i, token in enumerate(rest) if token in self.stop), len(rest))
        return [*rest[:end], rest[end] if end < len(rest) else self.stop[0]]

    def conversation(self, messages: Sequence[Message]) -> list[int]:
        """Return the token ids of a whole conversation as the template writes it, with what stands behind its last stop token."""
        where = f"prompt {messages[0].content[:40]!r}"
        return self._literal.encode(self._render(messages, reply=False), where)

    def continuation(self, messages: Sequence[Message]) -> list[int]:
        """Return the token ids that follow an answer's stop token: what others say then, up to the start of the assistant's next turn.

        So a conversation grows by what is new, and no token that was sampled is written again.

        Raises:
            InputError: the format has no turns, or the template no token that ends an answer.
        """
        where = f"message {messages[0].content[:40]!r}"
        if self.raw:
            raise InputError("a base model's format has no turns", where=where, hint="begin with a chat model: `accord sft` makes one")
        whole = self._render([Message("user", "question"), Message("assistant", PROBE), *self.readable(messages)])
        ids = self._behind(whole.partition(PROBE)[2], where)
        end = next((place for place, id in enumerate(ids) if id in self.stop), None)
        if end is None:
            raise InputError(f"{template_name(self.tokenizer)} writes no token that ends an answer", where=where, hint=MEND)
        return ids[end + 1 :]

    def readable(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        """Return messages as the template can write them: where it has no turns of tools, a tool speaks as the user."""
        return tuple(replace(each, role="user") if str(each.role) == TOOL and not self._writes_tools else each for each in messages)

    @cached_property
    def _writes_tools(self) -> bool:
        """Whether the template has turns of tools; where it has none, a tool speaks as the user."""
        if TOOL not in str(self.tokenizer.chat_template):
            return False
        said = (Message("user", "question"), Message("assistant", PROBE), Message(cast("Role", TOOL), "result"))
        try:
            return "result" in render(self.tokenizer, said, reply=True)
        except InputError:
            return False

    @cached_property
    def _writes_calls(self) -> bool:
        """Whether the template describes tools and writes calls and their results."""
        if self.raw or "tools" not in str(self.tokenizer.chat_template):
            return False
        call = ToolCall("call00000", PROBE, {"word": f"{PROBE}s"})
        result = ToolTurn(cast("Role", TOOL), "result", call_id=call.id)
        turns = (Message("user", "question"), ToolTurn("assistant", "", calls=(call,)), result)
        described: dict[str, Any] = {"name": PROBE, "description": "", "parameters": {"type": "object", "properties": {}}}
        try:
            told = render(self.tokenizer, turns[:1], reply=True, tools=[described])
            whole = render(self.tokenizer, turns, reply=True)
        except InputError:
            return False
        return PROBE in told and f"{PROBE}s" in whole and "result" in whole

    def check_turns(self) -> str:
        """Return what a reader of a conversation in this format should know: nothing, or that earlier reasoning is left out later.

        Raises:
            InputError: the template writes what was said otherwise once the conversation goes on, so that turns cannot be appended.
        """
        strips = False
        for asked in ((Message("user", "question"),), (Message("system", "rule"), Message("user", "question"))):
            grown, whole = self._twice(asked, PROBE)
            if grown != whole:
                texts = (NO_THOUGHT.sub("", WHOLE_THOUGHT.sub("", self.tokenizer.decode(ids))) for ids in (grown, whole))
                one, other = ("".join(text.split()) for text in texts)
                if one != other:
                    what = f"{template_name(self.tokenizer)} rewrites earlier turns once a conversation goes on"
                    raise InputError(what, hint=f"{MEND} that only appends")
                strips = True
        if THOUGHT in str(self.tokenizer.chat_template) and not strips:
            try:
                grown, whole = self._twice((Message("user", "question"),), f"{THOUGHT}\nso\n{THOUGHT_END}\n\n{PROBE}")
                strips = grown != whole
            except InputError:  # its prompt says that there is no thought
                pass
        kept = "the template leaves the reasoning of earlier turns out once a conversation goes on; in episodes it stays as it was drawn"
        return kept if strips else ""

    def _twice(self, asked: Sequence[Message], answer: str) -> tuple[list[int], list[int]]:
        """Token ids of a conversation of two turns, grown from what is new and written as a whole."""
        more = Message("user", "more")
        grown = [*self.prompt(asked), *self.response(asked, answer), *self.continuation([more])]
        return grown, self.prompt([*asked, Message("assistant", answer), more])

    def _after_prompt(self, messages: Sequence[Message], text: str, where: str, tools: Sequence[Mapping[str, Any]] = ()) -> list[int]:
        """Token ids of an answer with what the template writes around it, all that stands behind the prompt's ids."""
        prompt, said = self._render(messages, tools=tools), self._literal.mark(text, "assistant", where)
        frame = self._frame
        if frame is not None and PROBE in frame.tail:
            raise InputError(f"{template_name(self.tokenizer)} writes an answer more than once", where=where, hint=MEND)
        try:
            whole = self._render([*messages, Message("assistant", text)], reply=False, tools=tools)
        except EndlessTemplate:
            raise
        except InputError:
            whole = ""  # the template may take one answer and no longer conversation; its frame tells
        if whole.startswith(prompt) and stands_in(said, whole[len(prompt) :]):
            if said.strip():
                self._check_head(whole[len(prompt) :].partition(said.strip())[0].strip(), where)
            ids, whole_ids = self._literal.encode(prompt, where), self._literal.encode(whole, where)
            if whole_ids[: len(ids)] != ids:
                return self._behind(whole[len(prompt) :], where)  # the prompt's last and the answer's first letters are one token
            return whole_ids[len(ids) :]
        if frame is None:
            what = f"{template_name(self.tokenizer)} writes the prompt differently once a response follows"
            raise InputError(f"the chat template's prompt is not a prefix of prompt and response: {what}", where=where, hint=MEND)
        if said.lstrip().startswith(THOUGHT) and NO_THOUGHT.search(prompt):
            hint = "take the thought out of the row, or let the template think ([template] variables, such as enable_thinking)"
            raise InputError("the response thinks, but the chat template's prompt says that there is no thought", where=where, hint=hint)
        if self._channels and said.lstrip().startswith(THOUGHT) and THOUGHT_END in said:
            thought, _, answer = said.lstrip().removeprefix(THOUGHT).partition(THOUGHT_END)
            reasoning = f"{CHANNEL}analysis{MESSAGE}{thought.strip()}<|end|><|start|>assistant"
            return self._behind(reasoning + frame.head + answer.strip() + frame.tail, where)
        if frame.opens_thought and THOUGHT_END in said:
            return self._behind(said.lstrip().removeprefix(THOUGHT).lstrip() + frame.tail, where)
        return self._behind(frame.head + said + frame.tail, where)

    def _check_head(self, head: str, where: str) -> None:
        """Refuse words before an answer that differ from row to row: no reader of a response could tell them from its own."""
        usual = "" if self._frame is None else self._frame.head.strip()
        if self._frame is not None and THOUGHT_MARKS.sub("", head).strip() and head != usual:
            what = f"{template_name(self.tokenizer)} writes {head[:40]!r} before this answer, and {usual[:40]!r} before another one"
            raise InputError(what, where=where, hint=MEND)

    @cached_property
    def _literal(self) -> LiteralText:
        return LiteralText(self.tokenizer, self.stop)

    @cached_property
    def _frame(self) -> Frame | None:
        """What the template writes around an answer; None where an answer changes the prompt before it."""
        asked = (Message("user", "question"),)
        try:
            prompt = render(self.tokenizer, asked, reply=True)
            whole = render(self.tokenizer, [*asked, Message("assistant", PROBE)], reply=False)
        except InputError:
            return None
        before, found, tail = whole.partition(PROBE) if whole.startswith(prompt) else whole.rpartition(PROBE)
        if not found:
            return None
        if before.startswith(prompt):
            return Frame(before[len(prompt) :], tail)
        opened, thought, space = prompt.rpartition(THOUGHT)
        if thought and not space.strip() and before.startswith(opened):
            head = before[len(opened) :]
            return Frame(head if head.startswith(THOUGHT_END) else f"\n{THOUGHT_END}\n\n{head}", tail, opens_thought=True)
        closed = NO_THOUGHT.search(prompt)
        if closed and before.startswith(prompt[: closed.start()]):
            head = before[closed.start() :]
            return Frame(head if head.strip() else "", tail)
        return None

    def _behind(self, text: str, where: str) -> list[int]:
        """Token ids of a text that stands behind others, which some tokenizers begin otherwise than a text alone."""
        added = self.tokenizer.added_tokens_decoder
        mark = next((id for id, token in added.items() if token.special and not (token.rstrip or token.normalized)), None)
        if mark is None:
            return self._literal.encode(text, where)
        first, *ids = self._literal.encode(str(added[mark]) + text, where)
        return ids if first == mark else self._literal.encode(text, where)

    def tokens_of(self, prompt: Prompt, response: Response) -> list[int]:
        """Return the token ids of a stored response: the sampled ids, or those of its text if another tokenizer sampled it.

        Sampled tokens that end as another format ends, such as a base model's at a line end, are not taken either.

        Raises:
            InputError: the template writes the prompt differently once a response follows.
        """
        sampled = list(response.tokens)
        ended = bool(sampled) and (sampled[-1] in self.stop) == response.finished
        if ended and self.text(sampled) == response.text:
            return sampled
        ids = self.answered(prompt, response.text)
        return ids if response.finished else ids[:-1]

    def text(self, ids: Sequence[int]) -> str:
        """A response's text without its stop token, and without what the template writes before it.

        Reasoning comes first, between ``<think>`` and ``</think>``, however the model marks it.
        """
        ids = list(ids)
        if self.raw:
            return self._line(ids).strip()
        shown = ids[:-1] if ids and ids[-1] in self.stop else ids
        if self._channels and self._channels[CHANNEL] in shown:
            said = self._by_channel(shown)
            answers = [part.text.strip() for part in said if part.name == FINAL]
            return self.thought_before(shown, answered=bool(answers)) + "".join(answers[-1:])
        text = self.decode(shown).strip()
        if self.tail_words:
            text = text.removesuffix(self.tail_words).rstrip()
        if self.opens_thought:
            if text.startswith(THOUGHT_END):
                return text.removeprefix(THOUGHT_END).strip()
            return text if text.startswith(THOUGHT) or not text else f"{THOUGHT}\n{text}"
        return text.removeprefix(self._head_words).lstrip() if self._head_words else text

    def begin(self, ids: Sequence[int], *, last: bool = False) -> int | None:
        """Where the words of an answer begin that is drawn token by token, behind what the template writes before one.

        None says that more tokens must come first; with ``last`` there are no more.
        """
        ids, head = list(ids), self._head
        if self._channels and ids and ids[0] == self._channels[CHANNEL]:
            final = next((part.begin for part in self._by_channel(ids) if part.name == FINAL), None)
            return len(ids) if final is None and last else final
        if ids[: len(head)] == head:
            return len(head)
        return None if head[: len(ids)] == ids and not last else 0

    def thought_before(self, ids: Sequence[int], *, answered: bool = True) -> str:
        """The reasoning in the channels of a response, as it stands before the answer; empty for a model without channels.

        Args:
            answered: whether the answer has begun, which closes the thought.
        """
        said = self._by_channel(ids) if self._channels else []
        thought = "\n\n".join(part.text.strip() for part in said if part.name != FINAL and part.text.strip())
        closed = f"\n{THOUGHT_END}\n\n" if answered else ""
        return f"{THOUGHT}\n{thought}{closed}" if thought else ""

    def _by_channel(self, ids: Sequence[int]) -> list[Part]:
        """The parts of a response in channels, the last perhaps unfinished; one whose name is unfinished is not there yet."""
        marks, parts, named = set(self._channels.values()), list[Part](), list[str]()
        ends = [place for place, id in enumerate(ids) if id in marks]
        for place, behind in zip(ends, [*ends[1:], len(ids)], strict=True):
            if ids[place] == self._channels[CHANNEL]:
                named = self.tokenizer.decode(list(ids[place + 1 : behind])).split()
            elif ids[place] == self._channels[MESSAGE] and named:
                parts.append(Part(named[0], self.decode(ids[place + 1 : behind]), place + 1))
                named = []
            else:
                named = []
        return parts

    @cached_property
    def _head(self) -> list[int]:
        """Token ids of what the template writes between prompt and answer; none where that is white space."""
        if self.raw or self._frame is None or not self._frame.head.strip():
            return []
        return self._behind(self._frame.head, "")

    @cached_property
    def opens_thought(self) -> bool:
        return THOUGHT in str(self.tokenizer.chat_template) and self._frame is not None and self._frame.opens_thought

    @cached_property
    def _channels(self) -> dict[str, int]:
        """Ids of the marks of channels; empty for a model without them."""
        vocabulary = self.tokenizer.get_vocab()
        known = {mark: vocabulary[mark] for mark in CHANNEL_MARKS if mark in vocabulary}
        return known if {CHANNEL, MESSAGE} <= known.keys() else {}

    @property
    def in_channels(self) -> bool:
        """Whether the model writes its turns in channels, as gpt-oss does."""
        return bool(self._channels)

    @cached_property
    def _head_words(self) -> str:
        """What the template writes before an answer and behind the prompt, such as an empty thought: no words of the answer."""
        return "" if self.opens_thought else self.decode(self._head).strip()

    @cached_property
    def tail_words(self) -> str:
        """What the template writes behind an answer and before its stop token, such as an end mark that is no token: no words of the
        answer either."""
        if self.raw or self._frame is None or not self._frame.tail.strip():
            return ""
        ids = self._behind(self._frame.tail, "")
        end = next((place for place, id in enumerate(ids) if id in self.stop), len(ids))
        return self.decode(ids[:end]).strip()

    @cached_property
    def _hidden(self) -> tuple[set[int], set[int]]:
        """Control tokens: those that a text leaves out, and the marks of a thought, which are the assistant's words."""
        added = {id: str(token) for id, token in self.tokenizer.added_tokens_decoder.items() if token.special}
        thoughts = {id for id, token in added.items() if token in THOUGHTS}
        return {*self.tokenizer.all_special_ids, *added} - thoughts, thoughts

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids without control tokens; the marks of a thought stay.

        A NUL character, which models with a vocabulary of bytes sometimes write, becomes U+FFFD: files of ours refuse it.
        """
        hidden, thoughts = self._hidden
        if thoughts.isdisjoint(ids):
            text = self.tokenizer.decode(list(ids), skip_special_tokens=True)
        else:
            text = self.tokenizer.decode([id for id in ids if id not in hidden], skip_special_tokens=False)
        return text.replace("\0", "\ufffd")

    def written(self, ids: Sequence[int]) -> str:
        """Return the text of token ids with control tokens, and without pictures."""
        return str(self.tokenizer.decode(words_of(ids)))

    def _line(self, ids: list[int]) -> str:
        """A raw answer up to its line end, which may be the last part of a token such as ".\\n"."""
        if not ids or ids[-1] not in self.stop:
            return self.decode(ids)
        return self.decode(ids[:-1]) + self.decode(ids[-1:]).partition("\n")[0]

    def _refuse_tools(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]], text: str, where: str) -> None:
        """Refuse functions and calls that the template does not write."""
        names = [str(tool["name"]) for tool in tools]
        names += [call.name for message in messages if isinstance(message, ToolTurn) for call in message.calls]
        if lost := [name for name in names if name not in text]:
            hint = "leave tools out, or serve a model whose chat template has them"
            raise InputError(f"the model's chat template does not write the function {lost[0]!r}", where=where, hint=hint)

    def _render(self, messages: Sequence[Message], *, reply: bool = True, tools: Sequence[Mapping[str, Any]] = ()) -> str:
        """The template's text, with a mark in every control token that somebody typed."""
        where = f"prompt {messages[-1].content[:40]!r}"
        given = self._text_alone(messages, where)
        if self._channels:  # there a thought is no part of a message's text, and those of earlier answers are left out
            given = tuple(_answer_alone(message) for message in given)
        text = render(self.tokenizer, given, reply=reply, where=where, tools=self._literal.marked_tools(tools, where))
        return self._with_pictures(given, text, where)

    def _with_pictures(self, messages: Sequence[Message], text: str, where: str) -> str:
        """The text with what stands for its pictures; here there are none (``data.picture_format`` has them)."""
        return text

    def _text_alone(self, messages: Sequence[Message], where: str) -> tuple[Message, ...]:
        """The messages with every typed control token marked, a recording as its transcript. A message with a picture is refused here."""
        return self._literal.marked(as_text(messages, "this model", where=where), where)

    def _raw_prompt(self, messages: Sequence[Message]) -> list[int]:
        where = f"prompt {messages[-1].content[:40]!r}"
        given = self._text_alone(messages, where)
        lines = [("A: " if message.role == "assistant" else "Q: ") + message.content for message in given]
        begin = [] if self.tokenizer.bos_token_id is None else [self.tokenizer.bos_token_id]
        return [*begin, *self._literal.encode("\n".join([*lines, "A:"]), where)]


def _answer_alone(message: Message) -> Message:
    """An assistant's message without the thought before the answer."""
    if message.role != "assistant" or not message.content.lstrip().startswith(THOUGHT):
        return message
    return replace(message, content=message.content.partition(THOUGHT_END)[2].strip())


def chat_format(tokenizer: Tokenizer, context: int = 0, ends: Sequence[int] = ()) -> ChatFormat:
    """The format of a chat model: its own template, stopping at its end of turn and end of text.

    Args:
        ends: more token ids that end a response, as the model's generation_config says.

    Raises:
        InputError: the tokenizer has no chat template.
    """
    if not tokenizer.chat_template:
        raise InputError("the tokenizer has no chat template", hint="run `accord sft`, which gives it one")
    return ChatFormat(tokenizer, tuple(dict.fromkeys((*_stops(tokenizer), *ends))), context=context)


def control_ends(tokenizer: Tokenizer, ends: Sequence[object]) -> tuple[int, ...]:
    """Return those of the ends in a model's configuration that are control tokens of its tokenizer.

    Other ids are left over from another vocabulary: responses would be cut at a word, or learned without what follows it.
    """
    control = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    return tuple(end for end in dict.fromkeys(ends) if isinstance(end, int) and end in control)


def raw_format(tokenizer: Tokenizer, context: int = 0, ends: Sequence[int] = ()) -> ChatFormat:
    """The format of a base model: question and answer lines, stopping at the end of the line or of the text."""
    newline = tokenizer("\n", add_special_tokens=False)["input_ids"]
    known = (*newline[-1:], tokenizer.eos_token_id, *_line_ends(tokenizer), *ends)
    stop = tuple(dict.fromkeys(token for token in known if token is not None))
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


def end_at_stop(tokenizer: Tokenizer) -> None:
    """Changes the template so that a conversation ends with its last answer's stop token.

    A score is read at the last token. Many templates write a line end behind the stop token, which is no place that was trained.
    """
    given, said = tokenizer.chat_template, (Message("user", "question"), Message("assistant", PROBE))
    several: dict[str, str] = given if isinstance(given, dict) else {}
    template = several.get("default") if several else given
    if not isinstance(template, str):
        return
    whole, prompt = render(tokenizer, said, reply=False), render(tokenizer, said[:1], reply=True)
    if whole == whole.rstrip():
        return
    wrapped = f"{BEFORE_ENDED}{template}{BEHIND_ENDED}"
    tokenizer.chat_template = {**several, "default": wrapped} if several else wrapped
    if (render(tokenizer, said, reply=False), render(tokenizer, said[:1], reply=True)) != (whole.rstrip(), prompt):
        tokenizer.chat_template = given  # one that does not bear to be wrapped


def not_ended(template: str) -> str:
    """Return a template as it was before ``end_at_stop``, which changes no token of a prompt or a response."""
    ended = template.startswith(BEFORE_ENDED) and template.endswith(BEHIND_ENDED)
    return template[len(BEFORE_ENDED) : -len(BEHIND_ENDED)] if ended else template


def plainly(messages: Sequence[Message], text: str | None) -> tuple[str, str]:
    """Render a conversation and its continuation with our own template, for use before there is a tokenizer."""
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    turns = [{"role": message.role, "content": message.content} for message in as_text(messages, "raw text")]
    template = ImmutableSandboxedEnvironment().from_string(CHAT_TEMPLATE)
    prompt = template.render(messages=turns, bos_token=END_OF_TEXT, add_generation_prompt=text is not None) if turns else ""
    return prompt, "" if text is None else f" {text}{END_OF_TURN}" if turns else text


def _stops(tokenizer: Tokenizer) -> tuple[int, ...]:
    vocabulary = tokenizer.get_vocab()
    names = ("<|end|>", "<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|endoftext|>")
    if {CHANNEL, MESSAGE} <= vocabulary.keys():
        names = names[1:]  # there it ends a channel, and the answer may come in the next one
    present = [vocabulary[name] for name in names if name in vocabulary]
    stops = [tokenizer.eos_token_id, *present, *_written_after_answers(tokenizer)]
    return tuple(dict.fromkeys(stop for stop in stops if stop is not None))


def _written_after_answers(tokenizer: Tokenizer) -> list[int]:
    """The special token that the template puts behind an answer, whatever its name."""
    answer = "answer"
    try:
        text = render(tokenizer, [Message("user", "question"), Message("assistant", answer)], reply=False)
    except EndlessTemplate:
        raise
    except InputError:
        return []
    after = tokenizer(text.rpartition(answer)[2], add_special_tokens=False)["input_ids"]
    special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    return [token for token in after if token in special][:1]


def _line_ends(tokenizer: Tokenizer) -> list[int]:
    """Tokens that hold a line end beside other letters; Llama 3 and Qwen have hundreds, such as ".\\n"."""
    likely = [id for token, id in tokenizer.get_vocab().items() if "\n" in token or "\u010a" in token]  # U+010A: byte-level BPE's line end
    return sorted(id for id in likely if "\n" in tokenizer.decode([id]))
