"""The face of the package: what `import accord` promises, and what a script does with it."""

from __future__ import annotations

import ast
import inspect
import math
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import accord
from accord import objectives, settings
from accord.algorithms import groupwise_objectives
from accord.algorithms import objectives as formulas
from accord.runtime.project import sections

ROOT = Path(__file__).parent.parent
FACE = ROOT / "src" / "accord" / "__init__.py"


@pytest.fixture
def project(tmp_path: Path) -> accord.Project:
    return accord.create(tmp_path / "p")


# What is promised


def test_all_is_what_type_checkers_see_and_what_can_be_loaded() -> None:
    (block,) = (node for node in ast.parse(FACE.read_text("utf-8")).body if isinstance(node, ast.If))
    seen = [alias.asname or alias.name for node in ast.walk(block) if isinstance(node, ast.ImportFrom | ast.Import) for alias in node.names]
    configs = [name for name in settings.__all__ if name.endswith("Config")]
    assert sorted(seen) == sorted([*accord.__all__, *configs])
    assert list(accord.__all__) == sorted(set(accord.__all__))
    for name in accord.__all__:
        assert getattr(accord, name) is not None
    assert set(accord.__all__) <= set(dir(accord))
    with pytest.raises(AttributeError, match="module 'accord' has no attribute 'nothing'"):
        accord.nothing  # noqa: B018


def test_every_section_of_accord_toml_has_its_config_class() -> None:
    configs = {name for name in settings.__all__ if name.endswith("Config")}
    assert {getattr(accord, name) for name in configs} == {getattr(settings, name) for name in configs}
    assert configs == {kind.__name__ for kind in sections().values() if kind.__name__.endswith("Config")}


def test_the_public_formulas_are_all_formulas() -> None:
    found = set[str]()
    for module in (formulas, groupwise_objectives):
        found |= {name for name, value in vars(module).items() if inspect.isfunction(value) and value.__module__ == module.__name__}
    assert set(objectives.__all__) == found
    assert not [name for name in found if name not in (objectives.__doc__ or "")]


IMPORTED = """
import sys
before = set(sys.modules)
import accord
new = {name.partition(".")[0] for name in set(sys.modules) - before}
print(sorted(name for name in sys.modules if name.startswith("accord")), sorted(new - set(sys.stdlib_module_names) - {"accord"}))
accord.create, accord.add, accord.Ranking, accord.DpoConfig, accord.rows
print(sorted({"torch", "transformers", "cyclopts"} & set(sys.modules)))
"""


def test_importing_it_loads_nothing_and_the_light_names_load_no_torch() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORTED], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "['accord'] []\n[]\n"


HELP = "import accord, pydoc; print(pydoc.plain(pydoc.render_doc(accord)))"


def test_help_begins_with_the_page_that_names_every_command() -> None:
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True)
    page = done.stdout.partition("PACKAGE CONTENTS")[0]
    assert len(page.splitlines()) < 55
    functions = {name for name in accord.__all__ if inspect.isfunction(getattr(accord, name))}
    assert not [name for name in functions if not re.search(rf"\b{name}\b", page)]
    assert "accord.create(" in page


@pytest.mark.parametrize("name", [name for name in accord.__all__ if name.islower() and name not in ("objectives", "__version__")])
def test_a_public_function_says_what_it_does_returns_and_raises(name: str) -> None:
    function: Any = getattr(accord, name)
    text = inspect.getdoc(function) or ""
    first = text.splitlines()[0]
    verb = first.split()[0].rstrip(",:")
    assert verb[0].isupper()
    assert not re.search(r"(ing|[^s]s)$", verb), f"{name}: {first!r} does not begin with a verb in its plain form"
    assert first.rstrip().endswith((".", ":")), f"{name}: {first!r} is no sentence"
    assert "Raises:" in text, f"{name} does not say what it raises"


