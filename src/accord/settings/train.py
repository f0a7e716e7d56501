"""The settings of the commands that train, and of those that sample or ask an AI for what is trained on."""

from __future__ import annotations

from typing import Annotated, Literal

from accord.settings.mixins import ConstantOptimizer, CosineOptimizer, Decoding, Labels, Rewards, Rollouts, Seed, Training, Window, section
from accord.settings.ranges import Count, Natural, NonNegative, Positive, Range, RankedResponses, Share, Signed


@section
class PretrainConfig(Seed):
    """`accord pretrain`: a tokenizer and a decoder from raw text."""

    vocab_size: Annotated[int, Range(least=300, why="300 at least: 256 bytes and the special tokens")] = 2048
    """Entries of the BPE vocabulary, special tokens included."""
    hidden_size: Count = 192
    """Width of the residual stream."""
    layers: Count = 2
    """Decoder blocks."""
    heads: Count = 3
    """Attention heads; divides hidden_size."""
    intermediate_size: Count = 576
    """Width of the gated MLP."""
    context: Annotated[int, Range(least=8, why="8 tokens at least")] = 256
    """Longest sequence in tokens."""
    tokens: Count = 2_600_000
    """Training tokens in all; the corpus is repeated when it is shorter."""
    batch_tokens: Count = 2048
    """Tokens an optimiser step."""
    lr: NonNegative = 2.4e-2
    """Peak learning rate of AdamW, for embeddings and norms; cosine to a twentieth."""
    muon_lr: NonNegative = 0.03
    """Peak learning rate of Muon, for the matrices in between; the same cosine."""
    warmup_steps: Natural = 20
    """Linear warm-up."""
    weight_decay: NonNegative = 0.1
    """Muon's, on the matrices it updates."""
    save_every: Count = 200
    """Steps between checkpoints."""

    def __post_init__(self) -> None:
        super().__post_init__()
        even = self.hidden_size % (2 * self.heads) == 0
        self.require(even, f"hidden_size {self.hidden_size} over {self.heads} heads does not give each an even width")
        fits = self.batch_tokens >= self.context
        self.require(fits, f"batch_tokens {self.batch_tokens} is smaller than one context of {self.context}")


@section
class SftConfig(CosineOptimizer, Training):
    """`accord sft`: supervised fine-tuning on demonstrations, loss on response tokens only."""

    epochs: Count = 3
    """How often the demonstrations are seen (InstructGPT: 16)."""
    batch_size: Count = 32
    """Demonstrations an optimiser step."""
    lr: NonNegative = 2e-5
    weight_decay: NonNegative = 0.0
    """Weight decay, on matrices."""
    max_tokens: Count = 256
    """Longest conversation; the right end is kept."""
    ptx_tokens: Natural = 1024
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

    def __post_init__(self) -> None:
        super().__post_init__()
        mixed = self.ptx_tokens == 0 or self.ptx_tokens >= 8
        self.require(mixed, f"ptx_tokens is {self.ptx_tokens}; 8 at least, or 0 for none")


@section
class SampleConfig(Seed, Decoding):
    """`accord sample`: K responses a prompt."""

    k: RankedResponses = 6
    """Responses a prompt (InstructGPT: 4 to 9)."""
    prompts: Natural = 0
    """How many training prompts; 0 takes all."""
    held_out: Natural = 300
    """How many prompts of validation users, to measure the reward model on; 0 takes none."""
    batch_size: Count = 64
    """Prompts sampled at once."""


@section
class CritiqueConfig(Seed):
    """`accord critique`: an AI answers, criticises its answer by a written principle and revises it (Bai et al. 2022)."""

    seed: Natural = 0
    """Fixes the prompts, the principles and the samples."""
    prompts: Natural = 0
    """How many training prompts; 0 takes all."""
    use_case: str = ""
    """Prompts of this use case alone, e.g. harmful."""
    revisions: Annotated[int, Range(least=1)] = 1
    """How often an answer is criticised and revised, each time by another principle."""
    principles: str = ""
    """A file with a principle a line; the built-in ones (docs/critique.md) when empty."""
    temperature: NonNegative = 0.7
    """Of the AI's answers, critiques and revisions."""
    max_tokens: Count = 256
    """Length limit of each."""


