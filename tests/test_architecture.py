"""DESIGN.md's table of who may import whom, held over every import in the source, those inside functions included."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import accord
from accord import settings
from accord.commands import COMMANDS, GROUPS, Command
from accord.runtime.project import sections
from accord.settings.methods import METHODS

SOURCE = Path(__file__).parent.parent / "src" / "accord"
SHARED = {"records", "errors", "settings"}
HEAVY = {"torch", "transformers", "peft"}
EVERYTHING = {path.stem for path in SOURCE.iterdir()} - {"__pycache__", "py"}
COMMAND = SHARED | {
    "protocols",
    "runtime",
    "data",
    "feedback",
    "world",
    "commands",
    "commands.app",
    "commands.pictures",
    "commands.recordings",
    "commands.world",
    "commands.scenes",
}
"""What every command may use; the rooms of commands/ add to it."""
ALLOWED: dict[str, set[str]] = {
    "__init__": EVERYTHING,
    "__main__": {"commands.app", "commands.front_page"},
    "records": set(),
    "errors": set(),
    "client": {"errors"},
    "settings": {"errors"},
    "protocols": {"records"},
    "runtime": SHARED,
    "data": SHARED | {"runtime"},
    "world": SHARED,
    "feedback": SHARED | {"protocols", "runtime"},
    "feedback.web": SHARED | {"feedback"},
    "models": SHARED | {"runtime"},
    "engine": SHARED | {"protocols", "models", "runtime"},
    "environments": SHARED | {"protocols", "data", "runtime"},
    "rewards": SHARED | {"protocols", "runtime"},
    "recipes": {"rewards"},
    "algorithms": SHARED
    | {
        "protocols",
        "models",
        "data",
        "runtime",
        "rewards",
        "algorithms.objectives",
        "algorithms.groupwise_objectives",
        "environments.hosted",
    }
    | {"algorithms.optim", "algorithms.rewards", "algorithms.rollouts", "algorithms.correction", "algorithms.draws"}
    | {"algorithms.early_stopping"},
    "algorithms.objectives": set(),
    "algorithms.groupwise_objectives": set(),
    "algorithms.optim": SHARED | {"runtime.device", "runtime.ranks", "models.sharding"},
    "evaluation": SHARED | {"protocols", "data", "runtime", "feedback"},
    "serving": SHARED | {"protocols", "data", "engine", "runtime", "feedback.store", "feedback.moderation"},
    "serving.apps": SHARED | {"runtime", "feedback", "serving.gate", "serving.host", "serving.keys", "serving.screens", "serving.service"},
    "serving.web": SHARED | {"protocols", "data", "runtime", "feedback", "serving.host", "serving.screens"},
    "report": SHARED
    | {"runtime", "evaluation.statistics", "evaluation.findings", "evaluation.run_facts", "evaluation.card_file", "feedback"},
    "site": SHARED
    | {"runtime", "data", "feedback", "report", "evaluation.findings", "evaluation.run_facts", "evaluation.bradley_terry"}
    | {"serving.host", "serving.screens", "serving.web"},
    "commands": set(),
    "commands.library": SHARED
    | {"protocols", "runtime", "feedback", "data.registry", "commands.models", "commands.data", "commands.project"},
    "objectives": {"algorithms.objectives", "algorithms.groupwise_objectives"},
    "commands.app": SHARED | {"runtime", "commands", "commands.front_page", "commands.language", "commands.help_panels"},
    "commands.front_page": {"commands", "commands.language"},
    "commands.language": set(),
    "commands.help_panels": {"commands.language"},
    "commands.models": SHARED | {"protocols", "runtime", "data", "models", "engine", "commands.pictures", "commands.recordings"},
    "commands.pictures": SHARED | {"runtime", "feedback.media", "feedback.store"},
    "commands.recordings": SHARED | {"runtime"},
    "commands.world": SHARED | {"runtime", "world"},
    "commands.scenes": SHARED | {"runtime", "data", "feedback"},
    "commands.knowledge": SHARED | {"protocols", "runtime", "data", "models", "commands.models"},
    "commands.tastes": SHARED | {"runtime", "models", "commands.models"},
    "commands.project": COMMAND | {"commands.picture_base", "commands.language"},
    "commands.picture_base": SHARED | {"runtime", "data", "models"},
    "commands.data": COMMAND | {"commands.models", "commands.knowledge"},
    "commands.feedback": COMMAND | {"evaluation", "rewards", "commands.models"},
    "commands.train": COMMAND
    | {"evaluation", "models", "engine", "rewards", "algorithms", "environments"}
    | {"commands.models", "commands.knowledge", "commands.tastes"},
    "commands.evaluate": COMMAND
    | {"evaluation", "models", "engine", "algorithms", "report"}
    | {"commands.models", "commands.knowledge", "commands.train.rewards"},
    "commands.serve": COMMAND
    | {"evaluation", "models", "engine", "serving", "site", "commands.models", "commands.tastes", "commands.train"},
}
"""The longest matching name rules. A package may import itself, except algorithms, whose shared parts are named."""
TORCHLESS = ("records", "errors", "settings", "protocols", "world", "feedback", "report", "rewards", "recipes", "site")
TORCHLESS_ROOMS = ("commands.scenes", "commands.project", "commands.data", "commands.feedback")
"""Rooms of commands whose files name no torch, and load none until a command asks a model."""


SHARED_PIECES = {
    "data.removals",
    "feedback.cut_off",
    "feedback.simulated",
    "train.run",
    "train.range_test",
    "train.rewards",
    "train.swap_gap",
    "train.text_rewards",
    "train.samplers",
    "train.samples",
    "train.episodes",
    "train.principles",
    "train.raw_text",
    "train.demonstrations",
    "train.written_section",
    "evaluate.answers",
    "evaluate.held_out",
    "evaluate.kl",
    "evaluate.text_figures",
    "serve.rules",
    "serve.trials",
}
TERMS = {"early_stopping", "packing", "sharding", "sampling", "batching", "hacking", "grounding", "serving", "spelling"}
"""Standard terms of the field that end like a gerund."""


def modules() -> dict[str, ast.Module]:
    paths = {path.relative_to(SOURCE).with_suffix("").as_posix().replace("/", "."): path for path in SOURCE.rglob("*.py")}
    return {name.removesuffix(".__init__"): ast.parse(path.read_text("utf-8"), str(path)) for name, path in paths.items()}


MODULES = modules()


def under(name: str, package: str) -> bool:
    return f"{name}.".startswith(f"{package}.")


def rule(module: str) -> str:
    return max((key for key in ALLOWED if under(module, key)), key=len, default="")


def imports(tree: ast.AST, *, types: bool = False) -> Iterator[str]:
    """Every imported name, ``from a import b`` as ``a.b``; what serves type checking alone only if ``types`` asks for it."""
    if not types and isinstance(tree, ast.If) and ast.unparse(tree.test).endswith("TYPE_CHECKING"):
        tree = ast.Module(tree.orelse, [])
    if isinstance(tree, ast.Import):
        yield from (alias.name for alias in tree.names)
    elif isinstance(tree, ast.ImportFrom):
        yield from (f"{'.' * tree.level}{tree.module or ''}.{alias.name}" for alias in tree.names)
    for child in ast.iter_child_nodes(tree):
        yield from imports(child, types=types)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_its_room_may(module: str) -> None:
    room = rule(module)
    assert room, f"accord.{module} is in no room: give it a line in ALLOWED and in DESIGN.md"
    own = set() if module.split(".")[0] == "algorithms" else {room}
    for name in imports(MODULES[module]):
        assert not name.startswith("."), f"accord.{module} imports {name}: write it from accord on"
        top, _, inner = name.partition(".")
        if top == "accord" and inner:
            allowed = any(inner == other if other == "commands" else under(inner, other) for other in ALLOWED[room] | own)
            assert allowed or inner in ("commands.COMMANDS", "commands.GROUPS", "commands.TOGETHER"), (
                f"accord.{module} may not import {name}"
            )
        light = module.split(".")[0] in TORCHLESS or any(under(module, each) for each in TORCHLESS_ROOMS)
        assert not (top in HEAVY and light), f"accord.{module} may not import {name}"


@pytest.mark.parametrize("module", ["algorithms.objectives", "algorithms.groupwise_objectives"])
def test_the_objectives_import_torch_alone(module: str) -> None:
    allowed = {"__future__", "torch", "jaxtyping", "math", "typing", "collections", "dataclasses", "itertools"}
    assert {name.split(".")[0] for name in imports(MODULES[module])} <= allowed


@pytest.mark.parametrize("room", ["algorithms", "models", "engine", "data", "environments", "feedback", "runtime"])
def test_what_learns_cannot_reach_the_gold_judge(room: str) -> None:
    reached, waiting = set[str](), [name for name in MODULES if under(name, room)]
    while waiting:
        module = waiting.pop()
        reached.add(module)
        inner = {name.removeprefix("accord.") for name in imports(MODULES[module]) if name.startswith("accord.")}
        waiting += [other for other in MODULES if other not in reached and any(under(name, other) for name in inner)]
    assert not [name for name in reached if under(name, "world") or under(name, "evaluation") or under(name, "commands")]


def test_no_two_files_import_each_other() -> None:
    edges = {(one, target.removeprefix("accord.")) for one in MODULES for target in _targets(one) if target != f"accord.{one}"}
    assert not {(one, other) for one, other in edges if (other, one) in edges}


ROOT = SOURCE.parents[1]
SCRIPTS = sorted([*(ROOT / "runs").rglob("*.py"), *(ROOT / "benchmarks").glob("*.py"), *(ROOT / "examples").glob("*.py")])
MOST_ARROWS = 119
"""Pairs of rooms joined by an import, scripts included. A new one has to be worth what it makes a reader look up."""


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_takes_public_names_from_the_package(script: Path) -> None:
    """Claims and benchmarks are written as a user would write them: what `import accord` has is not fetched from behind it."""
    for name in imports(ast.parse(script.read_text("utf-8"))):
        module, _, last = name.rpartition(".")
        if not module.startswith("accord.") or last not in {*accord.__all__, *settings.__all__} - {"objectives"}:
            continue
        same = getattr(import_module(module), last, None) is getattr(accord, last, None)
        assert not same, f"{script.relative_to(ROOT)}: from accord import {last}, rather than from {module}"


def test_the_house_has_few_arrows() -> None:
    trees = [(name.split(".")[0], tree) for name, tree in MODULES.items()]
    trees += [(path.relative_to(ROOT).parts[0], ast.parse(path.read_text("utf-8"))) for path in SCRIPTS]
    arrows: set[tuple[str, str]] = set()
    for room, tree in trees:
        if room not in ("examples", "recipes"):  # files that are read or copied, not the house
            arrows |= {(room, _room(name)) for name in imports(tree, types=True) if under(name, "accord")} - {(room, room)}
    assert len(arrows) <= MOST_ARROWS, f"{len(arrows)} pairs of rooms are joined: {sorted(arrows)}"


def _room(name: str) -> str:
    """The room of an imported name; a public name comes from the package's __init__.py."""
    first = name.removeprefix("accord").strip(".").split(".")[0]
    return first if first in {module.split(".")[0] for module in MODULES} else "__init__"


