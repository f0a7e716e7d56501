"""The settings of Q-learning on dialogue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from accord.settings.ranges import check_numbers, require


@dataclass(frozen=True)
class IlqlConfig:
    """`accord ilql`: Q-learning over tokens, offline, from rated or ranked responses (Snell et al. 2023)."""

    seed: int = 0
    """Fixes every random choice of the stage."""
    returns: Literal["auto", "ratings", "ranks"] = "auto"
    """What a response was worth, from -1 to 1: its 1 to 7 rating, its place in the ranking, or the rating where there is one."""
    kinds: str = "person simulated"
    """Kinds of labelers whose word counts, of person, simulated, model and user."""
    backup: Literal["expectile", "max"] = "expectile"
    """What the next token's state is worth: a learned value V (ILQL), or the target network's largest Q (DQN)."""
    expectile: float = 0.7
    """Of V: 0.5 is the mean over what was said, towards 1 the best of it."""
    gamma: float = 1.0
    """Discount a token; 1 is none."""
    lam: float = 0.9
    """lambda of the returns that Q learns: 0 looks one token ahead (ILQL, DQN), 1 at the response's end alone."""
    conservative: float = 0.1
    """Weight of the conservative term, which holds down Q of tokens that nobody said (Kumar et al. 2020)."""
    beta: float = 4.0
    """Strength with which Q - V moves the SFT model's distribution when the model acts; 0 leaves it alone."""
    target_rate: float = 0.02
    """Share of the network that its target takes over at each step (Polyak average)."""
    epochs: int = 1
    """Passes over the responses."""
    batch_size: int = 32
    """Responses an optimiser step."""
    lr: float = 1e-4
    """Peak learning rate of AdamW; cosine to a tenth."""
    muon_lr: float = 0.0
    """Peak learning rate of Muon for the inner matrices; 0 leaves them to AdamW. For models that Muon pretrained."""
    warmup_steps: int = 10
    """Linear warm-up."""
    held_out_group: str = ""
    """Labelers of this group are kept out of training, and the network's ordering of what they rated is measured apart."""
    max_tokens: int = 256
    """Longest prompt and response together; the right end is kept."""
    micro_tokens: int = 16_384
    """Tokens in one forward pass; a larger batch accumulates gradients over several."""
    save_every: int = 20
    """Steps between checkpoints."""
    lora_rank: int = 0
    """Rank of LoRA adapters on the network's body; 0 trains all weights."""
    lora_bits: int = 0
    """4 holds the frozen weights under the adapters in four bits (QLoRA); 0 leaves them as they are."""
    recompute: bool = False
    """Compute each layer again in the backward pass instead of keeping its activations: less memory, about a fifth more time."""

    def __post_init__(self) -> None:
        check_numbers(self, "ilql")
        require(0 < self.expectile < 1, "ilql", f"expectile is {self.expectile}; it lies between 0 and 1")
        require(0 < self.target_rate <= 1, "ilql", f"target_rate is {self.target_rate}; it is above 0 and at most 1")