@section
class PreferConfig(Seed):
    """`accord prefer`: an AI ranks the responses that nobody has ranked, by written principles (Bai et al. 2022; Lee et al. 2023)."""

    seed: Natural = 0
    """Fixes the principles and the samples."""
    prompts: Natural = 0
    """How many prompts; 0 takes all that wait."""
    responses: Annotated[int, Range(least=2, most=9, why="a ranking takes 2 to 9")] = 4
    """Responses of a prompt that are compared, each with each, in both orders."""
    principles: str = ""
    """A file with a principle a line; the built-in ones (docs/prefer.md) when empty."""
    temperature: NonNegative = 0.0
    """Of the AI's verdicts; 0 is greedy."""
    max_tokens: Count = 16
    """Length limit of a verdict."""


@section
class RewardConfig(CosineOptimizer, Labels, Training):
    """`accord reward`: Bradley-Terry on all K-choose-2 pairs of a prompt."""

    epochs: Count = 1
    """InstructGPT found that more overfits."""
    batch_size: Count = 8
    """Prompts an optimiser step, each with all its pairs."""
    lr: NonNegative = 1e-5
    criterion: Literal["overall", "helpful", "harmless"] = "overall"
    """What it learns of: the rankings; those among responses that nobody flagged as harmful; or the flags for harm alone."""
    mismatched: NonNegative = 1.0
    """Share of the prompts that get the best response to another prompt as one more, worst response; 0 trains on labels alone."""
    held_out_group: str = ""
    """Labelers of this group are kept out of training, and the model's accuracy on them is measured apart."""
    ties: Literal["drop", "model"] = "drop"
    """Drop tied pairs, or model them (Rao and Kupper 1967) with a learned threshold."""


@section
class ProcessConfig(CosineOptimizer, Window, Training):
    """`accord process`: a model of where responses go wrong, from the parts that people marked (Wu et al. 2023)."""

    errors: str = ""
    """Kinds of error that count, with commas, e.g. `Irrelevant, Unverifiable`; empty counts all that were marked."""
    kinds: str = "person simulated"
    """Kinds of labelers whose marks count, of person, simulated, model and user."""
    weight: NonNegative = 0.0
    """Weight of a marked token in the loss; 0 is balanced: all marked tokens together weigh as much as all others."""
    epochs: Count = 1
    """Passes over the responses."""
    batch_size: Count = 16
    """Responses an optimiser step."""
    lr: NonNegative = 1e-5
    max_tokens: Count = 512