def test_the_wheel_says_that_it_is_typed(tmp_path: Path) -> None:
    build = pytest.importorskip("hatchling.build", reason="hatchling builds the wheel")
    code = f"import os; os.chdir({str(ROOT)!r}); from {build.__name__} import build_wheel; print(build_wheel({str(tmp_path)!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names = zipfile.ZipFile(tmp_path / done.stdout.split()[-1]).namelist()
    assert "accord/py.typed" in names
    assert "accord/objectives.py" in names


SCRIPT = """
import accord
from accord.objectives import dpo_loss

project = accord.create("p", settings={"dpo": {"epochs": 2}})
accord.add(project, [{"prompt": "Hi", "response": "Hello."}])
ranking: accord.Ranking | None = None
config = accord.config(project, accord.DpoConfig, beta=0.2)
run = accord.dpo(project, config=config, flags=accord.RunFlags(resume=True))
print(run.summary["seconds"], config.beta + 1, dpo_loss)


def shorter(prompts: list[str], first: list[str], second: list[str]) -> list[float]:
    return [float(len(a) < len(b)) for a, b in zip(first, second)]


def brief(prompt: str, responses: list[str]) -> list[float]:
    return [-float(len(text)) for text in responses]


accord.rank(project, brief, labeler="me")
found = accord.compare(project, "sft", "dpo", by=shorter, config=accord.CompareConfig(prompts=10))
texts: list[list[str]] = accord.answer(project, "dpo", ["Hi"], n=2)
worth: list[float] = accord.score("p", ["Hi"], [texts[0][0]])
quiz = accord.Format.rewriting(lambda row: {"prompt": row["q"]}, "q")
print(found, worth, [row["prompt"] for row in accord.rows(project, "prompts")], quiz)
"""


