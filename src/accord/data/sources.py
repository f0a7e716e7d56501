"""Sources of rows: a file, a folder of files, or a data set of the hub. Links must not lead out of a folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import get_args

from accord.data.archives import KINDS, Encoding, bare_name
from accord.data.rows import Row
from accord.errors import InputError, UsageError
from accord.records import Split
from accord.runtime import packages

TEXT = (".txt", ".md")
_ASIDE = re.compile(
    r"(readme|licen[cs]e|notice|upstream|source\.txt|requirements|dataset_info|dataset_dict|state\.json|config\.json|cache-)"
)
_SPLITS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "eval": "validation",
    "test": "test",
    "testing": "test",
}
"""Publishers' names of splits."""
_HUB = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(:(?P<only>[^:]+))?")


@dataclass(frozen=True)
class Source:
    """A source to read, with its options."""

    path: Path
    format: str = "auto"
    columns: Mapping[str, str] = field(default_factory=dict[str, str])
    """Columns from which to take fields of other names."""
    limit: int | None = None
    """Maximum number of rows."""
    sample: int | None = None
    """Size of a random sample of rows, drawn with ``seed``."""
    seed: int = 0
    weight: float = 1.0
    """Weight of the source in a mixture, relative to the others."""
    drop: tuple[str, ...] = ()
    """Columns that are left out before anything is read."""
    keep_extra: bool = False
    """Whether columns that the format does not read are kept with the prompt (``Prompt.extra``)."""
    encoding: Encoding = "utf-8"
    """The encoding of text files; Parquet and Arrow have none."""

    def __post_init__(self) -> None:
        for flag, rows in (("--limit", self.limit), ("--sample", self.sample)):
            if rows is not None and rows < 1:
                raise UsageError(f"the {flag.removeprefix('--')} is {rows}; it must be at least 1 row", where=flag)
        if self.encoding not in get_args(Encoding):
            hint = f"known are {', '.join(get_args(Encoding))}"
            raise UsageError(f"{self.encoding!r} is no known encoding", where="--encoding", hint=hint)
        if not self.weight > 0:
            raise UsageError(f"the weight is {self.weight}; it must be above 0", where="weight")


def files_of(path: Path) -> list[Path]:
    """Return the file itself, or the data files of a folder ordered by name: tables and JSON, or else raw text.

    Raises:
        InputError: the path does not exist, is no file or folder, has no data, or a link leads out of the folder.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        if _HUB.fullmatch(str(path)) and not path.exists():
            return from_hub(str(path))
        raise InputError("there is no such file" if not path.exists() else "neither a file nor a folder", where=str(path))
    return data_files(path, path)


def data_files(folder: Path, inside: Path) -> list[Path]:
    """Return the data files of a folder; links may only lead to files in ``inside``."""
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


def published_split(row: Row, source: Path) -> Split | None:
    """Return the split that a row's publisher put it in, by its column ``split``, its file's name, or its folder's inside the source."""
    return split_in_column(row) or _split_in_names(row.file, source)


def split_in_column(row: Row) -> Split | None:
    """Return the split that a row's column ``split`` names."""
    told = row.raw("split") if row.has("split") else None
    return _SPLITS.get(told.strip().lower()) if isinstance(told, str) else None


@lru_cache
def _split_in_names(file: Path, source: Path) -> Split | None:
    names = [bare_name(file).lower(), *([file.parent.name.lower()] if file.parent != source and file != source else [])]
    words = [word for name in names for word in re.split(r"[^a-z]+", name)]
    return next((_SPLITS[word] for word in words if word in _SPLITS), None)


def from_hub(name: str) -> list[Path]:
    """Download a data set of the hub, ``owner/name`` or ``owner/name:files*``, and return its data files.

    Raises:
        UsageError: huggingface_hub is not installed.
        InputError: the data set does not exist, is out of reach, or has no data.
    """
    match = _HUB.fullmatch(name)
    assert match
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError
    except ModuleNotFoundError as error:
        hint = packages.install("huggingface_hub")
        raise UsageError("data sets of the hub need the package huggingface_hub", where=name, hint=hint) from error
    only = match["only"] or [f"*{kind}{packed}" for kind in KINDS for packed in ("", ".gz", ".zst")]
    try:
        folder = Path(snapshot_download(match["name"], repo_type="dataset", allow_patterns=only))
    except (HfHubHTTPError, OSError, ValueError) as error:
        hint = "check the name and the network; there is no local file or folder of that name either"
        said = " ".join(str(error).split())[:200]
        raise InputError(f"the data set cannot be downloaded: {said}", where=match["name"], hint=hint) from error
    return data_files(folder, folder.parents[1])