@section
class PpoConfig(ConstantOptimizer, Rollouts, Rewards, Training):
    """`accord ppo`: InstructGPT's PPO (Ouyang et al. 2022, section 3.5 and appendix C.4)."""

    steps: Count = 40
    """Rollout batches."""
    batch_size: Count = 128
    """Episodes (prompt and response) a rollout."""
    minibatch_size: Count = 64
    """Episodes an optimiser step."""
    epochs: Count = 2
    """Passes over a rollout (InstructGPT: 1)."""
    lr: NonNegative = 3e-6
    """Policy learning rate of AdamW, constant after warm-up."""
    muon_lr: NonNegative = 0.0
    """Policy learning rate of Muon for the inner matrices; 0 leaves them to AdamW. For models that Muon pretrained."""
    value_lr: NonNegative = 1e-5
    """Value model's learning rate of AdamW."""
    value_muon_lr: NonNegative = 0.0
    """Value model's learning rate of Muon; 0 leaves the inner matrices to AdamW."""
    clip: Positive = 0.2
    """Ratio clipping of the policy loss."""
    value_clip: NonNegative = 0.2
    """Clipping of the value around its rollout value; 0 turns it off."""
    gamma: Share = 1.0
    """Discount; 1 is none."""
    lam: Share = 0.95
    """GAE's lambda."""
    kl_coef: NonNegative = 0.1
    """beta of the per-token KL penalty to the SFT model (InstructGPT: 0.02)."""
    kl_target: NonNegative = 0.0
    """Target KL in nats a response for the adaptive controller (Ziegler et al. 2019); 0 keeps kl_coef fixed."""
    kl_horizon: Count = 10_000
    """Episodes over which the adaptive controller acts."""
    kl_estimator: Literal["k1", "k2", "k3"] = "k1"
    """Per-token KL penalty estimator in the reward."""
    kl_stop: NonNegative = 0.0
    """Ends the epochs of a rollout early once the approximate KL to the rollout policy passes this; 0 is off."""
    truncation: Literal["penalise", "terminate", "bootstrap", "mask"] = "penalise"
    """What a response without stop token gets: `no_stop_reward` instead of its score; its score as if it had ended; the value after
    its last token instead of a score; no part in the loss."""
    whiten_rewards: bool = False
    """Divide rewards by their standard deviation, as lm-human-preferences did."""
    whiten_advantages: bool = True
    """Advantages to mean 0, variance 1 over kept tokens."""
    ptx_coef: NonNegative = 2.0
    """Weight of the pretraining mix (InstructGPT: 27.8); 0 is plain PPO."""
    ptx_tokens: Natural = 2048
    """Pretraining tokens mixed into each optimiser step."""
    ema: Annotated[float, Range(least=0, below=1, why="it must be below 1: at 1 the first weights would stay for ever")] = 0.0
    """Decay of an exponential moving average of the policy, which is then what is saved (InstructGPT: 0.992); 0 is off."""
    save_every: Count = 10
    keep_every: Natural = 0
    """Steps between the policies that are kept for `accord frontier`, each as large as the model; 0 keeps none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        fits = self.minibatch_size <= self.batch_size
        self.require(fits, f"minibatch_size {self.minibatch_size} is larger than batch_size {self.batch_size}")
        mixed = self.ptx_coef == 0 or self.ptx_tokens >= 8
        self.require(mixed, f"ptx_tokens is {self.ptx_tokens} while ptx_coef is {self.ptx_coef}; 8 tokens at least, or ptx_coef 0")


@section
class GrpoConfig(ConstantOptimizer, Rollouts, Rewards, Training):
    """`accord grpo`: policy gradients from groups of responses, without a value model (Shao et al. 2024)."""

    steps: Count = 40
    """Rollout batches."""
    batch_size: Count = 128
    """Episodes (prompt and response) a rollout; a multiple of group_size."""
    group_size: Count = 8
    """Responses a prompt, whose rewards are compared with each other."""
    minibatch_size: Count = 64
    """Episodes an optimiser step."""
    epochs: Count = 2
    """Passes over a rollout."""
    advantage: Literal["group", "leave-one-out", "return"] = "group"
    """A response's reward minus its group's mean; minus the mean of the others of its group; or each token's own reward to go."""
    scale: Literal["group", "batch", "none"] = "group"
    """Advantages are divided by the standard deviation of the group's rewards; brought to mean 0, variance 1 over the rollout's
    tokens; or left as they are (Dr. GRPO)."""
    loss: Literal["response", "token", "constant", "sequence"] = "response"
    """Mean of response means (GRPO); mean over tokens (DAPO); sum by max_tokens (Dr. GRPO); the response as one action (RLOO)."""
    clip: Positive = 0.2
    """Ratio clipping of the loss."""
    clip_high: NonNegative = 0.0
    """Upper clipping where it differs (DAPO: 0.28); 0 is the same as clip."""
    kl_coef: NonNegative = 0.04
    """beta of the KL penalty to the SFT model."""
    kl_in: Literal["loss", "reward"] = "loss"
    """Whether the penalty is a term of the loss (GRPO) or taken from the reward."""
    kl_estimator: Literal["k1", "k2", "k3"] = "k3"
    """Per-token estimator of the penalty."""
    truncation: Literal["penalise", "terminate", "mask"] = "penalise"
    """What a response without stop token gets: `no_stop_reward` instead of its score; its score as if it had ended; no part in the loss."""
    overlong_tokens: Natural = 0
    """A reward falling to -1 over this many last tokens below max_tokens (DAPO's soft overlong punishment); 0 is off."""
    resample: Natural = 0
    """Further draws a step at most, to replace groups whose rewards are all the same (DAPO's dynamic sampling)."""
    rewards: str = "model"
    """What is rewarded, and its weights: `model=1, exact=0..2, length=-0.01, my_rewards:polite`; docs/grpo.md."""
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
        short = self.overlong_tokens < self.max_tokens
        self.require(short, f"overlong_tokens {self.overlong_tokens} must be below max_tokens {self.max_tokens}")


