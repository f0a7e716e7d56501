"""The settings of the loop's own stages: world, pretraining, SFT, sampling, reward model, PPO, evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from accord.settings.ranges import check_numbers, require


@dataclass(frozen=True)
class WorldConfig:
    """`accord init --world`: how much of the built-in world is written down."""

    seed: int = 0
    """Fixes every random choice of the stage."""
    documents: int = 72_000
    """Documents of raw text."""
    prompts: int = 6_000
    """Prompts, over all splits."""
    demonstrations: int = 4_400
    """Demonstrations the simulated labelers write for training prompts."""
    users: int = 120
    """Simulated users who ask the prompts; splits go by user."""

    def __post_init__(self) -> None:
        check_numbers(self, "world")
        require(self.prompts > 0, "world", "prompts is 0; without a prompt there is nothing to ask")


@dataclass(frozen=True)
class PretrainConfig:
    """`accord pretrain`: a tokenizer and a decoder from raw text."""

    seed: int = 0
    """Fixes every random choice of the stage."""
    vocab_size: int = 2048
    """Entries of the BPE vocabulary, special tokens included."""
    hidden_size: int = 192
    """Width of the residual stream."""
    layers: int = 2
    """Decoder blocks."""
    heads: int = 3
    """Attention heads; divides hidden_size."""
    intermediate_size: int = 576
    """Width of the gated MLP."""
    context: int = 256
    """Longest sequence in tokens."""
    tokens: int = 2_600_000
    """Training tokens in all; the corpus is repeated when it is shorter."""
    batch_tokens: int = 2048
    """Tokens an optimiser step."""
    lr: float = 2.4e-2
    """Peak learning rate of AdamW, for embeddings and norms; cosine to a twentieth."""
    muon_lr: float = 0.03
    """Peak learning rate of Muon, for the matrices in between; the same cosine."""
    warmup_steps: int = 20
    """Linear warm-up."""
    weight_decay: float = 0.1
    """Muon's, on the matrices it updates."""
    save_every: int = 200
    """Steps between checkpoints."""

    def __post_init__(self) -> None:
        check_numbers(self, "pretrain")
        even = self.hidden_size % (2 * self.heads) == 0
        require(even, "pretrain", f"hidden_size {self.hidden_size} over {self.heads} heads does not give each an even width")
        require(self.context >= 8, "pretrain", f"context {self.context} is below 8 tokens")
        require(self.vocab_size >= 300, "pretrain", f"vocab_size {self.vocab_size} is below 300 (256 bytes and the special tokens)")
        fits = self.batch_tokens >= self.context
        require(fits, "pretrain", f"batch_tokens {self.batch_tokens} is smaller than one context of {self.context}")


@dataclass(frozen=True)
class SftConfig:
    """`accord sft`: supervised fine-tuning on demonstrations, loss on response tokens only."""

    seed: int = 0
    """Fixes every random choice of the stage."""
    epochs: int = 3
    """How often the demonstrations are seen (InstructGPT: 16)."""
    batch_size: int = 32
    """Demonstrations an optimiser step."""
    lr: float = 2e-5
    """Peak learning rate of AdamW; cosine to a tenth."""
    muon_lr: float = 0.0
    """Peak learning rate of Muon for the inner matrices; 0 leaves them to AdamW. For models that Muon pretrained."""
    warmup_steps: int = 10
    """Linear warm-up."""
    weight_decay: float = 0.0
    """Weight decay, on matrices."""
    max_tokens: int = 256
    """Longest conversation; the right end is kept."""
    ptx_tokens: int = 1024
    """Raw-text tokens mixed into each optimiser step, as InstructGPT's SFT before PPO had 10%; 0 is none, and for a project without
    raw text."""
    kinds: str = "person simulated"
    """Kinds of labelers whose demonstrations are learned from, of person, simulated, model and user."""
    tasks: str = ""
    """Weights of use cases in a mixture, e.g. `closed_qa=2, chat=0.5`: how often each demonstration is seen; what is not named has 1."""
    held_out_tasks: str = ""
    """Use cases that are kept out of training, with commas; the loss on them is measured apart."""
    select: Literal["validation_loss", "last"] = "validation_loss"
    """Which epoch's weights are kept: lowest loss on the validation users' demonstrations, or the last."""
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
        check_numbers(self, "sft")
        mixed = self.ptx_tokens == 0 or self.ptx_tokens >= 8
        require(mixed, "sft", f"ptx_tokens is {self.ptx_tokens}; 8 at least, or 0 for none")


