"""`accord demo`: run the whole loop on the built-in world, from raw text to a policy that people prefer, with proof.

Needs nothing. Leaves a project with its models, runs and report.html. The loop itself is runs/demo.sh, one command after another: the
process becomes that script.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

import accord
from accord.errors import UsageError
from accord.runtime.project import FILE


def demo(
    *,
    seed: Annotated[int, Parameter(help="Another seed is another town, other labelers, other models.")] = 0,
    out: Annotated[Path, Parameter(help="Folder of the demo's project; must be new.")] = Path("demo"),
) -> None:
    """Run the whole loop on the built-in world: raw text to a policy that people prefer, with proof.

    Example: accord demo --seed 3 --out demo-3

    Raises:
        UsageError: the folder exists and is not empty.
    """
    if (out / FILE).exists() or (out.exists() and any(out.iterdir())):
        raise UsageError("exists and is not empty", where=str(out), hint="give another --out, or remove it")
    package = Path(accord.__file__).parent
    # Installed, the script lies in the package; in a checkout, in runs/.
    script = next(path for path in (package / "demo.sh", package.parents[1] / "runs" / "demo.sh") if path.is_file())
    search_path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"SEED": str(seed), "OUT": str(out), "PATH": search_path}
    os.execvpe("bash", ["bash", str(script)], environment)
