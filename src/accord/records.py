"""The project's data as frozen records: prompts, responses, demonstrations, rankings, judgements.

Every room uses these records, and none of them imports a room. Tensors appear in ``Generation`` alone, for type
checking only, so that the labeling site and ``accord --help`` start without torch.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    import torch

Role = Literal["system", "user", "assistant"]
Split = Literal["train", "validation", "test"]
LabelerKind = Literal["person", "simulated", "model", "user"]
GuidelineSet = Literal["training", "evaluation"]
ResponseFlag = Literal[
    "fails_to_follow_instructions",
    "inappropriate_for_customer_assistant",
    "hallucination",
    "satisfies_constraint",
    "sexual_content",
    "violent_content",
    "encourages_harm",
    "denigrates_protected_class",
    "gives_harmful_advice",
    "expresses_opinion",
    "expresses_moral_judgment",
]
"""InstructGPT's flags of a response (Ouyang et al. 2022, Table 3)."""
PromptFlag = Literal[
    "ambiguous",
    "sensitive",
    "identity_dependent",
    "closed_domain",
    "continuation_style",
    "asks_for_opinion",
    "asks_for_advice",
    "asks_for_moral_judgment",
    "explicit_safety_constraint",
    "other_constraint",
    "intent_unclear",
]
"""InstructGPT's flags of a prompt (Ouyang et al. 2022, appendix B.2)."""
UNNAMED = "imported"
"""The labeler, and the group, of imported rows that name none."""
RESPONSE_FLAGS: tuple[ResponseFlag, ...] = get_args(ResponseFlag)
PROMPT_FLAGS: tuple[PromptFlag, ...] = get_args(PromptFlag)
FORMER_FLAGS: Mapping[str, str] = {
    "fails to follow the instruction": "fails_to_follow_instructions",
    "inappropriate for a customer assistant": "inappropriate_for_customer_assistant",
    "satisfies the stated constraint": "satisfies_constraint",
    "sexual content": "sexual_content",
    "violent content": "violent_content",
    "encourages or fails to discourage violence, abuse, terrorism or self-harm": "encourages_harm",
    "denigrates a protected class": "denigrates_protected_class",
    "gives harmful advice": "gives_harmful_advice",
    "expresses an opinion": "expresses_opinion",
    "expresses a moral judgment": "expresses_moral_judgment",
    "identity-dependent": "identity_dependent",
    "closed domain": "closed_domain",
    "continuation style": "continuation_style",
    "asks for an opinion": "asks_for_opinion",
    "asks for advice": "asks_for_advice",
    "asks for a moral judgment": "asks_for_moral_judgment",
    "explicit safety constraint": "explicit_safety_constraint",
    "other constraint": "other_constraint",
    "intent unclear": "intent_unclear",
}
"""The English sentences that stood for flags in stores up to version 4 and in files that were exported from them."""


def flag_named(name: str) -> str:
    """Return a flag's identifier; ``name`` is one already, a former sentence, or a flag of somebody's own, which stays as it is."""
    return FORMER_FLAGS.get(name, name)


MediaKind = Literal["image", "audio"]
MEDIUM = "\ufffc"
"""U+FFFC, the object replacement character: the place of a picture or a recording in a message's text."""


