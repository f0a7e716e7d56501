"""Accord's own half of `make bench`: its training loops and its sampler on the shared work, called as the commands call them.

Nothing is rebuilt here: ``sft.train``, ``reward.train`` and ``ppo.train`` run as they are. Work is counted where a loop takes its
next example, a step ends where the loop logs it, and the folder that the run would write stays empty.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import three_turns
import torch
from measure import Lap, Outcome, Task, run, seconds_since_start
from work import EOS, GROUP, RANKED, Pair, Size, even_share, examples, pairs, prompts, rankings

from accord import DpoConfig, GrpoConfig, LocalSampler, Message, PpoConfig, Prompt, RewardConfig, RewardModel, Run, Sampling, SftConfig
from accord.algorithms import dpo, grpo, ppo, reward, sft
from accord.algorithms.episodes import EpisodeSampler
from accord.algorithms.optim import adamw
from accord.algorithms.rewards import Earned, Mixture, Term
from accord.commands.train.run import trainable, with_reference
from accord.data.templates import chat_format
from accord.data.token_rows import RowWindow
from accord.data.tokenizers import load_tokenizer
from accord.environments.hosted import Environments
from accord.environments.tools import calls_in
from accord.models.folders import load_causal_lm, load_scalar_model, scalar_from
from accord.models.scalar import new_head
from accord.records import PromptTokens
from accord.runtime.device import choose_device, keep_few_kernels, keep_freed_memory, matmul_dtype
from accord.runtime.seeds import generator

Row = TypeVar("Row")

DTYPE = matmul_dtype(choose_device("cpu"))
LR = 1e-5
"""Any rate will do: what is timed does not depend on it."""
DTYPE_NAME = "bf16" if DTYPE is torch.bfloat16 else "fp32"


class Counted(list[Row]):
    """Training data that adds a row's work to the lap whenever the loop takes it."""

    def __init__(self, rows: list[Row], work: list[float], lap: Lap) -> None:
        super().__init__(rows)
        self.work, self.lap = work, lap

    def __getitem__(self, index: Any) -> Any:
        self.lap.add(self.work[index])
        return super().__getitem__(index)


@dataclass(frozen=True)
class Timed(Run):
    """A run that marks the lap where a step is logged, and writes nothing."""

    lap: Lap = field(default_factory=lambda: Lap(1))
    figures: list[dict[str, float]] = field(default_factory=list[dict[str, float]])

    def log(self, step: int, **metrics: float) -> None:
        self.lap.mark()
        self.figures.append(metrics)

    def checkpoint(self, step: int, state: Any) -> None:
        """The last step asks for one, after its mark."""

    def samples(self, step: int, rows: Any) -> None:
        """Likewise."""


def _run(task: Task, lap: Lap) -> Timed:
    return Timed(Path(f"never-written-{task.name}"), task.name, {}, lap)


def _demonstrations(task: Task) -> list[sft.Example]:
    data = examples(task.size, task.size.sft_batch * (task.steps + task.warmup), task.seed)
    return [sft.Example(row.prompt + row.response, len(row.response)) for row in data]


def train_sft(task: Task) -> Outcome:
    """Tokens a second, prompt and response."""
    lap, rows, steps = Lap(task.warmup), _demonstrations(task), task.steps + task.warmup
    config = SftConfig(
        seed=task.seed, lr=LR, epochs=1, batch_size=task.size.sft_batch, save_every=steps, select="last", lora_rank=task.size.rank
    )  # fmt: skip
    model = trainable(load_causal_lm(task.models / "policy"), config, "bench")
    data = Counted(rows, [float(len(row.tokens)) for row in rows], lap)
    sft.train(config, model=model, examples=data, validation=(), run=_run(task, lap), dtype=DTYPE)
    return Outcome(DTYPE_NAME, lap.rate, "tokens/s", lap.seconds)


def _ranking(pair: Pair) -> reward.RankedRows:
    return reward.RankedRows([pair.prompt + pair.chosen, pair.prompt + pair.rejected], [1, 2])


def train_reward(task: Task) -> Outcome:
    """Pairs a second, each two responses, from the policy's body with a fresh head."""
    batch = task.size.reward_batch
    rows = [_ranking(pair) for pair in pairs(task.size, batch * (task.steps + task.warmup), task.seed)]
    return _train_reward(task, rows, batch, "pairs/s")


