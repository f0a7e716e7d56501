"""The built-in world: a small invented town that makes every claim about RLHF checkable. Standard library only.

``World.generate(seed, config)`` returns raw text, prompts, demonstrations and the hidden specs; ``GoldJudge`` knows the
truth; ``labelers`` returns simulated labelers. The same seed and config give the same bytes in every process.
"""

from __future__ import annotations

from accord.world.generate import World
from accord.world.grammar import Claim, Reading, parse
from accord.world.judge import GoldJudge, false_claims
from accord.world.prompts import Spec
from accord.world.simulated_labelers import HELD_OUT_GROUP, TASTES, SimulatedLabeler, labelers, tasters
from accord.world.town import Fact, FactClass, Town

__all__ = [
    "HELD_OUT_GROUP",
    "TASTES",
    "Claim",
    "Fact",
    "FactClass",
    "GoldJudge",
    "Reading",
    "SimulatedLabeler",
    "Spec",
    "Town",
    "World",
    "false_claims",
    "labelers",
    "parse",
    "tasters",
]
