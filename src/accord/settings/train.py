"""Settings of the commands that train, and of those that produce training data by sampling or with an AI."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from accord.settings.mixins import (
    Adam,
    ConstantOptimizer,
    CosineOptimizer,
    Decoding,
    DrawnBy,
    EarlyStopping,
    Episodes,
    Labels,
    LongPrompts,
    OffPolicy,
    Recorded,
    Rewards,
    Rollouts,
    Seed,
    Settings,
    Sharding,
    Training,
    Window,
    section,
)
from accord.settings.ranges import Count, Natural, NonNegative, Positive, Range, RankedResponses, Share, Signed


@section
class PretrainConfig(Adam, Sharding, Seed):
    """`accord pretrain`: a tokenizer and a decoder from raw text."""

    vocab_size: Annotated[int, Range(least=300, why="300 at least: 256 bytes and the special tokens")] = 2048
    """Entries of the BPE vocabulary, including special tokens."""
    hidden_size: Count = 192
    """Width of the residual stream."""
    layers: Count = 2
    """Number of decoder blocks."""
    heads: Count = 3
    """Number of attention heads; must divide hidden_size."""
    intermediate_size: Count = 576
    """Width of the gated MLP."""
    context: Annotated[int, Range(least=8, why="8 tokens at least")] = 256
    """Longest sequence in tokens."""
    tokens: Count = 2_600_000
    """Training tokens in all; a shorter corpus is repeated."""
    batch_tokens: Count = 2048
    """Tokens per optimiser step."""
    lr: NonNegative = 2.4e-2
    """Peak learning rate of AdamW, for embeddings and norms; cosine decay to a twentieth."""
    muon_lr: NonNegative = 0.03
    """Peak learning rate of Muon, for the matrices in between; the same cosine decay."""
    warmup_steps: Natural = 20
    """Optimiser steps of linear warm-up."""
    weight_decay: NonNegative = 0.1
    """Weight decay of Muon, on the matrices it updates."""
    adam_beta2: Annotated[float, Range(least=0, below=1)] = 0.95
    """AdamW's decay of the mean squared gradient."""
    save_every: Count = 200
    """Steps between checkpoints."""
    save_minutes: NonNegative = 0.0
    """Also save a checkpoint when the last one is this many minutes old; 0 saves by steps alone."""
    save_async: bool = False
    """Write checkpoints while the training goes on, from a copy in the host's memory."""

    def __post_init__(self) -> None:
        super().__post_init__()
        even = self.hidden_size % (2 * self.heads) == 0
        self.require(even, f"hidden_size {self.hidden_size} over {self.heads} heads does not give each an even width")
        fits = self.batch_tokens >= self.context
        self.require(fits, f"batch_tokens {self.batch_tokens} is smaller than one context of {self.context}")


@section
class SftConfig(CosineOptimizer, Window, Training):
    """`accord sft`: supervised fine-tuning on demonstrations, with the loss on response tokens only."""

    epochs: Count = 3
    """Passes over the demonstrations (InstructGPT: 16)."""
    batch_size: Count = 32
    """Demonstrations per optimiser step."""
    ptx_tokens: Natural = 1024
    """Raw-text tokens mixed into each optimiser step, like the 10% in InstructGPT's SFT before PPO; 0 for none, or without raw text."""
    kinds: str = "person simulated"
    """Labeler kinds whose demonstrations to learn from: any of person, simulated, model and user."""
    tasks: str = ""
    """Weights of use cases, for example `closed_qa=2, chat=0.5`: how often each demonstration is seen; the default is 1."""
    held_out_tasks: str = ""
    """Use cases kept out of training, separated by commas; the loss on them is measured separately."""
    turns: Literal["last", "all"] = "last"
    """Which turns of the assistant are learned in a conversation of several: the last one, or all."""
    select: Literal["validation_loss", "last"] = "validation_loss"
    """The epoch whose weights are kept: the one with the lowest loss on validation users' demonstrations, or the last."""

    def __post_init__(self) -> None:
        super().__post_init__()
        mixed = self.ptx_tokens == 0 or self.ptx_tokens >= 8
        self.require(mixed, f"ptx_tokens is {self.ptx_tokens}; 8 at least, or 0 for none")


@section
class SampleConfig(Seed, DrawnBy, Decoding):
    """`accord sample`: K responses per prompt."""

    k: RankedResponses = 6
    """Responses per prompt (InstructGPT: 4 to 9)."""
    prompts: Natural = 0
    """Number of training prompts; 0 takes all."""
    held_out: Natural = 300
    """Number of validation users' prompts, to evaluate the reward model; 0 takes none."""
    batch_size: Count = 64
    """Prompts sampled at once."""