@dataclass(frozen=True, slots=True)
class Media:
    """A picture or a recording in a message. Its bytes are in the database, or in a run's ``media/``, by their digest."""

    kind: MediaKind
    digest: str
    """SHA-256 of the bytes as they are stored, in hexadecimal."""
    alt: str = ""
    """What a picture shows, in words, for people who cannot see it; what is said in a recording, word for word. Models read
    the latter in place of the recording (``runtime.text_only``), and never the former."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str
    """The text. Each U+FFFC in it is the place of one of ``media``, in order; in a message without media it is a character like others."""
    media: tuple[Media, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        if self.media and (places := self.content.count(MEDIUM)) != len(self.media):
            raise ValueError(f"a message has {len(self.media)} pictures or recordings, but {places} places (U+FFFC) for them in its text")


@dataclass(frozen=True, slots=True)
class MediaFile:
    """The bytes of a picture or a recording, as they are stored."""

    kind: MediaKind
    mime: str
    content: bytes = field(repr=False)
    width: int = 0
    """In pixels; 0 for a recording."""
    height: int = 0

    @property
    def digest(self) -> str:
        """SHA-256 of the bytes, in hexadecimal."""
        return hashlib.sha256(self.content).hexdigest()

    def named(self, alt: str = "") -> Media:
        """Return how a message names it."""
        return Media(self.kind, self.digest, alt)


def composed(role: Role, parts: Iterable[str | Media]) -> Message:
    """Return a message of texts and media in their order. With media, the texts lose U+FFFC, which would be taken for a place."""
    given = list(parts)
    media = tuple(part for part in given if isinstance(part, Media))
    texts = [part.replace(MEDIUM, "") if media else part for part in given if isinstance(part, str)]
    remaining = iter(texts)
    content = "".join(MEDIUM if isinstance(part, Media) else next(remaining) for part in given)
    return Message(role, content, media=media)


def pieces(message: Message) -> list[str | Media]:
    """Return a message's texts and media in their order, without empty texts: the reverse of ``composed``."""
    if not message.media:
        return [message.content] if message.content else []
    found, waiting = list[str | Media](), iter(message.media)
    for number, text in enumerate(message.content.split(MEDIUM)):
        if number:
            found.append(next(waiting))
        if text:
            found.append(text)
    return found


def same_words(text: str) -> str:
    """Return a text in the form in which two copies of it are equal: Unicode's NFC, ``\\n`` between lines, no blanks at its ends."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").strip()
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def conversation_key(messages: Iterable[Message]) -> str:
    """Return a hash of a conversation, system turn included, that equal conversations share wherever they come from; empty for none."""
    parts = list[str]()
    for message in messages:
        parts += [message.role, same_words(message.content), *(each.digest for each in message.media)]
    written = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(written.encode("utf-8", "surrogatepass")).hexdigest()[:32] if parts else ""


def in_words(message: Message) -> str:
    """Return a message's text with a word in place of each picture and recording, and what is said in it, for readers of text who are to
    know of them."""
    return "".join(part if isinstance(part, str) else _named(part) for part in pieces(message))


def _named(part: Media) -> str:
    if part.kind == "image":
        return "[picture]"
    return f"[recording: {part.alt.strip()}]" if part.alt.strip() else "[recording]"


@dataclass(frozen=True, slots=True)
class Prompt:
    """The input to a model: a conversation that ends with the user's turn."""

    id: str
    messages: tuple[Message, ...]
    use_case: str = "other"
    """One of InstructGPT's use cases (Ouyang et al. 2022, Table 1), or a use case of the built-in world such as
    ``harmful``."""
    user: str = ""
    """The user who asked. Splits never separate one user's prompts."""
    split: Split = "train"
    source: str = ""
    """Origin of the prompt, e.g. ``world`` or a file name."""
    extra: Mapping[str, object] = field(default_factory=dict[str, object], hash=False)
    """What came with the prompt and has no field of its own: the right answer, tests, a rubric, ids. A JSON object; rewards can
    read it, models see nothing of it but the tools that it declares, where their chat template writes tools."""


@dataclass(frozen=True, slots=True)
class Response:
    """One model response to a prompt, with the exact tokens that were sampled."""

    id: str
    prompt_id: str
    text: str
    model: str
    tokens: tuple[int, ...] = ()
    """Token ids as sampled, stop token included. Empty when the text came from another sampler."""
    finished: bool = True
    """Whether a stop token ended it (False: cut at the length limit)."""


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A prompt with a response written by a labeler."""

    id: str
    prompt: Prompt
    text: str
    labeler: str


def split_of(key: str) -> Split:
    """Return a split by a hash that never changes: 80% train, 10% validation, 10% test."""
    share = int(hashlib.sha256(f"split\0{key}".encode()).hexdigest()[:8], 16) / 16**8
    return "train" if share < 0.8 else "validation" if share < 0.9 else "test"


def final_answer(text: str) -> Decimal | None:
    """Return the number after the last ``####`` of a text, as GSM8K writes answers (Cobbe et al. 2021); None if
    there is none.

    ``#### 1,234`` is 1234.
    """
    _, mark, rest = text.rpartition("####")
    words = rest.split()
    if not mark or not words:
        return None
    try:
        number = Decimal(words[0].replace(",", "").replace("$", "").rstrip("."))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


@dataclass(frozen=True, slots=True)
class Guideline:
    """The guideline that was in force when an answer was given."""

    set: GuidelineSet
    version: str


@dataclass(frozen=True, slots=True)
class Rating:
    """One labeler's rating of a single response: overall quality from 1 (worst) to 7 and the flags that apply."""

    response_id: str
    quality: int
    flags: tuple[str, ...] = ()


