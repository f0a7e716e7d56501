"""`accord demo`: run the whole loop on the built-in world, from raw text to a policy that people prefer, with proof.

Needs nothing. Leaves a project with its models, runs and report.html. The loop itself is runs/demo.sh, one command after another: the
process becomes that script.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from accord.errors import UsageError
from accord.runtime.project import FILE


def demo(
    *,
    seed: Annotated[int, Parameter(help="Another seed is another town, other labelers, other models.")] = 0,
    out: Annotated[Path, Parameter(help="Folder of the demo's project; must be new.")] = Path("demo"),
    quick: Annotated[bool, Parameter(help="A smaller town and shorter training: about two minutes on two cores.", negative="")] = False,
) -> None:
    """Run the whole loop on the built-in world: raw text to a policy that people prefer, with proof.

    Example: accord demo --quick

    Raises:
        UsageError: the folder exists and is not empty.
    """
    if (out / FILE).exists() or (out.exists() and any(out.iterdir())):
        raise UsageError("exists and is not empty", where=str(out), hint="give another --out, or remove it")
    package = Path(__file__).parents[2]
    # Installed, the script lies in the package; in a checkout, in runs/.
    script = next(path for path in (package / "demo.sh", package.parents[1] / "runs" / "demo.sh") if path.is_file())
    search_path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"SEED": str(seed), "OUT": str(out), "PATH": search_path, "SHOWN": _called()}
    os.execvpe("bash", ["bash", str(script), *(["--quick"] if quick else [])], environment)


def _called() -> str:
    """Return how accord is called in the shell that started this: by its name where that finds it, else by its path.

    uv runs a program with a search path of its own, which the shell does not have afterwards.
    """
    typed = Path(sys.argv[0])
    if typed.stem != "accord":  # python -m accord, or another program's call
        return f"{shlex.quote(sys.executable)} -m accord"
    found = shutil.which("accord")
    same = found and "UV" not in os.environ and typed.exists() and os.path.samefile(found, typed)
    return "accord" if same else shlex.quote(str(typed))