def _targets(module: str) -> set[str]:
    """The modules a file imports; ``from accord.x import y`` means accord.x.y when that is a file."""
    names = set(imports(MODULES[module]))
    return {name if name.removeprefix("accord.") in MODULES else name.rpartition(".")[0] for name in names}


@pytest.mark.parametrize(
    ("walk", "most"), [("From `accord ppo` to the clipped ratio", 17), ("From a ranking on the form to the weights", 27)]
)
def test_the_walks_of_the_architecture_page_can_be_walked(walk: str, most: int) -> None:
    """Each file is there, and one further up imports it: a file that calls the next names it. The app opens commands by their table, and
    an engine is called by the protocol that it implements."""
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    section = page.split(f"## {walk}\n")[1].split("\n## ")[0]
    steps = re.findall(r"^(\d+)\. .*?`([\w/]+)\.py`", section, re.MULTILINE)
    assert [int(number) for number, _ in steps] == list(range(1, len(steps) + 1))
    assert 2 < len(steps) <= most
    walked = [file.replace("/", ".") for _, file in steps]
    commands = {command.module.removeprefix("accord.") for command in COMMANDS}
    for place, module in enumerate(walked[1:], 1):
        assert module in MODULES, f"{module} is not there"
        known = set[str]().union(*(_targets(earlier) for earlier in walked[:place]))
        by_protocol = module.startswith("engine.") and "accord.protocols" in known
        assert f"accord.{module}" in known or module in commands or by_protocol, f"nothing on the way before it imports {module}"


