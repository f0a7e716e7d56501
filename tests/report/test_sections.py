"""What the page says beyond curves: findings with quotes, people and groups, matrices, cards, samples to search, metrics as JSON."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from counted import calls
from safetensors.numpy import save_file
from sick import ppo_run, upper

from accord.commands.app import main
from accord.data.classifiers.measure import as_json, cards
from accord.data.classifiers.project_set import DEFAULT
from accord.evaluation.findings import ALARMS, REMEDIES
from accord.evaluation.run_facts import RESULTS, examine, read_facts
from accord.feedback.store import Store
from accord.records import Guideline, Labeler, Message, Prompt, Ranking, Response
from accord.report import background, classifier_cards, manual, measures
from accord.report.captions import DEFINITIONS
from accord.report.cards import parameters
from accord.report.curves import CHARTS, Chart
from accord.report.facts import facts
from accord.report.labelers import read_labelers
from accord.report.markup import Html
from accord.report.matrix import rates_of
from accord.report.method_curves import CURVES, DOCUMENTED
from accord.report.page import TITLES, read_everything, write_report
from accord.report.project_files import read_project
from accord.report.results import models
from accord.report.samples import Piece, fitting
from accord.runtime.project import Project
from accord.settings.methods import METHODS

DOCS = Path(__file__).parents[2] / "docs"
SOURCE = DOCS.parent / "src" / "accord"


def test_findings_stand_on_the_page_with_what_was_said(project: Path) -> None:
    ppo_run(project / "runs" / "hacked", reward=upper, lr=5e-3, max_tokens=32, kl_coef=0.0, batch_size=32, phrases={59: "<b>certainly</b>"})
    page = write_report(project).read_text("utf-8")
    part = page[page.index('id="doctor"') : page.index('id="better"')]
    assert 'class="finding high"' in part
    for name in ("length_runaway", "repetition", "authority"):
        assert f'href="#docs-hacking-{name}"' in part
    assert "&lt;b&gt;certainly&lt;/b&gt;" in part
    assert "<b>certainly" not in page
    assert "Nothing is wrong with " in part


def test_what_the_doctor_left_is_shown_until_the_run_goes_on(project: Path) -> None:
    folder = project / "runs" / "ppo"
    rows = read_facts(folder).metrics.rows
    row = {"name": "disagreement", "about": "", "severity": "medium", "sure": 0.97, "causes": [], "quotes": []}
    kept = {"rows": rows, "findings": [row | {"metrics": {"models": 2.0, "first": 0.3, "last": 0.9}}]}
    (folder / RESULTS).write_text(json.dumps(kept), "utf-8")
    assert "2 reward models" in write_report(project).read_text("utf-8")
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": rows + 1, "reward": 2.6}) + "\n")
    assert "2 reward models" not in write_report(project).read_text("utf-8")
    (folder / RESULTS).write_text('{"rows": 61, "findings": [{"name": "<script>"}]}', "utf-8")
    assert "&lt;script&gt;alert" in write_report(project).read_text("utf-8")  # the page stands; the words are a prompt's


@pytest.fixture
def store(project: Path) -> Path:
    """The project with a store: two groups that agree within and disagree between."""
    (project / "accord.toml").write_text('[project]\nname = "linden"\n', "utf-8")
    prompts = [Prompt(f"p{n}", (Message("user", f"Question {n}"),), use_case="open_qa", split="train") for n in range(12)]
    responses = [Response(f"p{n}-{k}", f"p{n}", f"Answer {k}", "sft") for n in range(12) for k in range(3)]
    people = [Labeler(f"l{n}", "person", "red" if n < 2 else "blue") for n in range(4)]
    rankings = [
        Ranking(f"r{n}-{m}", f"p{n}", f"l{m}", tuple(f"p{n}-{k}" for k in range(3)), (1, 2, 3) if m < 2 else (3, 2, 1), _guideline(), AT)
        for n in range(12)
        for m in range(4)
    ]
    with Store.open(Project.open(project).store_url) as opened:
        opened.add(prompts=prompts, labelers=people, responses=responses, rankings=rankings)
    return project


AT = "2026-01-02T03:04:05+00:00"


def _guideline() -> Guideline:
    return Guideline("training", "1")


def test_people_and_groups_are_counted_and_their_agreement_measured(store: Path) -> None:
    people = read_labelers(store)
    assert people is not None
    assert (people.rankings, people.responses, people.prompts, people.answered) == (48, 36, {"train": 12}, {3: 48})
    assert [(g.name, g.labelers, g.rankings, g.agreement and g.agreement.mean) for g in people.groups] == [
        ("blue", 2, 24, 1.0),
        ("red", 2, 24, 1.0),
    ]
    assert people.agreement["dropped"].mean == pytest.approx(1 / 3)
    page = write_report(store).read_text("utf-8")
    part = page[page.index('id="labelers"') : page.index('id="training"')]
    assert "rankings of 3" in part
    assert ">red</th>" in part


def test_a_project_without_a_store_is_left_without_one(project: Path) -> None:
    (project / "accord.toml").write_text('[project]\nname = "linden"\n', "utf-8")
    assert read_labelers(project) is None
    assert not (project / "feedback.db").exists()


def test_a_matrix_reads_each_duel_both_ways(project: Path) -> None:
    run = read_project(project).one("evaluate")
    assert run is not None
    rates = rates_of(run)
    assert rates["sft", "base"].mean == pytest.approx(0.912)
    assert rates["base", "sft"] == pytest.approx((0.088, 0.062, 0.115))
    page = write_report(project).read_text("utf-8")
    matrix = page[page.index('class="matrix"') :]
    assert matrix.index(">91%<") > 0
    assert ">9%<" in matrix


def test_cards_count_parameters_from_headers(project: Path, tmp_path: Path) -> None:
    import numpy as np

    save_file({"a": np.zeros((3, 4), np.float32), "b": np.zeros(5, np.float16)}, project / "models" / "sft" / "model.safetensors")
    assert parameters(project / "models" / "sft") == 17
    (project / "models" / "ppo" / "model.safetensors").write_bytes(b"\xff" * 40)
    assert parameters(project / "models" / "ppo") == 0
    assert 'id="model-sft"' in write_report(project).read_text("utf-8")


def test_samples_of_every_run_are_there_within_their_share() -> None:
    many = [Piece("a", "", "", Html("x" * 1000)) for _ in range(5000)]
    few = [Piece("b", "", "", Html("y" * 100)) for _ in range(10)]
    kept = fitting([many, few], 1_000_000)
    assert [piece.run for piece in kept].count("b") == 10
    assert sum(len(piece.html) for piece in kept) <= 1_000_000
    assert fitting([few], 10_000) == few
    assert fitting([], 10) == []


def test_figures_for_machines_are_those_of_the_page(project: Path) -> None:
    found: dict[str, Any] = json.loads(json.dumps(facts(*read_everything(project))))
    assert found["summary"]["agreement"] == [0.732, 0.721, 0.744]
    assert found["runs"]["ppo"]["steps"] == 60
    assert set(found["models"]) == {"base", "sft", "reward", "ppo"}
    assert {name for name, run in found["runs"].items() if run["findings"]} <= set(found["runs"])


def test_the_command_writes_and_prints(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["report", str(store), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["project"] == "linden"
    assert Path(found["report"]).stat().st_size < 5_000_000


@pytest.mark.parametrize("key", DEFINITIONS)
def test_every_figure_is_defined_in_the_docs(key: str) -> None:
    assert key in manual.names(DEFINITIONS[key].page), f"no table of docs/{DEFINITIONS[key].page}.md defines {key}"


@pytest.mark.parametrize("name", REMEDIES)
def test_every_finding_is_in_the_docs(name: str) -> None:
    assert name in manual.names("hacking" if name in ALARMS else "doctor")


def test_the_page_leads_to_the_docs_and_no_link_is_dead(project: Path) -> None:
    frontier_run(project, [0.5, 0.7, 0.9, 0.6])
    page = write_report(project).read_text("utf-8")
    words = re.sub(r"<svg.*?</svg>", "", page, flags=re.DOTALL)
    ids, targets = re.findall(r' id="([^"]+)"', words), set(re.findall(r'href="#([^"]+)"', words))
    assert len(ids) == len(set(ids))
    assert targets <= set(ids), targets - set(ids)
    assert {f"docs-{d.page}-{key}" for key, d in DEFINITIONS.items()} <= targets
    assert {"docs-hacking-proxy_gold", "docs-frontier-stop"} <= targets
    assert not re.findall(r'(?:href|src)="(?!#)', words)
    assert "maximise  E[ r(x, y)" in page, "the whole page is there, formulas too"


def test_a_stage_that_is_no_name_opens_no_file(project: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.md").write_text("| a |\n|---|\n| `kept` to oneself |\n")
    frontier_run(project, [0.5, 0.7])
    up = "../" * 20 + str(tmp_path / "secret")[1:]
    assert (manual.Path(manual.__file__).parent / f"{up}.md").is_file(), "there it is"
    (project / "runs" / "frontier" / "config.json").write_text(json.dumps({"stage": up, "config": {}}), "utf-8")
    page = write_report(project).read_text("utf-8")
    assert "to oneself" not in page
    assert 'href="#docs-.' not in page
    assert "gold_peak.rl" in page


def test_pages_of_the_docs_that_a_report_may_need_are_installed() -> None:
    project = tomllib.loads((DOCS.parent / "pyproject.toml").read_text("utf-8"))
    shipped = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    stages = {name for path in SOURCE.rglob("*.py") for name in re.findall(r'stage="(\w+)"', path.read_text("utf-8"))}
    measured = {path.stem for path in DOCS.glob("*.md")} & stages - measures.KNOWN
    wanted = {d.page for d in DEFINITIONS.values()} | {"doctor", "hacking"} | measured
    assert measured >= {"examine", "frontier", "probe"}
    assert {f"docs/{page}.md": f"accord/docs/{page}.md" for page in wanted}.items() <= shipped.items()
    assert all((DOCS.parent / path).is_file() for path in shipped)


def test_sections_have_two_names_and_no_run_is_no_section(project: Path) -> None:
    assert all(english and chinese for english, chinese in TITLES.values())
    shutil.rmtree(project / "runs")
    shutil.rmtree(project / "models")
    page = write_report(project).read_text("utf-8")
    assert 'id="doctor"' not in page
    assert examine(read_facts(project / "runs" / "none")) == []


def frontier_run(project: Path, golds: list[float]) -> None:
    """A frontier as `accord frontier` writes it."""
    policies = [
        {
            "step": 10 * n,
            "kl": [float(n), n - 0.1, n + 0.1],
            "proxy": [n / 2, n / 2 - 0.1, n / 2 + 0.1],
            "gold": [gold, gold - 0.05, gold + 0.05],
        }
        for n, gold in enumerate(golds)
    ]
    best = [{"n": 2**n, "kl": 0.3 * n, "proxy": [n / 3, 0, 1], "gold": [n / 5, 0, 1]} for n in range(4)]
    folder = project / "runs" / "frontier"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"stage": "frontier", "config": {}}), "utf-8")
    stop = {"step": 20, "kl": 2.0, "gold": 0.9}
    summary = {"run": "ppo", "gold_by": "gold", "policies": policies, "best_of_n": best, "stop": stop, "gold_peak": {"rl": [2.0, 1.5, 2.5]}}
    (folder / "summary.json").write_text(json.dumps(summary), "utf-8")


def test_a_measured_frontier_is_drawn_with_its_stopping_point_and_told_when_it_was_passed(project: Path) -> None:
    frontier_run(project, [0.5, 0.7, 0.9, 0.6])
    page = write_report(project).read_text("utf-8")
    better = page[page.index('id="better"') : page.index('id="answers"')]
    assert "Stop at step 20, 2.0 nats" in better
    assert 'href="#def-reward_frontier"' in better
    assert [f.name for f in examine(read_facts(project / "runs" / "frontier"))] == ["proxy_gold"]
    measured = page[page.index('id="measured"') : page.index('id="answers"')]
    assert "gold_peak.rl" in measured
    assert "docs/frontier.md" in measured
    shutil.rmtree(project / "runs" / "frontier")
    frontier_run(project, [0.5, 0.7, 0.9, 0.92])
    assert examine(read_facts(project / "runs" / "frontier")) == []


def test_a_run_whose_last_policy_is_the_best_is_not_told_to_stop(project: Path) -> None:
    frontier_run(project, [0.5, 0.7, 0.9])
    page = write_report(project).read_text("utf-8")
    assert "Go on: at step 20, 2.0 nats, the gold reward was still rising." in page
    assert "Stop at step" not in page


def _own_data(tmp_path: Path, stage: str, keys: tuple[str, ...]) -> Path:
    """A project without the built-in world: imported rankings in its store, and a run and a model of one method."""
    project = Project.create(tmp_path / "own")
    asked = [Prompt(f"p{n}", (Message("user", f"Question {n}?"),)) for n in range(12)]
    with Store.open(project.store_url) as opened:
        opened.add(
            prompts=asked,
            labelers=[Labeler("ann", "person")],
            responses=[Response(f"r{n}-{k}", f"p{n}", f"text {k}", "theirs") for n in range(12) for k in range(2)],
            rankings=[
                Ranking(f"k{n}", f"p{n}", "ann", (f"r{n}-0", f"r{n}-1"), (1, 2), Guideline("training", "1"), "2026-01-01")
                for n in range(12)
            ],
        )
    run = project.run(stage)
    run.mkdir()
    (run / "config.json").write_text(json.dumps({"stage": stage, "config": {}}))
    rows = [{"step": step, **dict.fromkeys(keys, 0.5 + step / 100)} for step in range(1, 6)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (run / "summary.json").write_text(json.dumps({"validation_accuracy": 0.75}))
    for name, made_by, parents in (("sft", "sft", {}), (stage, stage, {"sft": "x"})):
        project.model(name).mkdir()
        record = {"stage": made_by, "at": f"2026-01-0{len(parents) + 1}", "parents": parents}
        (project.model(name) / "lineage.json").write_text(json.dumps(record))
    return project.path


def test_a_project_of_ones_own_is_told_its_own_commands(tmp_path: Path) -> None:
    """Without the built-in world nothing points to it, and what came in by a file is there."""
    page = write_report(_own_data(tmp_path, "dpo", ("loss", "accuracy"))).read_text("utf-8")
    ring = page[page.index('class="loop"') : page.index("</ol>", page.index('class="loop"'))]
    missing = page[page.index('id="missing"') : page.index('id="definitions"')]
    for shown in ("<b>12</b>", "prompts", "rankings", "Improve by DPO", "<b>75%</b>", "DPO needs none"):
        assert shown in ring, shown
    assert "accord compare own dpo sft --by people" in missing
    assert "accord sft" not in missing, "the model is there, whatever made it"
    for elsewhere in ("accord evaluate", "accord pretrain", "accord label", "accord sample", "accord reward", "accord ppo"):
        assert elsewhere not in missing, elsewhere


def test_a_long_line_of_models_is_told_from_the_root(tmp_path: Path) -> None:
    """Twice as many models, each out of the one before, take twice the work; those of a cycle come last."""
    project = Project.create(tmp_path / "p")

    def lineage_of(count: int) -> tuple[list[str], int]:
        names = [f"m{count - n:04}" for n in range(count)]  # the root has the last name
        models: dict[str, Any] = {name: {"parents": {parent: "x"}} for name, parent in zip(names[1:], names, strict=False)}
        record = replace(
            read_project(project.path), models={"a": {"parents": {"b": ""}}, "b": {"parents": {"a": ""}}} | models | {names[0]: {}}
        )
        found = list[Any]()
        made = calls(lambda: found.append(background.lineage(record)))
        return re.findall(r'<th scope="row">(\w+)</th>', str(found[0])), made

    (order, made), (_, made_of_more) = lineage_of(100), lineage_of(200)
    assert order == [*(f"m{100 - n:04}" for n in range(100)), "a", "b"]
    assert made_of_more < 2.1 * made


@pytest.mark.parametrize("stage", [*CURVES, "mine"])
def test_every_methods_curves_are_drawn(tmp_path: Path, stage: str) -> None:
    charts = CURVES.get(stage, (Chart("", ("my_metric",), name=("my metric", "my_metric")),))
    keys = tuple(dict.fromkeys([*(key for chart in charts for key in chart.keys), *(chart.against for chart in charts if chart.against)]))
    page = write_report(_own_data(tmp_path, stage, keys)).read_text("utf-8")
    training = page[page.index('id="training"') : page.index("</section>", page.index('id="training"'))]
    assert training.count("<figure") == len(charts)
    for chart in charts:
        assert f'<span lang="en">{chart.name[0]}</span>' in training
        assert f'<span lang="zh-Hans">{chart.name[1]}</span>' in training


@pytest.mark.parametrize("stage", sorted(METHODS))
def test_every_method_that_trains_a_policy_has_curves(stage: str) -> None:
    assert stage in CURVES or stage in CHARTS


@pytest.mark.parametrize(("stage", "key"), [(stage, key) for stage, group in CURVES.items() for chart in group for key in chart.keys])
def test_a_methods_curves_are_metrics_of_its_page(stage: str, key: str) -> None:
    assert key in manual.names(DOCUMENTED.get(stage, stage)) | set(DEFINITIONS), "the page of docs/ says what the curve shows"


def test_what_models_know_is_drawn_with_the_threshold_that_was_chosen(project: Path) -> None:
    points = [{"threshold": 1.0, "coverage": 0.3, "accuracy": 0.95}, {"threshold": 0.2, "coverage": 0.8, "accuracy": 0.7}]
    found = {"sft": {"curve": points, "threshold": points[0]}, "ppo": {"curve": points[1:], "threshold": None}, "none": {"curve": []}}
    folder = project / "runs" / "known"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"stage": "probe", "config": {}}), "utf-8")
    (folder / "summary.json").write_text(json.dumps({"systems": list(found), "knowledge": found}), "utf-8")
    page = write_report(project).read_text("utf-8")
    better = page[page.index('id="better"') : page.index('id="answers"')]
    assert 'href="#def-coverage_accuracy"' in better
    assert "sft: where 100% of its samples agree it answers 30% of the questions, 95% rightly." in better
    assert "ppo: where" not in better
    shutil.rmtree(folder)
    assert 'href="#def-coverage_accuracy"' not in write_report(project).read_text("utf-8")


def test_every_figure_that_a_classifier_counts_is_one_click_from_its_card(project: Path) -> None:
    refusals, admissions = DEFAULT.basis(refused=("stance", "refusal")), DEFAULT.basis(coverage=("stance", "refusal admission"))
    folder = project / "runs" / "probe"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"stage": "probe", "config": {}}), "utf-8")
    found = {"safety": {"sft": {"refused_harmful": [0.9, 0.8, 0.95], "toxic": [0.1, 0.0, 0.2]}}} | refusals
    (folder / "summary.json").write_text(json.dumps(found), "utf-8")
    summary = json.loads((project / "runs" / "evaluate" / "summary.json").read_text("utf-8")) | admissions
    (project / "runs" / "evaluate" / "summary.json").write_text(json.dumps(summary), "utf-8")
    alarm = {"name": "refusals", "about": "", "severity": "medium", "sure": 0.97, "causes": [], "quotes": []}
    alarm |= {"metrics": {"first": "0%", "last": "60%", "card": "stance mine", "measured_by": "stance by mine: never measured"}}
    rows = read_facts(project / "runs" / "ppo").metrics.rows
    (project / "runs" / "ppo" / RESULTS).write_text(json.dumps({"rows": rows, "findings": [alarm]}), "utf-8")
    page = write_report(project).read_text("utf-8")
    link = 'href="#card-stance-small"'
    doctor, better, measured = (page[page.index(f'id="{one}"') : page.index(f'id="{following}"')] for one, following in PARTS)
    assert 'href="#card-stance-mine"' in doctor
    assert link in better, "beside the column of answered prompts"
    assert link in measured[measured.index("refused_harmful") :].partition("</tr>")[0]
    assert link not in measured[measured.index("sft.toxic") :].partition("</tr>")[0], "that rests on no card of this run"
    shown = page[page.index('id="classifiers"') : page.index('id="training"')]
    recall = cards()["stance small"].recall["refusal"]
    assert 'id="card-stance-small"' in shown
    assert f"{recall} / 150" in shown
    assert "accord classifiers PROJECT --task stance" in shown[shown.index('id="card-stance-mine"') :], "it was never measured"
    words = re.sub(r"<svg.*?</svg>", "", page, flags=re.DOTALL)
    assert set(re.findall(r'href="#([^"]+)"', words)) <= set(re.findall(r' id="([^"]+)"', words))
    own = replace(cards()["stance small"], texts=12, measured_on="labelled texts of the project")
    (project / "classifiers.json").write_text(json.dumps([as_json(own)]), "utf-8")
    assert "12 (labelled texts of the project)" in str(classifier_cards.section(read_project(project), {}))
    (project / "classifiers.json").write_text("{broken", "utf-8")
    assert f"{recall} / 150" in str(classifier_cards.section(read_project(project), {}))


PARTS = (("doctor", "better"), ("better", "measured"), ("measured", "answers"))


def test_text_metrics_stand_beside_the_criteria_and_lead_to_their_page(project: Path) -> None:
    shown = str(models(read_project(project)))
    assert "83%" in shown
    assert ">4.2<" in shown
    assert ">0.41<" in shown
    assert all(DEFINITIONS[key].page == "texts" for key in ("coverage", "information", "rouge_l", "chrf"))
    assert "def-chrf" not in shown, "what was not measured has no column"
