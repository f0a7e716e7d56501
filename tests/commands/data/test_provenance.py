"""`accord provenance`: consent is set by source or user, counted, and acted on by `accord prompts`."""

from __future__ import annotations

import json

import pytest

from accord.commands.app import main
from accord.commands.data.prompts import prompts
from accord.commands.data.provenance import provenance
from accord.errors import StoreError
from accord.runtime.project import Project
from accord.settings import PromptsConfig


def test_consent_is_set_and_acted_on(project: Project) -> None:
    marked = provenance(project, user="ann", consent="refused", terms="v1")
    assert (marked["marked"], marked["consent"]) == (2, {"(none)": 3, "refused": 2})
    assert prompts(project)["dropped"] == {"no consent": 2}
    assert prompts(project, config=PromptsConfig(consent="any", near=0))["kept"] == 5


def test_without_anything_to_set_it_only_counts(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    main(["provenance", str(project.path), "--json"])
    counted = json.loads(capsys.readouterr().out)
    assert (counted["marked"], counted["origin"], counted["consent"]) == (0, {"asked.jsonl": 5}, {"(none)": 5})


def test_nobodys_consent_cannot_be_set(project: Project) -> None:
    with pytest.raises(StoreError, match="no prompts are named"):
        provenance(project, consent="given")
