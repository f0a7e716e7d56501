"""The command line in Chinese: every command's summary and every setting's help has its Chinese; --json and the rest stay English."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import cast

import pytest
from cyclopts import App

from accord.commands import COMMANDS, GROUPS, language
from accord.commands.app import app, main

CATALOGUE: dict[str, dict[str, str]] = json.loads(resources.files("accord.commands").joinpath("locales", "zh_CN.json").read_text("utf-8"))
TEXTS, ERRORS = CATALOGUE["texts"], CATALOGUE["errors"]


@pytest.fixture(autouse=True)
def nothing_chosen(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("ACCORD_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    yield
    app.help_formatter = None


def helps(command: App, path: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Every summary and every flag's help below a command, with where it stands."""
    yield " ".join(path), command.help
    if command.default_command:
        for argument in command.assemble_argument_collection(parse_docstring=True):
            if argument.parameter.help and argument.parameter.show is not False:
                yield f"{' '.join(path)} {argument.name}", cast("str", argument.parameter.help)
    for name in command:
        if not name.startswith("-"):
            yield from helps(command[name], (*path, name))


@pytest.mark.parametrize("name", [command.name for command in COMMANDS])
def test_every_summary_and_every_settings_help_has_its_chinese(name: str) -> None:
    found = dict(helps(app[name], (name,)))
    line = next(command.line for command in COMMANDS if command.name == name)
    missing = {where: text for where, text in [*found.items(), (name, line)] if language.first_paragraph(text) not in TEXTS}
    assert not missing, f"add to src/accord/commands/locales/zh_CN.json: {missing}"


def test_nothing_is_left_over_and_headings_are_there() -> None:
    known = {language.first_paragraph(text) for command in COMMANDS for _, text in helps(app[command.name], (command.name,))}
    known |= {command.line for command in COMMANDS} | set(GROUPS.values())
    known |= {"Commands", "Parameters", "Display this message and exit.", "Display application version.", app.help, app.help_epilogue}
    assert set(GROUPS.values()) <= TEXTS.keys()
    assert not (left := sorted(TEXTS.keys() - known)), f"no command says this any more: {left}"


@pytest.mark.parametrize("english", TEXTS)
def test_a_help_keeps_flags_and_code(english: str) -> None:
    chinese = TEXTS[english]
    assert re.search(r"[\u4e00-\u9fff]", chinese)
    for code in re.findall(r"`[^`]+`", english):
        assert code in chinese


@pytest.mark.parametrize("english", ERRORS)
def test_an_error_keeps_its_placeholders(english: str) -> None:
    places = lambda text: sorted(re.findall(r"\{\w+\}", text))  # noqa: E731
    assert places(ERRORS[english]) == places(english)
    given = re.sub(r"\{(\w+)\}", r"<\1>", english)
    assert re.search(r"[\u4e00-\u9fff]", language.error(f"place: {given} (a hint)"))
    assert language.error(f"place: {given} (a hint)").startswith("place: " if not given.startswith("place") else "")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C.UTF-8"}, "en"),
        ({"LANG": "de_DE.UTF-8", "LC_ALL": "zh_SG.UTF-8"}, "zh"),
        ({"LANG": "zh_TW.UTF-8"}, "en"),
        ({"LANG": "zh_CN.UTF-8", "ACCORD_LANG": "en"}, "en"),
        ({"LANG": "en_GB.UTF-8", "ACCORD_LANG": "zh"}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "ACCORD_LANG": ""}, "zh"),
    ],
)
def test_the_language_is_accords_own_variable_then_the_locale(environment: dict[str, str], expected: str) -> None:
    assert language.chosen(environment) == expected


def said(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    capsys.readouterr()
    with contextlib.suppress(SystemExit):
        main(words)
    captured = capsys.readouterr()
    return captured.out, captured.err


def test_help_and_errors_are_chinese_and_json_is_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    nowhere = str(tmp_path / "nowhere")
    assert not re.search(r"[\u4e00-\u9fff]", said(["--help"], capsys)[0])
    monkeypatch.setenv("ACCORD_LANG", "zh")
    for words, chinese in ((["--help"], "把已保存的回复做成标注任务。"), (["queue", "--help"], "每个任务最多的回复数，2 到 9。")):
        assert chinese in said(words, capsys)[0]
    assert "把已保存的回复做成标注任务。" in said(["queue", "--help"], capsys)[0], "the command's summary too"
    assert "暂停分配任务，直到恢复。" in said(["labelers", "pause", "--help"], capsys)[0]
    assert (
        said(["config", nowhere], capsys)[1]
        == f"accord: {nowhere}: 不是 Accord 项目：没有 accord.toml（创建一个：accord init {nowhere}）\n"
    )
    assert "没有选项 --nope" in said(["config", nowhere, "--nope"], capsys)[1]
    monkeypatch.setattr("sys.argv", ["accord", "config", nowhere, "--json"])
    assert "is not an Accord project" in said(["config", nowhere, "--json"], capsys)[1]
    monkeypatch.setattr("sys.argv", ["accord"])
    monkeypatch.setenv("ACCORD_LANG", "en")
    assert not re.search(r"[\u4e00-\u9fff]", said(["sft", "--help"], capsys)[0])
    assert "is not an Accord project" in said(["config", nowhere], capsys)[1]
