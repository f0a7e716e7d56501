"""Write the file tree of docs/architecture.md from the first lines of the modules: `python docs/tree.py`."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "architecture.md"
START, END = "<!-- tree: written by docs/tree.py -->", "<!-- end of the tree -->"
ROOMS = (
    "commands project data feedback train evaluate serve",
    "settings runtime data feedback models engine algorithms world evaluation serving report",
)


def first_line(path: Path) -> str:
    """The first sentence of a module's docstring."""
    text = (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").split("\n")[0]
    return text.split(". ")[0].rstrip(".:")


def tree() -> str:
    """Every module of the package with its first sentence, in the order of the loop."""
    source = ROOT / "src" / "accord"
    commands, *rooms = ROOMS[0].split()
    folders = [source, source / commands, *(source / commands / room for room in rooms)]
    for room in ROOMS[1].split():
        folders.append(source / room)
        folders += sorted(path.parent for path in (source / room).glob("*/__init__.py"))
    lines: list[str] = []
    for folder in folders:
        lines += ["", f"**{folder.relative_to(source.parent)}/**", ""]
        for path in sorted(folder.glob("*.py")):
            if path.name != "__init__.py" or folder == source:
                lines.append(f"- `{path.name}`: {first_line(path)}.")
    return "\n".join(lines[1:]) + "\n"


def page() -> str:
    """The page with its tree written anew."""
    before, rest = PAGE.read_text("utf-8").split(START)
    return f"{before}{START}\n\n{tree()}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
