"""The settings of the methods that learn from rewards without a value model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from accord.settings.ranges import check_numbers, require


@dataclass(frozen=True)
class GrpoConfig:
    """`accord grpo`: policy gradients from groups of responses, without a value model (Shao et al. 2024)."""

    seed: int = 0
    """Fixes every random choice of the stage."""
    steps: int = 40
    """Rollout batches."""
    batch_size: int = 128
    """Episodes (prompt and response) a rollout; a multiple of group_size."""
    group_size: int = 8
    """Responses a prompt, whose rewards are compared with each other."""
    minibatch_size: int = 64
    """Episodes an optimiser step."""
    epochs: int = 2
    """Passes over a rollout."""
    lr: float = 3e-4
    """Learning rate of AdamW, constant after warm-up."""
    muon_lr: float = 0.0
    """Learning rate of Muon for the inner matrices; 0 leaves them to AdamW. For models that Muon pretrained."""
    warmup_steps: int = 10
    """Optimiser steps of linear warm-up."""
    advantage: Literal["group", "leave-one-out", "return"] = "group"
    """A response's reward minus its group's mean; minus the mean of the others of its group; or each token's own reward to go."""
    scale: Literal["group", "batch", "none"] = "group"
    """Advantages are divided by the standard deviation of the group's rewards; brought to mean 0, variance 1 over the rollout's
    tokens; or left as they are (Dr. GRPO)."""
    loss: Literal["response", "token", "constant", "sequence"] = "response"
    """Mean of response means (GRPO); mean over tokens (DAPO); sum by max_tokens (Dr. GRPO); the response as one action (RLOO)."""
    clip: float = 0.2
    """Ratio clipping of the loss."""
    clip_high: float = 0.0
    """Upper clipping where it differs (DAPO: 0.28); 0 is the same as clip."""
    kl_coef: float = 0.04
    """beta of the KL penalty to the SFT model."""
    kl_in: Literal["loss", "reward"] = "loss"
    """Whether the penalty is a term of the loss (GRPO) or taken from the reward."""
    kl_estimator: Literal["k1", "k2", "k3"] = "k3"
    """Per-token estimator of the penalty."""
    temperature: float = 1.0
    """Sampling temperature; part of the policy everywhere."""
    max_tokens: int = 48
    """Length limit of a response."""
    truncation: Literal["penalise", "terminate", "mask"] = "penalise"
    """What a response without stop token gets: `no_stop_reward` instead of its score; its score as if it had ended; no part in the loss."""
    no_stop_reward: float = -3.0
    """Reward of an unfinished response under `penalise`."""
    overlong_tokens: int = 0
    """A reward falling to -1 over this many last tokens below max_tokens (DAPO's soft overlong punishment); 0 is off."""
    resample: int = 0
    """Further draws a step at most, to replace groups whose rewards are all the same (DAPO's dynamic sampling)."""
    rewards: str = "model"
    """What is rewarded, and its weights: `model=1, exact=0..2, length=-0.01, my_rewards:polite`; docs/grpo.md."""
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
    lora_rank: int = 0
    """Rank of LoRA adapters; 0 trains all weights."""
    lora_bits: int = 0
    """4 holds the frozen weights under the adapters in four bits (QLoRA); 0 leaves them as they are."""
    recompute: bool = False
    """Compute each layer again in the backward pass instead of keeping its activations: less memory, about a fifth more time."""

    def __post_init__(self) -> None:
        check_numbers(self, self.stage)
        n, grouped = self.group_size, self.advantage != "return" or self.scale == "group" or self.resample > 0
        wanted = f"advantage {self.advantage}, scale {self.scale} and resample {self.resample}"
        self._require(n > 1 or not grouped, f"group_size is {n}, but {wanted} compare the responses to a prompt; 2 at least")
        self._require(self.batch_size % n == 0, f"batch_size {self.batch_size} is no multiple of group_size {n}")
        fits = self.minibatch_size <= self.batch_size
        self._require(fits, f"minibatch_size {self.minibatch_size} is larger than batch_size {self.batch_size}")
        own = self.advantage == "return" and (self.scale == "group" or self.loss == "sequence")
        self._require(not own, f"advantage return gives each token its own, which scale {self.scale} and loss {self.loss} do not take")
        dead = self.kl_in == "loss" and self.kl_estimator == "k1" and self.kl_coef > 0
        self._require(not dead, "kl_estimator k1 as a loss has an expected gradient of 0; take k2 or k3, or kl_in reward")
        short = self.overlong_tokens < self.max_tokens
        self._require(short, f"overlong_tokens {self.overlong_tokens} must be below max_tokens {self.max_tokens}")
        self._require(self.temperature > 0, f"temperature {self.temperature} must be above 0")

    @property
    def stage(self) -> str:
        """The command's name, and the section's in accord.toml."""
        return type(self).__name__.removesuffix("Config").lower()

    def _require(self, condition: bool, message: str) -> None:
        require(condition, self.stage, message)


