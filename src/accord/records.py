"""The words of the project as frozen records: what is asked, answered, written and preferred.

Every room speaks in these and none of them knows a room. Tensors appear in ``Generation`` alone, for type checking only,
so that the labeling site and ``accord --help`` start without torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Role = Literal["system", "user", "assistant"]
Split = Literal["train", "validation", "test"]
LabelerKind = Literal["person", "simulated", "model", "user"]
GuidelineSet = Literal["training", "evaluation"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model is asked: a conversation that ends with the user's turn."""

    id: str
    messages: tuple[Message, ...]
    use_case: str = "other"
    """One of InstructGPT's use cases (Ouyang et al. 2022, Table 1), or the world's own such as ``harmful``."""
    user: str = ""
    """Who asked. Splits never cut through one user's prompts."""
    split: Split = "train"
    source: str = ""
    """Where the prompt came from, e.g. ``world`` or a file name."""


@dataclass(frozen=True, slots=True)
class Response:
    """One model answer to a prompt, with the very tokens that were sampled."""

    id: str
    prompt_id: str
    text: str
    model: str
    tokens: tuple[int, ...] = ()
    """Token ids as sampled, stop token included. Empty when the text did not come from a sampler of ours."""
    finished: bool = True
    """Whether a stop token ended it (False: cut at the length limit)."""


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A prompt with the response that a labeler wrote for it."""

    id: str
    prompt: Prompt
    text: str
    labeler: str


def final_answer(text: str) -> Decimal | None:
    """Return the number behind the last ``####`` of a text, as GSM8K writes answers (Cobbe et al. 2021); None without one.

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
    """Which guideline an answer was given under."""

    set: GuidelineSet
    version: str


@dataclass(frozen=True, slots=True)
class Rating:
    """One labeler's word on one response alone: overall quality 1 (worst) to 7 and the flags that apply."""

    response_id: str
    quality: int
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ranking:
    """K responses of one prompt in one labeler's order; equal ranks are ties."""

    id: str
    prompt_id: str
    labeler: str
    response_ids: tuple[str, ...]
    """In the order in which the labeler saw them."""
    ranks: tuple[int, ...]
    """``ranks[i]`` belongs to ``response_ids[i]``; 1 is best."""
    guideline: Guideline
    at: str
    """Time of the answer, ISO 8601 in UTC."""
    ratings: tuple[Rating, ...] = ()

    def __post_init__(self) -> None:
        if len(self.response_ids) != len(self.ranks) or len(self.ranks) < 2:
            counts = f"{len(self.response_ids)} responses but {len(self.ranks)} ranks"
            raise ValueError(f"ranking {self.id}: {counts} (2 or more of each, as many)")
        if len(set(self.response_ids)) != len(self.response_ids):
            raise ValueError(f"ranking {self.id}: a response stands in it twice")


@dataclass(frozen=True, slots=True)
class Comparison:
    """A pair out of a ranking. ``label`` says which of the two was preferred."""

    prompt_id: str
    first: str
    second: str
    label: Literal["first", "second", "tie"]

    def swap(self) -> Comparison:
        """The same judgement with the two sides exchanged; a tie stays a tie."""
        flipped: dict[str, Literal["first", "second", "tie"]] = {"first": "second", "second": "first", "tie": "tie"}
        return Comparison(self.prompt_id, self.second, self.first, flipped[self.label])


@dataclass(frozen=True, slots=True)
class Labeler:
    """Someone (or something) that gives feedback."""

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
    """A prompt, one response to it, and whether a labeler liked it: what KTO learns from."""

    prompt: Prompt
    response: Response
    up: bool
    labeler: str
    group: str = ""


@dataclass(frozen=True, slots=True)
class Worth:
    """A prompt, one response to it, and what a labeler held it to be worth, from -1 to 1: what Q-learning learns from."""

    prompt: Prompt
    response: Response
    worth: float
    labeler: str
    group: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A gold judge's word on a response, each in [0, 1]; ``utility`` combines them by the guideline's conflict rules."""

    helpful: float
    truthful: float
    harmless: float
    concise: float
    utility: float
    made_up: bool = False
    """The response states as a fact something that is not true in the world."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How responses are drawn."""

    temperature: float = 1.0
    """0 is greedy."""
    top_k: int = 0
    """Keep the k likeliest tokens; 0 keeps all."""
    top_p: float = 1.0
    """Keep the smallest set of tokens with this much probability."""
    repetition_penalty: float = 1.0
    """Divides positive and multiplies negative logits of tokens already used; 1 is off."""
    max_tokens: int = 64
    """Length limit of a response, stop token included."""
    min_p: float = 0.0
    """Keep the tokens at least this probable relative to the likeliest one; 0 keeps all."""


@dataclass(frozen=True)
class Generation:
    """Sampled responses, right-padded, rows prompt-major (the n responses of a prompt stand together).

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

    def rows(self) -> list[list[int]]:
        """The kept tokens of every row, as plain lists."""
        lengths: list[int] = self.keep.sum(1).tolist()
        rows: list[list[int]] = self.tokens.tolist()
        return [row[:n] for row, n in zip(rows, lengths, strict=True)]