@section
class RlooConfig(GrpoConfig):
    """`accord rloo`: REINFORCE with a leave-one-out baseline (Ahmadian et al. 2024); the settings of `accord grpo`, other defaults."""

    group_size: Count = 4
    advantage: Literal["group", "leave-one-out", "return"] = "leave-one-out"
    scale: Literal["group", "batch", "none"] = "none"
    loss: Literal["response", "token", "constant", "sequence"] = "sequence"
    kl_coef: NonNegative = 0.1
    kl_in: Literal["loss", "reward"] = "reward"
    kl_estimator: Literal["k1", "k2", "k3"] = "k1"


@section
class ReinforceConfig(GrpoConfig):
    """`accord reinforce`: REINFORCE++ (Hu et al. 2025); the settings of `accord grpo`, other defaults."""

    group_size: Count = 1
    advantage: Literal["group", "leave-one-out", "return"] = "return"
    scale: Literal["group", "batch", "none"] = "batch"
    loss: Literal["response", "token", "constant", "sequence"] = "token"
    kl_coef: NonNegative = 0.1
    kl_in: Literal["loss", "reward"] = "reward"
    kl_estimator: Literal["k1", "k2", "k3"] = "k1"


@section
class RaftConfig(ConstantOptimizer, Rewards, Training):
    """`accord raft`: rejection sampling, fine-tuning on the best of the policy's own responses (Dong et al. 2023; Gulcehre et al. 2023)."""

    rounds: Count = 8
    """Rounds of sampling, choosing and learning; 1 distils best-of-n."""
    batch_size: Count = 256
    """Prompts a round."""
    group_size: Count = 8
    """Responses drawn for each prompt."""
    select: Literal["best", "threshold"] = "best"
    """What is learned from: the best response of each prompt (RAFT), or every response of at least `threshold` (expert iteration)."""
    threshold: Signed = 1.0
    """Lowest reward that is learned from, under `threshold`."""
    restart: bool = False
    """Each round's learning starts from the SFT model again (ReST-EM, Singh et al. 2023), not from the last round's policy."""
    epochs: Count = 1
    """Passes over the chosen responses of a round."""
    minibatch_size: Count = 32
    """Responses an optimiser step."""
    temperature: Positive = 1.0
    """Sampling temperature."""
    max_tokens: Count = 48
    """Length limit of a response; responses without stop token are never learned from."""
    rewards: str = "model"
    """What is rewarded, and its weights; as in `accord grpo`."""
    save_every: Count = 1
    """Rounds between checkpoints."""

    def __post_init__(self) -> None:
        super().__post_init__()
        one = self.select == "best" and self.group_size < 2
        self.require(not one, f"group_size is {self.group_size}; the best of one response is no choice, take 2 at least")


@section
class DpoConfig(CosineOptimizer, Labels, Training):
    """`accord dpo`: learning from rankings without a reward model (Rafailov et al. 2023, and what followed)."""

    loss: Literal["sigmoid", "robust", "ipo", "orpo", "simpo", "plackett-luce"] = "sigmoid"
    """DPO's loss on pairs, one of its relatives, or Plackett-Luce over the whole ranking."""
    beta: NonNegative = 0.0
    """Strength of the hold on the reference (IPO's tau, ORPO's lambda); 0 takes the method's own: 0.1, and 2 for simpo."""
    margin: NonNegative = 0.5
    """SimPO's target margin as a share of beta (its paper's gamma / beta); only for simpo."""
    label_smoothing: Annotated[float, Range(least=0, below=0.5, why="from 0.5 on the labels would say nothing or the opposite")] = 0.0
    """Share of the labels taken to be wrong: sigmoid becomes cDPO; robust corrects for it and needs one; simpo takes it too."""
    normalise: Literal["auto", "sum", "mean"] = "auto"
    """A response's log-probability is the sum over its tokens or their mean; auto is mean for ipo, orpo and simpo, else the sum."""
    ties: Literal["drop", "model"] = "drop"
    """Drop tied pairs, or model them: Rao and Kupper (1967) for sigmoid, Breslow (1974) for plackett-luce."""
    tie_margin: Positive = 1.1
    """Rao and Kupper's eta: rewards closer than about this are a likely tie; only for sigmoid with ties modelled."""
    epochs: Count = 1
    """Passes over the rankings."""
    batch_size: Count = 8
    """Rankings an optimiser step, each with all its pairs."""

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


