"""Plugins of installed packages in use, one of each group, through the commands that take them."""

from __future__ import annotations

import json
import re
import shutil
import signal
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from installed import package
from tiny import chat, llama, scalar

import accord
from accord.commands.app import main
from accord.commands.serve.rules import rules_of, screen_with
from accord.models.folders import save_model
from accord.records import Message
from accord.runtime import recipes
from accord.runtime.plugins import Group
from accord.serving.guards import new_kinds

FEW = ("--max-tokens", "6", "--dtype", "float32")
TRAINED = ("--steps", "1", "--batch-size", "4", "--group-size", "2", "--minibatch-size", "4", "--truncation", "terminate", *FEW)
Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return tmp_path / "site"


@pytest.fixture
def project(tmp_path: Path) -> accord.Project:
    """Two untrained models, a reward model, and prompts of training and held-out users."""
    made = accord.create(tmp_path / "p")
    prompts = [
        accord.Prompt(f"p{i}", (Message("user", f"Who keeps the mill {i}?"),), user=f"u{i}", split="train" if i % 2 else "test")
        for i in range(8)
    ]
    accord.add(made, prompts)
    tokenizer = chat().tokenizer
    for seed, name in enumerate(("sft", "other"), 1):
        save_model(made.model(name), llama(seed, vocab=len(tokenizer), std=0.3), tokenizer)
    save_model(made.model("reward"), scalar(llama(1, vocab=len(tokenizer))), tokenizer)
    return made


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str]) -> Iterator[Typed]:
    pipes = signal.getsignal(signal.SIGPIPE)

    def run(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            main([str(word) for word in words])
        except SystemExit as end:
            return int(end.code or 0), *capsys.readouterr()
        return 0, *capsys.readouterr()

    yield run
    signal.signal(signal.SIGPIPE, pipes)


def metrics(project: accord.Project, run: str) -> dict[str, Any]:
    return json.loads((project.run(run) / "summary.json").read_text("utf-8"))


BRIEF = """
SEEN = []

def brief(prompts, responses):
    SEEN.append((prompts, responses))
    return [-float(len(response)) for response in responses]
"""


def test_a_reward_by_its_name(project: accord.Project, site: Path, typed: Typed) -> None:
    package(site, "town-brief", BRIEF, rewards="brief = town_brief:brief")
    code, _, err = typed("grpo", project.path, "--rewards", "brief=2, length=-0.1", *TRAINED)
    assert code == 0, err
    (row,) = accord.metrics(project, "grpo")
    assert row["weight.brief"] == 2
    assert row["reward.brief"] < 0
    import town_brief  # pyright: ignore[reportMissingImports]

    prompts, responses = town_brief.SEEN[-1]
    assert row["reward.brief"] == pytest.approx(-sum(map(len, responses)) / len(responses))
    assert set(prompts) <= {f"Who keeps the mill {i}?" for i in (1, 3, 5, 7)}
    assert json.loads((project.run("grpo") / "config.json").read_text())["inputs"]["reward brief"] == "town-brief 1.0"


def test_a_reward_that_nobody_knows_is_refused_with_those_that_are_installed(project: accord.Project, site: Path, typed: Typed) -> None:
    package(site, "town-kind", BRIEF, rewards="kindness = town_kind:brief")
    code, _, err = typed("grpo", project.path, "--rewards", "kind", *TRAINED)
    assert code == 2
    assert "there is no reward 'kind'" in err
    assert "kindness" in err


@pytest.mark.parametrize(("name", "told"), [("length", "built in"), ("other", "is a model of the project, and a reward of town-taken 1.0")])
def test_a_reward_with_a_taken_name_is_refused(name: str, told: str, project: accord.Project, site: Path, typed: Typed) -> None:
    package(site, "town-taken", BRIEF, rewards=f"{name} = town_taken:brief")
    code, _, err = typed("grpo", project.path, "--rewards", name, *TRAINED)
    assert code == 2
    assert told in err


JUDGES = """
def longer(prompts, first, second):
    return [(len(a) > len(b)) + 0.5 * (len(a) == len(b)) for a, b in zip(first, second)]

def the_first(prompts, first, second):
    return [1.0] * len(prompts)

def sure(prompts, first, second):
    return [2.0] * len(prompts)

def few(prompts, first, second):
    return [0.5]

def broken(prompts, first, second):
    raise OSError("no judge today")
"""
NAMES = "\n".join(f"{name} = town_judges:{name}" for name in ("longer", "the_first", "sure", "few", "broken"))


def test_a_judge_by_its_name(project: accord.Project, site: Path, typed: Typed) -> None:
    package(site, "town-judges", JUDGES, judges=NAMES)
    code, _, err = typed("compare", project.path, "sft", "other", "--by", "longer", *FEW)
    assert code == 0, err
    found = metrics(project, "compare")
    assert found["judge"] == "longer"
    rows = [json.loads(line) for line in (project.run("compare") / "samples.jsonl").read_text("utf-8").splitlines()]
    for row in rows:
        gap = len(row["responses"]["other"]) - len(row["responses"]["sft"])
        assert row["preferred"]["other_vs_sft"] == (0.5 if gap == 0 else float(gap > 0))
    assert json.loads((project.run("compare") / "config.json").read_text())["inputs"]["judge"] == "longer of town-judges 1.0"


def test_a_judge_that_prefers_a_place_prefers_nobody(project: accord.Project, site: Path, typed: Typed) -> None:
    package(site, "town-judges", JUDGES, judges=NAMES)
    assert typed("compare", project.path, "sft", "other", "--by", "the_first", *FEW)[0] == 0
    rate, low, high = metrics(project, "compare")["win_rate"]["other_vs_sft"]
    assert rate == 0.5
    assert low < 0.1 < 0.9 < high, "four prompts tell nothing"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("sure", "the judge sure: returned 2.0 (it returns what the first answer"),
        ("few", "the judge few: returned 1 numbers for 4 prompts"),
        ("broken", "the judge broken: raised OSError: no judge today"),
        ("gild", "there is no judge 'gild' (known are auto, gold, reward, llm, people, broken, few, longer, sure, the_first)"),
    ],
)
def test_a_judge_that_cannot_be_used_is_refused(name: str, told: str, project: accord.Project, site: Path, typed: Typed) -> None:
    package(site, "town-judges", JUDGES, judges=NAMES)
    code, _, err = typed("compare", project.path, "sft", "other", "--by", name, *FEW)
    assert code == (2 if name == "gild" else 1)
    assert told in err
    assert not project.run("compare").exists()