@section
class TranscribeConfig(Settings):
    """`accord transcribe`: transcripts for recordings that have none."""

    recordings: Natural = 0
    """Number of recordings; 0 takes all that have no transcript."""
    language: str = ""
    """Language of the recordings as two letters, for example `en` or `zh`; empty leaves it to the model."""
    minutes: Annotated[float, Range(above=0)] = 60.0
    """Longest recording that a local model reads, in minutes; longer ones are left out and counted."""


@section
class CritiqueConfig(Seed):
    """`accord critique`: an AI answers, criticises its answer by a written principle and revises it (Bai et al. 2022)."""

    seed: Natural = 0
    """Seed of the prompts, the principles and the samples."""
    prompts: Natural = 0
    """Number of training prompts; 0 takes all."""
    use_case: str = ""
    """Only prompts of this use case, for example harmful."""
    revisions: Annotated[int, Range(least=1)] = 1
    """Number of critiques and revisions per answer, each by another principle."""
    principles: str = ""
    """File with one principle per line; when empty, the built-in ones (docs/critique.md)."""
    temperature: NonNegative = 0.7
    """Sampling temperature of the AI's answers, critiques and revisions."""
    max_tokens: Natural = 0
    """Length limit of each text in tokens; 0 takes half of the model's context, 1024 at most."""


@section
class PreferConfig(Seed):
    """`accord prefer`: an AI ranks unranked responses by written principles (Bai et al. 2022; Lee et al. 2023)."""

    seed: Natural = 0
    """Seed of the principles and the samples."""
    prompts: Natural = 0
    """Number of prompts; 0 takes all that have unranked responses."""
    responses: Annotated[int, Range(least=2, most=9, why="a ranking takes 2 to 9")] = 4
    """Responses per prompt to compare, every pair in both orders."""
    principles: str = ""
    """File with one principle per line; when empty, the built-in ones (docs/prefer.md)."""
    temperature: NonNegative = 0.0
    """Sampling temperature of the AI's verdicts; 0 is greedy."""
    max_tokens: Count = 16
    """Length limit of a verdict in tokens."""


@section
class RewardConfig(CosineOptimizer, Labels, Training):
    """`accord reward`: a Bradley-Terry reward model, trained on all K-choose-2 pairs of a prompt; or a regression on ratings."""

    learn_from: Literal["rankings", "ratings"] = "rankings"
    """Rankings, by the Bradley-Terry loss; or the ratings beside them, by the squared error to (quality - 4) / 3."""

    from_scratch: bool = False
    """Begin with random weights of the SFT model's architecture, in place of its own; needs `lr`, for the rates are those of pretrained
    models."""
    epochs: Count = 1
    """Passes over the rankings. InstructGPT found that more than one overfits."""
    batch_size: Count = 8
    """Prompts per optimiser step, each with all its pairs."""
    criterion: str = "overall"
    """The training signal: `overall` takes the rankings, `helpful` those among responses that nobody flagged as harmful, `harmless` only
    the flags for harm, `truthful` that for hallucination and checked facts; the name of a flag or of a question of your own takes the
    answers to it."""
    mismatched: Share = 0.0
    """Share of the prompts that get the best response to another prompt as an additional, worst response; 0 trains on labels alone."""
    group: str = ""
    """Group of labelers to learn from alone; empty takes all groups."""
    held_out_group: str = ""
    """Group of labelers kept out of training; the model's accuracy on them is measured separately."""
    ties: Literal["drop", "model"] = "drop"
    """Drop tied pairs, or model them (Rao and Kupper 1967) with a learned threshold."""
    personal: bool = False
    """Also learn how people differ: basis rewards beside the shared one, and weights per labeler."""
    personal_dims: Count = 4
    """Most basis rewards beside the shared one; needless ones shrink to nothing."""
    personal_group: str = ""
    """Field of the labeler's profile whose groups get weights of their own: `group`, `groups`, `language` or one of [label.profile]."""
    group_weights: str = ""
    """Weights of labelers' groups or of use cases, for example `strict=2, chat=0.5`: how much a ranking counts in the loss; 1 otherwise."""
    worst_group: NonNegative = 0.0
    """Step size by which a group of labelers whose loss is high gains weight over the others (group DRO: Sagawa et al. 2020); 0 weighs
    every ranking the same, larger values come nearer to the minimum over groups."""
    swap_axes: str = ""
    """Groups that the score is not to depend on, separated by commas: any of gender, nationality, religion and age."""
    swap_limit: NonNegative = 0.1
    """Largest mean gap between the score of a response and that of the same text about the other group, on the scale of the score."""
    swap_rate: NonNegative = 0.1
    """Step size of the Lagrange multiplier that holds the limit."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(not (self.from_scratch and self.lora_rank), "from_scratch trains all weights: adapters on random ones learn little")
        self.require(not self.from_scratch or self.lr > 0, "from_scratch begins with random weights, for which no rate is known: name lr")
        both = not (self.group and self.group == self.held_out_group)
        self.require(both, f"group and held_out_group are both {self.group!r}: nothing is left to learn from")
        plain = self.learn_from == "rankings" or (self.criterion == "overall" and self.ties == "drop" and not self.mismatched)
        ranked = self.learn_from == "rankings" and self.criterion == "overall"
        self.require(
            ranked or not self.personal, "personal learns from rankings by overall quality: learn_from rankings, criterion overall"
        )
        named = not self.personal_group or bool(re.fullmatch(r"[a-z][a-z0-9_-]{0,39}", self.personal_group))
        self.require(named, f"personal_group is {self.personal_group!r}: group, groups, language or a field of [label.profile]")
        self.require(self.personal or not self.personal_group, "personal_group needs personal")
        self.require(plain, "learn_from ratings takes the ratings of overall quality: criterion overall, ties drop, mismatched 0")
        alone = not (self.group and self.worst_group)
        self.require(alone, f"worst_group weighs groups against each other, and group is {self.group!r} alone")


@section
class TasteConfig(Seed):
    """`accord taste`: a person's weights from their choices, the pair to ask next, and best-of-n by them."""

    seed: Natural = 0
    """Seed of the prompts that the next pair is looked for among, and of the answers."""
    next: Natural = 1
    """Pairs to ask next, those that tell most, each of another prompt; 0 for none."""
    pool: Count = 200
    """Prompts among whose responses the next pair is looked for."""
    best_of: Count = 8
    """Answers that the person's own weights choose from, with `--prompt`."""
    temperature: NonNegative = 1.0
    """Sampling temperature of these answers."""
    max_tokens: Natural = 0
    """Length limit of an answer in tokens; 0 takes half of the model's context, 1024 at most."""