@dataclass(frozen=True)
class SampleConfig:
    """`accord sample`: K responses a prompt."""

    seed: int = 0
    """Fixes every random choice of the stage."""
    k: int = 6
    """Responses a prompt (InstructGPT: 4 to 9)."""
    prompts: int = 0
    """How many training prompts; 0 takes all."""
    held_out: int = 300
    """How many prompts of validation users, to measure the reward model on; 0 takes none."""
    temperature: float = 1.0
    """0 is greedy."""
    top_k: int = 0
    """Keep the k likeliest tokens; 0 keeps all."""
    top_p: float = 1.0
    """Keep the smallest set of tokens with this probability."""
    repetition_penalty: float = 1.0
    """1 is off."""
    max_tokens: int = 48
    """Length limit of a response."""
    batch_size: int = 64
    """Prompts sampled at once."""

    def __post_init__(self) -> None:
        check_numbers(self, "sample")
        require(2 <= self.k <= 9, "sample", f"k is {self.k}; a ranking takes 2 to 9 responses")


@dataclass(frozen=True)
class RewardConfig:
    """`accord reward`: Bradley-Terry on all K-choose-2 pairs of a prompt."""

    seed: int = 0
    """Fixes every random choice of the stage."""
    epochs: int = 1
    """InstructGPT found that more overfits."""
    batch_size: int = 8
    """Prompts an optimiser step, each with all its pairs."""
    lr: float = 1e-5
    """Peak learning rate of AdamW; cosine to a tenth."""
    muon_lr: float = 0.0
    """Peak learning rate of Muon for the inner matrices; 0 leaves them to AdamW. For models that Muon pretrained."""
    warmup_steps: int = 10
    """Linear warm-up."""
    criterion: Literal["overall", "helpful", "harmless"] = "overall"
    """What it learns of: the rankings; those among responses that nobody flagged as harmful; or the flags for harm alone."""
    mismatched: float = 1.0
    """Share of the prompts that get the best response to another prompt as one more, worst response; 0 trains on labels alone."""
    kinds: str = "person simulated"
    """Kinds of labelers whose word counts, of person, simulated, model and user."""
    held_out_group: str = ""
    """Labelers of this group are kept out of training, and the model's accuracy on them is measured apart."""
    ties: Literal["drop", "model"] = "drop"
    """Drop tied pairs, or model them (Rao and Kupper 1967) with a learned threshold."""
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
        check_numbers(self, "reward")


