"""Files of every kind, whole and damaged: rows come out, or an error that names file and line, and memory stays bounded."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.ipc
import pyarrow.parquet
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.data import archives
from accord.data.row_reader import read_rows, rows_of
from accord.data.row_writer import write_rows
from accord.data.rows import Fault, Row
from accord.data.sources import files_of
from accord.data.windows import Window
from accord.errors import InputError

ROWS = [{"prompt": f"Ünï {n} 中文 🙂\u2028", "response": 'a "quoted",\n\tcell'} for n in range(2500)]
NAMES = [f"rows{kind}{packed}" for kind in (".jsonl", ".json", ".csv", ".tsv") for packed in ("", ".gz", ".zst")]


@pytest.mark.parametrize("name", [*NAMES, "rows.parquet"])
def test_rows_are_read_as_they_were_written(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write_rows(path, ROWS, path)
    assert [row.value for row in read_rows(path)] == ROWS
    first = path.read_bytes()
    write_rows(path, ROWS, path)
    assert path.read_bytes() == first


@pytest.mark.parametrize("indexed", [True, False])
def test_arrow_files_and_packed_tables(tmp_path: Path, indexed: bool) -> None:
    table = pyarrow.Table.from_pylist(ROWS)
    path = tmp_path / "data.arrow"
    with (pyarrow.ipc.new_file if indexed else pyarrow.ipc.new_stream)(str(path), table.schema) as writer:
        writer.write_table(table)
    assert [row.value for row in read_rows(path)] == ROWS
    packed = tmp_path / "data.parquet.gz"
    pyarrow.parquet.write_table(table, tmp_path / "data.parquet")
    packed.write_bytes(gzip.compress((tmp_path / "data.parquet").read_bytes()))
    assert [row.line for row in read_rows(packed)] == list(range(1, 2501))


def test_lines_are_numbered_where_rows_start(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text('a,b\n1,"two\nlines"\n\n3,4\n')
    assert [(row.line, row.value) for row in read_rows(table)] == [(2, {"a": "1", "b": "two\nlines"}), (5, {"a": "3", "b": "4"})]
    pretty = tmp_path / "t.json"
    pretty.write_text(json.dumps([{"a": 1}, {"a": {"b": [2]}}, {"a": 3}], indent=2))
    assert [row.line for row in read_rows(pretty)] == [2, 5, 12]
    one = tmp_path / "one.json"
    one.write_text(json.dumps({"a": [1, 2]}, indent=1))
    assert [row.value for row in read_rows(one)] == [{"a": [1, 2]}]


VALUES = st.recursive(st.none() | st.text() | st.integers(), lambda x: st.lists(x) | st.dictionaries(st.text(), x), max_leaves=6)


@settings(max_examples=50)
@given(st.lists(VALUES, max_size=4), st.integers(1, 9))
def test_a_list_is_read_through_any_window(values: list[Any], step: int) -> None:
    whole = json.dumps(values, ensure_ascii=False).encode()
    pieces = (whole[i : i + step] for i in range(0, len(whole), step))
    assert [value for _, value in Window(Path("x.json"), pieces, 1 << 20).values()] == values


def damaged(folder: Path) -> dict[Path, str]:
    """Files that are broken, with what must be said of each."""
    sound = "".join(json.dumps({"prompt": f"Question {n}?"}) + "\n" for n in range(3000)).encode()
    frame = zstandard.ZstdCompressor().compress(sound)
    table = folder / "whole.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), table)
    content: dict[str, tuple[bytes, str]] = {
        "cut.jsonl.gz": (gzip.compress(sound)[:-50], r"cut\.jsonl\.gz: it cannot be read.*truncated\?"),
        "cut.jsonl.zst": (frame[:-50], r"cut\.jsonl\.zst: it cannot be read.*middle of a frame"),
        "noise.jsonl.zst": (b"\x28\xb5\x2f\xfd" + bytes(range(200)), r"noise\.jsonl\.zst: it cannot be read"),
        "plain.jsonl.gz": (sound, r"plain\.jsonl\.gz: it cannot be read"),
        "cut.parquet": (table.read_bytes()[:-200], r"cut\.parquet: it cannot be read"),
        "cut.arrow": (b"ARROW1\0\0" + bytes(40), r"cut\.arrow: it cannot be read"),
        "latin.jsonl": (b'{"prompt": "a"}\n{"prompt": "caf\xe9"}\n', r"latin\.jsonl:2: not UTF-8 \(byte 0xe9\) \(convert it to UTF-8\)"),
        "latin.json": (b'[{"prompt": "a"},\n{"prompt": "caf\xe9"}]\n', r"latin\.json:2: not UTF-8 \(byte 0xe9\)"),
        "wide.jsonl": ('{"prompt": "a"}'.encode("utf-16"), r"wide\.jsonl:1: not UTF-8 but UTF-16 \(iconv -f UTF-16"),
        "wider.csv": ("prompt".encode("utf-32"), r"wider\.csv:1: not UTF-8 but UTF-32"),
        "bare.jsonl": ('{"prompt": "a"}'.encode("utf-16-le"), r"bare\.jsonl:1: holds NUL bytes \(is it UTF-16"),
        "half.jsonl": (sound + b'{"prompt": "brok', r"half\.jsonl:3001: broken JSON: Unterminated string"),
        "half.json": (b'[{"prompt": "a"},\n {"prompt": "b"}', r"half\.json:2: the file ends inside its list"),
        "broken.json": (b'[{"prompt": "a"},\n {"prompt" "b"}]', r"broken\.json:2: broken JSON: Expecting ':'"),
        "joined.json": (b'[{"prompt": "a"} {"prompt": "b"}]', r"joined\.json:1: no comma"),
        "trailing.json": (b'[{"prompt": "a"}]\n[]', r"trailing\.json:2: there is text after the end of the list"),
        "number.json": (b"[1]", r"number\.json:1: not a JSON object: 1"),
        "open.csv": (b'prompt\n"never closed\n' + b"x\n" * 50, r"open\.csv:\d+: broken table"),
        "cells.csv": (b"prompt,user\nx,y,z\n", r"cells\.csv:2: 3 cells, but 2 columns"),
        "twice.csv": (b"prompt,prompt\nx,y\n", r"twice\.csv:1: the column 'prompt' occurs twice"),
        "formula.csv": (b'prompt\n"=HYPERLINK(""x"")"\n', r'formula\.csv:2, field "prompt": a spreadsheet formula \(put \''),
        "command.tsv": (b"prompt\n@SUM(1+1)*cmd|' /C calc'!A0\n", r"command\.tsv:2.*spreadsheet formula"),
        "return.csv": (b"pro\rmpt\nx\n", r"return\.csv:1: broken table: new-line character"),
        "kind.xlsx": (b"PK", r"unknown kind '\.xlsx'"),
    }
    for name, (data, _) in content.items():
        (folder / name).write_bytes(data)
    return {folder / name: message for name, (_, message) in content.items()}


def test_damage_is_named_by_file_and_line(tmp_path: Path) -> None:
    for path, message in damaged(tmp_path).items():
        with pytest.raises(InputError, match=message):
            list(read_rows(path))


def test_rows_before_and_after_the_damage_are_there(tmp_path: Path) -> None:
    damaged(tmp_path)
    rows = list(rows_of(tmp_path / "half.jsonl"))
    assert sum(isinstance(row, Row) for row in rows) == 3000
    assert isinstance(rows[-1], Fault)
    assert rows[-1].raw == '{"prompt": "brok'
    assert [type(row) for row in rows_of(tmp_path / "latin.jsonl")] == [Row, Fault]
    assert sum(isinstance(row, Row) for row in rows_of(tmp_path / "cut.jsonl.zst")) >= 0


def test_a_line_that_is_too_long_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "LONGEST", 1000)
    monkeypatch.setattr(archives, "PIECE", 64)
    path = tmp_path / "long.jsonl"
    path.write_text('{"prompt": "a"}\n{"prompt": "' + "x" * 2000 + '"}\n{"prompt": "b"}\n{"prompt": "' + "y" * 2000)
    rows = list(rows_of(path))
    assert [row.value["prompt"] if isinstance(row, Row) else row.error.what for row in rows] == [
        "a",
        "the line is longer than 0 MiB",
        "b",
        "the line is longer than 0 MiB",
    ]


def test_an_archive_that_unpacks_to_far_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "FREE", 1 << 20)
    blank = b" " * (1 << 24)
    for name, packed in (("a.jsonl.gz", gzip.compress(blank)), ("a.jsonl.zst", zstandard.compress(blank))):
        (tmp_path / name).write_bytes(packed)
        with pytest.raises(InputError, match="300 times its size"):
            list(read_rows(tmp_path / name))


def test_formulas_are_shielded_on_the_way_out_and_bared_on_the_way_in(tmp_path: Path) -> None:
    rows = [{"prompt": text} for text in ("=HYPERLINK(1)", "'=x", "+1 is 2", "- a list", "'quoted", "@ann", "plain")]
    path = tmp_path / "t.csv"
    write_rows(path, rows, path)
    assert "\n=HYPERLINK" not in path.read_text()
    assert [row.value for row in read_rows(path)] == rows


@pytest.mark.parametrize("name", ["t.csv", "t.tsv"])
def test_every_line_end_within_a_cell_comes_back(tmp_path: Path, name: str) -> None:
    rows = [{"prompt": text, "user": ""} for text in ("a\rb", "\r", "a\r\nb", "\n\r", "a\x0b\x0c\x1c\x85\u2028b", "a\tb,c;d")]
    path = tmp_path / name
    write_rows(path, rows, path)
    assert [row.value for row in read_rows(path)] == rows
    assert path.read_bytes().split(b"\n")[0] in (b"prompt,user", b"prompt\tuser")


def test_links_out_of_a_folder_are_refused(tmp_path: Path) -> None:
    outside, folder = tmp_path / "secret.jsonl", tmp_path / "set"
    outside.write_text('{"prompt": "x"}\n')
    (folder / "deep").mkdir(parents=True)
    (folder / "a.jsonl").write_text('{"prompt": "a"}\n')
    (folder / "deep" / "b.jsonl").symlink_to(folder / "a.jsonl")
    assert len(files_of(folder)) == 2
    (folder / "deep" / "c.jsonl").symlink_to(outside)
    with pytest.raises(InputError, match=r"c\.jsonl: a link that leads out of the folder"):
        files_of(folder)
    assert files_of(folder / "deep" / "c.jsonl")
    (folder / "deep" / "c.jsonl").unlink()
    (folder / "deep" / "more").symlink_to(tmp_path)
    with pytest.raises(InputError, match="leads out"):
        files_of(folder)


def test_what_stands_beside_data_is_no_data(tmp_path: Path) -> None:
    for name in (
        "README.md",
        "LICENSE.txt",
        "dataset_info.json",
        "state.json",
        "cache-1.arrow",
        ".hidden.jsonl",
        "notes.txt",
        "config.json",
    ):
        (tmp_path / name).write_text("x")
    assert [path.name for path in files_of(tmp_path)] == ["notes.txt"]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_text("{}")
    assert [path.name for path in files_of(tmp_path)] == ["train.jsonl"]


def test_a_name_of_the_hub_without_a_network_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(InputError, match=r"nobody/nothing: the data set cannot be downloaded.*check the name and the network"):
        files_of(Path("nobody/nothing"))


def test_a_set_of_the_hub_is_read_from_its_cache_whose_files_are_links(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    commit, place = "a" * 40, tmp_path / "cache" / "datasets--me--pairs"
    for part in ("blobs", "refs", f"snapshots/{commit}/data"):
        (place / part).mkdir(parents=True)
    (place / "refs" / "main").write_text(commit)
    for name in ("train", "test"):
        (place / "blobs" / name).write_text(json.dumps({"prompt": name}) + "\n")
        (place / "snapshots" / commit / "data" / f"{name}.jsonl").symlink_to(f"../../../blobs/{name}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub._snapshot_download.HF_HUB_CACHE", str(tmp_path / "cache"), raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    assert [row.value["prompt"] for file in files_of(Path("me/pairs")) for row in read_rows(file)] == ["test", "train"]


MEMORY = """
import sys
from pathlib import Path
import resource
from accord.data.row_reader import rows_of
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
kept = sum(1 for _ in rows_of(Path(sys.argv[1])))
print(kept, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize("name", ["big.jsonl", "big.json", "big.csv.gz"])
def test_a_large_file_takes_little_memory(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write_rows(path, ({"prompt": f"{n} " + "word " * 60, "response": "said " * 40} for n in range(50_000)), path)
    done = subprocess.run([sys.executable, "-c", MEMORY, str(path)], capture_output=True, text=True, check=True)
    kept, grown = map(int, done.stdout.split())
    assert kept == 50_000
    assert grown < 20, f"{grown} MiB for a file of 25 MiB"


MARKS = [b'{"prompt": "a"}', b"[", b"]", b"\n", b'"', b",", b"{", b"\xef\xbb\xbf", b"\x1f\x8b", b"\0"]
WORDS = st.binary(max_size=200) | st.sampled_from(MARKS)
ENDINGS = [*(name.removeprefix("rows") for name in NAMES), ".parquet", ".arrow"]


@settings(max_examples=300)
@given(st.lists(WORDS, max_size=8).map(b"".join), st.sampled_from(ENDINGS))
def test_no_bytes_whatever_make_it_crash(tmp_path_factory: pytest.TempPathFactory, content: bytes, kind: str) -> None:
    path = tmp_path_factory.getbasetemp() / f"fuzz{kind}"
    path.write_bytes(content)
    for row in rows_of(path):
        assert isinstance(row, Row | Fault)
