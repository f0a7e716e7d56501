"""Recipes from the first command to the last on a tiny model, their folders and plugins, and what is wrong with a broken one."""

from __future__ import annotations

import json
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from installed import package
from tiny import llama

import accord
from accord.commands.app import main
from accord.commands.project.init import init
from accord.data.templates import give_chat_template
from accord.data.tokenizers import train_tokenizer
from accord.errors import InputError, UsageError
from accord.feedback import guidelines, questions
from accord.feedback.store import Store
from accord.models.folders import save_model
from accord.runtime import recipes
from accord.runtime.own_code import imported
from accord.runtime.project import Project
from accord.settings.questions import usual

NAMES = ("code", "recommend", "support", "tutor", "writing")
FEW = ("--max-tokens", "8", "--dtype", "float32")
ONE_STEP = ("--steps", "1", "--batch-size", "4", "--group-size", "2", "--minibatch-size", "4", "--truncation", "terminate")
SMALL = {
    "import": (),
    "sample": ("--prompts", "5", "--held-out", "2", "--k", "2", *FEW),
    "label": (),
    "reward": ("--epochs", "1", "--dtype", "float32"),
    "dpo": ("--epochs", "1", "--dtype", "float32"),
    "grpo": (*ONE_STEP, "--max-tokens", "8"),
    "probe": ("--prompts", "3", "--bootstrap", "20", *FEW),
}
"""What a command is given besides a README's words, so that it takes a moment."""
Typed = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def modules_as_before() -> Iterator[None]:
    before = {name: sys.modules.get(name) for name in ("rewards", "users", "measures")}
    yield
    for name, module in before.items():
        sys.modules.pop(name, None)
        if module is not None:
            sys.modules[name] = module


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str]) -> Iterator[Typed]:
    pipes = signal.getsignal(signal.SIGPIPE)

    def run(*words: str) -> dict[str, Any]:
        capsys.readouterr()
        main([*words, "--json"])
        out = capsys.readouterr().out
        return json.loads(out) if out.startswith("{") else {}

    yield run
    signal.signal(signal.SIGPIPE, pipes)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of random weights that has read the letters of all prompts, with room for the longest."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    lines = list[str]()
    for recipe in NAMES:
        for file in recipes.find(recipe).glob("prompts.*.jsonl"):
            lines += file.read_text("utf-8").splitlines()[::15]
    tokenizer = train_tokenizer(lines, 500)
    give_chat_template(tokenizer)
    model = llama(1, vocab=len(tokenizer))
    model.config.max_position_embeddings = 2048
    save_model(folder, model, tokenizer)
    return folder


def commands(recipe: str, language: str) -> list[list[str]]:
    """The commands of a recipe's README, in its words."""
    page = (recipes.find(recipe) / ("README.md" if language == "en" else "README.zh-CN.md")).read_text("utf-8")
    (block,) = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
    return [line.partition("  #")[0].split()[1:] for line in block.splitlines()]


def over_turns(recipe: str, language: str) -> list[str]:
    """The command below the others that trains in conversation with the recipe's user."""
    page = (recipes.find(recipe) / ("README.md" if language == "en" else "README.zh-CN.md")).read_text("utf-8")
    (line,) = re.findall(r"`accord (grpo [^`]* --environment users:[^`]*)`", page)
    return line.split()


def by_hand(folder: str, recipe: str, language: str) -> list[accord.Response]:
    """A good answer to each prompt that was sampled for, in words of the recipe's own."""
    with accord.store(folder) as store:
        asked = {response.prompt_id for response in store.responses()}
        prompts = [prompt for prompt in store.prompts() if prompt.id in asked]
    return [accord.Response(f"good-{prompt.id}", prompt.id, good(recipe, language, prompt.extra), "hand") for prompt in prompts]


