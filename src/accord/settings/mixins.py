"""Groups of settings that several commands share, as mixins. A config that needs another default or sentence declares the field again.

A field declared again without a sentence keeps the mixin's sentence in `--help`.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, cast, dataclass_transform

from accord.settings.ranges import Count, Natural, NonNegative, Positive, Range, Share, Signed, check_numbers, require

Config = TypeVar("Config")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def section(kind: type[Config]) -> type[Config]:
    """Make a class a frozen dataclass: a section of accord.toml.

    The fields that it adds come before those of its mixins, after `seed`. A field declared again keeps its place. A plain dataclass
    would begin with the mixins, so that `accord ppo --help` would show the rank of adapters before the number of steps.
    """
    made = cast("Any", dataclass(frozen=True, kw_only=True)(kind))
    added_by: dict[str, type[Any]] = {}
    for base in reversed(kind.__mro__):
        for name in inspect.get_annotations(base):
            added_by.setdefault(name, base)
    fields = made.__dataclass_fields__
    ordered = sorted(fields, key=lambda name: (name != "seed", kind.__mro__.index(added_by[name])))
    made.__dataclass_fields__ = {name: fields[name] for name in ordered}
    return made


@section
class Settings:
    """The base of every section: its name, and numbers that are checked against their ranges."""

    def __post_init__(self) -> None:
        check_numbers(self, self.stage)

    @property
    def stage(self) -> str:
        """The name of the command and of its section in accord.toml."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", type(self).__name__.removesuffix("Config")).lower()

    def require(self, condition: bool, message: str) -> None:
        """Raise UsageError with the section's name and the message unless the condition holds."""
        require(condition, self.stage, message)


@section
class Seed(Settings):
    """Settings of a stage that makes random choices."""

    seed: Natural = 0
    """Seed of every random choice of this stage."""


@section
class Sharding(Settings):
    """How several processes hold what they train."""

    shard: Literal["auto", "replicate", "full"] = "auto"
    """Whether several processes shard weights, gradients and optimiser states (full) or each holds all of them (replicate); auto shards
    what does not fit."""
    offload: bool = False
    """Keep a sharded model and its optimiser in the host's memory, and on the GPU only the block that computes: slower."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(not (self.offload and self.shard == "replicate"), "offload moves the shards of a sharded model; take shard full")


@section
class Training(Sharding, Seed):
    """Settings of a stage that trains weights within the available memory."""

    micro_tokens: Count = 16_384
    """Tokens per forward pass; a larger batch accumulates gradients over several."""
    save_every: Count = 20
    """Steps between checkpoints."""
    save_minutes: NonNegative = 0.0
    """Also save a checkpoint when the last one is this many minutes old; 0 saves by steps alone."""
    save_async: bool = False
    """Write checkpoints while the training goes on, from a copy in the host's memory."""
    lora_rank: Natural = 0
    """Rank of the LoRA adapters; 0 trains all weights."""
    lora_alpha: NonNegative = 0.0
    """Alpha of the adapters, which are scaled by alpha over rank; 0 takes twice the rank."""
    lora_targets: str = "all-linear"
    """Layers with adapters: `all-linear`, names such as `q_proj, v_proj`, or a regular expression for the whole name."""
    lora_bits: Annotated[int, Range(least=0, most=4, why="4, or 0 for weights as they are")] = 0
    """4 quantises the frozen weights under the adapters to 4 bits (QLoRA); 0 keeps their precision."""
    train_vision: bool = False
    """Train a vision-language model's vision tower too; without it the tower that reads the pixels stays as it is."""
    recompute: bool = False
    """Recompute activations in the backward pass (gradient checkpointing): less memory, about a fifth more time."""
    keep_adapter: bool = False
    """Also save the LoRA adapter by itself, in models/NAME/adapter, as peft and vLLM open it."""
    save_dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of the saved weights; auto is that of the model it starts from. Training itself keeps float32 weights."""

    def __post_init__(self) -> None:
        super().__post_init__()
        bits = self.lora_bits
        self.require(self.lora_rank > 0 or not self.keep_adapter, "keep_adapter without lora_rank: there is no adapter to keep")
        self.require(bits in (0, 4), f"lora_bits is {bits}; 4, or 0 for weights as they are")
        learns = not bits or self.lora_rank > 0
        self.require(learns, "lora_bits is 4 and lora_rank 0: weights in four bits do not learn, adapters on them do")
        unused = self.lora_rank == 0 and (self.lora_alpha != 0 or self.lora_targets != "all-linear")
        self.require(not unused, "lora_alpha and lora_targets need adapters, and lora_rank is 0, which trains all weights")
        self.require(bool(self.lora_targets.strip()), "lora_targets is empty; all-linear, names of layers, or a regular expression")


@section
class Adam(Settings):
    """AdamW's settings beside its learning rate."""

    adam_beta1: Annotated[float, Range(least=0, below=1)] = 0.9
    """AdamW's decay of the mean gradient."""
    adam_beta2: Annotated[float, Range(least=0, below=1)] = 0.999
    """AdamW's decay of the mean squared gradient (InstructGPT: 0.95)."""
    adam_epsilon: Positive = 1e-8
    """AdamW's epsilon, added to its denominator."""
    weight_decay: NonNegative = 0.0
    """Weight decay of the matrices."""