@dataclass(frozen=True)
class RlooConfig(GrpoConfig):
    """`accord rloo`: REINFORCE with a leave-one-out baseline (Ahmadian et al. 2024); the settings of `accord grpo`, other defaults."""

    group_size: int = 4
    advantage: Literal["group", "leave-one-out", "return"] = "leave-one-out"
    scale: Literal["group", "batch", "none"] = "none"
    loss: Literal["response", "token", "constant", "sequence"] = "sequence"
    kl_coef: float = 0.1
    kl_in: Literal["loss", "reward"] = "reward"
    kl_estimator: Literal["k1", "k2", "k3"] = "k1"


@dataclass(frozen=True)
class ReinforceConfig(GrpoConfig):
    """`accord reinforce`: REINFORCE++ (Hu et al. 2025); the settings of `accord grpo`, other defaults."""

    group_size: int = 1
    advantage: Literal["group", "leave-one-out", "return"] = "return"
    scale: Literal["group", "batch", "none"] = "batch"
    loss: Literal["response", "token", "constant", "sequence"] = "token"
    kl_coef: float = 0.1
    kl_in: Literal["loss", "reward"] = "reward"
    kl_estimator: Literal["k1", "k2", "k3"] = "k1"


@dataclass(frozen=True)
class RaftConfig:
    """`accord raft`: rejection sampling, fine-tuning on the best of the policy's own responses (Dong et al. 2023; Gulcehre et al. 2023)."""

    seed: int = 0
    """Fixes every random choice of the stage."""
    rounds: int = 8
    """Rounds of sampling, choosing and learning; 1 distils best-of-n."""
    batch_size: int = 256
    """Prompts a round."""
    group_size: int = 8
    """Responses drawn for each prompt."""
    select: Literal["best", "threshold"] = "best"
    """What is learned from: the best response of each prompt (RAFT), or every response of at least `threshold` (expert iteration)."""
    threshold: float = 1.0
    """Lowest reward that is learned from, under `threshold`."""
    restart: bool = False
    """Each round's learning starts from the SFT model again (ReST-EM, Singh et al. 2023), not from the last round's policy."""
    epochs: int = 1
    """Passes over the chosen responses of a round."""
    minibatch_size: int = 32
    """Responses an optimiser step."""
    lr: float = 3e-4
    """Learning rate of AdamW, constant after warm-up."""
    muon_lr: float = 0.0
    """Learning rate of Muon for the inner matrices; 0 leaves them to AdamW. For models that Muon pretrained."""
    warmup_steps: int = 10
    """Optimiser steps of linear warm-up."""
    temperature: float = 1.0
    """Sampling temperature."""
    max_tokens: int = 48
    """Length limit of a response; responses without stop token are never learned from."""
    rewards: str = "model"
    """What is rewarded, and its weights; as in `accord grpo`."""
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
    save_every: int = 1
    """Rounds between checkpoints."""
    lora_rank: int = 0
    """Rank of LoRA adapters; 0 trains all weights."""
    lora_bits: int = 0
    """4 holds the frozen weights under the adapters in four bits (QLoRA); 0 leaves them as they are."""
    recompute: bool = False
    """Compute each layer again in the backward pass instead of keeping its activations: less memory, about a fifth more time."""

    def __post_init__(self) -> None:
        check_numbers(self, "raft")
        require(self.rounds > 0, "raft", "rounds is 0; it must be above 0")
        one = self.select == "best" and self.group_size < 2
        require(not one, "raft", f"group_size is {self.group_size}; the best of one response is no choice, take 2 at least")
        require(self.temperature > 0, "raft", f"temperature {self.temperature} must be above 0")
