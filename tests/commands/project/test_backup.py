"""`accord backup`: one moment of a project, while people write; and what a kill in the middle leaves."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from full_store import rows

from accord.commands.app import main
from accord.commands.project.backup import backup
from accord.commands.project.restore import restore
from accord.errors import InputError, RunError
from accord.feedback.store import Store
from accord.records import Message, Prompt, Response
from accord.runtime import files
from accord.runtime.project import Project

WRITER = """
import sys
from accord.feedback.store import Store
from accord.records import Message, Prompt, Response
with Store.open(sys.argv[1]) as store:
    for number in range(100_000):
        id = f"w{number:06}"
        responses = [Response(f"{id}-{n}", id, f"answer {n}", "m") for n in range(3)]
        store.add(prompts=[Prompt(id, (Message("user", f"Question {number}?"),))], responses=responses)
        print(id, flush=True)
"""
"""Writes a prompt with its three responses in one transaction after the other, and says which is on disk."""
BACKUP = "import sys; from accord.commands.app import main; main(['backup', sys.argv[1], sys.argv[2]])"


def python(program: str, *words: object) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", program, *map(str, words)], stdout=subprocess.PIPE, text=True)


def test_a_backup_while_people_write_is_of_one_moment(full: Project, tmp_path: Path) -> None:
    with python(WRITER, full.store_url) as writer:
        try:
            assert writer.stdout
            before = [writer.stdout.readline().strip() for _ in range(20)]
            for number in range(3):
                done = backup(full, tmp_path / f"{number}.zip")
                after = writer.stdout.readline().strip()
                assert after, "the writer goes on"
                restore(tmp_path / f"{number}.zip", tmp_path / f"restored-{number}")
                with Store.open(Project.open(tmp_path / f"restored-{number}").store_url) as store:
                    prompts = {prompt.id for prompt in store.prompts() if prompt.id.startswith("w")}
                    answered = [response.prompt_id for response in store.responses() if response.prompt_id.startswith("w")]
                assert set(before) <= prompts, "what was on disk before is in it"
                assert sorted(answered) == sorted([*prompts] * 3), "half a transaction is in no backup"
                assert done["rows"] > 100
        finally:
            writer.kill()


def test_what_stands_in_the_file(full: Project, tmp_path: Path) -> None:
    (full.path / "corpus").mkdir()
    (full.path / "corpus" / "a.txt").write_text("raw text")
    (full.path / "models" / "sft").mkdir()
    (full.path / "models" / "sft" / "model.safetensors").write_bytes(b"weights")
    (full.path / "runs" / "sft").mkdir()
    (full.path / "runs" / "sft" / "summary.json").write_text("{}")
    (full.path / "link").symlink_to("/etc/passwd")
    (full.path / "cache").mkdir()
    (full.path / "cache" / "judge").write_text("answers")
    done = backup(full, tmp_path / "a.zip")
    everything = backup(full, tmp_path / "b.zip", models=True, runs=True, sessions=True)
    assert done["left_out"] == ["link"]
    with zipfile.ZipFile(tmp_path / "a.zip") as one, zipfile.ZipFile(tmp_path / "b.zip") as two:
        plain = {name for name in one.namelist() if not name.startswith("store/")}
        assert plain == {"accord.toml", "manifest.json", "corpus/a.txt"}
        more = {"models/sft/model.safetensors", "runs/sft/summary.json", "store/sessions.jsonl"}
        assert set(two.namelist()) - set(one.namelist()) == more
        for name, said in json.loads(two.read("manifest.json"))["members"].items():
            assert hashlib.sha256(two.read(name)).hexdigest() == said["sha256"]
    assert everything["files"] == done["files"] + 2
    for file in (tmp_path / "a.zip", tmp_path / "a.zip.sha256"):
        assert file.stat().st_mode & 0o777 == 0o600
    subprocess.run(["sha256sum", "--check", "--status", "a.zip.sha256"], cwd=tmp_path, check=True)


def test_the_password_of_the_database_is_in_no_backup(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = Project.create(tmp_path / "town", settings={"store": {"url": f"sqlite:///{tmp_path}/town/feedback.db"}})
    with Store.open(project.store_url):
        pass
    toml = project.path / "accord.toml"
    toml.write_text("# mine\n[store]\nurl = 'sqlite:///feedback.db'  # secret: PASSWORD\n\n[label]\noverlap = 0.5\n")
    main(["backup", str(project.path), str(tmp_path / "a.zip"), "--json"])
    said = json.loads(capsys.readouterr().out)
    assert (said["files"], said["rows"], said["left_out"]) == (0, 0, [])
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        kept = archive.read("accord.toml").decode()
    assert "PASSWORD" not in kept
    assert kept == '# mine\n[store]\nurl = ""\n\n[label]\noverlap = 0.5\n'


def test_a_backup_is_never_overwritten(full: Project, tmp_path: Path) -> None:
    backup(full, tmp_path / "a.zip")
    content = (tmp_path / "a.zip").read_bytes()
    with pytest.raises(InputError, match="is there already"):
        backup(full, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == content


def test_a_model_that_is_replaced_meanwhile_is_noticed(full: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from accord.runtime import backup_file

    for name in ("sft", "new"):
        (full.path / "models" / name).mkdir()
        (full.path / "models" / name / "model.safetensors").write_bytes(name.encode())
    read = backup_file.Packing.add_file

    def trained_meanwhile(packing: backup_file.Packing, name: str, path: Path) -> object:
        done = read(packing, name, path)
        if name.startswith("models/sft"):
            files.replace_folder(full.path / "models" / "new", full.path / "models" / "sft")
        return done

    monkeypatch.setattr(backup_file.Packing, "add_file", trained_meanwhile)
    with pytest.raises(RunError, match="models/sft was replaced"):
        backup(full, tmp_path / "a.zip", models=True)
    assert not list(tmp_path.glob("*a.zip*"))


def test_a_killed_backup_leaves_no_file_of_its_name(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "town")
    with Store.open(project.store_url) as store:
        prompts = [Prompt(f"p{n}", (Message("user", f"Question {n}?"),)) for n in range(4000)]
        store.add(prompts=prompts, responses=[Response(f"r{n}", f"p{n}", os.urandom(300).hex(), "m") for n in range(4000)])
        held = rows(store)
    (tmp_path / "out").mkdir()
    with python(BACKUP, project.path, tmp_path / "out" / "a.zip") as process:
        end = time.monotonic() + 60
        while not any(file.stat().st_size > 100_000 for file in (tmp_path / "out").glob(".tmp-*")):
            assert time.monotonic() < end
            assert process.poll() is None, "it was killed too late to tell anything"
        process.send_signal(signal.SIGKILL)
    assert not (tmp_path / "out" / "a.zip").exists()
    backup(project, tmp_path / "out" / "a.zip")
    restore(tmp_path / "out" / "a.zip", tmp_path / "again")
    with Store.open(Project.open(tmp_path / "again").store_url) as store:
        assert rows(store) == held
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["a.zip", "a.zip.sha256"], "what was killed is swept"