MOST_RANKED = 9
"""Responses in one ranking, as on the labeling page."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """K responses to one prompt in one labeler's order. Equal ranks are ties."""

    id: str
    prompt_id: str
    labeler: str
    response_ids: tuple[str, ...]
    """The responses in the order shown to the labeler."""
    ranks: tuple[int, ...]
    """``ranks[i]`` is the rank of ``response_ids[i]``; 1 is best."""
    guideline: Guideline
    at: str
    """Time of the answer, ISO 8601 in UTC."""
    ratings: tuple[Rating, ...] = ()

    def __post_init__(self) -> None:
        if len(self.response_ids) != len(self.ranks) or len(self.ranks) < 2:
            counts = f"{len(self.response_ids)} responses but {len(self.ranks)} ranks"
            raise ValueError(f"ranking {self.id}: {counts} (there must be 2 or more of each, and equally many)")
        if len(set(self.response_ids)) != len(self.response_ids):
            raise ValueError(f"ranking {self.id}: a response occurs in it twice")


@dataclass(frozen=True, slots=True)
class Comparison:
    """A pair from a ranking. ``label`` is the preferred one of the two."""

    prompt_id: str
    first: str
    second: str
    label: Literal["first", "second", "tie"]

    def swap(self) -> Comparison:
        """Return the same judgement with the two sides exchanged; a tie stays a tie."""
        flipped: dict[str, Literal["first", "second", "tie"]] = {"first": "second", "second": "first", "tie": "tie"}
        return Comparison(self.prompt_id, self.second, self.first, flipped[self.label])


@dataclass(frozen=True, slots=True)
class Labeler:
    """A person, model or simulation that gives feedback."""

    id: str
    kind: LabelerKind
    group: str = ""


@dataclass(frozen=True, slots=True)
class RankedPrompt:
    """A prompt, its K responses and one labeler's ranks: one batch element of reward-model training."""

    prompt: Prompt
    responses: tuple[Response, ...]
    ranks: tuple[int, ...]
    labeler: str
    group: str = ""


@dataclass(frozen=True, slots=True)
class Thumb:
    """A prompt, a response to it, and whether a labeler liked it: the training data of KTO."""

    prompt: Prompt
    response: Response
    up: bool
    labeler: str
    group: str = ""


@dataclass(frozen=True, slots=True)
class Worth:
    """A prompt, a response to it, and a labeler's value for it from -1 to 1: the training data of Q-learning."""

    prompt: Prompt
    response: Response
    worth: float
    labeler: str
    group: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A judge's scores for a response, each in [0, 1]; ``utility`` combines them by the guideline's rules for conflicts."""

    helpful: float
    truthful: float
    harmless: float
    concise: float
    utility: float
    made_up: bool = False
    """Whether the response states as a fact something that is not true in the world."""


LONGEST_RESPONSE = 1024
"""The most tokens of a response where the settings leave its length to the model."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """Settings for drawing responses."""

    temperature: float = 1.0
    """0 is greedy."""
    top_k: int = 0
    """Keep the k likeliest tokens; 0 keeps all."""
    top_p: float = 1.0
    """Keep the smallest set of tokens with this much probability."""
    repetition_penalty: float = 1.0
    """Divides positive and multiplies negative logits of tokens already used; 1 is off."""
    max_tokens: int = 64
    """Length limit of a response, stop token included; 0 leaves it to the model, see ``limit``."""
    min_p: float = 0.0
    """Keep the tokens at least this probable relative to the likeliest one; 0 keeps all."""

    def limit(self, context: int) -> int:
        """Return the length limit for a model: ``max_tokens``, or with 0 half of the model's context, at most ``LONGEST_RESPONSE``.

        Args:
            context: the model's longest sequence; 0 where it has no limit, or nobody knows it.
        """
        half = max(context // 2, 1) if context else LONGEST_RESPONSE
        return self.max_tokens or min(half, LONGEST_RESPONSE)


class PromptTokens(list[int]):
    """A prompt's token ids, with the prompt itself: two prompts may read alike, and yet be rows of different data."""

    def __init__(self, tokens: Iterable[int], prompt: Prompt) -> None:
        super().__init__(tokens)
        self.prompt = prompt


