"""The interface of every classifier: texts or conversations in, a label and its probability out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

from accord.records import Message

Task = Literal["stance", "harm", "injection", "toxicity", "language", "personal", "written"]
TASKS: tuple[Task, ...] = get_args(Task)
NONE = "none"
"""The label of a text in which a task finds nothing."""
LABELS: Mapping[Task, tuple[str, ...]] = MappingProxyType(
    {
        "stance": ("refusal", "admission", "hedge", "claim"),
        "harm": ("violence", "self-harm", "sexual", "hate", "crime", "privacy", NONE),
        "injection": ("injection", NONE),
        "toxicity": ("toxic", NONE),
        "language": (),
        "personal": ("personal", NONE),
        "written": ("machine-written", NONE),
    }
)
"""The labels of each task. Those of ``language`` are ISO 639-1 codes, and ``und`` where a text is too short to tell."""
ABOUT: Mapping[Task, str] = MappingProxyType(
    {
        "stance": "a response refuses, admits that it does not know, hedges, or claims",
        "harm": "a prompt asks for something harmful",
        "injection": "a text gives orders to the model against those of its operator",
        "toxicity": "a text insults, threatens or is obscene",
        "language": "the language of a text",
        "personal": "a text holds personal data",
        "written": "a text may have been written by a model: a hint, never a verdict",
    }
)
Text = str | Sequence[Message]
"""A text, or a conversation: of that, ``stance`` is about the last answer and the other tasks about the last turn."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A label with its probability."""

    label: str
    probability: float


Classifier = Callable[[Sequence[Text]], Sequence[Verdict]]
"""One verdict per text, in order. A plugin of the group ``accord.classifiers`` may return pairs instead."""


def words_of(text: Text) -> str:
    """Return the text itself, or the last turn of a conversation."""
    if isinstance(text, str):
        return text
    return text[-1].content if text else ""
