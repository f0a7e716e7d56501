"""The data card counts hints of machine-written text in a run's own rows, of people alone, and says how often they are wrong."""

from __future__ import annotations

import json
from pathlib import Path

import accord
from accord.commands.train.written_section import hints_section
from accord.feedback.data_card import markdown
from accord.records import Labeler

SAID = "As an AI language model, I have no garden of my own, but I can explain how roses are cut back before the winter comes."
OWN = "I cut mine in February, on a dry day, down to three or four buds. My neighbour does it in autumn and hers are as good."


def test_rows_by_people_are_counted_and_those_of_models_are_not(tmp_path: Path) -> None:
    project = accord.create(tmp_path / "garden")
    with accord.store(project) as store:
        store.add(labelers=[Labeler("ann", "person"), Labeler("bot", "model")])
    folder = project.run("sft")
    folder.mkdir(parents=True)
    rows = [{"text": SAID, "labeler": "ann"}, {"text": OWN, "labeler": "ann"}, {"text": SAID, "labeler": "bot"}]
    (folder / "demonstrations.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    shown = markdown(hints_section(project, folder, {"demonstrations": "digest"}))
    assert "| rows by people | with the hint |\n| --- | --- |\n| 2 | 1 |" in shown
    assert "A hint is no verdict, and nothing was left out: where it errs most, people wrote 3 of 10 texts with this hint" in shown
    assert hints_section(project, folder, {"rankings": "digest"}) == []
    settings = project.path / "accord.toml"
    settings.write_text(settings.read_text("utf-8") + '\n[classifiers]\nwritten = "off"\n', "utf-8")
    assert hints_section(project, folder, {"demonstrations": "digest"}) == []
