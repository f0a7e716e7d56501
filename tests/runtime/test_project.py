"""A project refuses what no stage would read, names where it stands and what was probably meant."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from accord.errors import InputError, UsageError
from accord.feedback.store import Store
from accord.runtime.project import Project, sections
from accord.settings import PpoConfig


def test_what_is_created_opens_again(tmp_path: Path) -> None:
    settings = {"ppo": {"lr": 1, "clip": 0.1, "whiten_rewards": True, "kl_estimator": "k3"}, "project": {"name": '问 "x"\\\n'}}
    made = Project.create(tmp_path / "mine", settings=settings)
    assert Project.open(tmp_path / "mine") == made
    assert made.settings == settings
    assert made.model("sft") == tmp_path / "mine" / "models" / "sft"
    assert made.run("ppo-001") == tmp_path / "mine" / "runs" / "ppo-001"
    assert sorted(path.name for path in made.path.iterdir()) == ["accord.toml", "models", "runs"]


def test_the_store_is_in_the_folder_unless_said_otherwise(tmp_path: Path) -> None:
    assert Project.create(tmp_path / "a").store_url == f"sqlite:///{tmp_path / 'a' / 'feedback.db'}"
    for url, meant in (
        ("sqlite:///other.db", f"sqlite:///{tmp_path / 'other.db'}"),
        ("sqlite:////data/x.db", "sqlite:////data/x.db"),
        ("postgresql+psycopg://me@host/db", "postgresql+psycopg://me@host/db"),
    ):
        (tmp_path / "accord.toml").write_text(f'[store]\nurl = "{url}"\n')
        assert Project.open(tmp_path).store_url == meant


def test_nothing_that_is_there_is_touched(tmp_path: Path) -> None:
    Project.create(tmp_path / "mine")
    with pytest.raises(InputError, match="is a project already"):
        Project.create(tmp_path / "mine")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_text("cat")
    with pytest.raises(InputError, match="not empty"):
        Project.create(tmp_path / "photos")
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["a.jpg"]
    with pytest.raises(UsageError):
        Project.create(tmp_path / "new", settings={"ppo": {"stepz": 1}})
    assert not (tmp_path / "new").exists()


def test_a_folder_without_a_project_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        Project.open(tmp_path / "none")
    assert str(tmp_path / "none") in caught.value.where
    assert caught.value.hint == f"create one: accord init {tmp_path / 'none'}"


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("[ppo]\nkl_coeff = 0.1", ["[ppo]", "'kl_coeff'", "did you mean 'kl_coef'?"]),
        ("[pretran]\nlr = 0.1", ["[pretran]", "did you mean 'pretrain'?"]),
        ("[ppo]\nsteps = 1.5", ["[ppo] steps is 1.5", "a whole number"]),
        ("[ppo]\nsteps = true", ["[ppo] steps is true", "a whole number"]),
        ("[ppo]\nlr = true", ["[ppo] lr is true", "a number"]),
        ("[ppo]\nwhiten_rewards = 1", ["whiten_rewards is 1", "true or false"]),
        ('[ppo]\nkl_estimator = "k4"', ['kl_estimator is "k4"', "one of k1, k2, k3"]),
        ("[ppo]\nlr = [1]", ["lr is [1]"]),
        ("ppo = 3", ["ppo is a section"]),
        ("[sample]\nk = 12", ["[sample]", "k is 12"]),
        ("[ppo\nlr = 1", ["line 1"]),
    ],
)
def test_a_wrong_setting_is_named_with_its_place(toml: str, words: list[str], tmp_path: Path) -> None:
    file = tmp_path / "accord.toml"
    file.write_text(toml)
    with pytest.raises(UsageError) as caught:
        Project.open(tmp_path)
    assert caught.value.exit_code == 2
    for word in [str(file), *words]:
        assert word in str(caught.value)


def test_a_setting_under_its_old_name_is_read_with_a_warning(tmp_path: Path) -> None:
    (tmp_path / "accord.toml").write_text("[serve]\nplaces = 7\n", "utf-8")
    with pytest.warns(FutureWarning, match=r"accord\.toml: \[serve\] places is now called slots"):
        project = Project.open(tmp_path)
    assert project.settings == {"serve": {"slots": 7}}


def test_a_setting_under_both_names_is_refused(tmp_path: Path) -> None:
    (tmp_path / "accord.toml").write_text("[serve]\nplaces = 7\nslots = 8\n", "utf-8")
    with pytest.raises(UsageError, match="its old name 'places'"):
        Project.open(tmp_path)


def test_every_field_of_every_stage_is_a_setting(tmp_path: Path) -> None:
    assert {"world", "pretrain", "sft", "sample", "reward", "ppo", "evaluate", "store", "project"} <= set(sections())
    everything = {name: {field.name: getattr(kind(), field.name) for field in fields(kind)} for name, kind in sections().items()}
    made = Project.create(tmp_path / "all", settings=everything)
    assert made.settings == everything
    assert PpoConfig(**made.settings["ppo"]) == PpoConfig()


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", ".hidden", "a\\b"])
def test_a_name_stays_in_the_project(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot name a model"):
        Project.create(tmp_path / "p").model(name)


def test_settings_files_and_bars_come_without_torch() -> None:
    code = "import sys; from accord.runtime import project, files, progress, lineage; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


PASSWORDS = (
    "postgresql+psycopg://accord:SECRET@127.0.0.1:5432/l3",
    "postgresql+psycopg://accord:SEC:RE@T@db/l3?sslmode=require",
    "postgresql+psycopg://accord@db/l3?password=SECRET&sslmode=require",
    "postgresql+psycopg://accord@db/l3?sslmode=require&Password=SECRET",
)


@pytest.mark.parametrize("url", PASSWORDS)
def test_the_password_of_the_database_is_in_no_name_of_it(tmp_path: Path, url: str) -> None:
    project = Project.create(tmp_path / "mine", settings={"store": {"url": url}})
    assert project.store_url == url
    assert not {"SECRET", "SEC", "RE@T", "T@db"} & set(re.split(r"[/?&=]|(?<=:)", project.store_name))
    assert "SEC" not in project.store_name
    assert "l3" in project.store_name
    assert "accord" in project.store_name


def test_an_address_without_a_password_is_its_name(tmp_path: Path) -> None:
    for url in ("postgresql+psycopg://me@host/db", f"sqlite:///{tmp_path}/a:b@c.db", "postgresql+psycopg:///db?host=/run/pg"):
        assert Project.create(tmp_path / str(abs(hash(url))), settings={"store": {"url": url}}).store_name == url


def test_no_message_names_the_store_by_its_whole_address() -> None:
    source = Path(__file__).parents[2] / "src"
    assert not [path for path in source.rglob("*.py") if re.search(r"where=\w+\.store_url", path.read_text("utf-8"))]


def test_only_the_owner_may_read_the_settings_and_the_feedback(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "mine")
    with Store.open(project.store_url) as store:
        store.counts()
        files = [project.path / "accord.toml", *project.path.glob("feedback.db*")]
        assert {file.name: oct(file.stat().st_mode & 0o777) for file in files} == {file.name: "0o600" for file in files}
    assert len(files) >= 3, "the database has its log beside it"
