"""The settings of what comes in: which prompts stay, what a set is looked through for, problems of the built-in world."""

from __future__ import annotations

from typing import Annotated, Literal

from accord.settings.mixins import Knowledge, Seed, Settings, section
from accord.settings.ranges import Count, Natural, Range


@section
class PromptsConfig(Settings):
    """`accord prompts`: InstructGPT's prompt filters. 0 or an empty value turns a filter off."""

    per_user: Natural = 200
    """Prompts to keep per user, at most."""
    near: Annotated[float, Range(least=0, most=1, why="a similarity is at most 1")] = 0.8
    """Jaccard similarity (of 6-byte pieces) from which a prompt is a near duplicate of an earlier one."""
    prefix: Natural = 100
    """Prompts that share this many leading characters are duplicates too."""
    min_chars: Natural = 2
    """Shortest prompt to keep, in characters."""
    max_chars: Natural = 8000
    """Longest prompt to keep, in characters over all turns."""
    ngram: Natural = 13
    """A prompt that shares this many consecutive words with an evaluation set (`--against`) is contaminated."""
    languages: str = ""
    """Languages to keep, separated by commas, for example `en,zh`; `und` is undetermined."""
    personal: Literal["keep", "drop"] = "keep"
    """Whether to keep prompts with personal data."""
    consent: Literal["any", "not-refused", "given"] = "not-refused"
    """Consent that a prompt needs to be used; `given` includes public data."""

    def __post_init__(self) -> None:
        super().__post_init__()
        fits = not self.max_chars or self.min_chars <= self.max_chars
        self.require(fits, f"min_chars is {self.min_chars}, above max_chars {self.max_chars}")


@section
class InspectConfig(Seed, Knowledge):
    """`accord inspect`: a search of the project's records for problems."""

    seed: Natural = 0
    """Seed of the choice of records when there are more than `sample`."""
    sample: Natural = 100_000
    """Prompts, responses and demonstrations to inspect of each kind, at most; 0 inspects all."""
    near: Annotated[float, Range(above=0, most=1, why="above 0, at most 1")] = 0.8
    """Jaccard similarity from which two texts count as near-identical."""
    short: Natural = 3
    """Demonstrations with fewer words than this are reported; a Chinese character counts as a word."""
    knowledge_threshold: Annotated[float, Range(above=0, below=1)] = 0.15


@section
class ProblemsConfig(Seed):
    """`accord problems`: arithmetic problems of the built-in world in GSM8K's form."""

    seed: Natural = 0
    """Seed of the problems."""
    count: Count = 2000
    """Number of problems over all splits."""
    solved: Natural = 200
    """Training problems with a worked solution as demonstration; the others have only their answer, for `exact` and `star`."""
    most: Annotated[int, Range(least=3)] = 12
    """Largest number in a problem."""
    steps: Annotated[int, Range(least=1, most=2, why="1 or 2")] = 2
    """Steps of the hardest problems, 1 or 2."""
