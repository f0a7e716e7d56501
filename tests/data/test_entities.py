"""A folder for token classification as the classifier of personal data, held against transformers' own pipeline on a tiny random model."""

from __future__ import annotations

from pathlib import Path

import pytest
from name_models import folder_of, known_names
from transformers import pipeline

from accord.data.classifiers.entities import EntityFolder, holds_entities, is_personal, kind_of
from accord.data.classifiers.registry import opened
from accord.data.personal import redact
from accord.errors import ModelError

TEXTS = ["ada lovelace lives in london", "bread is sold at the mill .", "bob works with ada ada lovelace and it rains", "it rains"]


def test_it_finds_what_the_pipeline_finds(tmp_path: Path) -> None:
    folder, _ = folder_of(tmp_path / "random", 2)
    ours, theirs = EntityFolder(folder), pipeline("token-classification", model=str(folder), aggregation_strategy="simple")
    found, expected = list[tuple[str, int, int]](), list[tuple[str, int, int]]()
    for text in TEXTS:
        found += [(each.label, each.start, each.end) for each in ours.find(text)]
        expected += [(each["entity_group"], each["start"], each["end"]) for each in theirs(text) if each["entity_group"] == "PER"]
    assert found == expected
    assert len(found) > 2, "a test of nothing"


def test_all_of_a_long_text_is_read_and_the_rules_stay(tmp_path: Path) -> None:
    folder = known_names(tmp_path / "names")
    classify = opened("personal", "folder:names", root=tmp_path)
    assert isinstance(classify, EntityFolder)
    long = "it rains . " * 20 + "ada lovelace lives"
    (entity,) = classify.find(long)
    assert long[entity.start : entity.end] == "ada lovelace"
    assert classify.find("ada lovelace ada bob lives in london")[-1].start == len("ada lovelace ada ")
    labels = [each.label for each in classify([long, "it rains in london", "bread . jo@example.org", ""])]
    assert labels == ["personal", "none", "personal", "none"]
    assert all(0.5 < each.probability <= 1 for each in classify([*TEXTS, long]))
    assert holds_entities(folder)


def test_labels_and_folders_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    assert [is_personal(name) for name in ("B-PER", "I-GIVENNAME", "TELEPHONENUM", "O", "B-ORG", "S-GPE", "DATE", "LABEL_3")] == [
        True, True, True, False, False, False, False, False,
    ]  # fmt: skip
    places, _ = folder_of(tmp_path / "places", 1, ("O", "B-LOC", "I-LOC"))
    with pytest.raises(ModelError, match="none of its labels is an entity of a person: O, B-LOC, I-LOC"):
        opened("personal", "folder:places", root=tmp_path)
    (places / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match="no model for token classification"):
        EntityFolder(places)
    with pytest.raises(ModelError, match="no model for text classification"):
        opened("personal", "folder:nowhere", root=tmp_path)


def test_what_it_finds_is_replaced_beside_what_the_rules_find(tmp_path: Path) -> None:
    names = EntityFolder(known_names(tmp_path / "names"))
    text = "ada lovelace lives in london with bob . jo@example.org"
    assert redact(text, more=names.findings).text == "[NAME_1] lives in london with [NAME_2] . [EMAIL_1]"
    assert redact(text, kinds=("email",), more=names.findings).text == text.replace("jo@example.org", "[EMAIL_1]")
    found = redact(text, mode="review", more=names.findings).findings
    assert [each.rule for each in found][:2] == ["model PER", "model PER"]


@pytest.mark.parametrize(
    ("entity", "kind"),
    [("PER", "name"), ("GIVENNAME", "name"), ("PHONE_NUMBER", "phone"), ("TELEPHONENUM", "phone"), ("EMAIL", "email"), ("US_SSN", "id"),
     ("CREDIT_CARD", "card"), ("IP-ADDRESS", "ip"), ("STREET_ADDRESS", "address"), ("PASSWORD", "secret")],
)  # fmt: skip
def test_an_entity_is_replaced_by_its_kind(entity: str, kind: str) -> None:
    assert kind_of(entity) == kind
