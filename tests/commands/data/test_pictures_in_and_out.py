"""Pictures through the commands: imported, exported in every way, read back as the same records, learned from, and forgotten."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from accord import Project, Store
from accord.commands.data.export import export
from accord.commands.data.forget import forget
from accord.commands.data.import_ import import_
from accord.commands.project.backup import backup
from accord.commands.project.restore import restore
from accord.commands.train.run import snapshot
from accord.data.pictures import read
from accord.errors import InputError, UsageError
from accord.feedback import schema
from accord.feedback.media import media_file
from accord.records import MEDIUM, Prompt, RankedPrompt, composed
from accord.runtime.media_files import FOLDER, read_kept
from tests.data.test_pictures import drawn, saved

ONE, TWO = saved(drawn(), "PNG"), saved(drawn(8, 8), "JPEG", quality=95)
FIRST, SECOND = read(ONE), read(TWO)


def project_of(folder: Path, name: str) -> Project:
    return Project.create(folder / name)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = project_of(tmp_path, "project")
    data = tmp_path / "data"
    data.mkdir()
    (data / "one.png").write_bytes(ONE)
    (data / "two.jpg").write_bytes(TWO)
    given = [
        {"prompt": "Is <image> like <image>?", "images": ["one.png", "two.jpg"], "chosen": "No.", "rejected": "Yes.", "user": "eve"},
        {"prompt": "What is it?", "images": ["one.png"], "chosen": "Colours.", "rejected": "A dog.", "user": "bob"},
    ]
    (data / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in given))
    import_(made.path, data / "pairs.jsonl", split="train")
    return made


def records(project: Project) -> tuple[Any, ...]:
    with Store.open(project.store_url) as store:
        return [*store.prompts()], [*store.responses()], [*store.rankings()]


def held(project: Project) -> set[str]:
    with Store.open(project.store_url) as store, store.read() as connection:
        return set(connection.scalars(schema.media.select().with_only_columns(schema.media.c.digest)))


@pytest.mark.parametrize("media", ["data", "files"])
def test_our_own_lines_make_the_same_records_again(project: Project, media: Any, tmp_path: Path) -> None:
    out = tmp_path / "out" / "rankings.jsonl"
    out.parent.mkdir()
    export(project.path, what="rankings", out=out, media=media)
    assert (out.parent / FOLDER).is_dir() is (media == "files")
    other = project_of(tmp_path, "other")
    import_(other.path, out)
    assert records(other) == records(project)
    assert held(other) == {FIRST.digest, SECOND.digest}
    with Store.open(other.store_url) as store:
        assert media_file(store, SECOND.digest) == SECOND


@pytest.mark.parametrize(
    ("what", "format"),
    [("comparisons", "trl-preference"), ("rankings", "rankings"), ("comparisons", "openai-preference"), ("prompts", "messages")],
)
def test_other_formats_are_read_back(project: Project, what: Any, format: str, tmp_path: Path) -> None:
    out = tmp_path / f"out-{format}.jsonl"
    export(project.path, what=what, format=format, out=out)
    other = project_of(tmp_path, "other")
    import_(other.path, out, split="train")
    asked = {prompt.messages for prompt in records(other)[0]}
    assert asked == {prompt.messages for prompt in records(project)[0]}
    texts = {response.text for response in records(other)[1]}
    assert what == "prompts" or texts == {"No.", "Yes.", "Colours.", "A dog."}


def test_a_format_without_pictures_refuses_them(project: Project, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="hh-rlhf cannot express a picture"):
        export(project.path, what="comparisons", format="hh-rlhf", out=tmp_path / "x.jsonl")
    with pytest.raises(UsageError, match="need a folder"):
        export(project.path, what="rankings", media="files")


def test_a_second_import_adds_nothing_and_a_wrong_picture_stores_nothing(project: Project, tmp_path: Path) -> None:
    before = records(project)
    import_(project.path, tmp_path / "data/pairs.jsonl", split="train")
    assert records(project) == before
    bad = tmp_path / "data/bad.jsonl"
    fresh = saved(drawn(10, 10), "PNG")
    (tmp_path / "data/fresh.png").write_bytes(fresh)
    rows = [{"prompt": "New?", "image": "fresh.png", "chosen": "a", "rejected": "b"}, {"prompt": "?", "image": "gone.png"}]
    bad.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError, match=r"bad.jsonl:2, field \"image\": the file 'gone.png' is not there"):
        import_(project.path, bad)
    assert records(project) == before
    assert held(project) == {FIRST.digest, SECOND.digest}
    told = import_(project.path, bad, skip_bad=True, split="train")
    assert told["dropped"] == {"bad row": 1}
    assert held(project) == {FIRST.digest, SECOND.digest, read(fresh).digest}


def test_a_run_keeps_its_pictures_and_forget_takes_them(project: Project) -> None:
    folder = project.run("reward")
    folder.mkdir(parents=True)
    with Store.open(project.store_url) as store:
        ranked, _ = snapshot(folder / "rankings.jsonl", RankedPrompt, store.ranked_prompts())
    assert {row.prompt.messages[-1].content for row in ranked} == {f"Is {MEDIUM} like {MEDIUM}?", f"{MEDIUM}\nWhat is it?"}
    assert read_kept(folder / FOLDER, SECOND.digest) == SECOND.content
    forget(project.path, user="eve")
    assert held(project) == {FIRST.digest}, "bob's question holds the first picture still"
    assert [path.stem for path in (folder / FOLDER).iterdir()] == [FIRST.digest]
    forget(project.path, user="bob")
    assert held(project) == set()


def test_a_backup_has_the_pictures(project: Project, tmp_path: Path) -> None:
    backup(project.path, tmp_path / "backup.zip")
    restore(tmp_path / "backup.zip", tmp_path / "again")
    other = Project.open(tmp_path / "again")
    assert records(other) == records(project)
    with Store.open(other.store_url) as store:
        assert media_file(store, FIRST.digest) == FIRST


def test_alternative_text_comes_along(tmp_path: Path) -> None:
    project, other = project_of(tmp_path, "one"), project_of(tmp_path, "other")
    prompt = Prompt("p", (composed("user", ["See ", FIRST.named("four squares")]),), source="s")
    with Store.open(project.store_url) as store:
        store.add(prompts=[prompt], media=[FIRST])
    export(project.path, what="prompts", out=tmp_path / "p.jsonl")
    import_(other.path, tmp_path / "p.jsonl")
    assert records(other)[0] == [prompt]


def test_a_dry_run_shows_where_pictures_are_and_stores_nothing(project: Project, tmp_path: Path) -> None:
    other = project_of(tmp_path, "other")
    told = import_(other.path, tmp_path / "data/pairs.jsonl", dry_run=True)
    (first, second) = [row["examples"][0] for row in told["rows"]]
    assert "Is [picture] like [picture]?" in first["context"]
    assert "[picture]\nWhat is it?" in second["context"]
    assert "processor" in first["note"]
    assert records(other) == ([], [], [])
    assert held(other) == set()
