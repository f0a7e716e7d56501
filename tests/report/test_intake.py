"""What `accord inspect` found stands on the page: lengths as a picture, shares and what looks wrong as a table."""

from __future__ import annotations

import re
from pathlib import Path

from accord.commands.data.inspect import inspect
from accord.feedback.store import Store
from accord.records import Demonstration, Labeler, Message, Prompt, Ranking, Response
from accord.records import Guideline as Rules
from accord.report.intake import intake
from accord.report.page import write_report
from accord.report.project_files import read_project
from accord.runtime.project import Project


def test_the_last_look_at_the_texts_is_drawn(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "bakery")
    assert intake(read_project(project.path)) is None, "nobody looked"
    prompts = [Prompt(f"p{n}", (Message("user", f"Which bread keeps {'very ' * n}long?"),)) for n in range(10)]
    texts = ["I'm sorry, but I can't help with that.", "N/A", *("Rye keeps well in a linen bag." for _ in range(8))]
    responses = [Response(f"r{k}", "p0", f"Answer {k}.", "m") for k in range(2)]
    with Store.open(project.store_url) as store:
        store.add(
            prompts=prompts,
            labelers=[Labeler(id, "person", "g") for id in ("ann", "bob")],
            demonstrations=[Demonstration(f"d{n}", prompts[n], text, "ann") for n, text in enumerate(texts)],
            responses=responses,
            rankings=[Ranking(f"k{n}", "p0", who, ("r0", "r1"), ranks, Rules("training", "v"), "2026-01-01")
                      for n, (who, ranks) in enumerate((("ann", (1, 2)), ("bob", (2, 1))))],
        )  # fmt: skip
    inspect(project)
    part = str(intake(read_project(project.path)))
    assert part.count("<svg") == 1
    assert part.count('class="swatch') == 3, "prompts, demonstrations, responses"
    for words, cells in (("exact duplicates", ("0.0%", "70.0%", "0.0%")), ("refusals", ("0.0%", "10.0%", "0.0%"))):
        row = next(row for row in part.split("<tr>") if words in row)
        assert tuple(cell.split("</td>")[0] for cell in row.split("<td>")[1:]) == cells
    assert "demonstrations that answer nothing" in part
    assert "pairs ranked both ways" in part
    page = write_report(project.path).read_text("utf-8")
    assert part in page
    cards = re.findall(r'href="#(card-[^"]+)"', part)
    assert cards == ["card-toxicity-small", "card-stance-small", "card-personal-rules", "card-language-py3langid", "card-written-rules"]
    assert all(f'id="{card}"' in page for card in cards), "every figure's card is one click away"


def test_a_hint_of_a_model_stands_on_the_page_with_how_often_it_is_wrong(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "bakery")
    said = "As an AI language model, I have no oven of my own, but I can explain how bread is baked on a stone in an ordinary oven at home."
    prompt = Prompt("p", (Message("user", "How is bread baked?"),))
    with Store.open(project.store_url) as store:
        store.add(prompts=[prompt], labelers=[Labeler("ann", "person", "g")], demonstrations=[Demonstration("d", prompt, said, "ann")])
    inspect(project)
    part = str(intake(read_project(project.path)))
    assert "Hint: a model may have written some (prompts: 0, demonstrations: 1). No verdict: where it errs most, people wrote 3 of" in part
