"""The settings of learning where a response goes wrong."""

from __future__ import annotations

from dataclasses import dataclass

from accord.settings.ranges import check_numbers, require


@dataclass(frozen=True)
class ProcessConfig:
    """`accord process`: a model of where responses go wrong, from the parts that people marked (Wu et al. 2023)."""

    seed: int = 0
    """Fixes every random choice of the stage."""
    errors: str = ""
    """Kinds of error that count, with commas, e.g. `Irrelevant, Unverifiable`; empty counts all that were marked."""
    kinds: str = "person simulated"
    """Kinds of labelers whose marks count, of person, simulated, model and user."""
    weight: float = 0.0
    """Weight of a marked token in the loss; 0 is balanced: all marked tokens together weigh as much as all others."""
    epochs: int = 1
    """Passes over the responses."""
    batch_size: int = 16
    """Responses an optimiser step."""
    lr: float = 1e-5
    """Peak learning rate of AdamW; cosine to a tenth."""
    muon_lr: float = 0.0
    """Peak learning rate of Muon for the inner matrices; 0 leaves them to AdamW. For models that Muon pretrained."""
    warmup_steps: int = 10
    """Linear warm-up."""
    max_tokens: int = 512
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
        check_numbers(self, "process")
        require(self.epochs > 0, "process", "epochs is 0; 1 at least")