def test_a_script_passes_a_strict_type_checker(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    config = f'{{"typeCheckingMode": "strict", "extraPaths": ["{ROOT / "src"}"], "include": ["script.py"]}}'
    (tmp_path / "pyrightconfig.json").write_text(config)
    command = [sys.executable, "-m", "pyright", "-p", str(tmp_path), "--pythonpath", sys.executable]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    (tmp_path / "script.py").write_text(SCRIPT + 'accord.answer(project, 3, ["Hi"])\n')
    assert subprocess.run(command, capture_output=True, text=True).returncode == 1


# Creating a project


def test_a_project_with_the_world_in_it(tmp_path: Path) -> None:
    world = accord.WorldConfig(documents=30, prompts=20, demonstrations=6, users=4)
    made = accord.create(tmp_path / "town", world=world)
    assert len(accord.rows(made, "demonstrations")) == 6
    with pytest.raises(accord.UsageError, match="settings are given together with a world"):
        accord.create(tmp_path / "other", world=world, settings={"ppo": {"steps": 1}})


def test_settings_in_force_are_changes_over_accord_toml_over_defaults(tmp_path: Path) -> None:
    project = accord.create(tmp_path / "p", settings={"project": {"seed": 7}, "dpo": {"epochs": 3, "beta": 0.5}})
    config = accord.config(project, accord.DpoConfig, beta=0.2)
    assert (config.seed, config.epochs, config.beta, config.batch_size) == (7, 3, 0.2, accord.DpoConfig().batch_size)
    assert accord.config(project.path, accord.ServeConfig) == accord.ServeConfig()
    with pytest.raises(accord.UsageError, match=r"\[dpo\] has no setting 'bta' \(it has seed, loss"):
        accord.config(project, accord.DpoConfig, bta=0.2)
    with pytest.raises(accord.UsageError, match="is not a config class"):
        accord.config(project, dict)


# Adding and reading back

KINDS: dict[str, tuple[dict[str, Any], str]] = {
    "a prompt": ({"prompt": "Hi?"}, "prompts"),
    "a demonstration": ({"prompt": "Hi?", "response": "Hello."}, "demonstrations"),
    "a comparison": ({"prompt": "Hi?", "chosen": "Hello.", "rejected": "What?"}, "rankings"),
    "a ranking": ({"prompt": "Hi?", "responses": ["Hello.", "What?", "Go."], "ranks": [1, 2, 2]}, "rankings"),
    "a thumb": ({"prompt": "Hi?", "completion": "Hello.", "label": True}, "thumbs"),
    "text": ({"text": "Once there was a town by a river, and a mill beside it."}, "documents"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_form_of_a_dict_becomes_what_it_is(kind: str, project: accord.Project, capfd: pytest.CaptureFixture[str]) -> None:
    row, what = KINDS[kind]
    assert accord.add(project, [row])[what] == 1
    assert accord.add(project, [row])[what] == 0
    assert capfd.readouterr() == ("", "")


def test_a_data_frame_with_columns_of_its_own_and_empty_cells(project: accord.Project) -> None:
    frame = pd.DataFrame({"question": ["A?", "B?"], "good": ["a", "b"], "bad": ["c", "d"], "user": ["ann", math.nan], "n": [1, 2]})
    counts = accord.add(project, frame, columns={"prompt": "question", "chosen": "good", "rejected": "bad"})
    assert counts["rankings"] == 2
    assert {row["prompt"]: row["user"] for row in accord.rows(project, "prompts")} == {"A?": "ann", "B?": ""}
    table = pd.DataFrame(accord.rows(project, "comparisons"))
    assert dict(zip(table["prompt"], table["chosen"], strict=True)) == {"A?": "a", "B?": "b"}
    ranked = pd.DataFrame([{"prompt": "C?", "responses": pd.Series(["a", "b"]).to_numpy(), "ranks": pd.Series([1, 2]).to_numpy()}])
    assert accord.add(project, ranked)["rankings"] == 1


def test_records_of_every_kind_at_once(project: accord.Project) -> None:
    prompt = accord.Prompt("p", (accord.Message("user", "Hi?"),))
    other = accord.Prompt("q", (accord.Message("user", "Ho?"),))
    one, two = accord.Response("a", "p", "Hello.", "me"), accord.Response("b", "p", "What?", "me")
    liked = accord.Response("c", "q", "Hey.", "me")
    records = [
        accord.Labeler("ann", "person"),
        accord.Demonstration("d", prompt, "Good day.", "ann"),
        one,
        two,
        accord.Ranking("r", "p", "ann", ("a", "b"), (1, 2), accord.Guideline("training", "v1"), ""),
        accord.Thumb(other, liked, True, "ann"),
    ]
    assert accord.add(project, records) == dict.fromkeys(("labelers", "demonstrations", "rankings", "thumbs"), 1) | {
        "prompts": 2,
        "responses": 3,
    }
    assert set(accord.add(project, records).values()) == {0}
    (thumb,) = accord.rows(project, "thumbs")
    assert (thumb["prompt"], thumb["response"], thumb["up"]) == ("Ho?", "Hey.", True)
    with accord.store(project) as store:
        assert list(store.thumbs()) == [accord.Thumb(other, liked, True, "ann")]


def test_what_is_read_back_can_be_added_elsewhere(project: accord.Project, tmp_path: Path) -> None:
    accord.add(project, [KINDS["a ranking"][0]])
    accord.add(project, [KINDS["a demonstration"][0]])
    other = accord.create(tmp_path / "other")
    for what in ("prompts", "demonstrations", "responses", "rankings"):
        accord.add(other, accord.rows(project, what))
        assert accord.rows(other, what) == accord.rows(project, what)


PROMPT = accord.Prompt("p", (accord.Message("user", "Hi?"),))
REFUSED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "nothing": ([], {}, "add: there are no rows"),
    "a text": (["Hi?"], {}, "add: row 1 is of type str"),
    "a mixture": ([{"prompt": "Hi?"}, PROMPT], {}, "add: dicts and records are mixed"),
    "a missing field": ([{"prompt": "A", "response": "b"}, {"prompt": "C"}], {}, 'row 2, field "response": missing'),
    "an unknown form": ([{"x": 1}], {}, r"row 1: no known format has the fields x \(map columns with columns={FIELD: COLUMN}"),
    "an unknown format": ([{"prompt": "Hi?"}], {"format": "csv"}, "format: unknown format 'csv'"),
    "a set": ([{"prompt": {"Hi?"}}], {}, r"add: {'Hi\?'} is not a text, a number, a list or a dict"),
    "an unknown column": ([{"q": "Hi?"}], {"columns": {"prompt": "question"}}, "there is no such column"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_rows_that_cannot_be_added_are_refused_in_the_words_of_a_script(case: str, project: accord.Project) -> None:
    rows, options, told = REFUSED[case]
    with pytest.raises(accord.AccordError, match=told) as error:
        accord.add(project, rows, **options)
    assert "--" not in str(error.value)
    assert "accord-" not in str(error.value), "the error names a temporary file"
    assert accord.rows(project, "prompts") == []


def test_a_thumb_by_somebody_unknown_is_refused_and_nothing_is_stored(project: accord.Project) -> None:
    with pytest.raises(accord.StoreError, match="knows no labeler bob"):
        accord.add(project, [accord.Thumb(PROMPT, accord.Response("a", "p", "Hello.", "me"), True, "bob")])
    assert accord.rows(project, "prompts") == accord.rows(project, "responses") == []


# Ranking by a function


def shortest(prompt: str, responses: list[str]) -> list[float]:
    assert prompt == "Hi?"
    return [-float(len(text)) for text in responses]


def test_a_function_ranks_what_is_stored_once(project: accord.Project) -> None:
    held_out = accord.Prompt("t", PROMPT.messages, split="test")
    texts = ("four", "to", "fo", "three")
    accord.add(project, [PROMPT, held_out, accord.Response("x", "t", "a", "m"), accord.Response("y", "t", "ab", "m")])
    with pytest.raises(accord.InputError, match=r"no prompt has two responses \(accord.sample"):
        accord.rank(project, shortest, labeler="me")
    accord.add(project, [accord.Response(f"r{i}", "p", text, "m") for i, text in enumerate(texts)])
    assert accord.rank(project, shortest, labeler="me")["rankings"] == 1
    assert accord.rank(project, shortest, labeler="me")["rankings"] == 0
    assert accord.rank(project, shortest, labeler="you")["rankings"] == 1
    ranking = next(row for row in accord.rows(project, "rankings") if row["labeler"] == "me")
    assert dict(zip(ranking["responses"], ranking["ranks"], strict=True)) == {"to": 1, "fo": 1, "four": 2, "three": 3}
    assert ranking["kind"] == "simulated"


@pytest.mark.parametrize("returned", [[1.0], [1.0, math.nan]])
def test_a_function_that_ranks_badly_is_refused_by_its_prompt(returned: list[float], project: accord.Project) -> None:
    accord.add(project, [PROMPT, accord.Response("a", "p", "a", "m"), accord.Response("b", "p", "b", "m")])
    with pytest.raises(accord.InputError, match=r"rank, prompt p: the function returned .* for 2 responses"):
        accord.rank(project, lambda prompt, responses: returned, labeler="me")
    assert accord.rows(project, "labelers") == []


# What is asked for and is not there


def test_what_is_not_there_is_refused_with_what_is(project: accord.Project) -> None:
    with pytest.raises(accord.UsageError, match="rows: there are no 'ranking'"):
        accord.rows(project, "ranking")  # pyright: ignore[reportArgumentType]
    with pytest.raises(accord.RunError, match=r"dpo: there are no metrics of steps \(the project's runs: none\)"):
        accord.metrics(project, "dpo")
    with pytest.raises(accord.RunError, match="dpo: there are no samples"):
        accord.samples(project, "dpo")
    with pytest.raises(accord.InputError, match="prompts is one text"):
        accord.answer(project, "sft", "Hi?")
    with pytest.raises(accord.InputError, match="one text for 1 prompts"):
        accord.score(project, ["Hi?"], "Hello.")
    with pytest.raises(accord.ModelError, match=r"sft: the project has no such model \(it has: none yet\)"):
        accord.answer(project, "sft", ["Hi?"])