@dataclass(frozen=True)
class PpoConfig:
    """`accord ppo`: InstructGPT's PPO (Ouyang et al. 2022, section 3.5 and appendix C.4)."""

    seed: int = 0
    """Fixes every random choice of the stage."""
    steps: int = 40
    """Rollout batches."""
    batch_size: int = 128
    """Episodes (prompt and response) a rollout."""
    minibatch_size: int = 64
    """Episodes an optimiser step."""
    epochs: int = 2
    """Passes over a rollout (InstructGPT: 1)."""
    lr: float = 3e-6
    """Policy learning rate of AdamW, constant after warm-up."""
    muon_lr: float = 0.0
    """Policy learning rate of Muon for the inner matrices; 0 leaves them to AdamW. For models that Muon pretrained."""
    value_lr: float = 1e-5
    """Value model's learning rate of AdamW."""
    value_muon_lr: float = 0.0
    """Value model's learning rate of Muon; 0 leaves the inner matrices to AdamW."""
    warmup_steps: int = 10
    """Optimiser steps of linear warm-up."""
    clip: float = 0.2
    """Ratio clipping of the policy loss."""
    value_clip: float = 0.2
    """Clipping of the value around its rollout value; 0 turns it off."""
    gamma: float = 1.0
    """Discount; 1 is none."""
    lam: float = 0.95
    """GAE's lambda."""
    kl_coef: float = 0.1
    """beta of the per-token KL penalty to the SFT model (InstructGPT: 0.02)."""
    kl_target: float = 0.0
    """Target KL in nats a response for the adaptive controller (Ziegler et al. 2019); 0 keeps kl_coef fixed."""
    kl_horizon: int = 10_000
    """Episodes over which the adaptive controller acts."""
    kl_estimator: Literal["k1", "k2", "k3"] = "k1"
    """Per-token KL penalty estimator in the reward."""
    kl_stop: float = 0.0
    """Ends the epochs of a rollout early once the approximate KL to the rollout policy passes this; 0 is off."""
    temperature: float = 1.0
    """Sampling temperature; part of the policy everywhere."""
    max_tokens: int = 48
    """Length limit of a response."""
    truncation: Literal["penalise", "terminate", "bootstrap", "mask"] = "penalise"
    """What a response without stop token gets: `no_stop_reward` instead of its score; its score as if it had ended; the value after
    its last token instead of a score; no part in the loss."""
    no_stop_reward: float = -3.0
    """Reward of an unfinished response under `penalise`."""
    whiten_rewards: bool = False
    """Divide rewards by their standard deviation, as lm-human-preferences did."""
    whiten_advantages: bool = True
    """Advantages to mean 0, variance 1 over kept tokens."""
    ptx_coef: float = 2.0
    """Weight of the pretraining mix (InstructGPT: 27.8); 0 is plain PPO."""
    ptx_tokens: int = 2048
    """Pretraining tokens mixed into each optimiser step."""
    ema: float = 0.0
    """Decay of an exponential moving average of the policy, which is then what is saved (InstructGPT: 0.992); 0 is off."""
    rewards: str = "model"
    """What is rewarded, and its weights: `model=1, exact=0..2, length=-0.01, harmless>=0.5`; docs/rewards.md."""
    reward_seconds: int = 600
    """A Python reward that takes longer over one batch stops the run."""
    limit_rate: float = 0.1
    """How fast the multiplier of a reward with a limit follows what is missing to it."""
    kinds: str = "person simulated"
    """Kinds of labelers whose demonstrations and ratings the rewards take, of person, simulated, model and user."""
    max_grad_norm: float = 1.0
    """Gradient norm is clipped here; 0 is off."""
    logprob_gap: float = 0.1
    """The run stops with an error when sampler and trainer log-probabilities differ by more than this on average."""
    micro_tokens: int = 16_384
    """Tokens in one forward pass; a larger batch accumulates gradients over several."""
    save_every: int = 10
    """Steps between checkpoints."""
    keep_every: int = 0
    """Steps between the policies that are kept for `accord frontier`, each as large as the model; 0 keeps none."""
    lora_rank: int = 0
    """Rank of LoRA adapters; 0 trains all weights."""
    lora_bits: int = 0
    """4 holds the frozen weights under the adapters in four bits (QLoRA); 0 leaves them as they are."""
    recompute: bool = False
    """Compute each layer again in the backward pass instead of keeping its activations: less memory, about a fifth more time."""

    def __post_init__(self) -> None:
        check_numbers(self, "ppo")
        fits = self.minibatch_size <= self.batch_size
        require(fits, "ppo", f"minibatch_size {self.minibatch_size} is larger than batch_size {self.batch_size}")
        require(self.ema < 1, "ppo", "ema is 1, which would keep the first weights for ever")
        mixed = self.ptx_coef == 0 or self.ptx_tokens >= 8
        require(mixed, "ppo", f"ptx_tokens is {self.ptx_tokens} while ptx_coef is {self.ptx_coef}; 8 tokens at least, or ptx_coef 0")
        require(self.temperature > 0, "ppo", f"temperature {self.temperature} must be above 0")


@dataclass(frozen=True)
class EvaluateConfig:
    """`accord evaluate`: win rates on held-out users' prompts."""

    seed: int = 0
    """Fixes every random choice of the stage."""
    prompts: int = 600
    """Held-out prompts; 0 takes all."""
    best_of: int = 8
    """n of best-of-n from the SFT model, 2 at the least."""
    draws: int = 8
    """Responses a prompt for the share of made-up answers, which few prompts ask for."""
    temperature: float = 1.0
    """Every model is sampled at this temperature."""
    max_tokens: int = 48
    """Length limit of a response."""
    bootstrap: int = 2000
    """Resamples of the prompts for each interval."""

    def __post_init__(self) -> None:
        check_numbers(self, "evaluate")
        require(self.best_of > 1, "evaluate", f"best_of is {self.best_of}; the best of one is no choice")
