"""Guards around a model at run time: prompt style, best of several answers, filters, "I don't know", quotes only.

The rules are plain values and functions that are passed in. The decisions are pure functions, each with its own
test. A rule that needs a whole answer makes a stream arrive in one piece.
"""

from __future__ import annotations

import asyncio
import json
import math
import secrets
import threading
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar
from weakref import WeakValueDictionary

from accord.data import retrieval
from accord.data.classifiers.project_set import DEFAULT
from accord.data.quality import words as count_of_words
from accord.data.semantics import UNKNOWN, Admits, ShortAnswers
from accord.records import Demonstration, Message, Sampling
from accord.serving import apart, prompt_styles
from accord.serving.host import Ask, Embedded, Host, NotUnderstood, Piece, RefusedRequest, Token, in_one_piece

Mode = Literal["off", "report", "refuse"]
Screen = Callable[[str], Sequence[str]]
"""Function from a text to the kinds of findings in it, e.g. ``harm``, ``personal``, ``injection``."""
Score = Callable[[Sequence[Message], Sequence[str]], Sequence[float]]
"""Function from a conversation and answers to each answer's score."""
Result = TypeVar("Result")
DECLINED = {"en": "I can't help with that.", "zh": "这个我不能帮忙。"}
WITHHELD = {"en": "I had an answer, but it held something that I may not give out.", "zh": "我有一个回答，但其中有不便给出的内容。"}
UNSURE = {"en": "I don't know.", "zh": "我不知道。"}
NOT_THERE = {"en": "The documents do not say.", "zh": "文档里没有写。"}
READ = {"en": "Answer with sentences of this text, word for word:", "zh": "请用下文的原句回答："}


SHORT = 40
"""Words of an answer up to which others can be held against it; longer ones differ without anybody guessing. A Chinese character counts
as one."""
PART, OVERLAP = 20_000, 500
"""Characters of a text that are screened at a time: about a tenth of a second's work at the very most."""
_SHORT, _LONG = ThreadPoolExecutor(2, "guard-short"), ThreadPoolExecutor(2, "guard-long")
"""Threads for filters and retrieval, so that these hold up neither the event loop nor the reading of prompts. Nobody's short text waits
behind somebody's long one."""
_TURNS = WeakValueDictionary[str, asyncio.Lock]()
"""One of a person's long texts is worked on at a time, so that nobody has all the threads for those."""
FAILED = "-failed"
"""Suffix of the kind for a screen that failed, e.g. ``dialect-failed``."""


def nothing(_: str) -> Sequence[str]:
    """Find nothing in any text."""
    return ()


@dataclass(frozen=True)
class Rules:
    """The rules for every conversation."""

    input_filter: Mode = "off"
    output_filter: Mode = "off"
    screen: Screen = nothing
    unsure_below: float = 0.0
    agree_below: float = 0.0
    """Share of other answers to a question that has to say what the answer says."""
    agree_models: Mapping[str, float] = field(default_factory=dict[str, float])
    """The share for models that have one of their own."""
    agree_samples: int = 10
    admits: Admits = DEFAULT.admits
    """Tells which answers say that they do not know; those always stand."""
    best_of: int = 1
    seconds: float = 2.0
    """Time budget of ``best_of``."""
    score: Score | None = None
    score_for: Callable[[str], Score | None] | None = None
    """Function from a user to a score of their own; None for whoever has not switched it on."""
    system: str = ""
    demonstrations: tuple[Demonstration, ...] = ()
    shots: int = 0
    reasoning: Literal["off", "fold", "show"] = "off"

    @property
    def whole(self) -> bool:
        """Whether an answer must be complete before any of it is sent."""
        return self.output_filter != "off" or self.unsure_below > 0 or self.best_of > 1 or self.reasoning == "fold" or self.agrees

    @property
    def agrees(self) -> bool:
        """Whether an answer is held against others of the same model."""
        return self.agree_below > 0 or bool(self.agree_models)


_STRENGTH = ("off", "report", "refuse")