def test_a_judge_that_is_a_function_of_the_script(project: accord.Project) -> None:
    def shorter(prompts: list[str], first: list[str], second: list[str]) -> list[float]:
        assert all(prompt.startswith("Who keeps the mill") for prompt in prompts)
        return [float(len(a) < len(b)) for a, b in zip(first, second, strict=True)]

    config = accord.CompareConfig(max_tokens=6)
    found = accord.compare(project, "sft", "other", by=shorter, config=config, flags=accord.Compute("float32"))
    assert found["judge"] == "shorter"


FORMATS = """
import accord

def read(row):
    if not row["answers"]:
        raise ValueError("a question without answers")
    return {"prompt": row["question"], "responses": row["answers"], "ranks": list(range(1, len(row["answers"]) + 1))}

quiz = accord.Format.rewriting(read, "question+answers")
greedy = accord.Format.rewriting(read, "prompt")
nonsense = accord.Format.rewriting(lambda row: {"x": 1}, "nonsense")
number = 3
"""


def test_a_format_by_its_name_and_by_its_fields(project: accord.Project, site: Path, typed: Typed, tmp_path: Path) -> None:
    package(site, "town-quiz", FORMATS, formats="quiz = town_quiz:quiz\ngreedy = town_quiz:greedy\nnonsense = town_quiz:nonsense")
    file = tmp_path / "quiz.jsonl"
    file.write_text('{"question": "Who?", "answers": ["Ann.", "Bob.", "Cyd."]}\n')
    code, out, err = typed("import", project.path, file, "--json")
    assert code == 0, err
    assert json.loads(out) | {"seconds": 0, "rows_per_second": 0} == json.loads(out) | {
        "format": "quiz",
        "rankings": 1,
        "responses": 3,
        "seconds": 0,
        "rows_per_second": 0,
    }
    assert accord.rows(project, "rankings")[0]["ranks"] == (1, 2, 3)
    assert json.loads(typed("import", project.path, file, "--format", "quiz", "--json")[1])["rankings"] == 0
    assert accord.add(project, [{"prompt": "Hi"}])["format"] == "prompts"  # greedy asks for no more fields than ours does


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ('{"question": "Who?", "answers": []}', "quiz.jsonl:1: a question without answers"),
        ('{"nonsense": 1}', "no built-in format reads a row with the fields x"),
    ],
)
def test_a_row_that_a_format_cannot_read_is_refused_by_its_line(
    row: str, told: str, project: accord.Project, site: Path, typed: Typed, tmp_path: Path
) -> None:
    package(site, "town-quiz", FORMATS, formats="quiz = town_quiz:quiz\nnonsense = town_quiz:nonsense")
    file = tmp_path / "quiz.jsonl"
    file.write_text(row + "\n")
    code, _, err = typed("import", project.path, file)
    assert code == 1
    assert told in err


def test_a_plugin_that_is_no_format_is_refused(project: accord.Project, site: Path) -> None:
    package(site, "town-quiz", FORMATS, formats="number = town_quiz:number")
    with pytest.raises(accord.UsageError, match=r"town-quiz 1.0: number is of type int, not a Format"):
        accord.add(project, [{"prompt": "Hi"}], format="number")


