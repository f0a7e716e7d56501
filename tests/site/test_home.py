"""The first page for leads: the loop with the project's own numbers, the step to do next, and its command."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest
from visitors import Come

from accord.feedback import schema
from accord.feedback.counts import count_records
from accord.feedback.store import Store
from accord.records import Demonstration, Guideline, Labeler, Message, Prompt, Ranking, Response
from accord.runtime import jobs
from accord.runtime.project import Project
from accord.settings.methods import METHODS
from accord.site import figures as figures_of
from accord.site.figures import Figures, Kept, Made, WinRate, counted
from accord.site.loop import POLICIES, next_step, steps


def model(project: Project, name: str, stage: str, at: str, **metrics: float) -> None:
    folder = project.model(name)
    folder.mkdir(parents=True)
    (folder / "lineage.json").write_text(json.dumps({"name": name, "stage": stage, "at": at, "metrics": metrics}))


def compared(project: Project, name: str, **win_rate: list[float]) -> None:
    project.run(name).mkdir()
    (project.run(name) / "summary.json").write_text(json.dumps({"win_rate": win_rate}))


def _ranking(n: int, labeler: str) -> Ranking:
    return Ranking(f"k{n}", f"p{n}", labeler, (f"r{n}-0", f"r{n}-1"), (1, 2), Guideline("training", "1" * 12), "2026-01-01")


def filled(store: Store, prompts: int = 4) -> None:
    asked = [Prompt(f"p{n}", (Message("user", f"Question {n}?"),)) for n in range(prompts)]
    ann, eve = Labeler("ann", "person"), Labeler("eve", "person")
    store.add(
        prompts=asked,
        labelers=[ann, eve],
        demonstrations=[Demonstration("d0", asked[0], "An answer.", "ann"), Demonstration("d1", asked[1], "Another.", "eve")],
        responses=[Response(f"r{n}-{k}", f"p{n}", f"text {k}", "sft") for n in range(prompts) for k in range(2)],
        rankings=[_ranking(n, "ann" if n else "eve") for n in range(prompts)],
    )


def test_records_are_counted_without_withdrawn_ones_and_excluded_labelers(store: Store) -> None:
    filled(store)
    found = count_records(store)
    assert (found.prompts, found.demonstrations, found.responses, found.rankings) == (4, 2, 8, 4)
    with store.write() as connection:
        for kind, id in (("prompt", "p1"), ("response", "r0-0"), ("ranking", "k2")):
            connection.execute(
                schema.withdrawn.insert().values(kind=kind, record_id=id, by="tests", at="2026-01-01", why="", replaced_by="")
            )
        connection.execute(schema.excluded.insert().values(labeler="eve", by="tests", at="2026-01-01", why=""))
    found = count_records(store)
    assert found.prompts == len(list(store.prompts()))
    assert found.demonstrations == len(list(store.demonstrations()))
    assert found.responses == len(list(store.responses())) == 5
    assert found.rankings == sum(store.ranked_by().values()) == 2


def test_an_empty_project_is_told_to_bring_data_in(come: Come, project: Project) -> None:
    page = come("lead").get("/").text
    assert page.count('<li class="station') == 8
    assert re.search(r'<li class="station ready next" id="data">', page)
    assert f"accord import {project.path} FILE" in page
    assert 'action="/do/data"' not in page, "the file's name is not known"


def test_each_step_shows_the_projects_own_numbers_and_models(
    come: Come, store: Store, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures_of, "QUICK", 60.0)  # a busy machine is no failure
    filled(store)
    model(project, "sft", "sft", "2026-11-28T10:00:00Z")
    model(project, "nicer", "dpo", "2026-11-30T10:00:00Z", heldout_accuracy=0.71)
    compared(project, "compare", nicer_vs_sft=[0.64, 0.58, 0.7])
    lead = come("lead")
    page = lead.get("/").text
    station = dict(re.findall(r'<li class="station [^"]*" id="(\w+)">(.*?)\n</li>', page, re.DOTALL))
    assert re.search(r"<dt>prompts</dt><dd>4</dd>", station["data"])
    assert re.search(r"<dt>rankings</dt><dd>4</dd>", station["label"])
    assert "2026-11-28" in station["sft"]
    for key, address in [("data", "/data"), ("sft", "/runs"), ("label", "/label"), ("compare", "/report"), ("chat", "/chat")]:
        assert f'<a href="{address}">' in station[key], "each step leads to the page where it is done"
    for shown in ("<b>nicer</b>", "dpo", "2026-11-30", "pair accuracy 71%", "preferred to sft: 64% (58%–70%)"):
        assert shown in station["policy"], shown
    assert f"accord dpo {project.path}" in station["policy"], "no reward model, so its rankings are learned from directly"
    assert f"accord compare {project.path} nicer sft --by people" in station["compare"]
    store.add_prompts([Prompt("new", (Message("user", "New?"),))])
    assert "<dt>prompts</dt><dd>5</dd>" in lead.get("/").text, "what is counted quickly is current"


def test_a_lead_starts_a_step_from_the_page_and_nobody_else_does(come: Come, store: Store, project: Project) -> None:
    filled(store)
    lead, viewer = come("lead"), come("viewer")
    assert 'action="/do/label"' in lead.get("/").text
    assert '<a href="/runs/new/sample">Choose models and settings</a>' in lead.get("/").text
    assert "/runs/new/" not in viewer.get("/").text
    assert "/do/" not in viewer.get("/").text
    assert viewer.post("/do/label", key="k").status_code == 403
    assert lead.post("/do/data", key="k").status_code == 404, "nothing that has a word to fill in"
    assert lead.post("/do/none", key="k").status_code == 404
    for _ in range(2):
        assert lead.post("/do/label", key="same").status_code == 200
    found = jobs.newest(project)
    assert [job.arguments for job in found] == [("queue",)], "a form sent twice starts one process"
    ended = jobs.wait(found[0], 60)
    assert ended.state == "failed"
    assert "ranked" in lead.get("/").text, "all responses have been ranked: the page says why the command failed"


@pytest.mark.parametrize("stage", sorted(METHODS))
def test_every_method_makes_a_policy_of_the_loop(stage: str, store: Store) -> None:
    assert stage in POLICIES
    made = Made("mine", stage, "2026-01-01", None, WinRate("sft", 0.6, 0.5, 0.7))
    station = next(step for step in steps(Figures(count_records(store), 0, (made,), False, "")) if step.key == "policy")
    assert station.state == "done"
    assert list(station.models) == [made]


def test_the_next_step_is_one_that_can_be_done(store: Store, project: Project) -> None:
    def following() -> tuple[str, tuple[str, ...]]:
        found = steps(counted(store, project))
        key = next_step(found)
        return key, next(step.command for step in found if step.key == key)

    assert following() == ("data", ("import", "FILE"))
    with Store.open(f"sqlite:///{project.path / 'prompts.db'}") as other:
        other.add_prompts([Prompt("p1", (Message("user", "Which?"),))])
        first = steps(counted(other, project))
        assert next_step(first) == "sample", "somebody else's model can begin"
        asked = next(step for step in first if step.key == "sample")
        assert (asked.command, asked.startable) == (("sample", "--model", "MODEL", "--k", "4"), False)
        other.add_labelers([Labeler("ann", "person")])
        other.add_responses([Response(f"r1-{k}", "p1", f"text {k}", "theirs") for k in range(2)])
        other.add_rankings([_ranking(1, "ann")])
        second = {step.key: step for step in steps(counted(other, project))}
        assert (second["policy"].command, second["policy"].state) == (("dpo", "--sft", "MODEL"), "ready")
        assert next_step(list(second.values())) == "policy"
    filled(store)
    assert following() == ("sft", ("sft", "--base", "MODEL"))
    model(project, "sft", "sft", "2026-11-28T10:00:00Z")
    assert following() == ("policy", ("dpo",))
    model(project, "reward", "reward", "2026-11-28T11:00:00Z")
    assert following() == ("policy", ("ppo",))
    model(project, "ppo", "ppo", "2026-11-28T12:00:00Z")
    assert following() == ("compare", ("compare", "ppo", "sft", "--by", "people")), "the judge is not what PPO was paid by"


def test_a_broken_model_or_run_stops_no_page(come: Come, project: Project) -> None:
    model(project, "sft", "sft", "2026-11-28")
    (project.model("sft") / "lineage.json").write_text("{")
    compared(project, "compare")
    (project.run("compare") / "summary.json").write_text('{"win_rate": {"a_vs_b": "x", "a": [1, 2], "a_vs_c": [1, null, 2]}}')
    assert "<b>sft</b>" in come("lead").get("/").text or come("lead", "lead2").get("/").status_code == 200


def test_no_page_waits_for_a_count_that_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures_of, "RARELY", 0.0)
    made = list[float]()

    def slowly() -> int:
        time.sleep(0.2)
        made.append(time.monotonic())
        return len(made)

    kept: Kept[int] = Kept(slowly)
    assert kept.get() == 1
    began = time.monotonic()
    assert kept.get() == 1, "the last value, while a newer one is counted"
    assert time.monotonic() - began < 0.1
    deadline = time.monotonic() + 10
    while kept.get() == 1 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert kept.get() >= 2


def test_a_slow_count_is_renewed_a_twentieth_of_the_time() -> None:
    made = list[Any]()

    def slowly() -> int:
        time.sleep(0.12)
        made.append(1)
        return len(made)

    kept: Kept[int] = Kept(slowly)
    until = time.monotonic() + 0.6
    while time.monotonic() < until:
        kept.get()
    assert len(made) == 1
