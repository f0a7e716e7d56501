"""Small files that unpack to more than the memory: refused or read in parts, never unpacked at once."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from accord.data import columnar
from accord.data.columnar import _unpacked, tables
from accord.data.rows import Row
from accord.errors import InputError

READ = """
import sys
from pathlib import Path
from accord.data.columnar import tables
from accord.errors import InputError
try:
    count = sum(len(row.value["prompt"]) for row in tables(Path(sys.argv[1]), Path(sys.argv[1]).suffix, lambda size: None))
    print("read", count)
except InputError as error:
    print("refused", error)
"""


def read(path: Path, most: int) -> str:
    """Read a file in a process of its own with a limit of its address space."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (most, most))

    command = [sys.executable, "-c", READ, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, preexec_fn=limit)
    return done.stdout + done.stderr


def test_one_long_text_for_many_rows_is_read_in_parts(tmp_path: Path) -> None:
    text = pa.array(["x" * 5_000_000]).dictionary_encode()
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 400, pa.int32()), text.dictionary)
    pq.write_table(pa.table({"prompt": column}), tmp_path / "a.parquet")
    assert (tmp_path / "a.parquet").stat().st_size < 600_000
    assert read(tmp_path / "a.parquet", 3 << 30) == "read 2000000000\n"


def test_a_column_that_unpacks_a_thousandfold_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columnar, "LARGEST", 1_000_000)
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"prompt": ["x" * 9_000_000]}), path, compression="zstd")
    with pytest.raises(InputError, match=r"column prompt: \d+ bytes unpack to 90000"):
        next(tables(path, ".parquet", lambda size: None))


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_a_row_that_is_too_large_is_named_and_others_come_in_parts(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columnar, "LARGEST", 1000)
    path = tmp_path / f"a{suffix}"
    table = pa.table({"prompt": ["y" * 300] * 9 + ["z" * 2000]})
    if suffix == ".parquet":
        pq.write_table(table, path)
    else:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    rows = tables(path, suffix, lambda size: None)
    assert [len(str(row.value["prompt"])) for _, row in zip(range(9), rows, strict=False) if isinstance(row, Row)] == [300] * 9
    with pytest.raises(InputError, match="row 10 has 2000 bytes"):
        next(rows)


@pytest.mark.parametrize(
    ("array", "size"),
    [
        (pa.array(["aa", None, "b"]), 3), (pa.array([b"x"]), 1), (pa.array([None, None]), 0), (pa.array([1, 2, 3]), 24),
        (pa.array([["aa", "b"], None, []]), 24 + 3), (pa.array([{"a": "xyz", "b": [1, 2]}]), 3 + 8 + 16),
        (pa.array(["long"] * 5).dictionary_encode(), 20), (pa.array([[("k", "v")]], pa.map_(pa.string(), pa.string())), 2),
        (pa.array([["long"] * 5]).cast(pa.list_(pa.dictionary(pa.int32(), pa.string()))), 8 + 20),
        (pa.RunEndEncodedArray.from_arrays([3, 5], ["abcd", "e"]), 14), (pa.RunEndEncodedArray.from_arrays([3, 5], ["abcd", "e"])[2:], 6),
    ],
)  # fmt: skip
def test_the_size_of_a_column_counts_every_text_each_time(array: pa.Array, size: int) -> None:
    assert _unpacked(array) == size
    assert _unpacked(array.slice(0, 0)) == 0


def test_a_rank_of_thirty_digits_is_a_fault_of_its_row() -> None:
    row = Row({"ranks": [10**30, 1], "seconds": 1e30}, Path("f"), 3)
    with pytest.raises(InputError, match=r"1000000"):
        row.ranks("ranks")
    with pytest.raises(InputError, match=r"too large"):
        row.whole("seconds")