MEASURES = """
def words(answer, prompts):
    lengths = [len(text.split()) for text in answer(prompts)]
    return {"words": lengths, "prompts": len(prompts), "own": len(answer(["Who?"]))}

def wordy(answer, prompts):
    return {"words": "many"}
"""


def test_a_measure_by_its_name(project: accord.Project, site: Path, typed: Typed) -> None:
    package(site, "town-words", MEASURES, measures="words = town_words:words\nwordy = town_words:wordy")
    code, out, err = typed("probe", project.path, "sft", "other", "--measure", "words", *FEW)
    assert code == 0, err
    found = metrics(project, "probe")["measures"]["words"]
    assert set(found) == {"sft", "other"}
    mean, low, high = found["sft"]["words"]
    assert low <= mean <= high
    assert (found["sft"]["prompts"], found["sft"]["own"]) == (4, 1)
    assert "words" in out
    code, _, err = typed("probe", project.path, "sft", "--measure", "wordy", *FEW, "--name", "second")
    assert code == 1
    assert "the measure wordy: returned 'many' as 'words'" in err
    code, _, err = typed("probe", project.path, "sft", "--measure", "word", *FEW)
    assert code == 2
    assert "there is no measure 'word' (known are tax, truth, safety, fairness, knowledge, scenes, words, wordy)" in err


GUARDS = """
def dialect(text):
    return ["dialect"] if "ye olde" in text else []

def broken(text):
    raise OSError("no dictionary")

def letters(text):
    return "politics"
"""
GUARD_NAMES = "\n".join(f"{name} = town_guards:{name}" for name in ("dialect", "broken", "letters"))


def test_a_guard_by_its_name_beside_our_own_screen(project: accord.Project, site: Path) -> None:
    package(site, "town-guards", GUARDS, guards=GUARD_NAMES)
    rules = rules_of(project, accord.ServeConfig(output_filter="refuse", guards="dialect"))
    assert rules.screen("ye olde porn") == ["harm", "dialect"]
    assert new_kinds("ye olde shop", [Message("user", "What is it?")], rules.screen) == ["dialect"]
    assert new_kinds("ye olde shop", [Message("user", "What is ye olde shop?")], rules.screen) == []


@pytest.mark.parametrize("name", ["broken", "letters"])
def test_a_guard_that_fails_lets_nothing_pass(name: str, site: Path) -> None:
    package(site, "town-guards", GUARDS, guards=GUARD_NAMES)
    assert new_kinds("Hello.", [Message("user", "Hello?")], screen_with(name)) == [f"{name}-failed"]


def test_guards_that_nobody_asks_or_knows_are_refused(project: accord.Project, site: Path) -> None:
    package(site, "town-guards", GUARDS, guards=GUARD_NAMES)
    with pytest.raises(accord.UsageError, match="input_filter and output_filter are off"):
        accord.ServeConfig(guards="dialect")
    with pytest.raises(accord.UsageError, match=r"there is no guard 'slang' \(known are broken, dialect, letters\)"):
        rules_of(project, accord.ServeConfig(output_filter="report", guards="slang"))


def test_the_worked_examples_of_the_page_work(project: accord.Project, site: Path, typed: Typed, tmp_path: Path) -> None:
    page = (Path(__file__).parent.parent / "docs" / "plugins.md").read_text("utf-8")
    blocks = dict[str, list[str]]()
    for language, code in re.findall(r"```(\w+)\n(.*?)```", page, re.DOTALL):
        blocks.setdefault(language, []).append(code)
    points = tomllib.loads(blocks["toml"][0])["project"]["entry-points"]
    lines = {group.removeprefix("accord."): f"{name} = {value}" for group, each in points.items() for name, value in each.items()}
    assert set(lines) == set(get_args(Group))
    package(site, "accord-village", "\n".join(blocks["python"]), **lines)
    (tmp_path / "quiz.jsonl").write_text('{"question": "Who?", "answers": ["Ann.", "Bob."]}\n')
    given = {
        "grpo": ("--rewards", "model=1, polite=0.2", *TRAINED),
        "compare": ("sft", "other", "--by", "shorter", *FEW),
        "import": (tmp_path / "quiz.jsonl", "--dry-run"),
        "probe": ("sft", "other", "--measure", "arithmetic", *FEW),
        "classifiers": ("--task", "toxicity", "--toxicity", "slang"),
    }
    for command, words in given.items():
        assert f"accord {command} my-project" in page
        code, _, err = typed(command, project.path, *words)
        assert code == 0, err
    assert rules_of(project, accord.ServeConfig(guards="prices", output_filter="refuse")).screen("It is $ 5.") == ["price"]
    assert "accord init my-project --recipe village" in page
    shutil.copytree(recipes.find("support"), site / "village")
    assert typed("init", tmp_path / "new", "--recipe", "village")[0] == 0
    assert (tmp_path / "new" / "measures.py").is_file()
