"""Settings of every command: one frozen dataclass per command, in files named after the rooms of the commands.

Defaults are defined here and nowhere else. Flags and ``accord.toml`` are derived from these classes, so an unknown key is an error and
every field has an effect. Nothing here imports torch. Defaults are sized for the built-in world on two CPU cores; docs/ gives the values
that InstructGPT used.
"""

from __future__ import annotations

from accord.settings.data import InspectConfig, ProblemsConfig, PromptsConfig
from accord.settings.evaluate import (
    AlgorithmsConfig,
    BenchmarkConfig,
    ClassifiersConfig,
    CompareConfig,
    EvaluateConfig,
    ExamineConfig,
    ExplainConfig,
    FrontierConfig,
    ProbeConfig,
    SolveConfig,
)
from accord.settings.feedback import AgreementConfig, LabelConfig, PlanConfig, ScreeningConfig
from accord.settings.project import WorldConfig
from accord.settings.ranges import check_numbers, require
from accord.settings.serve import ChatConfig, OpenConfig, RoundConfig, ServeConfig, SsoConfig, WatchConfig
from accord.settings.train import (
    CritiqueConfig,
    DistillConfig,
    DpoConfig,
    GenerativeRewardConfig,
    GrpoConfig,
    IlqlConfig,
    KtoConfig,
    OnlineDpoConfig,
    PpoConfig,
    PreferConfig,
    PretrainConfig,
    ProcessConfig,
    RaftConfig,
    ReinforceConfig,
    RewardConfig,
    RlooConfig,
    SampleConfig,
    SftConfig,
    StarConfig,
    TasteConfig,
    TranscribeConfig,
)

__all__ = [
    "AgreementConfig",
    "AlgorithmsConfig",
    "BenchmarkConfig",
    "ChatConfig",
    "ClassifiersConfig",
    "CompareConfig",
    "CritiqueConfig",
    "DistillConfig",
    "DpoConfig",
    "EvaluateConfig",
    "ExamineConfig",
    "ExplainConfig",
    "FrontierConfig",
    "GenerativeRewardConfig",
    "GrpoConfig",
    "IlqlConfig",
    "InspectConfig",
    "KtoConfig",
    "LabelConfig",
    "OnlineDpoConfig",
    "OpenConfig",
    "PlanConfig",
    "PpoConfig",
    "PreferConfig",
    "PretrainConfig",
    "ProbeConfig",
    "ProblemsConfig",
    "ProcessConfig",
    "PromptsConfig",
    "RaftConfig",
    "ReinforceConfig",
    "RewardConfig",
    "RlooConfig",
    "RoundConfig",
    "SampleConfig",
    "ScreeningConfig",
    "ServeConfig",
    "SftConfig",
    "SolveConfig",
    "SsoConfig",
    "StarConfig",
    "TasteConfig",
    "TranscribeConfig",
    "WatchConfig",
    "WorldConfig",
    "check_numbers",
    "require",
]
