"""Accord: language models learn what your people prefer.

A project is a folder with its feedback, its models and its runs. Create one, put in what people said, train, compare, serve::

    import accord

    project = accord.create("my-project")
    accord.add(project, [{"prompt": "Say hello.", "response": "Hello, how can I help?", "user": "ann"}])
    accord.sft(project, base="models/SmolLM2-135M", config=accord.SftConfig(lora_rank=16, ptx_tokens=0))
    accord.add(project, [{"prompt": "Say hello.", "chosen": "Hello!", "rejected": "What?", "user": "ann"}])
    accord.dpo(project, config=accord.DpoConfig(lora_rank=16))
    print(accord.answer(project, "dpo", ["Say hello."]))

Put in      create, open, add, import_, prompts, inspect, export; Prompt, Demonstration, Response, Ranking, Thumb, Labeler
Label       queue, label, rank (by a function), agreement, plan
Train       pretrain, sft, reward, generative_reward, process, ppo, dpo, kto, grpo, rloo, reinforce, raft, online_dpo,
            distill, ilql, star; sample, transcribe, critique, prefer
Evaluate    benchmark, compare, evaluate, examine, frontier, probe, solve, doctor, lineage
Use         answer, score, speaker, scorer, taste, serve, chat
Read back   rows, metrics and samples, for a data frame; store
Alone       accord.objectives (every formula, as a function of tensors), LocalSampler, RewardModel, load_model

Each command is the function of its name: `accord dpo my-project --beta 0.2` is
``accord.dpo("my-project", config=accord.DpoConfig(beta=0.2))``. It returns its run, with ``run.summary``, or its metrics. It raises
an AccordError that says what is wrong, where, and how to fix it. Every section of accord.toml has its config class, ``PpoConfig`` for
[ppo]. A config that you make has the defaults; ``accord.config(project, accord.PpoConfig)`` has what accord.toml says.

``import accord`` loads no torch: each name is loaded when you first use it. The names below and the config classes are public: each stays
for one minor version after a DeprecationWarning (docs/plugins.md). Rewards, judges, formats, measures and guards of your own plug in by
entry points (docs/plugins.md). Worked scripts and notebooks are in examples/.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import accord.objectives as objectives
    from accord.commands.app import Compute, RunFlags
    from accord.commands.data.export import export
    from accord.commands.data.import_ import import_
    from accord.commands.data.inspect import inspect
    from accord.commands.data.prompts import prompts
    from accord.commands.evaluate.benchmark import benchmark
    from accord.commands.evaluate.compare import compare
    from accord.commands.evaluate.doctor import doctor
    from accord.commands.evaluate.evaluate import evaluate
    from accord.commands.evaluate.examine import examine
    from accord.commands.evaluate.frontier import frontier
    from accord.commands.evaluate.probe import probe
    from accord.commands.evaluate.solve import solve
    from accord.commands.feedback.agreement import agreement
    from accord.commands.feedback.label import label
    from accord.commands.feedback.plan import plan
    from accord.commands.feedback.queue import queue
    from accord.commands.library import (
        Format,
        Store,
        add,
        answer,
        config,
        create,
        metrics,
        open,
        rank,
        rows,
        samples,
        score,
        scorer,
        speaker,
        store,
    )
    from accord.commands.models import LocalSampler, Model, RewardModel, TextScorer, load_model
    from accord.commands.project.lineage import lineage
    from accord.commands.serve.chat import chat
    from accord.commands.serve.serve import serve
    from accord.commands.train.critique import critique
    from accord.commands.train.distill import distill
    from accord.commands.train.dpo import dpo
    from accord.commands.train.generative_reward import generative_reward
    from accord.commands.train.grpo import grpo
    from accord.commands.train.ilql import ilql
    from accord.commands.train.kto import kto
    from accord.commands.train.online_dpo import online_dpo
    from accord.commands.train.ppo import ppo
    from accord.commands.train.prefer import prefer
    from accord.commands.train.pretrain import pretrain
    from accord.commands.train.process import process
    from accord.commands.train.raft import raft
    from accord.commands.train.reinforce import reinforce
    from accord.commands.train.reward import reward
    from accord.commands.train.rloo import rloo
    from accord.commands.train.sample import sample
    from accord.commands.train.sft import sft
    from accord.commands.train.star import star
    from accord.commands.train.taste import taste
    from accord.commands.train.transcribe import transcribe
    from accord.errors import AccordError, InputError, ModelError, Preempted, RunError, StoreError, UsageError
    from accord.protocols import Judge, Sampler, Scorer, Speaker
    from accord.records import (
        Comparison,
        Demonstration,
        Generation,
        Guideline,
        Judgement,
        Labeler,
        Message,
        Prompt,
        RankedPrompt,
        Ranking,
        Rating,
        Response,
        Sampling,
        Thumb,
    )
    from accord.runtime.project import Project
    from accord.runtime.runs import Run
    from accord.runtime.version import __version__
    from accord.settings import (
        AgreementConfig as AgreementConfig,
    )
    from accord.settings import (
        AlgorithmsConfig as AlgorithmsConfig,
    )
    from accord.settings import (
        BenchmarkConfig as BenchmarkConfig,
    )
    from accord.settings import (
        ChatConfig as ChatConfig,
    )
    from accord.settings import (
        ClassifiersConfig as ClassifiersConfig,
    )
    from accord.settings import (
        CompareConfig as CompareConfig,
    )
    from accord.settings import (
        CritiqueConfig as CritiqueConfig,
    )
    from accord.settings import (
        DistillConfig as DistillConfig,
    )
    from accord.settings import (
        DpoConfig as DpoConfig,
    )
    from accord.settings import (
        EvaluateConfig as EvaluateConfig,
    )
    from accord.settings import (
        ExamineConfig as ExamineConfig,
    )
    from accord.settings import (
        ExplainConfig as ExplainConfig,
    )
    from accord.settings import (
        FrontierConfig as FrontierConfig,
    )
    from accord.settings import (
        GenerativeRewardConfig as GenerativeRewardConfig,
    )
    from accord.settings import (
        GrpoConfig as GrpoConfig,
    )
    from accord.settings import (
        IlqlConfig as IlqlConfig,
    )
    from accord.settings import (
        InspectConfig as InspectConfig,
    )
    from accord.settings import (
        KtoConfig as KtoConfig,
    )
    from accord.settings import (
        LabelConfig as LabelConfig,
    )
    from accord.settings import (
        OnlineDpoConfig as OnlineDpoConfig,
    )
    from accord.settings import (
        OpenConfig as OpenConfig,
    )
    from accord.settings import (
        PlanConfig as PlanConfig,
    )
    from accord.settings import (
        PpoConfig as PpoConfig,
    )
    from accord.settings import (
        PreferConfig as PreferConfig,
    )
    from accord.settings import (
        PretrainConfig as PretrainConfig,
    )
    from accord.settings import (
        ProbeConfig as ProbeConfig,
    )
    from accord.settings import (
        ProblemsConfig as ProblemsConfig,
    )
    from accord.settings import (
        ProcessConfig as ProcessConfig,
    )
    from accord.settings import (
        PromptsConfig as PromptsConfig,
    )
    from accord.settings import (
        RaftConfig as RaftConfig,
    )
    from accord.settings import (
        ReinforceConfig as ReinforceConfig,
    )
    from accord.settings import (
        RewardConfig as RewardConfig,
    )
    from accord.settings import (
        RlooConfig as RlooConfig,
    )
    from accord.settings import (
        RoundConfig as RoundConfig,
    )
    from accord.settings import (
        SampleConfig as SampleConfig,
    )
    from accord.settings import (
        ScreeningConfig as ScreeningConfig,
    )
    from accord.settings import (
        ServeConfig as ServeConfig,
    )
    from accord.settings import (
        SftConfig as SftConfig,
    )
    from accord.settings import (
        SolveConfig as SolveConfig,
    )
    from accord.settings import (
        SsoConfig as SsoConfig,
    )
    from accord.settings import (
        StarConfig as StarConfig,
    )
    from accord.settings import (
        TasteConfig as TasteConfig,
    )
    from accord.settings import (
        TranscribeConfig as TranscribeConfig,
    )
    from accord.settings import (
        WatchConfig as WatchConfig,
    )
    from accord.settings import (
        WorldConfig as WorldConfig,
    )

__all__ = [
    "AccordError",
    "Comparison",
    "Compute",
    "Demonstration",
    "Format",
    "Generation",
    "Guideline",
    "InputError",
    "Judge",
    "Judgement",
    "Labeler",
    "LocalSampler",
    "Message",
    "Model",
    "ModelError",
    "Preempted",
    "Project",
    "Prompt",
    "RankedPrompt",
    "Ranking",
    "Rating",
    "Response",
    "RewardModel",
    "Run",
    "RunError",
    "RunFlags",
    "Sampler",
    "Sampling",
    "Scorer",
    "Speaker",
    "Store",
    "StoreError",
    "TextScorer",
    "Thumb",
    "UsageError",
    "__version__",
    "add",
    "agreement",
    "answer",
    "benchmark",
    "chat",
    "compare",
    "config",
    "create",
    "critique",
    "distill",
    "doctor",
    "dpo",
    "evaluate",
    "examine",
    "export",
    "frontier",
    "generative_reward",
    "grpo",
    "ilql",
    "import_",
    "inspect",
    "kto",
    "label",
    "lineage",
    "load_model",
    "metrics",
    "objectives",
    "online_dpo",
    "open",
    "plan",
    "ppo",
    "prefer",
    "pretrain",
    "probe",
    "process",
    "prompts",
    "queue",
    "raft",
    "rank",
    "reinforce",
    "reward",
    "rloo",
    "rows",
    "sample",
    "samples",
    "score",
    "scorer",
    "serve",
    "sft",
    "solve",
    "speaker",
    "star",
    "store",
    "taste",
    "transcribe",
]

_HOMES = {
    "accord.commands.app": ("Compute", "RunFlags"),
    "accord.commands.models": ("LocalSampler", "Model", "RewardModel", "TextScorer", "load_model"),
    "accord.errors": ("AccordError", "InputError", "ModelError", "Preempted", "RunError", "StoreError", "UsageError"),
    "accord.commands.library": (
        "Format",
        "Store",
        "add",
        "answer",
        "config",
        "create",
        "metrics",
        "open",
        "rank",
        "rows",
        "samples",
        "score",
        "scorer",
        "speaker",
        "store",
    ),
    "accord.protocols": ("Judge", "Sampler", "Scorer", "Speaker"),
    "accord.records": (
        "Comparison",
        "Demonstration",
        "Generation",
        "Guideline",
        "Judgement",
        "Labeler",
        "Message",
        "Prompt",
        "RankedPrompt",
        "Ranking",
        "Rating",
        "Response",
        "Sampling",
        "Thumb",
    ),
    "accord.runtime.project": ("Project",),
    "accord.runtime.runs": ("Run",),
    "accord.runtime.version": ("__version__",),
}
"""The modules of the names that are neither commands nor their settings."""


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used."""
    if name == "objectives":
        return import_module("accord.objectives")
    module = _home(name)
    if module is None:
        raise AttributeError(f"module 'accord' has no attribute {name!r}")
    value = getattr(import_module(module), name)
    globals()[name] = value
    return value


def _home(name: str) -> str | None:
    """The module that a public name is loaded from. The configs are public as well, and left out of ``__all__`` to keep help() short."""
    if name[0].isupper() and name.endswith("Config"):
        return "accord.settings"
    if name not in __all__:
        return None
    from accord.commands import COMMANDS

    commands = {command.file: command.module for command in COMMANDS}
    others = {each: module for module, names in _HOMES.items() for each in names}
    return {**commands, **others}[name]


def __dir__() -> list[str]:
    return sorted(__all__)
