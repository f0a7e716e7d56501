"""Every stage's settings: one frozen dataclass a stage, the only place where a default stands.

Flags and ``accord.toml`` are derived from these, so an unknown key is an error and every field does something. Nothing here
imports torch. Defaults are sized for the built-in world on two CPU cores; docs/ says what InstructGPT used.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Literal

from accord.errors import UsageError


def require(condition: bool, stage: str, message: str) -> None:
    """Raises UsageError naming the stage and the bad numbers unless the condition holds."""
    if not condition:
        raise UsageError(message, where=stage)


_POSITIVE = (
    {"documents", "users", "vocab_size", "hidden_size", "layers", "heads", "intermediate_size", "tokens", "batch_tokens", "epochs"}
    | {"batch_size", "minibatch_size", "max_tokens", "micro_tokens", "save_every", "steps", "kl_horizon", "logprob_gap", "clip"}
    | {"best_of", "bootstrap", "repetition_penalty", "top_p", "group_size", "reward_seconds", "lease_minutes", "session_days"}
)
_SHARES = {"overlap", "top_p", "gamma", "lam", "ema"}
_SIGNED = {"no_stop_reward", "threshold"}


def check_numbers(config: Any, stage: str) -> None:
    """Holds every number of a stage to its range: finite, not negative, above 0 or at most 1 where its name stands above.

    Raises:
        UsageError: names the setting and its value.
    """
    for name in (field.name for field in fields(config)):
        value: object = getattr(config, name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        require(math.isfinite(value), stage, f"{name} is {value}, which is no number to work with")
        require(value > 0 or name not in _POSITIVE, stage, f"{name} is {value}; it must be above 0")
        require(value >= 0 or name in _SIGNED, stage, f"{name} is {value}; it must not be negative")
        require(value <= 1 or name not in _SHARES, stage, f"{name} is {value}; it is at most 1")


@dataclass(frozen=True)
class WorldConfig:
    """`accord init --world`: how much of the built-in world is written down."""

    seed: int = 0
    """Fixes every random choice of the stage."""
    documents: int = 24_000
    """Documents of raw text."""
    prompts: int = 3_000
    """Prompts, over all splits."""
    demonstrations: int = 2_000
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
    hidden_size: int = 128
    """Width of the residual stream."""
    layers: int = 4
    """Decoder blocks."""
    heads: int = 4
    """Attention heads; divides hidden_size."""
    intermediate_size: int = 384
    """Width of the gated MLP."""
    context: int = 256
    """Longest sequence in tokens."""
    tokens: int = 2_400_000
    """Training tokens in all; the corpus is repeated when it is shorter."""
    batch_tokens: int = 2048
    """Tokens an optimiser step."""
    lr: float = 6e-3
    """Peak learning rate of AdamW, for embeddings and norms; cosine to a twentieth."""
    muon_lr: float = 0.02
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
    batch_size: int = 16
    """Demonstrations an optimiser step."""
    lr: float = 1e-3
    """Peak learning rate; cosine to a tenth."""
    warmup_steps: int = 10
    """Linear warm-up."""
    weight_decay: float = 0.0
    """AdamW's, on matrices."""
    max_tokens: int = 256
    """Longest conversation; the right end is kept."""
    ptx_tokens: int = 1024
    """Raw-text tokens mixed into each optimiser step, as InstructGPT's SFT before PPO had 10%; 0 is none, and for a project without
    raw text."""
    select: Literal["validation_loss", "last"] = "validation_loss"
    """Which epoch's weights are kept: lowest loss on the validation users' demonstrations, or the last."""
    micro_tokens: int = 16_384
    """Tokens in one forward pass; a larger batch accumulates gradients over several."""
    save_every: int = 20
    """Steps between checkpoints."""
    lora_rank: int = 0
    """Rank of LoRA adapters; 0 trains all weights."""

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
    prompts: int = 2000
    """How many training prompts; 0 takes all."""
    held_out: int = 150
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
class LabelConfig:
    """`accord label`: people rank what was sampled in the labeling site, or with `--by world` the simulated labelers do."""

    seed: int = 0
    """Fixes who ranks what, and the order in which each labeler sees the responses."""
    overlap: float = 0.2
    """Share of the prompts that a second labeler (with `--by world` of the training groups) ranks too, to measure agreement."""
    host: str = "127.0.0.1"
    """Address that the site listens on; any but this machine's own needs a secret, and https or `--insecure`."""
    port: int = 8400
    """Port that the site listens on; 0 takes a free one."""
    names: str = ""
    """Host names under which the site is reached, with commas; requests for another name are refused."""
    https: bool = False
    """The site is reached through https, by a proxy before it."""
    language: Literal["en", "zh_CN"] = "en"
    """Language of the site for a browser that asks for neither."""
    lease_minutes: float = 60.0
    """How long a task is a labeler's own before it goes back."""
    gold_rate: float = 0.0
    """Share of the tasks whose answer is known and is compared with it, while there are any."""
    repeat_rate: float = 0.0
    """Share of the tasks that show a labeler something again, to measure consistency."""
    session_days: float = 14.0
    """How long a browser stays logged in."""

    def __post_init__(self) -> None:
        check_numbers(self, "label")
        mixed = self.gold_rate + self.repeat_rate
        require(mixed <= 1, "label", f"gold_rate and repeat_rate together are {mixed}, above 1")
        require(self.port < 65_536, "label", f"port is {self.port}; 65535 at most")