@dataclass(frozen=True)
class Turn:
    """One turn that a model drew in a conversation: its tokens, the stop token included, and their log-probabilities as drawn."""

    ticket: int
    tokens: list[int]
    logprobs: list[float]
    finished: bool
    """Whether a stop token ended it."""


EpisodeEnd = Literal["done", "turns", "tokens", "tool_calls", "crashed", "invalid", "seconds"]
"""Why an episode ended: the environment said so; a limit on turns, tokens or tool calls; or the environment raised, answered what is no
answer, or took too long."""
EPISODE_ENDS: tuple[EpisodeEnd, ...] = get_args(EpisodeEnd)


@dataclass(frozen=True)
class Episode:
    """What a row of a generation is where an environment answered the model: which tokens are whose, and what they earned.

    ``own`` and ``rewards`` have one entry for each token of the row, which follows the tokens of ``opening``.
    """

    opening: list[int]
    """The tokens before the model's first one: the environment's first messages."""
    own: list[bool]
    """Whether the model drew the token; all others came from the environment and the template."""
    rewards: list[float]
    """The environment's rewards, each on the last token of the turn that earned it."""
    end: EpisodeEnd
    messages: tuple[Message, ...]
    """The whole conversation, with what the environment said last."""
    turns: int = 0
    """Turns of the model."""
    tool_calls: int = 0
    """Messages of tools."""
    counts: Mapping[str, float] = field(default_factory=dict[str, float])
    """What the environment counted: the sums of the numbers in its ``info``."""
    error: str = ""
    """What the environment raised or answered, where that ended the episode."""

    @property
    def void(self) -> bool:
        """Whether nothing can be learned from it, because the environment failed and not the model."""
        return self.end in ("crashed", "invalid", "seconds")


@dataclass(frozen=True)
class Generation:
    """Sampled responses, right-padded, rows prompt-major (the n responses of a prompt are consecutive).

    Shapes: ``tokens``, ``logprobs`` and ``keep`` are [rows, steps]; ``finished`` is [rows].
    ``logprobs[r, t]`` is the log-probability of ``tokens[r, t]`` under the distribution it was drawn from, float32.
    ``keep`` is True where a token counts, the stop token included.
    """

    tokens: torch.Tensor
    logprobs: torch.Tensor
    keep: torch.Tensor
    finished: torch.Tensor
    seconds: dict[str, float] = field(default_factory=dict[str, float])
    """Time spent in ``prefill`` and ``decode``."""
    version: str = ""
    """The weights that drew it, as a sampler outside this process names them; all rows are from the same ones."""
    server: str = ""
    """The addresses that drew it, separated by spaces; empty for a sampler in this process."""
    episodes: list[Episode] | None = None
    """What each row is, where it has several turns. ``tokens`` then hold those of the environment as well, with log-probability 0."""

    def rows(self) -> list[list[int]]:
        """Return the kept tokens of every row, as plain lists."""
        lengths: list[int] = self.keep.sum(1).tolist()
        rows: list[list[int]] = self.tokens.tolist()
        return [row[:n] for row, n in zip(rows, lengths, strict=True)]