def test_every_package_that_is_imported_is_declared() -> None:
    project = tomllib.loads((SOURCE.parent.parent / "pyproject.toml").read_text("utf-8"))["project"]
    lines = sum(project["optional-dependencies"].values(), project["dependencies"])
    declared = {re.split(r"[^A-Za-z0-9_-]", line)[0].lower() for line in lines}
    known = set(sys.stdlib_module_names) | {"accord"} | {name.rpartition(".")[2] for name in MODULES if under(name, "recipes")}
    used = {name.split(".")[0] for tree in MODULES.values() for name in imports(tree)} - known
    owners = packages_distributions()
    assert not {name for name in used if not {owner.lower() for owner in owners.get(name, [name])} & declared}


HELP = """
import sys
from accord.commands.app import main
sys.argv = ["accord", "--help"]
try:
    main()
except SystemExit:
    pass
print(sorted({"torch", "transformers"} & set(sys.modules)))
"""


def test_help_comes_without_torch() -> None:
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "pretrain" in done.stdout
    assert done.stdout.endswith("[]\n")


LOADED = """
import importlib, sys
from accord.commands import COMMANDS
for command in COMMANDS:
    if command.room in ("project", "data", "feedback"):
        importlib.import_module(command.module)
print(sorted({"torch", "transformers", "peft"} & set(sys.modules)))
"""