def no_weaker(own: Rules, other: Rules) -> Rules:
    """Return rules with filters no weaker than those of others; the same object if they are not weaker anyway."""
    sides = {name: max(getattr(own, name), getattr(other, name), key=_STRENGTH.index) for name in ("input_filter", "output_filter")}
    if sides == {name: getattr(own, name) for name in sides}:
        return own
    both_off = own.input_filter == own.output_filter == "off"
    return replace(own, **sides, screen=other.screen if both_off else own.screen)  # rules without a filter may have nothing to screen with


def confidence(tokens: Sequence[Token]) -> float:
    """Return the geometric mean of the tokens' probabilities under the model; 1 when none are known."""
    return math.exp(sum(token.logprob or 0.0 for token in tokens) / len(tokens)) if tokens else 1.0


def new_kinds(answer: str, conversation: Sequence[Message], screen: Screen) -> list[str]:
    """Return the findings in an answer that the conversation did not have. Repeating the user's own text reveals nothing.

    A failed screen counts every time: its failure on the conversation says nothing about the answer.
    """
    before = {kind for message in conversation for kind in screen(message.content) if not kind.endswith(FAILED)}
    return [kind for kind in dict.fromkeys(screen(answer)) if kind not in before]


def words(text: dict[str, str], conversation: Sequence[Message]) -> str:
    """Return one of our sentences in the language of the user's message."""
    return text["zh" if prompt_styles.chinese(prompt_styles.asked(conversation)) else "en"]


def shaped(rules: Rules, conversation: Sequence[Message]) -> tuple[Message, ...]:
    """Return the conversation as it is put to the model."""
    said = prompt_styles.with_system(conversation, rules.system)
    if rules.shots:
        said = prompt_styles.few_shot(said, prompt_styles.examples(conversation, rules.demonstrations, rules.shots))
    return said if rules.reasoning == "off" else prompt_styles.chain_of_thought(said)


def in_parts(text: str, screen: Screen, gone: threading.Event) -> list[str]:
    """Return the kinds of findings in a text. A long one is screened in parts that overlap, until nobody waits for it any more."""
    found = dict[str, None]()
    for start in range(0, max(len(text), 1), PART):
        if gone.is_set():
            break
        found |= dict.fromkeys(screen(text[max(0, start - OVERLAP) : start + PART]))
    return list(found)


async def aside(characters: int, work: Callable[[threading.Event], Result], who: str = "") -> Result:
    """Do work outside the event loop, in a few threads of its own. What waits there is dropped with its request, what runs is told.

    Args:
        characters: how long the text is that is worked on.
        who: whose it is. Their long texts wait for one another; empty where nobody is told from anybody else.
    """
    gone, loop, long = threading.Event(), asyncio.get_running_loop(), characters > apart.SHORT
    async with _turn(f"{id(loop)} {who}") if long and who else nullcontext():
        try:
            return await loop.run_in_executor(_LONG if long else _SHORT, work, gone)
        finally:
            gone.set()


def who_of(ask: Ask) -> str:
    """Return whose texts a request has: its key's, or the person's in the chat; empty where nobody is told from anybody else."""
    return ask.key or ask.user


def _turn(key: str) -> asyncio.Lock:
    """Return the lock of somebody's long texts, which is gone when nobody holds it or waits for it."""
    if (found := _TURNS.get(key)) is None:
        found = _TURNS[key] = asyncio.Lock()
    return found


