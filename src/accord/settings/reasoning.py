"""The settings of what is learned from answers that can be checked: problems, STaR, solving by majority."""

from __future__ import annotations

from dataclasses import dataclass

from accord.settings.ranges import check_numbers, require


@dataclass(frozen=True)
class ProblemsConfig:
    """`accord problems`: arithmetic of the built-in world in GSM8K's form, put into the store."""

    seed: int = 0
    """Fixes the problems."""
    count: int = 2000
    """Problems in all, over all splits."""
    solved: int = 200
    """Training problems whose demonstration shows the way; the others have their answer alone, for `exact` and `star`."""
    most: int = 12
    """The largest number in a problem."""
    steps: int = 2
    """Steps that the hardest problems take, 1 or 2."""

    def __post_init__(self) -> None:
        check_numbers(self, "problems")
        require(self.count > 0, "problems", "count is 0; it must be above 0")
        require(self.most >= 3, "problems", f"most is {self.most}; 3 at least")
        require(self.steps in (1, 2), "problems", f"steps is {self.steps}; 1 or 2")


@dataclass(frozen=True)
class StarConfig:
    """`accord star`: rationales that led to right answers are learned from (Zelikman et al. 2022)."""

    seed: int = 0
    """Fixes every random choice of the stage."""
    rounds: int = 4
    """Rounds of trying and learning."""
    batch_size: int = 256
    """Problems a round."""
    attempts: int = 4
    """Rationales drawn for each problem."""
    kept: int = 2
    """Right rationales of a problem that are learned from at most, no text twice."""
    hints: bool = True
    """Problems without a right rationale are tried again with the answer in the prompt; what comes of it is learned without it."""
    epochs: int = 2
    """Passes over the kept rationales of a round."""
    minibatch_size: int = 32
    """Rationales an optimiser step."""
    restart: bool = True
    """Each round learns from the SFT model anew, on the rationales of all rounds; else from the last round's policy, on its own."""
    lr: float = 1e-4
    """Learning rate of AdamW, constant after warm-up."""
    muon_lr: float = 0.0
    """Learning rate of Muon for the inner matrices; 0 leaves them to AdamW. For models that Muon pretrained."""
    warmup_steps: int = 10
    """Optimiser steps of linear warm-up."""
    temperature: float = 1.0
    """Sampling temperature."""
    max_tokens: int = 96
    """Length limit of a rationale with its answer."""
    kinds: str = "person simulated"
    """Kinds of labelers whose answers are taken for right, of person, simulated, model and user."""
    max_grad_norm: float = 1.0
    """Gradient norm is clipped here; 0 is off."""
    micro_tokens: int = 16_384
    """Tokens in one forward pass; a larger batch accumulates gradients over several."""
    save_every: int = 1
    """Rounds between checkpoints."""
    lora_rank: int = 0
    """Rank of LoRA adapters; 0 trains all weights."""
    lora_bits: int = 0
    """4 holds the frozen weights under the adapters in four bits (QLoRA); 0 leaves them as they are."""
    recompute: bool = False
    """Compute each layer again in the backward pass instead of keeping its activations: less memory, about a fifth more time."""

    def __post_init__(self) -> None:
        check_numbers(self, "star")
        require(self.rounds > 0, "star", "rounds is 0; it must be above 0")
        require(self.attempts > 0 and self.kept > 0, "star", f"attempts is {self.attempts} and kept {self.kept}; 1 at least of each")
        require(self.temperature > 0, "star", f"temperature {self.temperature} must be above 0")


@dataclass(frozen=True)
class SolveConfig:
    """`accord solve`: how often a model's final answer is right, by one answer or by the majority of several (self-consistency)."""

    seed: int = 0
    """Fixes the samples."""
    votes: int = 1
    """Answers to each problem; from 2 on the most frequent one counts (Wang et al. 2023)."""
    prompts: int = 0
    """Held-out problems; 0 takes all."""
    temperature: float = 0.0
    """0 is greedy, for one vote; several votes need some."""
    max_tokens: int = 96
    """Length limit of a response."""
    bootstrap: int = 2000
    """Resamples of the problems for the interval."""

    def __post_init__(self) -> None:
        check_numbers(self, "solve")
        require(self.votes > 0, "solve", "votes is 0; it must be above 0")
        alike = self.votes > 1 and self.temperature == 0
        require(not alike, "solve", f"temperature is 0, so that all {self.votes} votes are the same; 0.7 is usual")
