"""The command line's frame: the app, the flags that many commands share, accord.toml under the flags, and how results are printed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import cyclopts
from cyclopts import App, Parameter

import accord

if TYPE_CHECKING:
    from accord.runtime.runs import Run

app = App(
    name="accord",
    version=accord.__version__,
    help="Language models learn what your people prefer: raw text to a policy, with labels, proof and a chat in between.",
    help_epilogue="The whole loop on the built-in world: accord demo",
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)

Flat = Parameter(name="*")
ProjectPath = Annotated[Path, Parameter(help="The project's folder.")]
Name = Annotated[str, Parameter(help="Name of the run, and of the model it saves.")]
Resume = Annotated[bool, Parameter(help="Go on with a run that was stopped.", negative="")]
AsJson = Annotated[bool, Parameter(name="--json", help="Print one JSON object instead of a table.", negative="")]
Precision = Annotated[
    Literal["auto", "float32", "bfloat16", "float16"], Parameter(name="--dtype", help="Precision of matrix products; weights stay float32.")
]


def _project_settings(_: App, commands: tuple[str, ...], arguments: cyclopts.ArgumentCollection) -> None:
    """Puts the project's accord.toml under the flags that were not given."""
    given = next((a for a in arguments if a.name == "--project" and a.tokens), None)
    if given is None or not commands or commands[-1] == "init" or not Path(given.tokens[0].value, "accord.toml").is_file():
        return
    from accord.runtime.project import Project

    settings = Project.open(given.tokens[0].value).settings
    stage: Mapping[str, Any] = {"seed": settings.get("project", {}).get("seed", 0), **settings.get(commands[-1], {})}
    for argument in arguments:
        key = argument.name.removeprefix("--").replace("-", "_")
        if key in stage and not argument.tokens:
            argument.append(cyclopts.Token(keyword=argument.name, value=str(stage[key]), source="accord.toml"))


app.config = (_project_settings,)


def say(title: str, figures: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(figures, ensure_ascii=False))
        return
    from accord.runtime.progress import table

    table(title, ["figure", "value"], [(key, value) for key, value in figures.items() if not isinstance(value, dict)])


def report_run(stage: str, name: str, run: Run, as_json: bool) -> None:
    say(f"{stage}: {name}", run.summary, as_json)