class Guarded:
    """A host with rules around it.

    Args:
        note: called for each finding of a filter, with its side (``input``, ``output``) and its kind.
    """

    def __init__(self, host: Host, rules: Rules, note: Callable[[str, str], None] = lambda side, kind: None) -> None:
        self.host, self.rules, self.note = host, rules, note

    def models(self) -> list[str]:
        return self.host.models()

    def version(self, model: str) -> str:
        return self.host.version(model)

    def sees(self, model: str) -> bool:
        return self.host.sees(model)

    def state(self) -> dict[str, dict[str, float]]:
        return self.host.state()

    async def embed(self, model: str, text: str | tuple[int, ...]) -> Embedded:
        """Return the embedding of a text. No rule applies: nothing is said."""
        return await self.host.embed(model, text)

    async def start(self) -> None:
        await self.host.start()

    async def close(self) -> None:
        await self.host.close()

    async def swap(self, name: str, model: str) -> None:
        """Swap a model, if the host supports it."""
        host: Any = self.host
        await host.swap(name, model)

    async def stream(
        self, model: str, conversation: Sequence[Message], *, sampling: Sampling, seed: int | None = None, stop: Sequence[str] = ()
    ) -> AsyncGenerator[Piece]:
        """Return pieces of an answer to a conversation; see ``host.Host``."""
        async with aclosing(self.ask(model, Ask(sampling, tuple(conversation), seed=seed, stop=tuple(stop)))) as pieces:
            async for piece in pieces:
                yield piece

    async def ask(self, model: str, ask: Ask) -> AsyncGenerator[Piece]:
        """Return pieces of one answer. Raw text is continued without any rule."""
        said = ask.conversation
        if ask.media and self.rules.best_of > 1:
            what, hint = "the best of several answers is picked without a look at the picture", "leave it out, or serve without best_of"
            raise NotUnderstood(what, hint=hint, param="messages")
        if said and await self._declined(said, who_of(ask)):
            version = self.host.version(model)
            yield Piece(words(DECLINED, said), "stop", version=version, withheld="input")
            return
        if not said or not (self.rules.whole or ask.documents):
            asked = replace(ask, conversation=await self._shaped(said, who_of(ask))) if said else ask
            async with aclosing(self.host.ask(model, asked)) as pieces:
                async for piece in pieces:
                    yield piece
            return
        yield await (self._quoted(model, ask) if ask.documents else self._checked(model, ask))

    async def _shaped(self, said: Sequence[Message], who: str) -> tuple[Message, ...]:
        """Return the conversation as it is put to the model; examples are looked up outside the event loop."""
        if not self.rules.shots:
            return shaped(self.rules, said)
        return await aside(len(prompt_styles.asked(said)), lambda _: shaped(self.rules, said), who)

    async def _declined(self, said: Sequence[Message], who: str) -> bool:
        if self.rules.input_filter == "off":
            return False
        asked = prompt_styles.asked(said)
        kinds = await aside(len(asked), lambda gone: in_parts(asked, self.rules.screen, gone), who)
        found = [kind for kind in kinds if kind != "personal"]
        for kind in found:
            self.note("input", kind)
        return bool(found) and self.rules.input_filter == "refuse"

    async def _checked(self, model: str, ask: Ask) -> Piece:
        """Return the complete answer after every rule that needs it whole."""
        rules, said = self.rules, ask.conversation
        wanted = replace(ask, conversation=await self._shaped(said, who_of(ask)), logprobs=ask.logprobs or 0)
        answer = await self._best(model, wanted)
        if confidence(answer.tokens) < rules.unsure_below:
            self.note("output", "unsure")
            return _instead(answer, words(UNSURE, said), "unsure")
        stands, more = await self._stands(model, wanted, answer) if rules.agrees else (True, 0)
        answer = replace(answer, count=answer.count + more)
        if not stands:
            self.note("output", "unsure")
            return _instead(answer, words(UNSURE, said), "unsure")
        if rules.reasoning == "fold":
            reasoning, text = prompt_styles.folded(answer.text)
            answer = replace(answer, text=text, reasoning=reasoning)
        found = list[str]()
        if rules.output_filter != "off":
            told = _all_words(answer)
            size = len(told) + sum(len(message.content) for message in said)
            found = await aside(size, lambda gone: new_kinds(told, said, lambda text: in_parts(text, rules.screen, gone)), who_of(ask))
        for kind in found:
            self.note("output", kind)
        if found and rules.output_filter == "refuse":
            return _instead(answer, words(WITHHELD, said), "output")
        return answer if ask.logprobs is not None else replace(answer, tokens=())

    async def _best(self, model: str, ask: Ask) -> Piece:
        """Return the highest-scoring answer of those finished within the time budget. The first answer is always awaited."""
        rules = self.rules
        if rules.best_of == 1 or rules.score is None:
            return await in_one_piece(self.host.ask(model, ask))
        seed = secrets.randbits(62) if ask.seed is None else ask.seed
        asks = [replace(ask, seed=seed + number) for number in range(rules.best_of)]
        tasks = [asyncio.create_task(in_one_piece(self.host.ask(model, one))) for one in asks]
        try:
            done, rest = await asyncio.wait(tasks, timeout=rules.seconds)
            if not any(task.exception() is None for task in done):
                done, _ = await asyncio.wait(rest or done, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        finished = [task for task in tasks if task in done]
        answers = [task.result() for task in finished if task.exception() is None]
        if not answers:
            return finished[0].result()
        worth = await asyncio.to_thread(self._worth, ask, [answer.text for answer in answers])
        best = max(range(len(answers)), key=lambda index: worth[index])
        return replace(answers[best], count=sum(answer.count for answer in answers))

    def _worth(self, ask: Ask, texts: Sequence[str]) -> Sequence[float]:
        """Return each answer's score: by the asking user's own taste if they switched it on, else by everybody's."""
        own = self.rules.score_for(ask.user) if self.rules.score_for and ask.user else None
        score = own or self.rules.score
        return score(ask.conversation, texts) if score else [0.0] * len(texts)

    async def _stands(self, model: str, ask: Ask, answer: Piece) -> tuple[bool, int]:
        """Return whether enough other answers to a question say the same, and how many tokens they took.

        What is no question, or has a long answer, always stands.
        """
        needed, question = self.rules.agree_models.get(model, self.rules.agree_below), prompt_styles.asked(ask.conversation)
        asks = question.rstrip().endswith(("?", "？"))
        if not needed or not asks or answer.calls or count_of_words(answer.text) > SHORT:
            return True, 0
        seed = secrets.randbits(62) if ask.seed is None else ask.seed
        wanted = replace(ask, sampling=replace(ask.sampling, temperature=1.0), logprobs=None)
        tasks: list[asyncio.Task[Piece]] = []
        for number in range(self.rules.agree_samples):
            tasks.append(asyncio.create_task(in_one_piece(self.host.ask(model, replace(wanted, seed=seed + 1 + number)))))
        try:
            others = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        meaning, texts = ShortAnswers(self.rules.admits), [answer.text, *(piece.text for piece in others)]
        said, *groups = (await aside(sum(map(len, texts)), lambda _: meaning.groups([(question, texts)]), who_of(ask)))[0]
        return said == UNKNOWN or groups.count(said) / len(groups) >= needed, sum(piece.count for piece in others)

    async def _quoted(self, model: str, ask: Ask) -> Piece:
        """Quote from the documents, chosen by the model or by the words shared with the question; or say that
        there is no quote."""
        question = prompt_styles.asked(ask.conversation)
        size = len(question) + sum(len(document.text) for document in ask.documents)
        near, enough = await aside(size, lambda gone: apart.nearest(question, ask.documents, gone), who_of(ask))
        text = " ".join(quote.text for quote in near)
        said = (*ask.conversation[:-1], Message("user", f"{words(READ, ask.conversation)}\n{text}\n\n{question}"))
        try:
            answer = await in_one_piece(self.host.ask(model, replace(ask, conversation=said, documents=(), shorten=True))) if near else None
        except RefusedRequest:
            answer = None  # the sentences do not fit a short context: they are still there to be quoted
        quotes = retrieval.quotes_in(answer.text, near) if answer else []
        quotes = quotes or (near[:1] if enough else [])
        given = answer or Piece("", version=self.host.version(model))
        if not quotes:
            return _instead(given, words(NOT_THERE, ask.conversation), "unsure")
        titles = [ask.documents[quote.document].title or f"document {quote.document + 1}" for quote in quotes]
        lines = [f"“{quote.text}” ({title})" for quote, title in zip(quotes, titles, strict=True)]
        return replace(given, text="\n".join(lines), finish="stop", tokens=(), quotes=tuple(quotes))


def _all_words(answer: Piece) -> str:
    """Return everything that an answer says: its reasoning, its text, and the arguments of its calls."""
    arguments = [json.dumps(dict(call.arguments), ensure_ascii=False) for call in answer.calls]
    return "\n".join([answer.reasoning, answer.text, *arguments])


def _instead(answer: Piece, text: str, why: Literal["unsure", "output"]) -> Piece:
    return replace(answer, text=text, finish="stop", tokens=(), withheld=why, reasoning="", calls=())
