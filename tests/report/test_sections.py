"""What the page says beyond curves: findings with quotes, people and groups, matrices, cards, samples to search, metrics as JSON."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import save_file
from sick import ppo_run, upper

from accord.commands.app import main
from accord.evaluation.findings import ALARMS, REMEDIES
from accord.evaluation.run_facts import RESULTS, examine, read_facts
from accord.feedback.store import Store
from accord.records import Guideline, Labeler, Message, Prompt, Ranking, Response
from accord.report import manual, measures
from accord.report.captions import DEFINITIONS
from accord.report.cards import parameters
from accord.report.facts import facts
from accord.report.labelers import read_labelers
from accord.report.markup import Html
from accord.report.matrix import rates_of
from accord.report.page import TITLES, read_everything, write_report
from accord.report.project_files import read_project
from accord.report.samples import Piece, fitting
from accord.runtime.project import Project

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
