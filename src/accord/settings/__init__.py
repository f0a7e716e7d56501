"""Every stage's settings: one frozen dataclass a stage, the only place where a default stands.

Flags and ``accord.toml`` are derived from these, so an unknown key is an error and every field does something. Nothing here
imports torch. Defaults are sized for the built-in world on two CPU cores; docs/ says what InstructGPT used.
"""

from __future__ import annotations

from accord.settings.advising import CritiqueConfig, PreferConfig
from accord.settings.chatting import ChatConfig, RoundConfig
from accord.settings.contesting import AlgorithmsConfig
from accord.settings.curating import InspectConfig, PromptsConfig
from accord.settings.evaluating import CompareConfig, ExamineConfig, FrontierConfig, ProbeConfig
from accord.settings.labeling import AgreementConfig, LabelConfig, PlanConfig, ScreeningConfig
from accord.settings.preferring import DpoConfig, KtoConfig
from accord.settings.processing import ProcessConfig
from accord.settings.ranges import check_numbers, require
from accord.settings.reasoning import ProblemsConfig, SolveConfig, StarConfig
from accord.settings.reinforcing import GrpoConfig, RaftConfig, ReinforceConfig, RlooConfig
from accord.settings.serving import ServeConfig
from accord.settings.training import EvaluateConfig, PpoConfig, PretrainConfig, RewardConfig, SampleConfig, SftConfig, WorldConfig
from accord.settings.valuing import IlqlConfig

__all__ = [
    "AgreementConfig",
    "AlgorithmsConfig",
    "ChatConfig",
    "CompareConfig",
    "CritiqueConfig",
    "DpoConfig",
    "EvaluateConfig",
    "ExamineConfig",
    "FrontierConfig",
    "GrpoConfig",
    "IlqlConfig",
    "InspectConfig",
    "KtoConfig",
    "LabelConfig",
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
    "StarConfig",
    "WorldConfig",
    "check_numbers",
    "require",
]
