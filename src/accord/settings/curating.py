"""The settings of what comes in: which prompts stay, and what a set is looked through for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from accord.settings.ranges import check_numbers, require


@dataclass(frozen=True)
class PromptsConfig:
    """`accord prompts`: which prompts stay. InstructGPT's rules, each of which 0 or an empty value turns off."""

    per_user: int = 200
    """The most prompts of one user."""
    near: float = 0.8
    """Similarity (Jaccard, of 6-byte pieces) from which a prompt is a near duplicate of an earlier one."""
    prefix: int = 100
    """Prompts that share so many first characters are duplicates, too."""
    min_chars: int = 2
    """Shorter prompts are left out."""
    max_chars: int = 8000
    """Longer prompts are left out; the characters of all turns count."""
    ngram: int = 13
    """A prompt that shares so many words in a row with an evaluation set (`--against`) is contaminated."""
    languages: str = ""
    """Languages that stay, with commas, e.g. `en,zh`; `und` is what cannot be told."""
    personal: Literal["keep", "drop"] = "keep"
    """Whether prompts with personal data stay."""
    consent: Literal["any", "not-refused", "given"] = "not-refused"
    """Which prompts may be used by what is known of consent; `given` takes public data as well."""

    def __post_init__(self) -> None:
        check_numbers(self, "prompts")
        require(self.near <= 1, "prompts", f"near is {self.near}; a similarity is at most 1")
        fits = not self.max_chars or self.min_chars <= self.max_chars
        require(fits, "prompts", f"min_chars is {self.min_chars}, above max_chars {self.max_chars}")


@dataclass(frozen=True)
class InspectConfig:
    """`accord inspect`: what the records of a project are looked through for."""

    seed: int = 0
    """Fixes which records are looked at where there are more than `sample`."""
    sample: int = 100_000
    """The most prompts, responses and demonstrations of each kind that are looked at; 0 looks at all."""
    near: float = 0.8
    """Similarity from which two texts count as near-identical."""
    short: int = 3
    """Demonstrations of fewer words than this are pointed out; a Chinese character counts as a word."""

    def __post_init__(self) -> None:
        check_numbers(self, "inspect")
        require(0 < self.near <= 1, "inspect", f"near is {self.near}; above 0, at most 1")
