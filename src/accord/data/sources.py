"""Where rows come from: a file, a folder of files, a data set of the hub. No link leads out of a folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from accord.data.archives import KINDS, bare_name
from accord.errors import InputError, UsageError

TEXT = (".txt", ".md")
_ASIDE = re.compile(
    r"(readme|licen[cs]e|notice|upstream|source\.txt|requirements|dataset_info|dataset_dict|state\.json|config\.json|cache-)"
)
_HUB = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(:(?P<only>[^:]+))?")


@dataclass(frozen=True)
class Source:
    """What is read, and how."""

    path: Path
    format: str = "auto"
    columns: Mapping[str, str] = field(default_factory=dict[str, str])
    """Fields that are taken from columns of other names."""
    limit: int | None = None
    """Rows at most."""
    sample: int | None = None
    """So many rows, drawn by ``seed``."""
    seed: int = 0
    weight: float = 1.0
    """The share of a source in a mixture, beside the weights of the others."""

    def __post_init__(self) -> None:
        for flag, rows in (("--limit", self.limit), ("--sample", self.sample)):
            if rows is not None and rows < 1:
                raise UsageError(f"the {flag.removeprefix('--')} is {rows}; at least 1 row", where=flag)
        if not self.weight > 0:
            raise UsageError(f"the weight is {self.weight}; more than 0", where="weight")


def files_of(path: Path) -> list[Path]:
    """The file itself, or the data files of a folder in the order of their names: tables and JSON, or else raw text.

    Raises:
        InputError: it is not there, not a file, a folder without data, or a link leads out of it.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        if _HUB.fullmatch(str(path)) and not path.exists():
            return from_hub(str(path))
        raise InputError("there is no such file" if not path.exists() else "neither a file nor a folder", where=str(path))
    return data_files(path, path)


def data_files(folder: Path, inside: Path) -> list[Path]:
    """The data files of a folder; links may lead to what is ``inside``."""
    found = list[Path]()
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if any(part.startswith(".") for part in parts) or _ASIDE.match(path.name.lower()):
            continue
        if path.is_symlink() and not path.resolve().is_relative_to(inside.resolve()):
            raise InputError("a link that leads out of the folder", where=str(path), hint="remove it, or copy what it points to")
        if path.is_file() and Path(bare_name(path)).suffix.lower() in KINDS:
            found.append(path)
    tables = [path for path in found if Path(bare_name(path)).suffix.lower() not in TEXT]
    if not found:
        raise InputError("a folder without data: no .jsonl, .csv, .parquet, .txt", where=str(folder), hint=f"known are {', '.join(KINDS)}")
    return tables or found


def from_hub(name: str) -> list[Path]:
    """Downloads a data set of the hub, ``owner/name`` or ``owner/name:files*``, and returns its data files.

    Raises:
        UsageError: huggingface_hub is not installed.
        InputError: it is not there, out of reach, or holds no data.
    """
    match = _HUB.fullmatch(name)
    assert match
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError
    except ModuleNotFoundError as error:
        hint = "pip install 'accord-rlhf[data]'"
        raise UsageError("data sets of the hub need the package huggingface_hub", where=name, hint=hint) from error
    only = match["only"] or [f"*{kind}{packed}" for kind in KINDS for packed in ("", ".gz", ".zst")]
    try:
        folder = Path(snapshot_download(match["name"], repo_type="dataset", allow_patterns=only))
    except (HfHubHTTPError, OSError, ValueError) as error:
        hint = "is the name right, and is there a network? a file or folder of that name is not here either"
        said = " ".join(str(error).split())[:200]
        raise InputError(f"the data set cannot be downloaded: {said}", where=match["name"], hint=hint) from error
    return data_files(folder, folder.parents[1])
