"""The settings of what comes in: which prompts stay, what a set is looked through for, problems of the built-in world."""

from __future__ import annotations

from typing import Annotated, Literal

from accord.settings.mixins import Seed, Settings, section
from accord.settings.ranges import Count, Natural, Range


@section
class PromptsConfig(Settings):
    """`accord prompts`: which prompts stay. InstructGPT's rules, each of which 0 or an empty value turns off."""

    per_user: Natural = 200
    """The most prompts of one user."""
    near: Annotated[float, Range(least=0, most=1, why="a similarity is at most 1")] = 0.8
    """Similarity (Jaccard, of 6-byte pieces) from which a prompt is a near duplicate of an earlier one."""
    prefix: Natural = 100
    """Prompts that share so many first characters are duplicates, too."""
    min_chars: Natural = 2
    """Shorter prompts are left out."""
    max_chars: Natural = 8000
    """Longer prompts are left out; the characters of all turns count."""
    ngram: Natural = 13
    """A prompt that shares so many words in a row with an evaluation set (`--against`) is contaminated."""
    languages: str = ""
    """Languages that stay, with commas, e.g. `en,zh`; `und` is what cannot be told."""
    personal: Literal["keep", "drop"] = "keep"
    """Whether prompts with personal data stay."""
    consent: Literal["any", "not-refused", "given"] = "not-refused"
    """Which prompts may be used by what is known of consent; `given` takes public data as well."""

    def __post_init__(self) -> None:
        super().__post_init__()
        fits = not self.max_chars or self.min_chars <= self.max_chars
        self.require(fits, f"min_chars is {self.min_chars}, above max_chars {self.max_chars}")


@section
class InspectConfig(Seed):
    """`accord inspect`: what the records of a project are looked through for."""

    seed: Natural = 0
    """Fixes which records are looked at where there are more than `sample`."""
    sample: Natural = 100_000
    """The most prompts, responses and demonstrations of each kind that are looked at; 0 looks at all."""
    near: Annotated[float, Range(above=0, most=1, why="above 0, at most 1")] = 0.8
    """Similarity from which two texts count as near-identical."""
    short: Natural = 3
    """Demonstrations of fewer words than this are pointed out; a Chinese character counts as a word."""


@section
class ProblemsConfig(Seed):
    """`accord problems`: arithmetic of the built-in world in GSM8K's form, put into the store."""

    seed: Natural = 0
    """Fixes the problems."""
    count: Count = 2000
    """Problems in all, over all splits."""
    solved: Natural = 200
    """Training problems whose demonstration shows the way; the others have their answer alone, for `exact` and `star`."""
    most: Annotated[int, Range(least=3)] = 12
    """The largest number in a problem."""
    steps: Annotated[int, Range(least=1, most=2, why="1 or 2")] = 2
    """Steps that the hardest problems take, 1 or 2."""
