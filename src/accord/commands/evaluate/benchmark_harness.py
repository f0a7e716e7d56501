"""Tasks of others' harnesses: lm-evaluation-harness and inspect-ai, on a model's folder or on an OpenAI-compatible address.

Both packages are optional and heavy; each is imported when a task asks for it. Nothing is downloaded: data sets and task files are yours.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import torch
from huggingface_hub import constants

from accord.data.tokenizers import load_tokenizer
from accord.errors import InputError, UsageError
from accord.evaluation.reward_benchmarks import Figures
from accord.runtime.device import pick_device
from accord.settings import BenchmarkConfig

OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
"""Variables that keep the harnesses from a download that nobody asked for; set one to 0 to allow it."""
NO_LIKELIHOOD = "the task compares log-probabilities of answers, which a chat address does not give"


@dataclass(frozen=True)
class Subject:
    """A model that is measured: its folder, or its name at an address."""

    name: str
    folder: str = ""
    address: str = ""
    model: str = ""
    key: str = ""

    @property
    def chats(self) -> bool:
        """Whether it is asked by a chat template."""
        return bool(self.address or load_tokenizer(Path(self.folder)).chat_template)


@contextmanager
def _offline() -> Generator[None]:
    """Keep both harnesses offline for a while, also the hub's client, which read its variable when it was imported."""
    before, of_client = {name: os.environ.get(name) for name in OFFLINE}, constants.HF_HUB_OFFLINE
    try:
        for name in OFFLINE:
            os.environ.setdefault(name, "1")
        setattr(constants, OFFLINE[0], os.environ[OFFLINE[0]].upper() in ("1", "ON", "YES", "TRUE"))
        yield
    finally:
        setattr(constants, OFFLINE[0], of_client)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)


@_offline()
def lm_eval(subject: Subject, tasks: list[str], config: BenchmarkConfig, dtype: torch.dtype) -> dict[str, Figures]:
    """Run tasks of lm-evaluation-harness; return each task's figures by metric and item.

    Raises:
        ImportError: lm_eval is not installed.
        UsageError: there is no such task.
        InputError: the harness fails on it.
    """
    simple_evaluate: Any = import_module("lm_eval").simple_evaluate
    manager: Any = import_module("lm_eval.tasks").TaskManager(include_path=config.include or None)
    unknown = [task for task in tasks if not manager.match_tasks([task])]
    if unknown:
        hint = "name one of lm-evaluation-harness, and the folder of your own ones by --include FOLDER"
        raise UsageError(f"there is no task {unknown[0]!r}", where="--tasks", hint=hint)
    if subject.address:
        kind, arguments = "local-chat-completions", {"base_url": f"{subject.address}/chat/completions", "model": subject.model}
        os.environ.setdefault("OPENAI_API_KEY", subject.key or "none")
    else:
        kind, arguments = "hf", {"pretrained": subject.folder, "dtype": str(dtype).removeprefix("torch.")}
    try:
        ran: Any = simple_evaluate(
            model=kind,
            model_args=arguments,
            tasks=tasks,
            num_fewshot=None if config.shots < 0 else config.shots,
            limit=config.limit or None,
            batch_size=config.batch_size,
            device=str(pick_device()),
            task_manager=manager,
            apply_chat_template=subject.chats,
            log_samples=True,
            bootstrap_iters=0,
            random_seed=config.seed,
            numpy_random_seed=config.seed,
            torch_random_seed=config.seed,
            fewshot_random_seed=config.seed,
        )
    except NotImplementedError as error:
        raise UsageError(NO_LIKELIHOOD, where=", ".join(tasks), hint="name the model's folder instead of its address") from error
    except (FileNotFoundError, ConnectionError, ValueError) as error:
        hint = "nothing is downloaded: put the data set on this machine and name its files in the task's yaml (docs/benchmark.md)"
        raise InputError(f"lm-evaluation-harness says: {error}", where=", ".join(tasks), hint=hint) from error
    found: dict[str, Figures] = {}
    for task, samples in ran["samples"].items():
        found[task] = items_of_lm_eval(samples)
    return found


def items_of_lm_eval(samples: list[Mapping[str, Any]]) -> Figures:
    """Return the figures by metric and item of the samples that the harness logged; a metric that is no number per item is left out."""
    found: Figures = {}
    for sample in samples:
        filtered = str(sample.get("filter") or "none")
        for metric in cast("list[str]", sample.get("metrics") or []):
            value: Any = sample.get(metric)
            if isinstance(value, bool | int | float):
                name = metric if filtered == "none" else f"{metric}, {filtered}"
                found.setdefault(name, {})[str(sample["doc_id"])] = float(value)
    return found


@_offline()
def inspect(subject: Subject, task: str, config: BenchmarkConfig, log_dir: Path) -> dict[str, Figures]:
    """Run the tasks of a file of inspect-ai; return each task's figures by scorer and item.

    Raises:
        ImportError: inspect_ai is not installed.
        InputError: the harness fails on it.
    """
    run_eval: Any = import_module("inspect_ai").eval
    get_model: Any = import_module("inspect_ai.model").get_model
    if subject.address:
        name, arguments = f"openai-api/accord/{subject.model}", {"base_url": subject.address, "api_key": subject.key or "none"}
    else:
        name, arguments = "hf/local", {"model_path": subject.folder, "tokenizer_path": subject.folder, "batch_size": config.batch_size}
    model: Any = get_model(name, **arguments)
    limit = config.limit or None
    logs: Any = run_eval(
        task, model=model, log_dir=str(log_dir), display="none", limit=limit, seed=config.seed, max_tokens=config.max_tokens
    )
    found: dict[str, Figures] = {}
    for log in logs:
        if log.status != "success" or not log.samples:
            why = log.error.message if log.error else log.status
            raise InputError(f"inspect-ai says: {why}", where=task, hint=f"its log is in {log_dir}")
        found[str(log.eval.task)] = items_of_inspect(log.samples)
    return found


def items_of_inspect(samples: list[Any]) -> Figures:
    """Return the figures by scorer and item: a letter C is 1, P one half, I and N 0; what is no number is left out."""
    letters = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}
    found: Figures = {}
    for sample in samples:
        scores = cast("dict[str, Any]", sample.scores or {})
        for scorer, score in scores.items():
            value: Any = score.value
            number = letters.get(value) if isinstance(value, str) else float(value) if isinstance(value, bool | int | float) else None
            if number is not None:
                found.setdefault(scorer, {})[f"{sample.id}:{sample.epoch}"] = number
    return found
