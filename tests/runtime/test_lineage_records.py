"""From the weights back to the feedback, and what was changed in between is seen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import pytest

from accord.errors import InputError
from accord.runtime import lineage
from accord.runtime.model_card import About, header_of
from accord.runtime.project import Project


def make(project: Project, name: str, *parents: str, **data: str) -> Path:
    folder = project.model(name)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(name.encode())
    digests = {parent: lineage.digest_folder(project.model(parent)) for parent in parents}
    lineage.write(folder, stage="sft", parents=digests, data=data, settings={"lr": 0.1}, metrics={"loss": 2.0, "accuracy": math.nan})
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project.create(tmp_path / "p")
    make(made, "base", corpus="c0")
    make(made, "sft", "base", demonstrations="d1")
    make(made, "reward", "sft", rankings="r2")
    make(made, "ppo", "sft", "reward", prompts="p3")
    return made


def test_an_undefined_metric_is_left_out(project: Project) -> None:
    assert "NaN" not in (project.model("sft") / lineage.LINEAGE).read_text()
    assert lineage.metrics_of(lineage.read(project.model("sft"))) == {"loss": 2.0}


def test_the_walk_reaches_every_ancestor_and_its_data(project: Project) -> None:
    found = lineage.walk(project, "ppo")
    assert [(one.name, one.depth, one.state) for one in found] == [
        ("ppo", 0, "same"),
        ("sft", 1, "same"),
        ("reward", 1, "same"),
        ("base", 2, "same"),
    ]
    assert {key for one in found for key in one.record["data"]} == {"prompts", "demonstrations", "rankings", "corpus"}


def test_a_parent_that_was_changed_or_removed_is_said_so(project: Project) -> None:
    (project.model("sft") / "model.safetensors").write_bytes(b"other")
    for path in project.model("reward").iterdir():
        path.unlink()
    project.model("reward").rmdir()
    states = {one.name: one.state for one in lineage.walk(project, "ppo")}
    assert states == {"ppo": "same", "sft": "changed", "reward": "missing", "base": "same"}


def test_a_model_that_is_not_there(project: Project) -> None:
    with pytest.raises(InputError, match="no model 'dpo'") as caught:
        lineage.walk(project, "dpo")
    assert "base, ppo, reward, sft" in caught.value.hint


def test_the_digest_sees_content_and_names_and_not_the_card(project: Project) -> None:
    folder = project.model("sft")
    before = lineage.digest_folder(folder)
    (folder / "README.md").write_text("mine")
    (folder / ".hidden.json").write_text("{}")
    assert lineage.digest_folder(folder) == before
    (folder / "chat_template.jinja").write_text("x")
    with_template = lineage.digest_folder(folder)
    (folder / "chat_template.jinja").rename(folder / "other.jinja")
    assert len({before, with_template, lineage.digest_folder(folder)}) == 3


def test_an_empty_folder_has_no_digest(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no model"):
        lineage.digest_folder(tmp_path)


def test_rows_digest_by_content_and_order_not_by_the_order_of_keys() -> None:
    @dataclass
    class Row:
        b: int
        a: str

    rows: list[object] = [{"b": 1, "a": "é"}, {"b": 2, "a": ""}]
    assert (
        lineage.digest_rows(rows)
        == lineage.digest_rows([{"a": "é", "b": 1}, {"a": "", "b": 2}])
        == lineage.digest_rows([Row(1, "é"), Row(2, "")])
    )
    assert lineage.digest_rows(rows) != lineage.digest_rows(rows[::-1])
    assert lineage.digest_rows(["ab"]) != lineage.digest_rows(["a", "b"])


def test_the_card_tells_what_it_was_made_of(project: Project) -> None:
    card = (project.model("ppo") / "README.md").read_text()
    for words in ("# ppo", "sft, reward", "| prompts | p3 |", "| loss | 2.0 |", "| lr | 0.1 |"):
        assert words in card


def test_the_header_is_one_that_the_hub_reads_and_hands_down_license_language_and_base(tmp_path: Path) -> None:
    from huggingface_hub import ModelCard

    project = Project.create(tmp_path / "p")
    base = project.model("base")
    base.mkdir(parents=True)
    (base / "README.md").write_text("---\nlicense: apache-2.0\nlanguage:\n- en\nbase_model: owner/first\ninference: false\n---\n# Base\n")
    about = {
        "sft": About("Fine-tune.", str(base), template="{{ x }} | y", ends=("<|im_end|>", "\n"), dtype="bfloat16", adapter=True),
        "reward": About("Train a reward model.", str(project.model("sft")), judges=True),
        "hub": About("Fine-tune.", "owner/name"),
        "scratch": About("Pretrain."),
    }
    cards: dict[str, ModelCard] = {}
    for name, told in about.items():
        project.model(name).mkdir()
        (project.model(name) / "config.json").write_text("{}")
        settings = {"lora_rank": 8 if name == "sft" else 0, "rewards": "a|b"}
        lineage.write(project.model(name), stage="sft", parents={}, data={}, settings=settings, metrics={"loss": 2.0}, about=told)
        cards[name] = ModelCard.load(project.model(name) / "README.md")
    for name in ("sft", "reward"):
        data = cards[name].data
        assert (data.license, data.language, data.base_model) == ("apache-2.0", ["en"], "owner/first"), name
        assert data.library_name == "transformers"
        assert data.get("inference") is None
    assert cards["sft"].data.tags == ["accord", "sft", "lora"]
    assert (cards["sft"].data.pipeline_tag, cards["reward"].data.pipeline_tag) == ("text-generation", "text-classification")
    assert (cards["hub"].data.base_model, cards["hub"].data.license) == ("owner/name", None)
    assert cards["scratch"].data.base_model is None
    text = cards["sft"].text
    for words in (
        "Fine-tune.",
        "`owner/first`",
        "{{ x }} | y",
        "`<|im_end|>`, `\\n`",
        "bfloat16",
        "`adapter/`",
        "| rewards | a\\|b |",
        "## Limits",
    ):
        assert words in text
    assert "No license" not in text
    assert "No license" in cards["hub"].text
    assert "same prompt" in cards["reward"].text


def test_a_base_whose_card_is_no_yaml_hands_nothing_down(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\nlicense: [unclosed\n---\n")
    assert header_of(str(tmp_path)) == {}
    (tmp_path / "README.md").write_text("no header at all")
    assert header_of(str(tmp_path)) == {}