def train_rankings(task: Task) -> Outcome:
    """Rankings of nine a second."""
    batch = task.size.ranking_batch
    found = rankings(task.size, batch * (task.steps + task.warmup), task.seed)
    rows = [reward.RankedRows([ranking.prompt + each for each in ranking.responses], list(range(1, RANKED + 1))) for ranking in found]
    return _train_reward(task, rows, batch, "rankings/s")


def _train_reward(task: Task, rows: list[reward.RankedRows], batch: int, unit: str) -> Outcome:
    lap = Lap(task.warmup)
    model = scalar_from(load_causal_lm(task.models / "policy"), new_head(task.size.hidden, generator(task.seed, "reward", "head")))
    config = RewardConfig(
        seed=task.seed, lr=LR, epochs=1, batch_size=batch, save_every=task.steps + task.warmup, lora_rank=task.size.rank
    )  # fmt: skip
    model = trainable(model, config, "bench")
    data = Counted(rows, [1.0] * len(rows), lap)
    reward.train(config, model=model, rankings=data, validation=(), demonstrations=(), run=_run(task, lap), dtype=DTYPE)
    return Outcome(DTYPE_NAME, lap.rate, unit, lap.seconds)


def train_dpo(task: Task) -> Outcome:
    """Pairs a second; the reference's forward pass, which the loop makes once before its first step, is counted for the timed pairs."""
    lap, size, steps = Lap(task.warmup), task.size, task.steps + task.warmup
    data = pairs(size, size.reward_batch * steps, task.seed)
    rows = [dpo.ranked_responses(pair.prompt, [pair.chosen, pair.rejected], [1, 2], RowWindow(1024), "") for pair in data]
    config = DpoConfig(seed=task.seed, lr=LR, batch_size=size.reward_batch, save_every=steps, lora_rank=size.rank)
    policy = trainable(load_causal_lm(task.models / "policy"), config, "bench")
    timed = size.reward_batch * task.steps
    dpo.reference_logprobs(config, policy, rows[: size.reward_batch], dtype=DTYPE)
    began = time.perf_counter()
    dpo.reference_logprobs(config, policy, rows[:timed], dtype=DTYPE)
    reference = time.perf_counter() - began
    dpo.train(config, policy=policy, rankings=rows, validation=(), run=_run(task, lap), dtype=DTYPE)
    seconds = lap.seconds + reference
    phases = {"reference": reference / task.steps, "update": lap.seconds / task.steps}
    return Outcome(DTYPE_NAME, timed / seconds, "pairs/s", seconds, phases)


def _policy(task: Task, config: GrpoConfig | PpoConfig) -> tuple[Any, Any]:
    """The policy and its reference: one model's weights with adapters and without, or two models."""
    folder = task.models / "policy"
    return with_reference(load_causal_lm(folder), config, lambda: load_causal_lm(folder), "bench")


class EvenShare:
    """The reward that both sides give."""

    def score(self, prompts: Any, responses: Sequence[Sequence[int]]) -> torch.Tensor:
        return torch.tensor([even_share(list(row)) for row in responses])