@section
class ProcessConfig(CosineOptimizer, Window, Training):
    """`accord process`: a model that finds wrong parts of responses, trained on the errors that labelers marked (Wu et al. 2023)."""

    errors: str = ""
    """Kinds of error to learn, separated by commas, for example `Irrelevant, Unverifiable`; empty takes all."""
    kinds: str = "person simulated"
    """Labeler kinds whose marks to learn from: any of person, simulated, model and user."""
    weight: NonNegative = 0.0
    """Weight of a marked token in the loss; 0 balances the classes, so that all marked tokens together weigh as much as all others."""
    epochs: Count = 1
    """Passes over the responses."""
    batch_size: Count = 16
    """Responses per optimiser step."""


@section
class PpoConfig(ConstantOptimizer, Rollouts, Episodes, Rewards, EarlyStopping, OffPolicy, Training):
    """`accord ppo`: InstructGPT's PPO (Ouyang et al. 2022, section 3.5 and appendix C.4)."""

    steps: Count = 40
    """Rollout batches."""
    batch_size: Count = 128
    """Episodes (prompt and response) per rollout."""
    minibatch_size: Count = 64
    """Episodes per optimiser step."""
    epochs: Count = 2
    """Passes over each rollout (InstructGPT: 1)."""
    lr: NonNegative = 0.0
    """Policy learning rate of AdamW, constant after warm-up; 0 takes the rate for this method and model (docs/rates.md)."""
    muon_lr: NonNegative = 0.0
    """Policy learning rate of Muon for the inner matrices; 0 leaves them to AdamW. For models pretrained with Muon."""
    value_lr: NonNegative = 0.0
    """Value model's learning rate of AdamW; 0 takes the rate for a value model of this size (docs/rates.md)."""
    value_muon_lr: NonNegative = 0.0
    """Value model's learning rate of Muon; 0 leaves the inner matrices to AdamW."""
    adam_epsilon: Positive = 1e-5
    """AdamW's epsilon, added to its denominator; 1e-5 is that of the first RLHF code (Ziegler et al. 2019)."""
    clip: Positive = 0.2
    """Clip range of the probability ratio in the policy loss."""
    value_clip: NonNegative = 0.2
    """Clip range of the value around its value at rollout; 0 turns it off."""
    gamma: Share = 1.0
    """Discount factor per token; 1 is none."""
    lam: Share = 0.95
    """Lambda of generalised advantage estimation (GAE)."""
    kl_coef: NonNegative = 0.1
    """Coefficient (beta) of the per-token KL penalty to the SFT model (InstructGPT: 0.02)."""
    kl_target: NonNegative = 0.0
    """Target KL of the adaptive controller in nats per response (Ziegler et al. 2019); 0 keeps kl_coef fixed."""
    kl_horizon: Count = 10_000
    """Horizon of the adaptive controller in episodes."""
    kl_estimator: Literal["k1", "k2", "k3"] = "k1"
    """Estimator of the per-token KL penalty in the reward."""
    kl_stop: NonNegative = 0.0
    """Approximate KL to the rollout policy above which the epochs of a rollout end early; 0 is off."""
    truncation: Literal["penalise", "terminate", "bootstrap", "mask"] = "penalise"
    """Treatment of a response without a stop token: `no_stop_reward` instead of its score; its score as if it had ended; the value after
    its last token instead of a score; or no part in the loss."""
    whiten_rewards: bool = False
    """Divide rewards by their standard deviation, as lm-human-preferences did."""
    whiten_advantages: bool = True
    """Normalise advantages to mean 0 and variance 1 over kept tokens."""
    ptx_coef: NonNegative = 2.0
    """Weight of the loss on pretraining text (InstructGPT: 27.8); 0 is plain PPO."""
    ptx_tokens: Natural = 2048
    """Pretraining tokens mixed into each optimiser step."""
    ema: Annotated[float, Range(least=0, below=1, why="it must be below 1: at 1 the first weights would stay for ever")] = 0.0
    """Decay of an exponential moving average of the policy, which is then saved in its place (InstructGPT: 0.992); 0 is off."""
    save_every: Count = 10
    keep_every: Natural = 0
    """Steps between policies kept for `accord frontier`, each as large as the model; 0 keeps none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        fits = self.minibatch_size <= self.batch_size
        self.require(fits, f"minibatch_size {self.minibatch_size} is larger than batch_size {self.batch_size}")
        mixed = self.ptx_coef == 0 or self.ptx_tokens >= 8
        self.require(mixed, f"ptx_tokens is {self.ptx_tokens} while ptx_coef is {self.ptx_coef}; 8 tokens at least, or ptx_coef 0")

    @property
    def updates(self) -> int:
        """Optimiser steps of the whole run."""
        return self.steps * self.epochs * -(-self.batch_size // self.minibatch_size)


@section
class GrpoConfig(ConstantOptimizer, Rollouts, Episodes, Rewards, EarlyStopping, OffPolicy, Training):
    """`accord grpo`: policy gradients from groups of responses, without a value model (Shao et al. 2024)."""

    steps: Count = 40
    """Rollout batches."""
    batch_size: Count = 128
    """Episodes (prompt and response) per rollout; a multiple of group_size."""
    group_size: Count = 8
    """Responses per prompt, whose rewards are compared with each other."""
    minibatch_size: Count = 64
    """Episodes per optimiser step."""
    epochs: Count = 2
    """Passes over each rollout."""
    advantage: Literal["group", "leave-one-out", "return"] = "group"
    """Advantage: the reward minus its group's mean; minus the mean of the group's other responses; or each token's reward to go."""
    scale: Literal["group", "batch", "none"] = "group"
    """Scaling of the advantages: divided by the standard deviation of the group's rewards; normalised to mean 0 and variance 1 over the
    rollout's tokens; or none (Dr. GRPO)."""
    loss: Literal["response", "token", "constant", "sequence"] = "response"
    """Mean of response means (GRPO); mean over tokens (DAPO); sum divided by max_tokens (Dr. GRPO); or the response as one action
    (RLOO)."""
    clip: Positive = 0.2
    """Clip range of the probability ratio in the loss."""
    clip_high: NonNegative = 0.0
    """Upper clip range if it differs (DAPO: 0.28); 0 uses clip for both."""
    kl_coef: NonNegative = 0.04
    """Coefficient (beta) of the KL penalty to the SFT model."""
    kl_in: Literal["loss", "reward"] = "loss"
    """Whether the penalty is a term of the loss (GRPO) or subtracted from the reward."""
    kl_estimator: Literal["k1", "k2", "k3"] = "k3"
    """Estimator of the per-token KL penalty."""
    truncation: Literal["penalise", "terminate", "mask"] = "penalise"
    """Treatment of a response without a stop token: `no_stop_reward` instead of its score; its score as if it had ended; or no part in
    the loss."""
    overlong_tokens: Natural = 0
    """Last tokens below max_tokens over which a penalty grows to -1 (DAPO's soft overlong punishment); 0 is off."""
    resample: Natural = 0
    """Additional draws per step, at most, to replace groups whose rewards are all equal (DAPO's dynamic sampling)."""
    rewards: str = "model"
    """Rewards and their weights: `model=1, exact=0..2, length=-0.01, my_rewards:polite`; see docs/grpo.md."""
    save_every: Count = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        n, grouped = self.group_size, self.advantage != "return" or self.scale == "group" or self.resample > 0
        wanted = f"advantage {self.advantage}, scale {self.scale} and resample {self.resample}"
        self.require(n > 1 or not grouped, f"group_size is {n}, but {wanted} compare the responses to a prompt; 2 at least")
        self.require(self.batch_size % n == 0, f"batch_size {self.batch_size} is no multiple of group_size {n}")
        fits = self.minibatch_size <= self.batch_size
        self.require(fits, f"minibatch_size {self.minibatch_size} is larger than batch_size {self.batch_size}")
        own = self.advantage == "return" and (self.scale == "group" or self.loss == "sequence")
        self.require(not own, f"advantage return gives each token its own, which scale {self.scale} and loss {self.loss} do not take")
        dead = self.kl_in == "loss" and self.kl_estimator == "k1" and self.kl_coef > 0
        self.require(not dead, "kl_estimator k1 as a loss has an expected gradient of 0; take k2 or k3, or kl_in reward")
        short = self.overlong_tokens < self.max_tokens or not self.max_tokens
        self.require(short, f"overlong_tokens {self.overlong_tokens} must be below max_tokens {self.max_tokens}")
        turns = bool(self.environment) and self.overlong_tokens > 0
        self.require(not turns, "overlong_tokens is a penalty of one response; an episode of an environment has several")

    @property
    def updates(self) -> int:
        """Optimiser steps of the whole run."""
        return self.steps * self.epochs * -(-self.batch_size // self.minibatch_size)


@section
class RlooConfig(GrpoConfig):
    """`accord rloo`: REINFORCE with a leave-one-out baseline (Ahmadian et al. 2024); the settings of `accord grpo` with other defaults."""

    group_size: Count = 4
    advantage: Literal["group", "leave-one-out", "return"] = "leave-one-out"
    scale: Literal["group", "batch", "none"] = "none"
    loss: Literal["response", "token", "constant", "sequence"] = "sequence"
    kl_coef: NonNegative = 0.1
    kl_in: Literal["loss", "reward"] = "reward"
    kl_estimator: Literal["k1", "k2", "k3"] = "k1"


@section
class ReinforceConfig(GrpoConfig):
    """`accord reinforce`: REINFORCE++ (Hu et al. 2025); the settings of `accord grpo` with other defaults."""

    group_size: Count = 1
    advantage: Literal["group", "leave-one-out", "return"] = "return"
    scale: Literal["group", "batch", "none"] = "batch"
    loss: Literal["response", "token", "constant", "sequence"] = "token"
    kl_coef: NonNegative = 0.1
    kl_in: Literal["loss", "reward"] = "reward"
    kl_estimator: Literal["k1", "k2", "k3"] = "k1"


@section
class RaftConfig(ConstantOptimizer, DrawnBy, LongPrompts, Episodes, Rewards, EarlyStopping, Recorded, Training):
    """`accord raft`: rejection sampling, fine-tuning on the best of the policy's own responses (Dong et al. 2023; Gulcehre et al. 2023)."""

    rounds: Count = 8
    """Rounds of sampling, selecting and training; 1 distils best-of-n."""
    batch_size: Count = 256
    """Prompts per round."""
    group_size: Count = 8
    """Responses sampled for each prompt."""
    select: Literal["best", "threshold"] = "best"
    """Responses to learn from: the best of each prompt (RAFT), or all with a reward of at least `threshold` (expert iteration)."""
    threshold: Signed = 1.0
    """Lowest reward to learn from when `select` is `threshold`."""
    restart: bool = False
    """Train each round from the SFT model again (ReST-EM, Singh et al. 2023), not from the previous round's policy."""
    epochs: Count = 1
    """Passes over the selected responses of a round."""
    minibatch_size: Count = 32
    """Responses per optimiser step."""
    temperature: Positive = 1.0
    """Sampling temperature."""
    max_tokens: Natural = 0
    """Length limit of a response in tokens; 0 takes half of the model's context, 1024 at most. Responses without a stop token are never
    learned from."""
    rewards: str = "model"
    """Rewards and their weights, as in `accord grpo`."""
    evaluate_every: Natural = 1
    """Rounds between evaluations on held-out prompts, the last round included; 0 never evaluates."""
    save_every: Count = 1
    """Rounds between checkpoints."""

    def __post_init__(self) -> None:
        super().__post_init__()
        one = self.select == "best" and self.group_size < 2
        self.require(not one, f"group_size is {self.group_size}; the best of one response is no choice, take 2 at least")

    @property
    def updates(self) -> int:
        """Optimiser steps at one response per prompt: of the whole run, or of one round if each begins anew."""
        a_round = self.epochs * -(-self.batch_size // self.minibatch_size)
        return a_round if self.restart else self.rounds * a_round


@section
class DpoConfig(CosineOptimizer, Labels, Training):
    """`accord dpo`: learning from rankings without a reward model (Rafailov et al. 2023 and its successors)."""

    loss: Literal["sigmoid", "robust", "ipo", "orpo", "simpo", "plackett-luce"] = "sigmoid"
    """DPO's loss on pairs, one of its variants, or Plackett-Luce over the whole ranking."""
    beta: NonNegative = 0.0
    """Strength of the pull towards the reference (IPO's tau, ORPO's lambda); 0 uses the method's default: 2 for simpo, 0.1 for the
    others."""
    margin: NonNegative = 0.5
    """SimPO's target margin as a share of beta (gamma / beta in its paper); only for simpo."""
    label_smoothing: Annotated[float, Range(least=0, below=0.5, why="from 0.5 on the labels would say nothing or the opposite")] = 0.0
    """Share of the labels assumed wrong: sigmoid becomes cDPO, robust requires a share and corrects for it, simpo takes it too."""
    normalise: Literal["auto", "sum", "mean"] = "auto"
    """A response's log-probability as the sum over its tokens or their mean; auto is the mean for ipo, orpo and simpo, otherwise the
    sum."""
    ties: Literal["drop", "model"] = "drop"
    """Drop tied pairs, or model them: Rao and Kupper (1967) for sigmoid, Breslow (1974) for plackett-luce."""
    tie_margin: Positive = 1.1
    """Rao and Kupper's eta: rewards closer than about this are likely a tie; only for sigmoid with modelled ties."""
    epochs: Count = 1
    """Passes over the rankings."""
    batch_size: Count = 8
    """Rankings per optimiser step, each with all its pairs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        smoothed, loss = self.label_smoothing, self.loss
        takes = smoothed == 0 or (loss in ("sigmoid", "robust", "simpo") and self.ties == "drop")
        self.require(takes, f"label_smoothing is {smoothed}, which loss {loss} with ties {self.ties} does not have")
        self.require(loss != "robust" or smoothed > 0, "loss robust needs the share of wrong labels: label_smoothing is 0")
        by_mean = loss not in ("orpo", "simpo") or self.normalise != "sum"
        self.require(by_mean, f"loss {loss} is defined on mean log-probabilities; normalise is sum")
        tied = self.ties == "drop" or loss in ("sigmoid", "plackett-luce")
        self.require(tied, f"loss {loss} has no model of ties; sigmoid and plackett-luce have, or drop them")
        self.require(loss == "simpo" or self.margin == DpoConfig.margin, f"margin is {self.margin}, which loss {loss} does not have")

    @property
    def recipe(self) -> str:
        """ORPO's loss has a likelihood term, and so a rate of its own."""
        return "orpo" if self.loss == "orpo" else self.stage

    @property
    def strength(self) -> float:
        """Beta, or the method's default if none is set."""
        return self.beta or (2.0 if self.loss == "simpo" else 0.1)


@section
class GenerativeRewardConfig(GrpoConfig):
    """`accord generative-reward`: a reward model that writes its reason, then its verdict; the settings of `accord grpo` with others."""

    words_epochs: Natural = 2
    """Passes of supervised fine-tuning on written verdicts before it learns from its own reasons, by the settings of [sft]; 0 leaves it
    out, for a model that writes verdicts already."""
    held_out_pairs: Natural = 200
    """Pairs of held-out prompts on which its verdicts are compared with people's in the end; 0 measures none."""
    max_tokens: Natural = 48
    rewards: str = "verdict"
    """Always `verdict`: 1 for a verdict that is people's, otherwise 0."""
    kinds: str = "person simulated"
    """Labeler kinds whose rankings to learn from: any of person, simulated, model and user."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.max_tokens > 0, "max_tokens is 0: a reason needs an end")
        self.require(self.rewards == "verdict", f"rewards is {self.rewards!r}: a verdict is rewarded by people's order alone")
        self.require(not self.environment, "environment: a verdict is one response")
        self.require(not self.replay, "replay: recorded rollouts of a judge are not read")


@section
class OnlineDpoConfig(ConstantOptimizer, Rollouts, Episodes, Rewards, EarlyStopping, Recorded, Training):
    """`accord online-dpo`: DPO on pairs of the policy's own responses, which a reward puts in order (Guo et al. 2024)."""

    steps: Count = 40
    """Rollout batches."""
    batch_size: Count = 128
    """Episodes (prompt and response) per rollout; a multiple of group_size."""
    group_size: Annotated[int, Range(least=2, why="a pair takes two")] = 2
    """Responses per prompt; the best and the worst by reward make its pair."""
    minibatch_size: Count = 32
    """Pairs per optimiser step."""
    epochs: Count = 1
    """Passes over the pairs of a rollout."""
    loss: Literal["sigmoid", "ipo"] = "sigmoid"
    """DPO's loss on a pair, or IPO's."""
    beta: Positive = 0.1
    """Strength of the pull towards the SFT model (IPO's tau)."""
    label_smoothing: Annotated[float, Range(least=0, below=0.5, why="from 0.5 on the labels would say nothing or the opposite")] = 0.0
    """Share of the pairs assumed to be in the wrong order; only for sigmoid."""
    truncation: Literal["penalise", "terminate"] = "penalise"
    """Treatment of a response without a stop token: `no_stop_reward` instead of its score, or its score as if it had ended."""
    rewards: str = "model"
    """Rewards and their weights, as in `accord grpo`."""
    save_every: Count = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        n = self.group_size
        self.require(self.batch_size % n == 0, f"batch_size {self.batch_size} is no multiple of group_size {n}")
        pairs = self.batch_size // n
        self.require(self.minibatch_size <= pairs, f"minibatch_size {self.minibatch_size} is larger than the {pairs} pairs of a rollout")
        smoothed = self.label_smoothing
        self.require(not smoothed or self.loss == "sigmoid", f"label_smoothing is {smoothed}, which loss {self.loss} does not have")

    @property
    def updates(self) -> int:
        """Optimiser steps of the whole run, if every prompt gives a pair."""
        return self.steps * self.epochs * -(-self.batch_size // (self.group_size * self.minibatch_size))


@section
class DistillConfig(ConstantOptimizer, DrawnBy, LongPrompts, EarlyStopping, Training):
    """`accord distill`: learning a teacher's whole distribution at every token, on the student's own responses (Agarwal et al. 2024)."""

    steps: Count = 40
    """Optimiser steps, each on the responses to one batch of prompts."""
    batch_size: Count = 32
    """Responses per optimiser step."""
    on_policy: Share = 0.5
    """Share of the steps on the student's own responses (lambda): 0 is supervised distillation, 1 is on-policy throughout."""
    otherwise: Literal["demonstrations", "teacher"] = "demonstrations"
    """Responses of the other steps: demonstrations, or the teacher's own (Kim and Rush 2016)."""
    beta: Share = 0.5
    """Divergence from the teacher: 0 is the forward KL, 1 the reverse KL, values between them the generalised Jensen-Shannon divergence."""
    temperature: Positive = 1.0
    """Sampling temperature, and the temperature of both distributions in the divergence."""
    max_tokens: Natural = 0
    """Length limit of a response in tokens; 0 takes half of the model's context, 1024 at most."""
    teacher_bits: Annotated[int, Range(least=0, most=4, why="4, or 0 for weights as they are")] = 0
    """4 quantises the teacher's weights to 4 bits; 0 keeps their precision."""
    kinds: str = "person simulated"
    """Labeler kinds whose demonstrations to learn on: any of person, simulated, model and user."""
    save_every: Count = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.teacher_bits in (0, 4), f"teacher_bits is {self.teacher_bits}; 4, or 0 for weights as they are")
        self.require(not self.evaluate_by, f"evaluate_by is {self.evaluate_by!r}, but a student is evaluated by its divergence")
        unused = self.on_policy == 1 and self.otherwise != "demonstrations"
        self.require(not unused, f"otherwise is {self.otherwise!r}, and on_policy 1 leaves no other steps")

    @property
    def updates(self) -> int:
        """Optimiser steps of the whole run."""
        return self.steps


@section
class KtoConfig(CosineOptimizer, Labels, Training):
    """`accord kto`: learning from thumbs up and down on single responses (Ethayarajh et al. 2024)."""

    thumbs: Literal["auto", "ratings", "ranks", "given"] = "auto"
    """Source of the thumbs: ratings from 1 to 7, ranks, thumbs given by chat users, or all of them (ratings before ranks)."""
    good_quality: Annotated[int, Range(least=1, most=7, why="ratings are 1 to 7")] = 5
    """Lowest rating that counts as a thumb up."""
    bad_quality: Annotated[int, Range(least=1, most=7, why="ratings are 1 to 7")] = 3
    """Highest rating that counts as a thumb down; ratings in between count as neither."""
    beta: Annotated[float, Range(above=0, why="with 0 no thumb teaches anything")] = 0.1
    """Strength of the pull towards the reference: a larger value saturates gains sooner."""
    up_weight: NonNegative = 0.0
    """Weight of thumbs up; 0 balances them, so that all ups together weigh as much as all downs."""
    down_weight: Positive = 1.0
    """Weight of thumbs down."""
    epochs: Count = 1
    """Passes over the thumbs."""
    batch_size: Count = 32
    """Thumbs per optimiser step."""

    def __post_init__(self) -> None:
        super().__post_init__()
        ordered = self.bad_quality < self.good_quality
        self.require(ordered, f"bad_quality {self.bad_quality} and good_quality {self.good_quality} are not in order within 1 to 7")


@section
class IlqlConfig(CosineOptimizer, Labels, Training):
    """`accord ilql`: offline Q-learning over tokens, from rated or ranked responses (Snell et al. 2023)."""

    returns: Literal["auto", "ratings", "ranks"] = "auto"
    """Return of a response, from -1 to 1: its rating from 1 to 7, its rank, or the rating where there is one."""
    backup: Literal["expectile", "max"] = "expectile"
    """Value of the next token's state: a learned value V (ILQL), or the target network's largest Q (DQN)."""
    expectile: Annotated[float, Range(above=0, below=1, why="it lies between 0 and 1")] = 0.7
    """Expectile of V: 0.5 is the mean over the responses in the data, towards 1 the best of them."""
    gamma: Share = 1.0
    """Discount factor per token; 1 is none."""
    lam: Share = 0.9
    """Lambda of the returns that Q learns: 0 looks one token ahead (ILQL, DQN), 1 only at the end of the response."""
    conservative: NonNegative = 0.1
    """Weight of the conservative term, which lowers Q of tokens that are not in the data (Kumar et al. 2020)."""
    beta: NonNegative = 4.0
    """Strength with which Q - V changes the SFT model's distribution at sampling; 0 leaves it unchanged."""
    target_rate: Annotated[float, Range(above=0, most=1, why="it is above 0 and at most 1")] = 0.02
    """Share of the network that its target takes over at each step (Polyak average)."""
    turns: Literal["last", "all"] = "last"
    """Which turns of the assistant are learned in a conversation of several: the last one, or all."""
    epochs: Count = 1
    """Passes over the responses."""
    batch_size: Count = 32
    """Responses per optimiser step."""
    held_out_group: str = ""
    """Group of labelers kept out of training; how well the network orders the responses that they rated is measured separately."""
    lora_rank: Natural = 0
    """Rank of the LoRA adapters on the network's body; 0 trains all weights."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(not self.keep_adapter, "keep_adapter: the adapters are on the network that guides the model, which peft cannot open")


@section
class StarConfig(ConstantOptimizer, DrawnBy, LongPrompts, EarlyStopping, Training):
    """`accord star`: learning from rationales that led to right answers (Zelikman et al. 2022)."""

    rounds: Count = 4
    """Rounds of attempting and training."""
    batch_size: Count = 256
    """Problems per round."""
    attempts: Annotated[int, Range(least=1)] = 4
    """Rationales sampled for each problem."""
    kept: Annotated[int, Range(least=1)] = 2
    """Different right rationales per problem to learn from, at most."""
    hints: bool = True
    """Retry problems without a right rationale with the answer in the prompt; the hint is removed before training."""
    majority: bool = False
    """Take the answer of most rationales of a problem as the right one (Huang et al. 2022): no answers are needed, and no hints given."""
    agreement: Annotated[float, Range(least=0, most=1)] = 0.0
    """With `majority`, the least share of a problem's rationales that must give its most frequent answer for any to be kept."""
    use_case: str = ""
    """With `majority`, the use case of the prompts to answer; empty takes all."""
    epochs: Count = 2
    """Passes over the kept rationales of a round."""
    minibatch_size: Count = 32
    """Rationales per optimiser step."""
    restart: bool = True
    """Train each round from the SFT model, on the rationales of all rounds; otherwise from the previous policy, on the round's own."""
    temperature: Positive = 1.0
    """Sampling temperature."""
    max_tokens: Natural = 0
    """Length limit of a rationale with its answer, in tokens; 0 takes half of the model's context, 1024 at most."""
    kinds: str = "person simulated"
    """Labeler kinds whose answers count as right: any of person, simulated, model and user."""
    evaluate_every: Natural = 1
    """Rounds between evaluations on held-out problems, the last round included; 0 never evaluates."""
    save_every: Count = 1
    """Rounds between checkpoints."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(not self.evaluate_by, f"evaluate_by is {self.evaluate_by!r}, but a rationale is evaluated by its answer")
        self.require(self.majority or not (self.agreement or self.use_case), "agreement and use_case are about majority, which is off")
        self.require(not self.majority or self.attempts > 1, "majority needs several rationales per problem, and attempts is 1")

    @property
    def updates(self) -> int:
        """Optimiser steps at one rationale per problem: of the whole run, or of one round if each begins anew."""
        a_round = self.epochs * -(-self.batch_size // self.minibatch_size)
        return a_round if self.restart else self.rounds * a_round
