"""The settings of the methods that learn from preferences without a reward model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from accord.settings.ranges import check_numbers, require


@dataclass(frozen=True)
class DpoConfig:
    """`accord dpo`: learning from rankings without a reward model (Rafailov et al. 2023, and what followed)."""

    seed: int = 0
    """Fixes every random choice of the stage."""
    loss: Literal["sigmoid", "robust", "ipo", "orpo", "simpo", "plackett-luce"] = "sigmoid"
    """DPO's loss on pairs, one of its relatives, or Plackett-Luce over the whole ranking."""
    beta: float = 0.0
    """Strength of the hold on the reference (IPO's tau, ORPO's lambda); 0 takes the method's own: 0.1, and 2 for simpo."""
    margin: float = 0.5
    """SimPO's target margin as a share of beta (its paper's gamma / beta); only for simpo."""
    label_smoothing: float = 0.0
    """Share of the labels taken to be wrong: sigmoid becomes cDPO; robust corrects for it and needs one; simpo takes it too."""
    normalise: Literal["auto", "sum", "mean"] = "auto"
    """A response's log-probability is the sum over its tokens or their mean; auto is mean for ipo, orpo and simpo, else the sum."""
    ties: Literal["drop", "model"] = "drop"
    """Drop tied pairs, or model them: Rao and Kupper (1967) for sigmoid, Breslow (1974) for plackett-luce."""
    tie_margin: float = 1.1
    """Rao and Kupper's eta: rewards closer than about this are a likely tie; only for sigmoid with ties modelled."""
    epochs: int = 1
    """Passes over the rankings."""
    batch_size: int = 8
    """Rankings an optimiser step, each with all its pairs."""
    lr: float = 1e-4
    """Peak learning rate of AdamW; cosine to a tenth."""
    muon_lr: float = 0.0
    """Peak learning rate of Muon for the inner matrices; 0 leaves them to AdamW. For models that Muon pretrained."""
    warmup_steps: int = 10
    """Linear warm-up."""
    kinds: str = "person simulated"
    """Kinds of labelers whose word counts, of person, simulated, model and user."""
    held_out_group: str = ""
    """Labelers of this group are kept out of training, and the policy's accuracy on them is measured apart."""
    max_tokens: int = 256
    """Longest prompt and response together; the right end is kept."""
    micro_tokens: int = 16_384
    """Tokens in one forward pass; a larger batch accumulates gradients over several."""
    save_every: int = 20
    """Steps between checkpoints."""
    lora_rank: int = 0
    """Rank of LoRA adapters; 0 trains all weights."""
    lora_bits: int = 0
    """4 holds the frozen weights under the adapters in four bits (QLoRA); 0 leaves them as they are."""
    recompute: bool = False
    """Compute each layer again in the backward pass instead of keeping its activations: less memory, about a fifth more time."""

    def __post_init__(self) -> None:
        check_numbers(self, "dpo")
        smoothed, loss = self.label_smoothing, self.loss
        require(smoothed < 0.5, "dpo", f"label_smoothing is {smoothed}; from 0.5 on the labels would say nothing or the opposite")
        takes = smoothed == 0 or (loss in ("sigmoid", "robust", "simpo") and self.ties == "drop")
        require(takes, "dpo", f"label_smoothing is {smoothed}, which loss {loss} with ties {self.ties} does not have")
        require(loss != "robust" or smoothed > 0, "dpo", "loss robust needs the share of wrong labels: label_smoothing is 0")
        by_mean = loss not in ("orpo", "simpo") or self.normalise != "sum"
        require(by_mean, "dpo", f"loss {loss} is defined on mean log-probabilities; normalise is sum")
        require(self.tie_margin > 0, "dpo", f"tie_margin is {self.tie_margin}; it must be above 0")
        tied = self.ties == "drop" or loss in ("sigmoid", "plackett-luce")
        require(tied, "dpo", f"loss {loss} has no model of ties; sigmoid and plackett-luce have, or drop them")
        require(loss == "simpo" or self.margin == DpoConfig.margin, "dpo", f"margin is {self.margin}, which loss {loss} does not have")


@dataclass(frozen=True)
class KtoConfig:
    """`accord kto`: learning from thumbs up and down on single responses (Ethayarajh et al. 2024)."""

    seed: int = 0
    """Fixes every random choice of the stage."""
    thumbs: Literal["auto", "ratings", "ranks", "given"] = "auto"
    """Where thumbs come from: the 1 to 7 ratings, the places, what users of the chat gave, or all (a rating before a place)."""
    good_quality: int = 5
    """Ratings from here on are a thumb up."""
    bad_quality: int = 3
    """Ratings up to here are a thumb down; those in between are none."""
    beta: float = 0.1
    """Strength of the hold on the reference: how soon a gain counts less."""
    up_weight: float = 0.0
    """Weight of thumbs up; 0 is balanced: all ups together weigh as much as all downs."""
    down_weight: float = 1.0
    """Weight of thumbs down."""
    epochs: int = 1
    """Passes over the thumbs."""
    batch_size: int = 32
    """Thumbs an optimiser step."""
    lr: float = 1e-4
    """Peak learning rate of AdamW; cosine to a tenth."""
    muon_lr: float = 0.0
    """Peak learning rate of Muon for the inner matrices; 0 leaves them to AdamW. For models that Muon pretrained."""
    warmup_steps: int = 10
    """Linear warm-up."""
    kinds: str = "person simulated"
    """Kinds of labelers whose word counts, of person, simulated, model and user."""
    held_out_group: str = ""
    """Labelers of this group are kept out of training, and the policy's accuracy on them is measured apart."""
    max_tokens: int = 256
    """Longest prompt and response together; the right end is kept."""
    micro_tokens: int = 16_384
    """Tokens in one forward pass; a larger batch accumulates gradients over several."""
    save_every: int = 20
    """Steps between checkpoints."""
    lora_rank: int = 0
    """Rank of LoRA adapters; 0 trains all weights."""
    lora_bits: int = 0
    """4 holds the frozen weights under the adapters in four bits (QLoRA); 0 leaves them as they are."""
    recompute: bool = False
    """Compute each layer again in the backward pass instead of keeping its activations: less memory, about a fifth more time."""

    def __post_init__(self) -> None:
        check_numbers(self, "kto")
        require(self.beta > 0, "kto", "beta is 0, with which no thumb teaches anything")
        require(self.down_weight > 0, "kto", "down_weight is 0; it must be above 0")
        ordered = 1 <= self.bad_quality < self.good_quality <= 7
        require(ordered, "kto", f"bad_quality {self.bad_quality} and good_quality {self.good_quality} are not in order within 1 to 7")