@dataclass(frozen=True)
class ScreeningConfig:
    """Who may label, and when an answer came too fast: the cut-offs of the qualification run and of the lead's page."""

    sensitivity: float = 0.75
    """Least agreement with the researchers on which contents are sensitive."""
    ranking: float = 0.75
    """Least agreement with the researchers' rankings, over their untied pairs."""
    demonstrations: float = 6.0
    """Least mean score, of 7, of demonstrations written on sensitive prompts."""
    words_per_second: float = 10.0
    """Nobody reads faster: an item answered in less time than its words need counts as hurried."""
    sure: float = 0.9
    """Items whose consensus is less probable than this go to adjudication."""

    def __post_init__(self) -> None:
        check_numbers(self, "screening")
        require(self.demonstrations <= 7, "screening", f"demonstrations is {self.demonstrations}; scores end at 7")
        shares = max(self.sensitivity, self.ranking, self.sure) <= 1
        require(shares, "screening", "sensitivity, ranking and sure are shares, at most 1")
        require(self.words_per_second > 0, "screening", "words_per_second is 0; it must be above 0")


@dataclass(frozen=True)
class AgreementConfig:
    """`accord agreement`: how far labelers agree."""

    seed: int = 0
    """Fixes the draws of the intervals."""
    resamples: int = 2000
    """How often the prompts are drawn with replacement for each interval."""
    contested: int = 10
    """How many pairs that groups see differently are shown, the widest apart first; 0 shows none."""

    def __post_init__(self) -> None:
        check_numbers(self, "agreement")
        require(self.resamples > 0, "agreement", "resamples is 0; it must be above 0")


@dataclass(frozen=True)
class PlanConfig:
    """`accord plan`: how many labels reach which agreement, reward-model accuracy or interval."""

    seed: int = 0
    """Fixes every random choice."""
    labels: int = 0
    """Rankings that one can pay for: what do they reach? 0 asks nothing."""
    width: float = 0.0
    """Width of a 95% interval that is wanted, e.g. 0.04 for plus or minus 2%: how many rankings does it take? 0 asks nothing."""
    overlap: float = 0.2
    """Share of the prompts that a second labeler ranks too, for agreement."""
    held_out: float = 0.1
    """Share of the prompts kept out of training, to measure the reward model on."""
    k: int = 6
    """Responses a prompt, where nothing has been ranked yet."""
    pilot: int = 800
    """Prompts that the world's labelers rank to plan from."""

    def __post_init__(self) -> None:
        check_numbers(self, "plan")
        require(self.width < 1, "plan", f"width is {self.width}; an interval of shares is narrower than 1")
        require(self.overlap > 0, "plan", "overlap is 0, which measures no agreement")
        require(0 < self.held_out < 1, "plan", f"held_out is {self.held_out}; it must be between 0 and 1")
        require(2 <= self.k <= 9, "plan", f"k is {self.k}; a ranking takes 2 to 9 responses")
        require(self.pilot >= 20, "plan", f"pilot is {self.pilot}; 20 prompts at least")


