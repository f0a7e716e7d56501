"""What is written is whole or not there, and what stood there before stays until then."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from accord.errors import RunError
from accord.runtime import files


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    files.write_atomic(path, "old")
    with pytest.raises(KeyError), files.replacing(path) as unfinished:
        _half(unfinished, KeyError())
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["figures.json"]


def _half(path: Path, error: BaseException) -> None:
    path.write_text("half")
    raise error


def test_a_new_folder_takes_the_whole_place_of_the_old_one(tmp_path: Path) -> None:
    final = tmp_path / "model"
    for name in ("first", "second"):
        with files.new_folder(final) as folder:
            (folder / name).write_text(name)
            (folder / "deep").mkdir()
            assert (final / "first").exists() == (name == "second")
    assert sorted(os.listdir(final)) == ["deep", "second"]
    assert os.listdir(tmp_path) == ["model"]


def test_without_the_systems_exchange_the_folder_is_replaced_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files.sys, "platform", "other")
    for name in ("first", "second"):
        with files.new_folder(tmp_path / "model") as folder:
            (folder / name).touch()
    assert os.listdir(tmp_path / "model") == ["second"]
    assert os.listdir(tmp_path) == ["model"]


def test_an_error_while_saving_leaves_the_old_folder(tmp_path: Path) -> None:
    final = tmp_path / "model"
    with files.new_folder(final) as folder:
        (folder / "weights").write_text("old")
    with pytest.raises(KeyboardInterrupt), files.new_folder(final) as folder:
        _half(folder / "weights", KeyboardInterrupt())
    assert (final / "weights").read_text() == "old"
    assert os.listdir(tmp_path) == ["model"]


def test_clean_takes_the_dead_processes_leftovers_and_no_living_ones(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    (tmp_path / f".tmp-{child}-model").mkdir()
    (tmp_path / f".tmp-{child}-state.pt").touch()
    (tmp_path / ".tmp-1-state.pt").touch()
    (tmp_path / "kept").touch()
    mine, gone = files.temporary(tmp_path / "mine"), files.own_mark().replace(str(os.getpid()), str(child))
    mine.touch()
    (tmp_path / f".tmp-{gone}-model").touch()
    files.clean(tmp_path, "other")
    assert mine.exists()
    files.clean(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".tmp-1-state.pt", "kept"]


def test_what_another_container_prepares_is_left_alone_though_its_process_number_is_dead_here(tmp_path: Path) -> None:
    theirs, left = tmp_path / ".tmp-0123abcd.999999999-import", tmp_path / ".tmp-0123abcd.1-import"
    for path in (theirs, left):
        path.mkdir()
    os.utime(left, (0, 0))
    files.clean(tmp_path)
    assert os.listdir(tmp_path) == [theirs.name], "one that nobody has touched for a day is a leftover"


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        OSError(122, "Disk quota exceeded"),
        ValueError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_said_however_a_library_words_it(error: Exception, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="the disk is full") as caught, files.disk_errors(tmp_path):
        raise error
    assert str(tmp_path) in str(caught.value)
    assert "free some space" in caught.value.hint


def test_other_errors_pass_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), files.disk_errors(tmp_path):
        raise PermissionError(13, "Permission denied")