def train_grpo(task: Task) -> Outcome:
    """Episodes a second over whole iterations: sample groups, measure by policy and reference, update ``ppo_epochs`` times."""
    lap, size, steps = Lap(task.warmup), task.size, task.steps + task.warmup
    config = GrpoConfig(
        seed=task.seed, lora_rank=size.rank, lr=LR, steps=steps, batch_size=size.ppo_batch, group_size=GROUP, minibatch_size=size.ppo_batch,
        epochs=size.ppo_epochs, max_tokens=size.ppo_new, truncation="terminate", save_every=steps,
    )  # fmt: skip
    (policy, reference), timed = _policy(task, config), _run(task, lap)
    grpo.train(
        config, policy=policy, reference=reference, sampler=LocalSampler(policy, stop=_no_stop(task), dtype=DTYPE),
        rewards=Mixture([Term("even")], {"even": EvenShare()}), prompts=prompts(size, size.ppo_batch // GROUP, size.ppo_prompt, task.seed),
        decode=str, run=timed, dtype=DTYPE,
    )  # fmt: skip
    counted = timed.figures[task.warmup :]
    checks = {key: statistics.mean(row[key] for row in counted) for key in ("response_length", "logprob_gap", "approx_kl")}
    return Outcome(DTYPE_NAME, size.ppo_batch * task.steps / lap.seconds, "episodes/s", lap.seconds, _phases(counted, lap), checks)


class Looking:
    """The environment as ours want it: an object per episode, which reads the calls that TRL's parser reads for it."""

    deterministic = True

    def __init__(self, size: Size) -> None:
        self.size, self.turns = size, 0

    def reset(self, row: Mapping[str, Any]) -> list[dict[str, str]]:
        return row["messages"]

    def step(self, messages: Sequence[Mapping[str, str]]) -> tuple[list[dict[str, str]], float, bool, dict[str, float]]:
        (call,) = calls_in(messages[-1]["content"])
        self.turns += 1
        if self.turns == three_turns.TURNS:
            return [], three_turns.reward(call.arguments["words"]), True, {}
        return [{"role": "tool", "content": three_turns.reply(call.arguments["words"], self.size)}], 0.0, False, {}


class Verified(EpisodeSampler):
    """Verifies every episode before anything is learned of it."""

    size: Size

    def sample(self, prompts: Any, **how: Any) -> Any:
        drawn = super().sample(prompts, **how)
        for row in drawn.episodes:
            if row.end != "done":
                raise RuntimeError(f"an episode ended as {row.end}: {row.error}")
            three_turns.require_mask(row.own, self.size)
        return drawn


def train_episodes(task: Task) -> Outcome:
    """Episodes a second over whole iterations: groups of conversations of three turns with an environment, and an update on them."""
    lap, size, steps = Lap(task.warmup), task.size, task.steps + task.warmup
    folder = three_turns.caller(task.models, size)
    config = GrpoConfig(
        seed=task.seed, lora_rank=size.rank, lr=LR, steps=steps, batch_size=size.ppo_batch, group_size=GROUP, minibatch_size=size.ppo_batch,
        epochs=1, max_tokens=size.turn, max_turns=three_turns.TURNS, environment="three turns", rewards="environment", save_every=steps,
    )  # fmt: skip
    policy, reference = with_reference(load_causal_lm(folder), config, lambda: load_causal_lm(folder), "bench")
    written, timed = chat_format(load_tokenizer(folder), context=1024), _run(task, lap)
    written.check_turns()
    said = three_turns.conversations(size, size.ppo_batch // GROUP, task.seed)
    asked = [Prompt(str(i), (Message("user", words),)) for i, words in enumerate(said)]
    environments = Environments(partial(Looking, size), deterministic=True)
    sampler = Verified(LocalSampler(policy, stop=written.stop, dtype=DTYPE), environments, written, config, window=1024)
    sampler.size = size
    grpo.train(
        config, policy=policy, reference=reference, sampler=sampler, rewards=Mixture([Term("environment")], {"environment": Earned()}),
        prompts=[PromptTokens(written.prompt(each.messages), each) for each in asked], decode=str, run=timed, dtype=DTYPE,
    )  # fmt: skip
    counted = timed.figures[task.warmup :]
    rate = size.ppo_batch * task.steps / lap.seconds
    return Outcome(DTYPE_NAME, rate, "episodes/s", lap.seconds, _phases(counted, lap), _played(size, counted))


def _played(size: Size, figures: list[dict[str, float]]) -> dict[str, float]:
    """Turns of an episode and trained tokens of an iteration, by the run's own metrics.

    Raises:
        RuntimeError: another number of either in an iteration.
    """
    found = {(row["turns"], round(row["response_length"] * size.ppo_batch)) for row in figures}
    wanted = (three_turns.TURNS, size.ppo_batch * sum(three_turns.mask(size)))
    if found != {wanted}:
        raise RuntimeError(f"turns and tokens trained are {found}, not {wanted}")
    gaps = {key: statistics.mean(row[key] for row in figures) for key in ("logprob_gap", "approx_kl")}
    return {"turns": wanted[0], "tokens_trained": wanted[1], **gaps}


def train_ppo(task: Task) -> Outcome:
    """Episodes a second over whole iterations: sample, score (measuring by reference and value model included), update."""
    lap, size, steps = Lap(task.warmup), task.size, task.steps + task.warmup
    rows = prompts(size, size.ppo_batch, size.ppo_prompt, task.seed)
    critic, scorer = (load_scalar_model(task.models / "reward") for _ in range(2))
    config = PpoConfig(
        seed=task.seed, lora_rank=size.rank, lr=LR, steps=steps, batch_size=size.ppo_batch, minibatch_size=size.ppo_batch,
        epochs=size.ppo_epochs,
        value_lr=LR, max_tokens=size.ppo_new, temperature=1.0, ptx_coef=0.0, save_every=steps,
    )  # fmt: skip
    (policy, reference), timed = _policy(task, config), _run(task, lap)
    value = trainable(critic, config, "bench", "value")
    ppo.train(
        config, policy=policy, reference=reference, value=value, sampler=LocalSampler(policy, stop=_no_stop(task), dtype=DTYPE),
        scorer=RewardModel(scorer, dtype=DTYPE), prompts=Counted(rows, [1.0] * len(rows), lap), pretraining=_no_text, decode=str,
        run=timed, dtype=DTYPE,
    )  # fmt: skip
    counted = timed.figures[task.warmup :]
    length = statistics.mean(row["response_length"] for row in counted)
    if length != size.ppo_new:
        raise RuntimeError(f"episodes have {length} new tokens, not {size.ppo_new}")
    checks = {key: statistics.mean(row[key] for row in counted) for key in ("response_length", "logprob_gap", "approx_kl")}
    return Outcome(DTYPE_NAME, lap.rate, "episodes/s", lap.seconds, _phases(counted, lap), checks)


def _phases(figures: list[dict[str, float]], lap: Lap) -> dict[str, float]:
    """Seconds an iteration by phase; what is neither sampling nor scoring is the update's, as it is for the peer."""
    sample = statistics.mean(row["seconds_rollout"] for row in figures)
    score = statistics.mean(row["seconds_score"] + row["seconds_measure"] for row in figures)
    return {"sample": sample, "score": score, "update": lap.seconds / len(figures) - sample - score}


def _no_stop(task: Task) -> tuple[int]:
    """A stop token that no model has."""
    return (task.size.vocab + EOS,)


def _no_text(skip: int) -> Any:
    raise RuntimeError("the work has no pretraining mix")


def generate(task: Task) -> Outcome:
    """New tokens a second, the prompt's forward pass included: the median of the timed calls."""
    batch, new = int(task.name.removeprefix("generate_b")), task.size.generate_new
    sampling = Sampling(temperature=1.0, max_tokens=new)
    rows = prompts(task.size, batch, task.size.generate_prompt, task.seed)
    sampler = LocalSampler(load_causal_lm(task.models / "policy"), stop=_no_stop(task), dtype=DTYPE)
    seconds: list[float] = []
    for call in range(task.warmup + task.steps):
        start = time.perf_counter()
        out = sampler.sample(rows, n=1, sampling=sampling, generator=generator(task.seed, "generate", call))
        seconds.append(time.perf_counter() - start)
        if out.tokens.shape != (batch, new):
            raise RuntimeError(f"sample returned {tuple(out.tokens.shape)} tokens, not {(batch, new)}")
    timed = seconds[task.warmup :]
    return Outcome(DTYPE_NAME, batch * new / statistics.median(timed), "tokens/s", sum(timed))


def startup(task: Task) -> Outcome:
    """Seconds from the start of the process to a model, its optimiser and its data."""
    model, _ = load_causal_lm(task.models / "policy"), _demonstrations(task)
    adamw(model.parameters(), SftConfig(), lr=LR)
    seconds = seconds_since_start()
    return Outcome(DTYPE_NAME, seconds, "s", seconds)


MEASURES = {
    "sft": train_sft,
    "reward": train_reward,
    "reward_k9": train_rankings,
    "dpo": train_dpo,
    "ppo": train_ppo,
    "grpo": train_grpo,
    "episodes": train_episodes,
    **{f"generate_b{batch}": generate for batch in (1, 8, 64)},
    "startup": startup,
}

if __name__ == "__main__":
    keep_freed_memory()
    keep_few_kernels()
    run(MEASURES)
