"""Beginning a project, its settings, and the demo."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

import accord
from accord.cli.app import AsJson, Flat, ProjectPath, app, say
from accord.errors import UsageError
from accord.settings import WorldConfig


@app.command
def init(
    path: Annotated[Path, Parameter(help="Folder of the new project.")],
    *,
    world: Annotated[
        bool, Parameter(help="Put the built-in world into it: raw text, prompts, demonstrations, labelers.", negative="")
    ] = False,
    json: AsJson = False,
    config: Annotated[WorldConfig, Flat] = WorldConfig(),
) -> None:
    """Makes a new project, empty or with the built-in world in it.

    Example: accord init my-town --world --seed 1
    """
    if world:
        from accord.stages.starting import new_world

        project, counts = new_world(path, config)
    else:
        from accord.runtime.project import Project

        project, counts = Project.create(path), dict[str, int]()
    say(f"project {project.path.name}", {"folder": str(path), **counts}, json)


@app.command
def config(project: ProjectPath, *, json: AsJson = False) -> None:
    """Prints the settings in force: accord.toml over the defaults, stage by stage.

    Example: accord config my-town
    """
    from accord.runtime.progress import table
    from accord.runtime.project import Project, sections

    settings = Project.open(project).settings
    force = {name: dataclasses.asdict(kind()) | settings.get(name, {}) for name, kind in sections().items()}
    if json:
        say("config", force, True)
        return
    rows = [
        (f"{name}.{key}", value, "accord.toml" if key in settings.get(name, {}) else "")
        for name, part in force.items()
        for key, value in part.items()
    ]
    table("settings", ["setting", "value", "from"], [(key, str(value), source) for key, value, source in rows])


@app.command
def demo(
    *,
    seed: Annotated[int, Parameter(help="Another seed is another town, other labelers, other models.")] = 0,
    out: Annotated[Path, Parameter(help="Folder of the demo's project; must be new.")] = Path("demo"),
) -> None:
    """Runs the whole loop on the built-in world: raw text to a policy that people prefer, with proof.

    Example: accord demo --seed 3 --out demo-3
    """
    from accord.runtime.project import FILE

    if (out / FILE).exists() or (out.exists() and any(out.iterdir())):
        raise UsageError("exists and is not empty", where=str(out), hint="give another --out, or remove it")
    script = next(
        path for path in (Path(accord.__file__).parent / "demo.sh", Path(accord.__file__).parents[2] / "runs" / "demo.sh") if path.is_file()
    )
    environment = os.environ | {
        "SEED": str(seed),
        "OUT": str(out),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    os.execvpe("bash", ["bash", str(script)], environment)
