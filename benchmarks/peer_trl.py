"""TRL's SFT, reward and PPO trainers on the shared work. Runs inside an environment that holds TRL.

The trainers are used as their documentation shows. Settings that are not a variant's are TRL's defaults, except: batch
size, number of steps and seed (the work), and no logging, saving or progress bar. Work is counted where TRL hands a batch
to the model; the clock is read when a step ends.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import three_turns
import torch
from measure import Lap, Outcome, Task, run, seconds_since_start
from transformers import TrainerCallback
from work import EOS, GROUP, Pair, Ranking, even_share, examples, pairs, prompts, rankings

PACK = 512
"""Tokens of a packed row."""
PAIRS = 36
"""Pairs in a ranking of nine."""


class _Clock(TrainerCallback):
    """Marks the lap at the end of each step."""

    def __init__(self, lap: Lap) -> None:
        self.lap = lap

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.lap.mark()


def _arguments(task: Task, folder: str) -> dict[str, Any]:
    """What SFTConfig, RewardConfig and PPOConfig are all given."""
    quiet = {"report_to": "none", "save_strategy": "no", "logging_strategy": "no", "disable_tqdm": True}
    given = {key: task.options[key] for key in ("gradient_checkpointing", "bf16") if key in task.options}
    return {"output_dir": folder, "seed": task.seed, "use_cpu": True, **quiet, **given}


def _attention(task: Task) -> dict[str, Any]:
    return {"model_init_kwargs": {"attn_implementation": task.options["attention"]}} if "attention" in task.options else {}


def _adapters(task: Task, kind: str = "CAUSAL_LM") -> dict[str, Any]:
    """Adapters as TRL's documentation asks for them; nothing where all weights are trained."""
    if not task.size.rank:
        return {}
    from peft import LoraConfig

    rank = task.size.rank
    return {"peft_config": LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules="all-linear", task_type=kind)}


@contextmanager
def _products() -> Iterator[dict[str, int]]:
    """Counts the results of ``linear`` by dtype, which shows whether autocast is at work; used on warm-up steps alone."""
    from torch.utils._python_dispatch import TorchDispatchMode

    seen: dict[str, int] = {}

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            if func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.bmm, torch.ops.aten.linear):
                seen[str(out.dtype)] = seen.get(str(out.dtype), 0) + 1
            return out

    with Watch():
        yield seen


def _dtype(seen: dict[str, int]) -> str:
    """The dtype most matrix products came out in, as the table names it."""
    return "bf16" if seen.get("torch.bfloat16", 0) > seen.get("torch.float32", 0) else "fp32"