@section
class FineTuning(Adam, Training):
    """Learning rates of a model that is trained already, and their warm-up."""

    lr: NonNegative = 0.0
    """Learning rate of AdamW; 0 takes the rate for this method and model (docs/rates.md)."""
    muon_lr: NonNegative = 0.0
    """Learning rate of Muon for the inner matrices; 0 leaves them to AdamW. For models pretrained with Muon."""
    warmup_steps: Natural = 10
    """Optimiser steps of linear warm-up, at most `warmup_share` of the run."""
    warmup_share: Share = 0.1
    """Largest share of the run that is warm-up; 0 sets no limit."""

    @property
    def recipe(self) -> str:
        """The row of the table of rates (settings/rates.py)."""
        return self.stage

    def warmup(self, updates: int) -> int:
        """Return the optimiser steps of warm-up in a run of this many."""
        return min(self.warmup_steps, int(self.warmup_share * updates)) if self.warmup_share else self.warmup_steps


@section
class CosineOptimizer(FineTuning):
    """Learning rates with warm-up and cosine decay, for data that is known in advance."""

    lr: NonNegative = 0.0
    """Peak learning rate of AdamW, with cosine decay to a tenth; 0 takes the rate for this method and model (docs/rates.md)."""
    muon_lr: NonNegative = 0.0
    """Peak learning rate of Muon for the inner matrices; 0 leaves them to AdamW. For models pretrained with Muon."""


@section
class ConstantOptimizer(FineTuning):
    """Learning rates that are constant after warm-up, for a policy that generates its own data."""

    lr: NonNegative = 0.0
    """Learning rate of AdamW, constant after warm-up; 0 takes the rate for this method and model (docs/rates.md)."""
    max_grad_norm: NonNegative = 1.0
    """Largest gradient norm; larger gradients are scaled down to it. 0 turns clipping off."""


@section
class Window(Settings):
    """The length of prompt and response that a model reads."""

    max_tokens: Natural = 0
    """Longest prompt and response together in tokens; 0 takes the model's context, 2048 at most."""
    long_rows: Literal["drop", "cut_prompt", "refuse"] = "drop"
    """Longer ones: drop leaves them out and counts them, cut_prompt cuts the prompt on the left, refuse stops and names the row."""


@section
class Labels(Window):
    """The labelers whose labels a model learns from."""

    kinds: str = "person simulated"
    """Labeler kinds to learn from: any of person, simulated, model and user."""
    held_out_group: str = ""
    """Group of labelers kept out of training; accuracy on them is measured separately."""


@section
class LongPrompts(Settings):
    """Prompts to which a model responds."""

    long_rows: Literal["drop", "cut_prompt", "refuse"] = "drop"
    """Prompts that leave no room for a response in the model's context: drop leaves them out and counts them, cut_prompt cuts them on the
    left, refuse stops and names the prompt."""