@section
class KtoConfig(CosineOptimizer, Labels, Training):
    """`accord kto`: learning from thumbs up and down on single responses (Ethayarajh et al. 2024)."""

    thumbs: Literal["auto", "ratings", "ranks", "given"] = "auto"
    """Where thumbs come from: the 1 to 7 ratings, the places, what users of the chat gave, or all (a rating before a place)."""
    good_quality: Annotated[int, Range(least=1, most=7, why="ratings are 1 to 7")] = 5
    """Ratings from here on are a thumb up."""
    bad_quality: Annotated[int, Range(least=1, most=7, why="ratings are 1 to 7")] = 3
    """Ratings up to here are a thumb down; those in between are none."""
    beta: Annotated[float, Range(above=0, why="with 0 no thumb teaches anything")] = 0.1
    """Strength of the hold on the reference: how soon a gain counts less."""
    up_weight: NonNegative = 0.0
    """Weight of thumbs up; 0 is balanced: all ups together weigh as much as all downs."""
    down_weight: Positive = 1.0
    """Weight of thumbs down."""
    epochs: Count = 1
    """Passes over the thumbs."""
    batch_size: Count = 32
    """Thumbs an optimiser step."""

    def __post_init__(self) -> None:
        super().__post_init__()
        ordered = self.bad_quality < self.good_quality
        self.require(ordered, f"bad_quality {self.bad_quality} and good_quality {self.good_quality} are not in order within 1 to 7")


@section
class IlqlConfig(CosineOptimizer, Labels, Training):
    """`accord ilql`: Q-learning over tokens, offline, from rated or ranked responses (Snell et al. 2023)."""

    returns: Literal["auto", "ratings", "ranks"] = "auto"
    """What a response was worth, from -1 to 1: its 1 to 7 rating, its place in the ranking, or the rating where there is one."""
    backup: Literal["expectile", "max"] = "expectile"
    """What the next token's state is worth: a learned value V (ILQL), or the target network's largest Q (DQN)."""
    expectile: Annotated[float, Range(above=0, below=1, why="it lies between 0 and 1")] = 0.7
    """Of V: 0.5 is the mean over what was said, towards 1 the best of it."""
    gamma: Share = 1.0
    """Discount a token; 1 is none."""
    lam: Share = 0.9
    """lambda of the returns that Q learns: 0 looks one token ahead (ILQL, DQN), 1 at the response's end alone."""
    conservative: NonNegative = 0.1
    """Weight of the conservative term, which holds down Q of tokens that nobody said (Kumar et al. 2020)."""
    beta: NonNegative = 4.0
    """Strength with which Q - V moves the SFT model's distribution when the model acts; 0 leaves it alone."""
    target_rate: Annotated[float, Range(above=0, most=1, why="it is above 0 and at most 1")] = 0.02
    """Share of the network that its target takes over at each step (Polyak average)."""
    epochs: Count = 1
    """Passes over the responses."""
    batch_size: Count = 32
    """Responses an optimiser step."""
    held_out_group: str = ""
    """Labelers of this group are kept out of training, and the network's ordering of what they rated is measured apart."""
    lora_rank: Natural = 0
    """Rank of LoRA adapters on the network's body; 0 trains all weights."""


@section
class StarConfig(ConstantOptimizer, Training):
    """`accord star`: rationales that led to right answers are learned from (Zelikman et al. 2022)."""

    rounds: Count = 4
    """Rounds of trying and learning."""
    batch_size: Count = 256
    """Problems a round."""
    attempts: Annotated[int, Range(least=1)] = 4
    """Rationales drawn for each problem."""
    kept: Annotated[int, Range(least=1)] = 2
    """Right rationales of a problem that are learned from at most, no text twice."""
    hints: bool = True
    """Problems without a right rationale are tried again with the answer in the prompt; what comes of it is learned without it."""
    epochs: Count = 2
    """Passes over the kept rationales of a round."""
    minibatch_size: Count = 32
    """Rationales an optimiser step."""
    restart: bool = True
    """Each round learns from the SFT model anew, on the rationales of all rounds; else from the last round's policy, on its own."""
    lr: NonNegative = 1e-4
    temperature: Positive = 1.0
    """Sampling temperature."""
    max_tokens: Count = 96
    """Length limit of a rationale with its answer."""
    kinds: str = "person simulated"
    """Kinds of labelers whose answers are taken for right, of person, simulated, model and user."""
    save_every: Count = 1
    """Rounds between checkpoints."""