def _counted(step: Callable[..., Any], lap: Lap, count: Callable[[dict[str, Any]], float], checks: dict[str, Any]) -> Callable[..., Any]:
    """A trainer's ``training_step`` that counts its batch, and watches dtypes and shapes during the first call."""

    def training_step(model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        lap.add(count(inputs))
        if checks:
            return step(model, inputs, *args, **kwargs)
        shape, tokens = list(inputs["input_ids"].shape), int(count_tokens(inputs))
        with _products() as seen:
            loss = step(model, inputs, *args, **kwargs)
        recompute = bool(getattr(model, "is_gradient_checkpointing", False))
        checks.update(products=seen, shape=shape, tokens=tokens, gradient_checkpointing=recompute)
        return loss

    return training_step


def count_tokens(inputs: dict[str, Any]) -> float:
    """Tokens of a batch without its padding; a padding-free batch has no attention mask."""
    return float(inputs["attention_mask"].sum() if "attention_mask" in inputs else inputs["input_ids"].numel())


def count_pairs(inputs: dict[str, Any]) -> float:
    """Pairs of a batch: chosen rows, then rejected rows."""
    return inputs["input_ids"].shape[0] / 2


def _sft_trainer(task: Task, folder: str, callbacks: list[Any]) -> Any:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    size = task.size
    data = examples(size, size.sft_batch * (task.steps + task.warmup), task.seed)
    rows = [{"input_ids": e.prompt + e.response, "labels": [-100] * len(e.prompt) + e.response} for e in data]
    batch: dict[str, Any] = {"per_device_train_batch_size": size.sft_batch}
    if task.options.get("packing"):
        accumulate = max(1, round(sum(len(row["input_ids"]) for row in rows) / (task.steps + task.warmup) / PACK))
        batch = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": accumulate, "packing": True, "max_length": PACK}
    config = SFTConfig(max_steps=task.steps + task.warmup, **batch, **_arguments(task, folder), **_attention(task))
    data = Dataset.from_list(rows)
    return SFTTrainer(model=str(task.models / "policy"), args=config, train_dataset=data, callbacks=callbacks, **_adapters(task))


def _reward_row(pair: Pair) -> dict[str, Any]:
    return {"chosen_ids": pair.prompt + pair.chosen, "rejected_ids": pair.prompt + pair.rejected}


def _by_length(rows: list[dict[str, Any]], batch: int) -> list[dict[str, Any]]:
    """The same rows in batches of like length, the middle one first so that the warm-up step stands for the rest.

    Trainer's own grouping acts within fifty batches, more than a benchmark has; this is the most it could give.
    """
    rows = sorted(rows, key=lambda row: max(len(row["chosen_ids"]), len(row["rejected_ids"])))
    batches = [rows[i : i + batch] for i in range(0, len(rows), batch)]
    batches.insert(0, batches.pop(len(batches) // 2))
    return [row for group in batches for row in group]


def _reward_trainer(task: Task, folder: str, callbacks: list[Any]) -> Any:
    size = task.size
    rows = [_reward_row(pair) for pair in pairs(size, size.reward_batch * (task.steps + task.warmup), task.seed)]
    return _reward_trainer_of(task, folder, callbacks, rows, size.reward_batch, 1)


def _rankings_trainer(task: Task, folder: str, callbacks: list[Any]) -> Any:
    """A step's rankings are accumulated from batches of as many pairs as the row of pairs has."""
    size = task.size
    found = rankings(size, size.ranking_batch * (task.steps + task.warmup), task.seed)
    rows = [_reward_row(pair) for ranking in found for pair in _pairs_of(ranking)]
    accumulate = max(1, size.ranking_batch * PAIRS // size.reward_batch)
    return _reward_trainer_of(task, folder, callbacks, rows, size.ranking_batch * PAIRS // accumulate, accumulate)


def _pairs_of(ranking: Ranking) -> list[Pair]:
    return [Pair(ranking.prompt, better, worse) for better, worse in itertools.combinations(ranking.responses, 2)]


def _reward_trainer_of(task: Task, folder: str, callbacks: list[Any], rows: list[dict[str, Any]], batch: int, accumulate: int) -> Any:
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    extra: dict[str, Any] = {}
    if task.options.get("grouped"):
        rows, extra = _by_length(rows, batch * accumulate), {"train_sampling_strategy": "sequential"}
    extra |= {"max_steps": task.steps + task.warmup, "per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulate}
    config = RewardConfig(**extra, **_arguments(task, folder), **_attention(task))
    data = Dataset.from_list(rows)
    return RewardTrainer(
        model=str(task.models / "policy"), args=config, train_dataset=data, callbacks=callbacks, **_adapters(task, "SEQ_CLS")
    )


def _timed(task: Task, build: Callable[..., Any], count: Callable[[dict[str, Any]], float], unit: str) -> Outcome:
    lap, checks = Lap(task.warmup), {}
    with tempfile.TemporaryDirectory() as folder:
        trainer = build(task, folder, [_Clock(lap)])
        trainer.training_step = _counted(trainer.training_step, lap, count, checks)
        trainer.train()
    _require_in_force(task, checks)
    return Outcome(_dtype(checks["products"]), lap.rate, unit, lap.seconds, checks=checks)


def _require_in_force(task: Task, checks: dict[str, Any]) -> None:
    """Raises when a setting that was asked for did nothing."""
    if checks["gradient_checkpointing"] != task.options.get("gradient_checkpointing", True):
        raise RuntimeError(f"gradient checkpointing is {checks['gradient_checkpointing']} against {task.options}")
    if task.options.get("packing") and (checks["shape"][0] != 1 or checks["tokens"] != checks["shape"][1]):
        raise RuntimeError(f"asked for packing, got a batch of shape {checks['shape']} with {checks['tokens']} tokens")


def sft(task: Task) -> Outcome:
    """Tokens a second, prompt and response, padding not counted."""
    return _timed(task, _sft_trainer, count_tokens, "tokens/s")


def reward(task: Task) -> Outcome:
    """Pairs a second, each two responses."""
    return _timed(task, _reward_trainer, count_pairs, "pairs/s")


def reward_k9(task: Task) -> Outcome:
    """Rankings of nine a second, as the pairs that they are."""
    return _timed(task, _rankings_trainer, lambda inputs: count_pairs(inputs) / PAIRS, "rankings/s")


def _words(tokens: list[int]) -> str:
    """Token ids as the text that the word-level tokenizer reads them from; the end is the trainer's to add."""
    return " ".join(f"w{token}" for token in tokens if token != EOS)


def _dpo_trainer(task: Task, folder: str, callbacks: list[Any]) -> Any:
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    size = task.size
    data = pairs(size, size.reward_batch * (task.steps + task.warmup), task.seed)
    rows = [{"prompt": _words(p.prompt), "chosen": " " + _words(p.chosen), "rejected": " " + _words(p.rejected)} for p in data]
    batch = {"max_steps": task.steps + task.warmup, "per_device_train_batch_size": size.reward_batch}
    batch |= {"precompute_ref_log_probs": True} if task.options.get("precomputed") else {}
    config = DPOConfig(**batch, **_arguments(task, folder), **_attention(task))
    data = Dataset.from_list(rows)
    return DPOTrainer(model=str(task.models / "policy"), args=config, train_dataset=data, callbacks=callbacks, **_adapters(task))


def dpo(task: Task) -> Outcome:
    """Pairs a second, the reference's forward pass included: where it is made before the first step, its share of the timed pairs."""
    from trl import DPOTrainer

    before, began = DPOTrainer._precompute_ref_logps, list[float]()

    def timed(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        found = before(*args, **kwargs)
        began.append(time.perf_counter() - start)
        return found

    DPOTrainer._precompute_ref_logps = timed
    outcome = _timed(task, _dpo_trainer, count_pairs, "pairs/s")
    if bool(began) != bool(task.options.get("precomputed")):
        raise RuntimeError(f"the reference was computed beforehand {len(began)} times against {task.options}")
    seconds = outcome.seconds + sum(began) * task.steps / (task.steps + task.warmup)
    return replace(outcome, value=outcome.value * outcome.seconds / seconds, seconds=seconds)


class _Rollouts(TrainerCallback):
    """Marks the lap after the last update on a rollout."""

    def __init__(self, lap: Lap, size: Any) -> None:
        self.lap, self.size, self.updates = lap, size, 0

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.updates += 1
        if self.updates % self.size.ppo_epochs == 0:
            self.lap.add(float(self.size.ppo_batch))
            self.lap.mark()


def _watched_once(trainer: Any) -> dict[str, int]:
    """Watches the products of the first training step, which is warm-up: watching all of them would slow the peer down."""
    found: dict[str, int] = {}
    step = trainer.training_step

    def training_step(*args: Any, **kwargs: Any) -> Any:
        if found:
            return step(*args, **kwargs)
        with _products() as seen:
            loss = step(*args, **kwargs)
        found.update(seen)
        return loss

    trainer.training_step = training_step
    return found


def grpo(task: Task) -> Outcome:
    """Episodes a second over whole iterations: groups of responses, and all updates on them."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    size, lap, lengths = task.size, Lap(task.warmup), list[int]()

    def even(completion_ids: list[list[int]], **_: Any) -> list[float]:
        lengths.extend(map(len, completion_ids))
        return [even_share(row) for row in completion_ids]

    rows = [{"prompt": _words(row)} for row in prompts(size, size.ppo_batch // GROUP, size.ppo_prompt, task.seed)]
    with tempfile.TemporaryDirectory() as folder:
        config = GRPOConfig(
            per_device_train_batch_size=size.ppo_batch, num_generations=GROUP, max_completion_length=size.ppo_new, temperature=1.0,
            num_iterations=size.ppo_epochs, max_steps=size.ppo_epochs * (task.steps + task.warmup), beta=0.04,
            generation_kwargs={"min_new_tokens": size.ppo_new}, **_arguments(task, folder), **_attention(task),
        )  # fmt: skip
        trainer = GRPOTrainer(
            model=str(task.models / "policy"), reward_funcs=even, args=config, train_dataset=Dataset.from_list(rows),
            callbacks=[_Rollouts(lap, size)], **_adapters(task),
        )  # fmt: skip
        seen = _watched_once(trainer)
        trainer.train()
    if set(lengths) != {size.ppo_new}:
        raise RuntimeError(f"responses have {min(lengths)} to {max(lengths)} tokens, not {size.ppo_new}")
    return Outcome(_dtype(seen), lap.rate, "episodes/s", lap.seconds, checks={"products": seen})


RESPONSE = {
    "defaults": {"role": "assistant"},
    "start_anchor": "<assistant>",
    "fields": {
        "tool_calls": {
            "open": "<tool_call>", "close_pattern": r"</tool_call>\s*", "repeats": True, "content": "json",
            "transform": {"type": "function", "function": "{content}"},
        },
        "content": {"close_pattern": r"<eos>\s*", "content": "text"},
    },
}  # fmt: skip
"""TRL's own response template of Qwen 3 (``chat_template_utils.qwen3_template``) with the marks of our template, and no thoughts."""


def _looking(size: Any) -> type:
    """The environment as TRL wants it: one instance per rollout, whose public methods are the tools."""

    class Looking:
        def reset(self, **row: Any) -> None:
            """The prompt is the row's."""

        def look(self, words: str) -> str:
            """Look something up.

            Args:
                words: What to look for.

            Returns:
                What was found.
            """
            return three_turns.reply(words, size)

    return Looking


class _Played:
    """Verifies every rollout of a trainer, counts what is trained on, and splits the time of an iteration."""

    def __init__(self, trainer: Any, size: Any, lap: Lap) -> None:
        self.size, self.lap = size, lap
        self.seconds: dict[str, list[float]] = {"sample": [], "scored": []}
        self.turns, self.learned = set[int](), set[int]()
        trainer._generate = self._timed(trainer._generate, "sample", self._require_three_turns)
        trainer._generate_and_score_completions = self._timed(trainer._generate_and_score_completions, "scored", self._count)

    def _timed(self, function: Callable[..., Any], phase: str, look: Callable[[Any], None]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            result = function(*args, **kwargs)
            self.seconds[phase].append(time.perf_counter() - start)
            look(result)
            return result

        return timed

    def _require_three_turns(self, generated: tuple[Any, ...]) -> None:
        prompts, tokens, masks, completions, *_ = generated
        if {len(row) for row in prompts} != {self.size.ppo_prompt + three_turns.AROUND}:
            raise RuntimeError(f"prompts have {sorted({len(row) for row in prompts})} tokens")
        for row, mask in zip(tokens, masks, strict=True):
            three_turns.require_mask(list(map(bool, mask)), self.size)
            if len(row) != len(mask):
                raise RuntimeError(f"{len(row)} tokens have a mask of {len(mask)}")
        self.turns |= {sum(message["role"] == "assistant" for message in messages) for messages in completions}

    def _count(self, batch: dict[str, Any]) -> None:
        """The mask that TRL's loss multiplies with."""
        self.learned.add(int((batch["completion_mask"] * batch["tool_mask"]).sum()))

    def checks(self) -> dict[str, Any]:
        """Turns of an episode and trained tokens of an iteration.

        Raises:
            RuntimeError: another number of either anywhere.
        """
        wanted = self.size.ppo_batch * sum(three_turns.mask(self.size))
        if (self.turns, self.learned) != ({three_turns.TURNS}, {wanted}):
            raise RuntimeError(f"episodes of {self.turns} turns, {self.learned} tokens trained, not {three_turns.TURNS} and {wanted}")
        return {"turns": three_turns.TURNS, "tokens_trained": wanted}

    def phases(self) -> dict[str, float]:
        """Seconds an iteration, over those that count; the reference is TRL's part of the scoring."""
        timed = len(self.lap.marks) - self.lap.warmup
        sample, scored = (sum(self.seconds[phase][self.lap.warmup :]) / timed for phase in ("sample", "scored"))
        return {"sample": sample, "score": scored - sample, "update": self.lap.seconds / timed - scored}


def episodes(task: Task) -> Outcome:
    """Episodes a second over whole iterations: groups of conversations of three turns with an environment, and an update on them."""
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    size, lap, folder_of_model = task.size, Lap(task.warmup), str(three_turns.caller(task.models, task.size))

    def last_turn(completions: list[list[dict[str, Any]]], **_: Any) -> list[float]:
        calls = [messages[-1]["tool_calls"][0]["function"] for messages in completions]
        return [three_turns.reward(call["arguments"]["words"]) for call in calls]

    prompts_ = three_turns.conversations(size, size.ppo_batch // GROUP, task.seed)
    rows = [{"prompt": [{"role": "user", "content": words}]} for words in prompts_]
    tokenizer = AutoTokenizer.from_pretrained(folder_of_model)
    tokenizer.response_template = RESPONSE
    with tempfile.TemporaryDirectory() as folder:
        config = GRPOConfig(
            per_device_train_batch_size=size.ppo_batch, num_generations=GROUP, max_completion_length=len(three_turns.mask(size)),
            temperature=1.0, num_iterations=1, max_steps=task.steps + task.warmup, beta=0.04,
            max_tool_calling_iterations=three_turns.TURNS - 1, **_arguments(task, folder), **_attention(task),
        )  # fmt: skip
        trainer = GRPOTrainer(
            model=folder_of_model, reward_funcs=last_turn, args=config, train_dataset=Dataset.from_list(rows), processing_class=tokenizer,
            environment_factory=_looking(size), callbacks=[_Rollouts(lap, replace(size, ppo_epochs=1))], **_adapters(task),
        )  # fmt: skip
        played, seen = _Played(trainer, size, lap), _watched_once(trainer)
        trainer.train()
    return Outcome(_dtype(seen), lap.rate, "episodes/s", lap.seconds, played.phases(), {"products": seen, **played.checks()})


def startup(task: Task) -> Outcome:
    """Seconds from the start of the process to an SFT trainer that stands ready with its model and data."""
    with tempfile.TemporaryDirectory() as folder:
        _sft_trainer(task, folder, [])
        seconds = seconds_since_start()
    return Outcome("fp32", seconds, "s", seconds)


def _ppo_trainer(task: Task, folder: str, callbacks: list[Any]) -> Any:
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    size, policy, scalar = task.size, str(task.models / "policy"), str(task.models / "reward")
    extra = {"attn_implementation": task.options["attention"]} if "attention" in task.options else {}
    config = PPOConfig(
        per_device_train_batch_size=size.ppo_batch, num_ppo_epochs=size.ppo_epochs, num_mini_batches=1, response_length=size.ppo_new,
        total_episodes=size.ppo_batch * (task.steps + task.warmup), temperature=1.0, num_sample_generations=0, **_arguments(task, folder),
    )  # fmt: skip
    rows = [{"input_ids": row} for row in prompts(size, size.ppo_batch, size.ppo_prompt, task.seed)]
    value = AutoModelForSequenceClassification.from_pretrained(scalar, **extra)
    if size.rank:  # the trainer's peft_config is the policy's alone
        from peft import get_peft_model

        value = get_peft_model(value, _adapters(task, "SEQ_CLS")["peft_config"])
    reference = None if size.rank else AutoModelForCausalLM.from_pretrained(policy, **extra)
    return PPOTrainer(
        args=config, processing_class=AutoTokenizer.from_pretrained(policy), train_dataset=Dataset.from_list(rows), callbacks=callbacks,
        model=AutoModelForCausalLM.from_pretrained(policy, **extra), ref_model=reference,
        reward_model=AutoModelForSequenceClassification.from_pretrained(scalar, **extra), value_model=value, **_adapters(task),
    )  # fmt: skip


class _Phases(TrainerCallback):
    """Splits a PPO iteration: time inside TRL's own ``batch_generation``, time inside its no-grad forwards, and the rest."""

    def __init__(self, lap: Lap) -> None:
        self.lap = lap
        self.seconds: dict[str, list[float]] = {"sample": [0.0], "score": [0.0]}

    def watch(self, function: Callable[..., Any], phase: str, checks: dict[str, Any] | None = None) -> Callable[..., Any]:
        """``function`` with its time added to ``phase`` when gradients are off."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            if torch.is_grad_enabled():
                return self._watch_update(function, checks, *args, **kwargs)
            start = time.perf_counter()
            result = function(*args, **kwargs)
            self.seconds[phase][-1] += time.perf_counter() - start
            return result

        return timed

    def _watch_update(self, function: Callable[..., Any], checks: dict[str, Any] | None, *args: Any, **kwargs: Any) -> Any:
        if checks is None or checks:
            return function(*args, **kwargs)
        with _products() as seen:
            result = function(*args, **kwargs)
        checks.update(products=seen, shape=list(args[1].shape))
        return result

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        for values in self.seconds.values():
            values.append(0.0)

    def means(self) -> dict[str, float]:
        """Seconds an iteration by phase, over the iterations that count."""
        timed = len(self.lap.marks) - self.lap.warmup
        parts = {phase: sum(values[self.lap.warmup :]) / timed for phase, values in self.seconds.items()}
        return {**parts, "update": self.lap.seconds / timed - sum(parts.values())}


def ppo(task: Task) -> Outcome:
    """Episodes a second over whole iterations: sample, score, and all epochs of updates."""
    from trl.experimental.ppo import ppo_trainer

    lap, checks = Lap(task.warmup), {}
    phases = _Phases(lap)
    ppo_trainer.batch_generation = phases.watch(ppo_trainer.batch_generation, "sample")
    ppo_trainer.get_reward = phases.watch(ppo_trainer.get_reward, "score")
    ppo_trainer.forward = phases.watch(ppo_trainer.forward, "score", checks)
    with tempfile.TemporaryDirectory() as folder:
        _ppo_trainer(task, folder, [phases, _Clock(lap)]).train()
    lap.work = [float(task.size.ppo_batch)] * len(lap.marks)
    full = task.size.ppo_prompt + task.size.ppo_new
    if checks["shape"][1] != full:
        raise RuntimeError(f"episodes have {checks['shape'][1]} tokens, not {full}: a stop token ended them (id {EOS}?)")
    return Outcome(_dtype(checks["products"]), lap.rate, "episodes/s", lap.seconds, phases.means(), checks)


MEASURES = {
    "sft": sft,
    "reward": reward,
    "reward_k9": reward_k9,
    "dpo": dpo,
    "ppo": ppo,
    "grpo": grpo,
    "episodes": episodes,
    "startup": startup,
}

if __name__ == "__main__":
    run(MEASURES)