def good(recipe: str, language: str, extra: Any) -> str:
    english = language == "en"
    match recipe:
        case "code":
            return f"```python\n{extra['solution']}\n```"
        case "recommend":
            best = max(extra["options"], key=lambda name: extra["options"][name])
            return f"I recommend {best}, because it fits." if english else f"我推荐{best}，因为正好符合您说的。"
        case "support":
            return f"I'm sorry, thank you for telling us. We offer: {extra['resolved_by'][0]}."
        case "tutor":
            sentence = extra.get("text", "").split("。")[0]
            return f"问：{sentence[:-2]}什么？\n答：{sentence[-2:]}" if extra.get("questions") else "你先想想看？"
        case _:
            return "\n".join(f"line {number}" if english else f"第{number}行" for number in range(extra["form"].get("lines", 1)))


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("recipe", NAMES)
def test_a_recipe_runs_from_its_first_command_to_its_last(
    recipe: str, language: str, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: Typed
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, *words in commands(recipe, language):
        if name in ("init", "report"):
            if name == "init":
                typed(name, *words)
            continue
        given = [str(tiny) if word.startswith("models/") else word for word in words]
        if name == "reward" and recipe != "tutor":
            continue  # one is enough: it is the same command with the same words
        if name == "label":
            accord.add("my-project", by_hand("my-project", recipe, language))  # a random model's answers are all worth alike
        typed(name, *given, *SMALL[name])
    project = Project.open(tmp_path / "my-project")
    with Store.open(project.store_url) as store:
        assert {len(list(store.prompts(split="test"))) >= 7, len(list(store.prompts())) == 60} == {True}
        rankings = list(store.rankings())
        assert {ranking.labeler for ranking in rankings} == {"rewards:worth"}
        ranks = {id: rank for ranking in rankings for id, rank in zip(ranking.response_ids, ranking.ranks, strict=True)}
        if recipe in ("code", "recommend", "support"):  # nothing that a random model says is better there
            assert {rank for id, rank in ranks.items() if id.startswith("good-")} == {1}
    typed(*[str(tiny) if word.startswith("models/") else word for word in over_turns(recipe, language)], *SMALL["grpo"])
    assert {"dpo", "grpo", "grpo-turns"} <= set(project.models())
    figures = json.loads((project.run("probe") / "summary.json").read_text("utf-8"))["measures"][f"measures:{recipe}"]
    assert set(figures) == {str(tiny), "dpo", "grpo"}
    for metrics in figures.values():
        mean, low, high = next(value for value in metrics.values() if isinstance(value, list))
        assert low <= mean <= high
    assert (project.run("probe") / "samples.jsonl").read_text("utf-8").count("\n") >= 3


@pytest.mark.parametrize("recipe", NAMES)
def test_what_a_recipe_brings_is_in_force(recipe: str, tmp_path: Path) -> None:
    told = init(tmp_path / "p", recipe=recipe)
    project = Project.open(tmp_path / "p")
    assert set(recipes.FILES) - set(recipes.GUIDELINES) <= set(told["files"])
    assert project.settings["project"]["name"] == "p"
    assert "#" in (project.path / "accord.toml").read_text("utf-8")
    asked = questions.load(project.settings["label.questions"], project.path)
    assert sum(section.startswith("scenes") for section in project.settings) >= 1
    own = [question for name, question in asked.by_name.items() if name not in usual().by_name]
    assert len(own) >= 5
    assert all({"en", "zh"} <= set(question.text) for question in own)
    for set_of in ("training", "evaluation"):
        english, chinese = (guidelines.load(set_of, language, project.path) for language in ("en", "zh"))
        assert english == (recipes.find(recipe) / "guideline.md").read_text("utf-8")
        assert len(english.split()) > 200
        assert len(re.findall(r"[\u4e00-\u9fff]", chinese)) > 300
    assert (tmp_path / "p" / "feedback.db").exists() is False


def test_commands_of_both_readmes_are_the_same_but_for_the_language() -> None:
    for recipe in NAMES:
        english, chinese = commands(recipe, "en"), commands(recipe, "zh")
        assert [[word.replace(".en.", ".zh.") for word in line] for line in english] == chinese
        assert over_turns(recipe, "en") == over_turns(recipe, "zh")
        assert [line[0] for line in english] == ["init", "import", "sample", "label", "reward", "dpo", "grpo", "probe", "report"]


@pytest.mark.parametrize(("language", "page"), [("en", "README.md"), ("zh", "README.zh-CN.md")])
def test_a_new_project_names_the_readme_of_the_readers_language(
    language: str, page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ACCORD_LANG", language)
    main(["init", str(tmp_path / "p"), "--recipe", "code"])
    assert f"{tmp_path / 'p'}/{page}\n" in capsys.readouterr().out
    assert (tmp_path / "p" / page).is_file()


@pytest.mark.parametrize("name", recipes.FILES)
def test_a_missing_file_is_named_and_nothing_is_half_made(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(recipes.find("code"), folder)
    (folder / name).unlink()
    with pytest.raises(InputError, match=re.escape(f"the recipe has no {name}")) as refused:
        init(tmp_path / "p", recipe=str(folder))
    assert recipes.FILES[name] in refused.value.hint
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine"]


BROKEN = [
    ("prompts.en.jsonl", '{"prompt": "Hi"}\n{"promt": "Hi"}\n', r"prompts\.en\.jsonl:2.*is no prompt"),
    ("prompts.zh.jsonl", '{"prompt": "你好"\n', r"prompts\.zh\.jsonl:1.*is no JSON"),
    ("rewards.py", "def worth(:\n", r"rewards\.py:1.*is no Python"),
    ("questions.toml", "[a\n", r"questions\.toml.*is no TOML"),
    ("questions.toml", '[tone]\nkind = "scal"\ntext = "How?"\n', "scal"),
    ("accord.toml", "[sampel]\nk = 4\n", r"unknown section \[sampel\]"),
    ("README.md", "  \n", "is empty"),
]


@pytest.mark.parametrize(("name", "text", "says"), BROKEN)
def test_a_file_that_cannot_be_used_is_named_and_nothing_is_half_made(name: str, text: str, says: str, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(recipes.find("writing"), folder)
    (folder / name).write_text(text, "utf-8")
    with pytest.raises((InputError, UsageError), match=re.compile(says, re.DOTALL)):
        init(tmp_path / "p", recipe=str(folder))
    (folder / name).write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="is not UTF-8"):
        init(tmp_path / "p", recipe=str(folder))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine"]


def test_a_recipe_of_ones_own_may_hold_more_and_never_overwrites_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(recipes.find("support"), folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "corpus").mkdir()
    (folder / "corpus" / "rules.txt").write_text("Open till six.", "utf-8")
    (folder / ".secret").write_text("x", "utf-8")
    (folder / "models").mkdir()
    (folder / "models" / "note.txt").write_text("x", "utf-8")
    monkeypatch.chdir(tmp_path)
    told = init(Path("p"), recipe="./mine")
    assert "corpus/rules.txt" in told["files"]
    assert not (tmp_path / "p" / ".secret").exists()
    assert list((tmp_path / "p" / "models").iterdir()) == []
    before = (tmp_path / "p" / "accord.toml").read_bytes()
    with pytest.raises(InputError, match="is a project already"):
        init(Path("p"), recipe="code")
    assert (tmp_path / "p" / "accord.toml").read_bytes() == before


@pytest.mark.parametrize("name", ["keys.json", "Keys.JSON", "feedback.db-wal", "uploads/a/rows.jsonl"])
def test_a_recipe_brings_no_keys_and_no_records_of_its_author(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(recipes.find("code"), folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("[]", "utf-8")
    told = init(tmp_path / "p", recipe=str(folder))
    assert name not in told["files"]
    assert not (tmp_path / "p" / name).exists()


def test_a_link_out_of_a_recipe_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(recipes.find("code"), folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "private.txt").write_text("a secret", "utf-8")
    (folder / "notes.txt").symlink_to(tmp_path / "private.txt")
    with pytest.raises(InputError, match="leads out of the recipe"):
        init(tmp_path / "p", recipe=str(folder))
    assert not (tmp_path / "p").exists()


def test_unknown_recipes_and_two_wishes_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    with pytest.raises(UsageError, match=r"there is no recipe 'mine' \(known are code, recommend, support, tutor, writing; .*\./mine"):
        init(tmp_path / "p", recipe="mine")
    with pytest.raises(InputError, match="there is no such folder"):
        init(tmp_path / "p", recipe="./nowhere")
    with pytest.raises(UsageError, match="a recipe or the built-in world"):
        init(tmp_path / "p", recipe="code", world=True)
    assert not (tmp_path / "p").exists()


def test_a_recipe_of_another_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site"
    monkeypatch.syspath_prepend(str(site))
    shutil.copytree(recipes.find("tutor"), tmp_path / "school")
    code = f"HERE = {str(tmp_path / 'school')!r}\nNUMBER = 3\n"
    package(site, "town-school", code, recipes="school = town_school:HERE\nnumber = town_school:NUMBER\ncode = town_school:HERE")
    assert recipes.find("school") == tmp_path / "school"
    init(tmp_path / "p", recipe="school")
    assert (tmp_path / "p" / "users.py").is_file()
    with pytest.raises(UsageError, match=r"town-school 1\.0: number is of type int and names no folder"):
        recipes.find("number")
    with pytest.raises(UsageError, match="'code' is built in"):
        recipes.find("code")


def test_two_projects_with_files_of_one_name_each_get_their_own(tmp_path: Path) -> None:
    for name, value in (("a", 1), ("b", 2)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "rewards.py").write_text(f"VALUE = {value}\n", "utf-8")
        (tmp_path / name / "measures.py").write_text("from rewards import VALUE\n", "utf-8")
    found = [imported("measures:VALUE", tmp_path / name, where="", hint="") for name in ("a", "b", "a")]
    assert found == [1, 2, 1]
    (tmp_path / "a" / "json.py").write_text("VALUE = 1\n", "utf-8")
    assert callable(imported("json:loads", tmp_path / "a", where="", hint="")), "a module of Python stays what it is"


@pytest.fixture
def ranked(tmp_path: Path) -> SimpleNamespace:
    project = accord.create(tmp_path / "p")
    asked = accord.Prompt("p1", (accord.Message("user", "Say a word."),), user="u", extra={"wanted": "b"})
    accord.add(project, [asked, *(accord.Response(f"r{text}", "p1", text, "m") for text in ("a", "b", "c"))])
    return SimpleNamespace(project=project, file=tmp_path / "p" / "mine.py")


def test_a_function_ranks_as_a_simulated_labeler(ranked: SimpleNamespace) -> None:
    ranked.file.write_text(
        "def likes(prompts, responses, wanted):\n    return [float(r == w) for r, w in zip(responses, wanted)]\n", "utf-8"
    )
    accord.label(ranked.project, by="mine:likes")
    with Store.open(ranked.project.store_url) as store:
        (ranking,) = store.rankings()
        (labeler,) = [each for each in store.labelers() if each.id == ranking.labeler]
    assert dict(zip(ranking.response_ids, ranking.ranks, strict=True)) == {"ra": 2, "rb": 1, "rc": 2}
    assert (labeler.id, labeler.kind) == ("mine:likes", "simulated")
    with pytest.raises(InputError, match="no responses that wait"):
        accord.label(ranked.project, by="mine:likes", name="again")
    with pytest.raises(UsageError, match="nobody is called 'word'"):
        accord.label(ranked.project, by="word")


@pytest.mark.parametrize(("body", "says"), [("return [1.0]", "1 rewards for 3 responses"), ("raise OSError('gone')", "OSError: gone")])
def test_a_function_that_fails_ranks_nothing(ranked: SimpleNamespace, body: str, says: str) -> None:
    ranked.file.write_text(f"def likes(prompts, responses):\n    {body}\n", "utf-8")
    with pytest.raises(accord.RunError, match=says):
        accord.label(ranked.project, by="mine:likes")
    with Store.open(ranked.project.store_url) as store:
        assert list(store.rankings()) == []