@dataclass(frozen=True)
class RewardConfig:
    """`accord reward`: Bradley-Terry on all K-choose-2 pairs of a prompt."""

    seed: int = 0
    """Fixes every random choice of the stage."""
    epochs: int = 1
    """InstructGPT found that more overfits."""
    batch_size: int = 8
    """Prompts an optimiser step, each with all its pairs."""
    lr: float = 5e-4
    """Peak learning rate; cosine to a tenth."""
    warmup_steps: int = 10
    """Linear warm-up."""
    mismatched: float = 1.0
    """Share of the prompts that get the best response to another prompt as one more, worst response; 0 trains on labels alone."""
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

    def __post_init__(self) -> None:
        check_numbers(self, "reward")


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
    """Peak learning rate; cosine to a tenth."""
    warmup_steps: int = 10
    """Linear warm-up."""
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
    thumbs: Literal["auto", "ratings", "ranks"] = "auto"
    """Where thumbs come from: the 1 to 7 ratings, the place in the ranking, or ratings where they are given and else ranks."""
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
    """Peak learning rate; cosine to a tenth."""
    warmup_steps: int = 10
    """Linear warm-up."""
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

    def __post_init__(self) -> None:
        check_numbers(self, "kto")
        require(self.beta > 0, "kto", "beta is 0, with which no thumb teaches anything")
        require(self.down_weight > 0, "kto", "down_weight is 0; it must be above 0")
        ordered = 1 <= self.bad_quality < self.good_quality <= 7
        require(ordered, "kto", f"bad_quality {self.bad_quality} and good_quality {self.good_quality} are not in order within 1 to 7")


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
    lr: float = 3e-4
    """Policy learning rate, constant after warm-up."""
    value_lr: float = 3e-4
    """Value model's learning rate."""
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

    def __post_init__(self) -> None:
        check_numbers(self, "ppo")
        fits = self.minibatch_size <= self.batch_size
        require(fits, "ppo", f"minibatch_size {self.minibatch_size} is larger than batch_size {self.batch_size}")
        require(self.ema < 1, "ppo", "ema is 1, which would keep the first weights for ever")
        mixed = self.ptx_coef == 0 or self.ptx_tokens >= 8
        require(mixed, "ppo", f"ptx_tokens is {self.ptx_tokens} while ptx_coef is {self.ptx_coef}; 8 tokens at least, or ptx_coef 0")
        require(self.temperature > 0, "ppo", f"temperature {self.temperature} must be above 0")


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
    """Learning rate, constant after warm-up."""
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
    """Learning rate, constant after warm-up."""
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

    def __post_init__(self) -> None:
        check_numbers(self, "raft")
        require(self.rounds > 0, "raft", "rounds is 0; it must be above 0")
        one = self.select == "best" and self.group_size < 2
        require(not one, "raft", f"group_size is {self.group_size}; the best of one response is no choice, take 2 at least")
        require(self.temperature > 0, "raft", f"temperature {self.temperature} must be above 0")


@dataclass(frozen=True)
class EvaluateConfig:
    """`accord evaluate`: win rates on held-out users' prompts."""

    seed: int = 0
    """Fixes every random choice of the stage."""
    prompts: int = 400
    """Held-out prompts; 0 takes all."""
    best_of: int = 8
    """n of best-of-n from the SFT model."""
    temperature: float = 1.0
    """Every model is sampled at this temperature."""
    max_tokens: int = 48
    """Length limit of a response."""
    bootstrap: int = 2000
    """Resamples of the prompts for each interval."""

    def __post_init__(self) -> None:
        check_numbers(self, "evaluate")