@section
class DrawnBy(Settings):
    """The engine that draws responses (docs/vllm.md)."""

    sampler: str = "local"
    """Engine that draws the responses: `local`, `vllm` (starts a vLLM server here), or addresses of vLLM servers, separated by spaces."""
    sampler_sync: Literal["auto", "adapter", "folder", "nccl"] = "auto"
    """Way of the weights to vLLM: LoRA adapters, all weights through a folder, or GPU to GPU; auto is adapter with LoRA, else folder."""
    sampler_folder: str = ""
    """Folder for the weights, which trainer and servers see under one name; by default in the run's own folder."""
    sampler_seconds: Count = 600
    """Longest time in seconds that one request to vLLM may take."""
    sampler_options: str = ""
    """More flags for the `vllm serve` that is started, for example `--gpu-memory-utilization 0.5`."""
    sampler_sleep: bool = False
    """Let vLLM give back the GPU's memory while the policy learns: for a trainer and a server on one GPU."""
    banned_words: str = ""
    """Words that are never drawn, separated by commas, each a single token; `id:17` is a token's number. The others share its
    probability."""

    def __post_init__(self) -> None:
        super().__post_init__()
        words = self.sampler.replace(",", " ").split()
        known = words in (["local"], ["vllm"]) or (bool(words) and all(word.startswith(("http://", "https://")) for word in words))
        self.require(known, f"sampler is {self.sampler!r}; local, vllm, or addresses such as http://127.0.0.1:8000")
        needless = self.sampler != "vllm" and bool(self.sampler_options)
        self.require(not needless, "sampler_options are flags of a server that accord starts; they need sampler vllm")
        alone = not self.banned_words or self.sampler == "local"
        self.require(alone, "banned_words need sampler local: another engine would draw from a distribution that is not the trainer's")


@section
class Rollouts(DrawnBy, LongPrompts):
    """Settings of a policy that samples the responses it learns from."""

    temperature: Positive = 1.0
    """Sampling temperature; log-probabilities are computed at this temperature everywhere."""
    max_tokens: Natural = 0
    """Length limit of a response in tokens; 0 takes half of the model's context, 1024 at most."""
    no_stop_reward: Signed = -3.0
    """Reward of a response without a stop token when `truncation` is `penalise`."""


@section
class Knowledge(Settings):
    """What a model knows, read off its own answers (docs/knowledge.md)."""

    knowledge_samples: Annotated[int, Range(least=2, why="one answer agrees with itself")] = 10
    """Answers that a model gives to each question, from which is read what it knows; they are kept in the project's cache."""
    knowledge_threshold: Annotated[float, Range(above=0, below=1)] = 0.5
    """Share of its answers that say the same from which a model counts as knowing."""
    knowledge_use_cases: str = "open_qa"
    """Use cases whose prompts ask for a fact; where no prompt has one of them, those without a use case that end in a question mark."""
    knowledge_meaning: str = "short"
    """What tells which answers mean the same: short, entailment:FOLDER, judge:MODEL or judge:http://host/v1#MODEL."""
    knowledge_seed: Natural = 0
    """Seed of those answers; runs that share it share the answers."""


@section
class Rewards(Knowledge):
    """The rewards of a policy's own samples."""

    rewards: str = "model"
    """Rewards and their weights: `model=1, exact=0..2, length=-0.01, harmless>=0.5`; see docs/rewards.md."""
    reward_seconds: Count = 600
    """Longest time in seconds that a reward function, server or judge may take for one batch; a slower one stops the run."""
    reward_batch: Natural = 0
    """Responses per call of a reward function, and per request to a reward server; 0 gives a function all, and divides them over the
    requests to a server."""
    reward_workers: Count = 8
    """Largest number of calls, requests or programs of one reward at a time."""
    isolate_rewards: bool = False
    """Run reward functions in a process of their own: one that crashes, hangs or eats memory does not take the training along."""
    reward_memory_mb: Natural = 0
    """Memory limit of such a process in megabytes (Linux); 0 is half of the machine's memory."""
    code_seconds: Positive = 10.0
    """Time limit of a program that the reward `code` runs."""
    code_memory_mb: Count = 512
    """Its memory limit in megabytes."""
    judge_model: str = ""
    """Model that judges for the reward `judge(...)`: one of the project, or with `judge_address` the model's name there."""
    judge_address: str = ""
    """OpenAI-compatible address of the judge, up to and including /v1; empty takes a model of the project."""
    judge_pairs: Natural = 50
    """Pairs of ranked responses on which the judge's agreement with people is measured before training; 0 measures none."""
    limit_rate: NonNegative = 0.1
    """Step size of the Lagrange multiplier of a reward with a limit."""
    kinds: str = "person simulated"
    """Labeler kinds whose demonstrations and ratings the rewards use: any of person, simulated, model and user."""
    logprob_gap: Positive = 0.1
    """Largest mean difference between the log-probabilities of sampler and trainer; a larger one stops the run with an error."""
    gap_multiple: NonNegative = 2.5
    """Largest growth of that difference over the first step's, per token and per response, before the run stops; 0 sets no limit but
    `logprob_gap`."""


