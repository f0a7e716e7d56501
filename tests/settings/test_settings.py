"""Settings keep their names, types and defaults; every number is held to the range beside its field; `--help` shows all of it."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import cyclopts
import pytest

from accord import settings
from accord.commands import COMMANDS
from accord.errors import UsageError
from accord.runtime.project import Project, sections
from accord.settings import AlgorithmsConfig, CompareConfig, GrpoConfig, PpoConfig, RewardConfig, RlooConfig, RoundConfig
from accord.settings.methods import BEST_OF, METHODS
from accord.settings.mixins import FineTuning
from accord.settings.ranges import Range, ranges
from accord.settings.serve import ROUND_STAGES

BEFORE: dict[str, dict[str, list[Any]]] = json.loads(Path(__file__).with_name("defaults.json").read_text("utf-8"))
"""Name, type and default of each setting of version 0.1; runs, accord.toml and scripts of that version rely on them."""
SECTIONS = {name: kind for name, kind in sections().items() if kind.__module__.startswith(f"{settings.__name__}.")}


def type_name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint)


@pytest.mark.parametrize("name", BEFORE)
def test_names_types_and_defaults_are_those_that_projects_rely_on(name: str) -> None:
    kind = getattr(settings, name)
    hints = get_type_hints(kind)
    now = {field.name: [type_name(hints[field.name]), field.default] for field in fields(kind)}
    before = BEFORE[name]
    if issubclass(kind, FineTuning):  # since then the rates are those of the method and the model, not the built-in world's
        toys = {"lr", "value_lr", "mismatched"} & before.keys()
        before = before | {field: ["float", 0.0] for field in toys}
    if "max_tokens" in before and name != "PreferConfig":  # since then the lengths are those of real models and people
        before = before | {"max_tokens": ["int", 0]}
    if "criterion" in before:  # since then it can also name a question of the project's own
        before = before | {"criterion": ["str", "overall"]}
    assert {field: now.get(field) for field in before} == before
    assert all(type(now[field][1]) is type(default) for field, (_, default) in BEFORE[name].items()), "1 and 1.0 differ in config.json"


def numbers() -> Iterator[tuple[str, str]]:
    for section, kind in SECTIONS.items():
        hints = get_type_hints(kind)
        yield from ((section, field.name) for field in fields(kind) if hints[field.name] in (int, float))


def outside(allowed: Range) -> list[float]:
    bounds = (allowed.least - 1, allowed.above, allowed.most + 1, allowed.below)
    return [math.nan, math.inf, -math.inf, *(bound for bound in bounds if math.isfinite(bound))]


@pytest.mark.parametrize(("section", "name"), [*numbers()])
def test_every_number_has_a_range_and_is_refused_outside_it(section: str, name: str) -> None:
    kind = SECTIONS[section]
    assert name in ranges(kind), f"{kind.__name__}.{name} states no range, for example `{name}: Count`"
    for value in outside(ranges(kind)[name]):
        with pytest.raises(UsageError) as caught:
            kind(**{name: value})
        assert caught.value.where == section
        assert caught.value.what.startswith(f"{name} is {value}")


def test_the_ranges_cover_the_numbers_of_every_section() -> None:
    assert {kind.__name__ for kind in SECTIONS.values()} >= BEFORE.keys()
    assert len(BEFORE) == 34
    assert len([*numbers()]) > 300


@pytest.mark.parametrize(
    ("section", "name", "value", "words"),
    [
        ("ppo", "lr", -1e-3, "lr is -0.001; it must not be negative"),
        ("ppo", "steps", 0, "steps is 0; it must be above 0"),
        ("ppo", "lam", 1.5, "lam is 1.5; it is at most 1"),
        ("ppo", "lr", math.inf, "lr is inf, which is no number to work with"),
        ("sample", "k", 10, "k is 10; a ranking takes 2 to 9 responses"),
        ("sample", "k", -1, "k is -1; it must not be negative"),
        ("kto", "beta", 0, "beta is 0; with 0 no thumb teaches anything"),
        ("dpo", "label_smoothing", 0.5, "label_smoothing is 0.5; from 0.5 on the labels would say nothing or the opposite"),
        ("problems", "most", 2, "most is 2; 3 at least"),
        ("chat", "port", 70_000, "port is 70000; 65535 at most"),
        ("rloo", "group_size", 0, "group_size is 0; it must be above 0"),
        ("ilql", "lora_bits", 3, "lora_bits is 3; 4, or 0 for weights as they are"),
        ("ilql", "lora_bits", 4, "lora_bits is 4 and lora_rank 0: weights in four bits do not learn, adapters on them do"),
    ],
)
def test_an_error_says_what_is_wrong_with_the_number(section: str, name: str, value: float, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        SECTIONS[section](**{name: value})
    assert (caught.value.where, caught.value.what) == (section, words)


@pytest.mark.parametrize(
    ("allowed", "value", "words"),
    [
        (Range(least=2, most=9), 1, "; 2 at least"),
        (Range(above=2), 2, "; it must be above 2"),
        (Range(below=0.5), 0.5, "; it must be below 0.5"),
        (Range(most=65_535), 65_536, "; it is at most 65535"),
        (Range(least=-2), -3, "; -2 at least"),
        (Range(), -1e9, ""),
        (Range(least=2, most=9), 9, ""),
    ],
)
def test_a_range_without_a_reason_names_the_bound(allowed: Range, value: float, words: str) -> None:
    assert allowed.problem(value) == words


def test_several_people_can_judge_a_prompt_or_do_a_task(tmp_path: Path) -> None:
    """`overlap` is a share in [plan] and [label] but counts people here; one range by name for all four refused 2."""
    assert CompareConfig(overlap=2).overlap == RoundConfig(overlap=2).overlap == 2
    made = Project.create(tmp_path / "p", settings={"compare": {"overlap": 3}, "round": {"overlap": 2}})
    assert Project.open(made.path).settings["compare"] == {"overlap": 3}


def flags(kind: type[Any]) -> dict[str, cyclopts.Argument]:
    """The flags that cyclopts makes of a config, by field."""

    def command(*, config: Any = None) -> None:
        """Does nothing: only its flags are looked at."""

    command.__annotations__["config"] = Annotated[kind, cyclopts.Parameter(name="*")]
    arguments = cyclopts.App(default_command=command).assemble_argument_collection(parse_docstring=True)
    return {argument.name.removeprefix("--").replace("-", "_"): argument for argument in arguments}


@pytest.mark.parametrize("section", SECTIONS)
def test_help_shows_every_setting_with_its_type_default_and_sentence(section: str) -> None:
    kind = SECTIONS[section]
    hints, shown = get_type_hints(kind), flags(kind)
    for field in fields(kind):
        argument = shown[field.name]
        assert argument.hint == hints[field.name]
        assert argument.field_info.default == (field.default if field.default is not MISSING else field.default_factory())
        assert (argument.parameter.help or "").endswith((".", "?")), f"[{section}] {field.name} has no sentence"


def test_a_field_written_again_keeps_the_mixins_sentence_or_has_its_own() -> None:
    assert (flags(RewardConfig)["lr"].parameter.help or "").startswith("Peak learning rate of AdamW, with cosine decay to a tenth; 0 takes")
    assert (flags(PpoConfig)["lr"].parameter.help or "").startswith("Policy learning rate of AdamW, constant after warm-up; 0 takes")
    for kind in (GrpoConfig, RlooConfig):
        assert flags(kind)["kl_coef"].parameter.help == "Coefficient (beta) of the KL penalty to the SFT model."


def test_a_commands_own_settings_come_before_the_shared_ones() -> None:
    names = [field.name for field in fields(PpoConfig)]
    assert names[:4] == ["seed", "steps", "batch_size", "minibatch_size"]
    assert names[-5:] == ["save_dtype", "shard", "offload", "record_rollouts", "replay"]
    assert [field.name for field in fields(RlooConfig)] == [field.name for field in fields(GrpoConfig)]


def test_settings_are_given_by_name() -> None:
    with pytest.raises(TypeError):
        PpoConfig(3)  # pyright: ignore


def test_a_commands_settings_stand_in_the_file_of_its_room() -> None:
    rooms = {command.name: command.room for command in COMMANDS} | {"world": "project", "screening": "feedback", "sso": "serve"}
    assert {name: kind.__module__ for name, kind in SECTIONS.items()} == {name: f"accord.settings.{rooms[name]}" for name in SECTIONS}


def test_settings_know_every_method_by_the_table() -> None:
    assert AlgorithmsConfig(methods=" ".join([*METHODS, *BEST_OF])).chosen == (*METHODS, *BEST_OF)
    with pytest.raises(UsageError, match=f"known are {', '.join([*METHODS, *BEST_OF])}"):
        AlgorithmsConfig(methods="ppo pppo")
    assert RoundConfig(stages=" ".join(ROUND_STAGES)).stages
    with pytest.raises(UsageError, match=f"stages names grpo; known are {', '.join(ROUND_STAGES)}"):
        RoundConfig(stages="sft grpo")


def test_help_names_every_method_that_may_be_asked_for() -> None:
    for config, name, known in ((AlgorithmsConfig, "methods", [*METHODS, *BEST_OF]), (RoundConfig, "stages", ROUND_STAGES)):
        sentence = flags(config)[name].parameter.help or ""
        assert not {*known} - {*re.findall(r"[\w-]+", sentence)}, f"the sentence under {config.__name__}.{name} does not name these"


def test_settings_load_neither_torch_nor_a_room() -> None:
    code = "import sys, accord.settings; print(*sorted(m for m in sys.modules if m.startswith('accord.') or m == 'torch'))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {name for name in loaded if not name.startswith("accord.settings")} <= {"accord.errors", "accord.settings.methods"}
