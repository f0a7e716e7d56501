"""The trainings that the runs page offers: their models, the settings that matter first, how the rest is grouped, and presets."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from accord.runtime.project import Project, sections
from accord.settings.fields import Field, fields_of

Preset = Literal["project", "quick", "field"]


def _(text: str) -> str:
    """Mark a text for translation where it is shown."""
    return text


@dataclass(frozen=True)
class ModelFlag:
    """A model that a method takes."""

    flag: str
    default: str
    text: str


BASE = ModelFlag("base", "base", _("Base model"))
SFT = ModelFlag("sft", "sft", _("Model to start from"))
REWARD = ModelFlag("reward", "reward", _("Reward model"))
TEACHER = ModelFlag("teacher", "teacher", _("Teacher"))
SPEAKER = ModelFlag("model", "sft", _("Model that responds"))


@dataclass(frozen=True)
class Method:
    """A training as the page offers it. Its name is the command's."""

    name: str
    text: str
    """One line: what it learns, and from what."""
    models: tuple[ModelFlag, ...] = (SFT,)

    @property
    def config(self) -> type[Any]:
        return sections()[self.name]

    def fields(self) -> tuple[Field, ...]:
        return fields_of(self.config)

    def in_force(self, project: Project) -> dict[str, Any]:
        """Return the settings that the command has without flags: accord.toml over the defaults."""
        written = project.settings
        seed = {"seed": written.get("project", {}).get("seed", 0)}
        return dataclasses.asdict(self.config(**{**seed, **written.get(self.name, {})}))

    def preset(self, project: Project, name: Preset) -> dict[str, Any]:
        """Return the values that a preset puts into the form."""
        values = self.in_force(project)
        if name == "field":
            return dataclasses.asdict(self.config(seed=values["seed"])) | dict(FIELD.get(self.name, {}))
        if name == "quick":
            unlimited = [field for field in ALL_AT_0 if values.get(field) == 0]
            values |= {field: QUICK[field] for field in unlimited}
            return values | {field: min(values[field], most) for field, most in QUICK.items() if field in values}
        return values


OFFERED = (
    Method("sft", _("Learn to respond from demonstrations."), (BASE,)),
    Method("dpo", _("Learn from rankings, without a reward model.")),
    Method("kto", _("Learn from thumbs up and down.")),
    Method("reward", _("Train a reward model on rankings.")),
    Method("ppo", _("Improve a model against a reward model, as InstructGPT did."), (SFT, REWARD)),
    Method("grpo", _("Improve a model by comparing the responses to a prompt, without a value model."), (SFT, REWARD)),
    Method("rloo", _("Improve a model by REINFORCE, each response against the others."), (SFT, REWARD)),
    Method("reinforce", _("Improve a model by REINFORCE++, one response per prompt."), (SFT, REWARD)),
    Method("raft", _("Learn from the best of the model's own responses."), (SFT, REWARD)),
    Method("online-dpo", _("Learn from pairs of the model's own responses, which a reward puts in order."), (SFT, REWARD)),
    Method("distill", _("Learn what a larger model says at every token."), (SFT, TEACHER)),
    Method("ilql", _("Learn offline from ratings what each token is worth.")),
    Method("process", _("Train a model that finds wrong passages, on marked errors.")),
    Method("sample", _("Sample responses for people to rank."), (SPEAKER,)),
    Method("pretrain", _("Train a small model on raw text."), ()),
)
BY_NAME: Mapping[str, Method] = {method.name: method for method in OFFERED}
QUICK: Mapping[str, int] = {"steps": 3, "rounds": 1, "epochs": 1, "tokens": 20_000, "prompts": 20, "held_out": 10}
"""Most of each in a quick try: enough to see that it runs."""
ALL_AT_0 = ("prompts",)
"""Those of them that take everything at 0."""
FIELD: Mapping[str, Mapping[str, Any]] = {
    "sft": {"epochs": 3, "ptx_tokens": 0},
    "dpo": {"epochs": 1, "beta": 0.1, "batch_size": 32},
    "ppo": {"epochs": 1, "kl_coef": 0.02, "ptx_coef": 27.8, "ema": 0.992},
    "reward": {"epochs": 1, "batch_size": 64},
}
"""Published recipes where they differ from the defaults, which are sized for small machines: InstructGPT, and Tülu 3 for DPO."""
PRESETS: Mapping[Preset, str] = {
    "project": _("This project's settings"),
    "quick": _("A quick try"),
    "field": _("Published recipe"),
}
FIRST = (
    *("steps", "rounds", "epochs", "tokens", "k", "prompts", "batch_size", "group_size", "loss", "beta", "kl_coef", "rewards", "lr"),
    *("lora_rank", "lora_bits", "temperature", "max_tokens"),
)
"""Settings that matter first, in this order; a method shows those that it has."""
DATA = (
    *("kinds", "learn_from", "thumbs", "criterion", "errors", "tasks", "held_out_tasks", "turns"),
    *("group", "held_out_group", "held_out", "ties"),
    *("ptx_tokens", "ptx_coef"),
)
"""Settings that choose the data."""
GROUPS: Mapping[str, str] = {
    "Adam": _("Optimiser"),
    "FineTuning": _("Optimiser"),
    "CosineOptimizer": _("Optimiser"),
    "ConstantOptimizer": _("Optimiser"),
    "Seed": _("Memory, adapters and checkpoints"),
    "Training": _("Memory, adapters and checkpoints"),
    "Sharding": _("Memory, adapters and checkpoints"),
    "Window": _("Lengths"),
    "LongPrompts": _("Lengths"),
    "Rewards": _("Rewards"),
    "Rollouts": _("Sampling"),
    "DrawnBy": _("Sampling"),
    "Decoding": _("Sampling"),
    "OffPolicy": _("Sampling"),
    "Recorded": _("Sampling"),
    "EarlyStopping": _("Evaluation while it learns"),
    "Episodes": _("Episodes of several turns"),
}
"""Headings of the other settings, by the class that adds them; those of the method itself have the heading ``OWN``."""
OWN = _("More of this method")
FIXED = frozenset({"environment", "judge_address", "sampler", "sampler_folder", "sampler_options", "isolate_rewards"})
"""Settings that name code to run or servers to ask: they are written in accord.toml, not on a page."""
REWARDS = ("rewards", "evaluate_by", "knowledge_meaning")
"""Settings that name rewards, or what tells which answers mean the same: both can be code, a folder or a server."""
SAFE_REWARDS = re.compile(r"[\w\s,=.<>+\-()]*", re.ASCII)
"""Rewards that a page may name: built-in ones. A colon would name code (``module:function``), a slash a server."""


def grouped(fields: Sequence[Field]) -> dict[str, list[Field]]:
    """Return the fields that neither matter first nor choose the data, by the heading over them."""
    found: dict[str, list[Field]] = {OWN: []}
    for field in fields:
        if field.name not in (*FIRST, *DATA) and field.name not in FIXED:
            found.setdefault(GROUPS.get(field.group, OWN), []).append(field)
    return {heading: some for heading, some in found.items() if some}


def placed(fields: Sequence[Field], names: Sequence[str]) -> list[Field]:
    """Return the fields of these names, in the names' order."""
    known = {field.name: field for field in fields}
    return [known[name] for name in names if name in known]