@section
class Recorded(Settings):
    """What a run keeps of its rollouts."""

    record_rollouts: Literal["auto", "all", "checkpoint", "off"] = "auto"
    """Rollouts to keep in the run's folder: all; those that a resume would need; or none. auto is off for the engine in this process,
    which draws the same again, and all for any other."""
    replay: str = ""
    """Another run of the project whose recorded rollouts to learn from, without a sampler."""


@section
class Episodes(Settings):
    """Episodes of several turns, where an environment answers the model (docs/episodes.md)."""

    environment: str = ""
    """What answers the model over several turns: `module:Class`, or an environment of docs/episodes.md; empty takes one response."""
    max_turns: Count = 8
    """Turns of the model in an episode, at most."""
    episode_tokens: Natural = 0
    """Longest episode in tokens, with what others say; 0 takes the model's context."""
    max_tool_calls: Natural = 0
    """Answers of tools in an episode, at most; 0 sets no limit."""
    step_seconds: Positive = 60.0
    """Longest time in seconds that an environment may take for one answer; the episode of a slower one ends."""
    episode_seconds: NonNegative = 0.0
    """Longest time in seconds of an episode, looked at between its turns; 0 sets no limit."""
    at_once: Count = 32
    """Environments that answer at once."""


@section
class OffPolicy(Recorded):
    """Learning from tokens that another distribution than the trainer's drew."""

    staleness: Annotated[int, Range(least=0, most=1)] = 0
    """1 samples the next batch while the policy learns from this one, from weights one step old; 0 waits."""

    importance: Literal["auto", "token", "sequence", "mask", "off"] = "auto"
    """Importance weights of sampled tokens, trainer over sampler: per token; per response; per response, without those above the cap; or
    none. auto is off for the engine in this process, and otherwise token, or sequence where the response is one action."""
    importance_cap: Annotated[float, Range(least=1)] = 2.0
    """Largest importance weight."""


@section
class EarlyStopping(Settings):
    """Evaluation on held-out prompts while a policy learns, and what follows from it."""

    evaluate_every: Natural = 10
    """Steps between evaluations on held-out prompts, the last step included; 0 never evaluates."""
    evaluate_prompts: Count = 64
    """Validation prompts of each evaluation, at most; two responses are drawn to each."""
    evaluate_by: str = ""
    """Rewards to evaluate by, such as a judge or a second reward model; empty takes those that the policy learns from."""
    patience: Natural = 0
    """Evaluations in a row without a higher held-out reward after which training ends; 0 never ends it."""
    final_policy: Literal["auto", "last", "best"] = "auto"
    """Policy to save: the last, or the one with the highest held-out reward. auto is best with `patience`, and otherwise last."""

    def __post_init__(self) -> None:
        super().__post_init__()
        watched = self.evaluate_every > 0 or (self.patience == 0 and self.final_policy != "best")
        self.require(watched, "evaluate_every is 0, and patience and final_policy best need evaluations")


@section
class Decoding(Settings):
    """How a response is sampled for people to read."""

    temperature: NonNegative = 1.0
    """Sampling temperature; 0 is greedy."""
    top_k: Natural = 0
    """Sample from the k most likely tokens; 0 keeps all."""
    top_p: Annotated[float, Range(above=0, most=1)] = 1.0
    """Sample from the smallest set of tokens with this total probability; 1 keeps all."""
    repetition_penalty: Positive = 1.0
    """Above 1 makes tokens that were already used less likely; 1 is off."""
    max_tokens: Natural = 0
    """Length limit of a response in tokens; 0 takes half of the model's context, 1024 at most."""


@section
class HeldOut(Settings):
    """Systems measured by their responses to held-out prompts, with intervals."""

    prompts: Natural = 600
    """Number of held-out prompts; 0 takes all."""
    temperature: NonNegative = 1.0
    """Sampling temperature of every system."""
    max_tokens: Natural = 0
    """Length limit of a response in tokens; 0 takes half of the model's context, 1024 at most."""
    bootstrap: Count = 2000
    """Bootstrap resamples of the prompts for each interval."""
