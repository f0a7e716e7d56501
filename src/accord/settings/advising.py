"""The settings of feedback by an AI."""

from __future__ import annotations

from dataclasses import dataclass

from accord.settings.ranges import check_numbers, require


@dataclass(frozen=True)
class CritiqueConfig:
    """`accord critique`: an AI answers, criticises its answer by a written principle and revises it (Bai et al. 2022)."""

    seed: int = 0
    """Fixes the prompts, the principles and the samples."""
    prompts: int = 0
    """How many training prompts; 0 takes all."""
    use_case: str = ""
    """Prompts of this use case alone, e.g. harmful."""
    revisions: int = 1
    """How often an answer is criticised and revised, each time by another principle."""
    principles: str = ""
    """A file with a principle a line; the built-in ones (docs/constitution.md) when empty."""
    temperature: float = 0.7
    """Of the AI's answers, critiques and revisions."""
    max_tokens: int = 256
    """Length limit of each."""

    def __post_init__(self) -> None:
        check_numbers(self, "critique")
        require(self.revisions > 0, "critique", "revisions is 0; 1 at least")


@dataclass(frozen=True)
class PreferConfig:
    """`accord prefer`: an AI ranks the responses that nobody has ranked, by written principles (Bai et al. 2022; Lee et al. 2023)."""

    seed: int = 0
    """Fixes the principles and the samples."""
    prompts: int = 0
    """How many prompts; 0 takes all that wait."""
    responses: int = 4
    """Responses of a prompt that are compared, each with each, in both orders."""
    principles: str = ""
    """A file with a principle a line; the built-in ones (docs/constitution.md) when empty."""
    temperature: float = 0.0
    """Of the AI's verdicts; 0 is greedy."""
    max_tokens: int = 16
    """Length limit of a verdict."""

    def __post_init__(self) -> None:
        check_numbers(self, "prefer")
        require(2 <= self.responses <= 9, "prefer", f"responses is {self.responses}; a ranking takes 2 to 9")