def test_commands_about_data_and_feedback_load_no_torch() -> None:
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_a_command_is_its_file_its_page_and_its_test(command: Command) -> None:
    assert command.module.removeprefix("accord.") in MODULES
    assert (SOURCE.parents[1] / "docs" / f"{command.name}.md").is_file(), f"docs/{command.name}.md is missing"
    tests = SOURCE.parents[1] / "tests" / "commands" / command.room / f"test_{command.name.replace('-', '_')}.py"
    assert tests.is_file(), f"{tests.relative_to(SOURCE.parents[1])} is missing"


@pytest.mark.parametrize("method", METHODS)
def test_a_method_is_a_command_a_section_and_a_public_function(method: str) -> None:
    assert method in {command.name for command in COMMANDS if command.room == "train"}, "no line in accord.commands.COMMANDS"
    assert method in sections(), f"no {method.capitalize()}Config in accord.settings"
    function = method.replace("-", "_")
    assert function in accord.__all__, "`import accord` does not have it: add it to __all__ and to the imports of __init__.py"


def test_every_file_among_the_commands_is_a_command_or_named_after_what_it_shares() -> None:
    """A part of one command is named after it (examine_scores); what several share stands in SHARED_PIECES."""
    files = {command.module.removeprefix("accord.") for command in COMMANDS}
    strangers: list[str] = []
    for module in MODULES:
        parts = module.split(".")
        if parts[0] != "commands" or len(parts) < 3 or module in files:
            continue
        part_of = any(module.startswith(f"{file.rstrip('_')}_") for file in files)
        if not part_of and ".".join(parts[1:]) not in SHARED_PIECES:
            strangers.append(module)
    assert not strangers


def test_settings_have_a_section_for_every_room() -> None:
    rooms = {module.split(".")[1] for module in MODULES if module.startswith("settings.")}
    assert set(GROUPS) <= rooms
    for command in COMMANDS:
        config = sections().get(command.name)
        if config is not None:
            assert config.__module__ == f"accord.settings.{command.room}", f"{config.__name__} stands in {config.__module__}"


def test_no_module_is_named_by_a_gerund() -> None:
    named = {module.rpartition(".")[2] for module in MODULES}
    assert not {name for name in named if name.endswith("ing")} - TERMS
