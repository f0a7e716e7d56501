"""The runs page without scripts: what it offers, what it refuses, what it shows of runs and jobs, and who may do what."""

from __future__ import annotations

import inspect
import json
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from visitors import Come

from accord.commands import COMMANDS
from accord.commands.app import app
from accord.runtime import jobs, owners
from accord.runtime.logs import Metrics
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.settings import DpoConfig, SftConfig
from accord.site import curves, methods
from accord.site.methods import OFFERED, Method

NAMES = [method.name for method in OFFERED]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project whose accord.toml sets something."""
    return Project.create(tmp_path / "bakery", settings={"dpo": {"beta": 0.3}, "project": {"seed": 4}})


def trained(project: Project, name: str, *, steps: int = 5, done: bool = True, **settings: Any) -> Run:
    """A run as `accord dpo` leaves it in a terminal."""
    run = Run.start(project.run(name), stage="dpo", config=DpoConfig(**settings), inputs={}, resume=False)
    for step in range(1, steps + 1):
        run.log(step, loss=1 / step, accuracy=0.5 + step / 100, lr=1e-6)
        run.samples(step, [{"prompt": f"Which bread, {step}?", "response": f"<b>Rye</b> {step}", "score": step / 10}])
    if done:
        run.finish(validation_loss=1 / steps, seconds=2.0)
    return run


def form(method: str = "dpo", **changed: Any) -> dict[str, Any]:
    return {"name": f"{method}-9", "model.sft": "sft", "do": "check", **changed}


def words_of(page: str) -> list[str]:
    found = re.search(r'<pre class="command" tabindex="0"><code>(.*?)</code>', page)
    assert found, page
    return found[1].split()


@pytest.mark.parametrize("method", OFFERED, ids=NAMES)
def test_what_is_offered_is_what_the_command_takes(method: Method) -> None:
    """Models and their defaults stand in the page's own table: the commands load torch, and a page does not."""
    command = next(command for command in COMMANDS if command.name == method.name)
    taken = inspect.signature(getattr(import_module(command.module), command.file)).parameters
    for flag in method.models:
        assert taken[flag.flag].default == flag.default
    others = set(taken) - {flag.flag for flag in method.models}
    assert others <= {"project", "name", "flags", "config", "find_lr"}
    assert type(taken["config"].default) is method.config
    shown = [field.name for some in methods.grouped(method.fields()).values() for field in some]
    shown += [field.name for field in methods.placed(method.fields(), [*methods.FIRST, *methods.DATA])]
    assert sorted([*shown, *(methods.FIXED & {field.name for field in method.fields()})]) == sorted(field.name for field in method.fields())


@pytest.mark.parametrize("method", OFFERED, ids=NAMES)
def test_a_form_can_be_filled_in_by_each_preset(come: Come, method: Method) -> None:
    lead = come()
    for preset in methods.PRESETS:
        page = lead.get(f"/runs/new/{method.name}?preset={preset}")
        assert page.status_code == 200
        fixed = methods.FIXED & {field.name for field in method.fields()}
        shown = re.findall(r'class="setting( changed)?"', page.text)
        assert len(shown) == len(method.fields()) - len(fixed) + len(method.models) + 1


def test_the_command_that_is_shown_gives_the_settings_of_the_form(come: Come, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accord.site.new_run.PLANNED", ())  # the memory is another test's
    texts = {"beta": "0.25", "loss": "ipo", "epochs": "2", "recompute": "true", "kinds": "person user"}
    sent: dict[str, Any] = {f"set.{name}": text for name, text in texts.items()}
    page = come().post("/runs/new/dpo", **form(**sent, **{"there.recompute": "1"}))
    assert page.status_code == 200
    words = re.search(r'<pre class="command" tabindex="0"><code>accord (.*?)</code>', page.text)
    assert words
    command, bound, _ = app.parse_args(words[1].replace("&#39;", "'"), print_error=False, exit_on_error=False)
    assert command.__name__ == "dpo"
    assert bound.arguments["config"] == DpoConfig(beta=0.25, loss="ipo", epochs=2, recompute=True, kinds="person user", seed=4)
    assert bound.arguments["name"] == "dpo-9"
    assert "sft" not in words[1], "what the command takes by itself is not said"


def test_settings_of_the_project_fill_the_form_and_are_left_out_of_the_command(come: Come, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accord.site.new_run.PLANNED", ())
    lead = come()
    assert re.search(r'id="set.beta" name="set.beta" value="0.3"', lead.get("/runs/new/dpo").text)
    assert words_of(lead.post("/runs/new/dpo", **form()).text)[3:] == ["--name=dpo-9"]
    assert re.search(r'id="set.beta" name="set.beta" value="0.1"', lead.get("/runs/new/dpo?preset=field").text)


@pytest.mark.parametrize(
    ("method", "changed", "field", "said"),
    [
        ("dpo", {"set.epochs": "0"}, "epochs", "epochs is 0; it must be above 0"),
        ("dpo", {"set.lora_bits": "4"}, "", "weights in four bits do not learn"),
        ("dpo", {"set.loss": "robust"}, "loss", "loss robust needs the share of wrong labels"),
        ("dpo", {"name": "../x"}, "name", "Letters, digits"),
        ("dpo", {"name": "taken"}, "name", "There is a run of this name already"),
        ("dpo", {"model.sft": "--again"}, "model.sft", "Name a model"),
        ("dpo", {"model.sft": "/etc"}, "model.sft", "in accord.toml"),
        ("dpo", {"model.sft": "../other/models/sft"}, "model.sft", "in accord.toml"),
        ("dpo", {"model.sft": "runs/taken"}, "model.sft", "in accord.toml"),
        ("dpo", {"model.sft": "~/sft"}, "model.sft", "in accord.toml"),
        ("grpo", {"model.reward": "reward", "set.rewards": "os:system"}, "rewards", "in accord.toml"),
        ("grpo", {"model.reward": "reward", "set.rewards": "http://10.0.0.1/"}, "rewards", "in accord.toml"),
        ("grpo", {"model.reward": "reward", "set.evaluate_by": "os:system"}, "evaluate_by", "in accord.toml"),
        ("ppo", {"model.reward": "reward", "set.evaluate_by": "http://10.0.0.1/"}, "evaluate_by", "in accord.toml"),
        ("grpo", {"model.reward": "reward", "set.knowledge_meaning": "entailment:/etc"}, "knowledge_meaning", "in accord.toml"),
        ("grpo", {"model.reward": "reward", "set.knowledge_meaning": "judge:http://10.0.0.1/v1#m"}, "knowledge_meaning", "accord.toml"),
        ("grpo", {"model.reward": "reward", "set.judge_model": "/etc"}, "judge_model", "in accord.toml"),
    ],
)
def test_a_wrong_value_is_refused_beside_its_field(
    come: Come, project: Project, method: str, changed: dict[str, Any], field: str, said: str
) -> None:
    trained(project, "taken")
    sent: dict[str, Any] = {**form(method), **changed, "do": "start"}
    page = come().post(f"/runs/new/{method}", **sent)
    assert page.status_code == 422
    assert said in page.text
    if field:
        beside = re.search(rf'id="problem-{re.escape(field)}">(.*?)</span>', page.text)
        assert beside
        assert said in beside[1]
        assert f'aria-describedby="help-{field} problem-{field}" aria-invalid="true"' in page.text
    assert jobs.newest(project) == []


def test_code_and_servers_are_not_named_on_a_page(come: Come, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accord.site.new_run.PLANNED", ())
    fields: dict[str, Any] = {f"set.{name}": "os:system" for name in methods.FIXED}
    page = come().post("/runs/new/grpo", **form("grpo", **{"model.reward": "reward"}, **fields))
    assert page.status_code == 200
    assert "os:system" not in page.text


def test_a_start_begins_one_job_with_the_form_s_command(come: Come, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Project, "trainings", 0)  # so that it waits: what a training does is another test's
    lead = come()
    asked: dict[str, Any] = {"name": "sft-9", "model.base": "owner/model", "do": "start"}
    asked |= {"once": "a", "set.epochs": "7"}
    first = lead.post("/runs/new/sft", **asked)
    assert (first.status_code, first.url.path) == (200, "/run/sft-9")
    assert "queued" in first.text
    asked["once"] = "b"
    again = lead.post("/runs/new/sft", **asked)
    assert (again.status_code, "There is a run of this name already" in again.text) == (422, True)
    (job,) = jobs.newest(project)
    assert job.arguments == ("sft", "--name=sft-9", "--base=owner/model", "--epochs=7")
    assert (job.by, job.state) == (lead.id, "queued")
    stopped = lead.post("/run/sft-9/stop")
    assert "stopped" in stopped.text
    assert jobs.read(project, 1).state == "stopped"
    assert lead.post("/run/sft-9/resume").url.path == "/run/sft-9"
    assert jobs.newest(project)[0].arguments[-1] == "--resume"


def test_a_run_of_a_terminal_is_shown_while_it_goes_on(come: Come, project: Project) -> None:
    run = trained(project, "mine", steps=3, done=False)
    viewer = come("viewer")
    assert '<a href="/run/mine">' in viewer.get("/runs").text
    page = viewer.get("/run/mine").text
    assert "running" in page
    assert "Stop and save" not in page, "a viewer changes nothing"
    assert "&lt;b&gt;Rye&lt;/b&gt; 3" in page
    version = re.search(r'data-version="(\w+)"', page)
    assert version
    assert viewer.get(f"/run/mine/live?seen={version[1]}").status_code == 204
    run.log(4, loss=0.1, accuracy=0.9, lr=1e-6)
    newer = viewer.get(f"/run/mine/live?seen={version[1]}")
    assert newer.status_code == 200
    assert "<html" not in newer.text
    assert re.search(r"<dd>4</dd>", newer.text)
    run.finish(validation_loss=0.5)
    assert 'data-wait="0"' in viewer.get("/run/mine/live").text
    owners.release(run.folder)


def test_the_doctors_findings_come_with_the_run(come: Come, project: Project) -> None:
    run = Run.start(project.run("burnt"), stage="dpo", config=DpoConfig(), inputs={}, resume=False)
    for step in range(1, 40):
        run.log(step, loss=0.7 if step < 20 else float("nan"), accuracy=0.5)
    page = come().get("/run/burnt").text
    assert 'class="findings"' in page
    run.finish()


def test_a_failed_job_shows_its_reason(come: Come, project: Project) -> None:
    folder = project.path / "jobs" / "001"
    folder.mkdir(parents=True)
    (folder / "job.json").write_text(json.dumps({"arguments": ["dpo", "--name=x"], "queue": "training", "at": "2026-01-02T03:04:05Z"}))
    (folder / "supervisor.json").write_text("{}")
    (folder / "log.txt").write_text("dpo: 3/40 in 2 s\naccord: models/sft: there is no such model (train one)\n")
    lead = come()
    for end, said in [({"exit": 1}, "exit code 1"), ({"exit": -9, "out_of_memory": True}, "out of memory"), ({"exit": -11}, "signal 11")]:
        (folder / "end.json").write_text(json.dumps(end))
        page = lead.get("/run/x").text
        assert said in page
        assert "models/sft: there is no such model (train one)" in page
        assert "Resume the run" in page
    (folder / "end.json").unlink()
    assert "was not recorded" in lead.get("/run/x").text


def test_two_runs_are_compared_by_what_differs(come: Come, project: Project) -> None:
    trained(project, "one", beta=0.1)
    trained(project, "two", beta=0.4, steps=8)
    page = come("viewer").get("/runs/compare?a=one&b=two").text
    cells = re.findall(r'<tr><th scope="row"><code>(\w+)</code></th><td>(.*?)</td><td>(.*?)</td></tr>', page)
    assert cells == [("beta", "0.1", "0.4")]
    assert re.search(r"<th scope=\"row\">Validation loss</th><td class=\"number\">0.2</td><td class=\"number\">0.125</td>", page)
    assert page.count('class="line c1"') == page.count('class="line c2"') > 0
    assert come("viewer", "other").get("/runs/compare?a=one&b=none").status_code == 404


@pytest.mark.parametrize(
    ("address", "fields"),
    [
        ("/runs/new/dpo", {"do": "start", "name": "x", "model.sft": "sft"}),
        ("/run/mine/stop", {}),
        ("/run/mine/resume", {}),
        ("/run/mine/promote", {}),
        ("/runs/back", {}),
        ("/jobs/1/stop", {}),
    ],
)
def test_only_leads_change_anything(come: Come, project: Project, address: str, fields: dict[str, Any]) -> None:
    run = trained(project, "mine")
    for role in ("viewer", "labeler", "user"):
        assert come(role, role).post(address, **fields).status_code == 403
    lead = come("lead", "boss")
    assert lead.client.post(address, data=fields).status_code == 403, "without the session's token"
    assert jobs.newest(project) == []
    assert run.done
    for page in ("/runs", "/runs/new", "/run/mine", "/run/mine/live", "/runs/compare?a=mine&b=mine"):
        assert come("labeler", f"l{page}").get(page).status_code == 403
        assert lead.get(page).status_code == 200


@pytest.mark.parametrize("address", ["/run/none", "/run/..%2Fx", "/run/none/live", "/jobs/7", "/runs/new/serve", "/runs/plan/3"])
def test_what_is_not_there_is_not_found(come: Come, address: str) -> None:
    assert come().get(address).status_code == 404


def test_pages_hold_no_script_of_their_own_and_speak_chinese(come: Come, project: Project) -> None:
    trained(project, "mine")
    lead = come()
    for address in ("/runs", "/runs/new", "/runs/new/sft", "/run/mine", "/runs/compare?a=mine&b=mine"):
        page = lead.client.get(address, headers={"Accept-Language": "zh-CN"}).text
        assert '<html lang="zh-Hans">' in page
        assert not re.search(r"<script>|<script (?!type=\"module\" src|src)| style=| on\w+=", page)


def test_a_curve_is_where_its_numbers_say() -> None:
    columns = {"step": [1.0, 2.0, 3.0], "loss": [4.0, 2.0, 1.0], "validation_loss": [4.5, 3.0, 2.0]}
    metrics = Metrics({key: np.array(values) for key, values in columns.items()}, 3)
    (chart,) = curves.charts({"run": metrics})
    assert [curve.name for curve in chart.curves] == ["Loss", "Validation loss"]
    assert [tick.text for tick in chart.ys] == ["1", "2", "3", "4", "5"]
    points = [tuple(map(float, point.split())) for point in chart.paths[0].removeprefix("M").split("L")]
    assert points == [(46.0, 44.0), (199.0, 112.0), (352.0, 146.0)]  # 34 a unit, from 146 at 1 up
    assert json.loads(chart.data)["lines"][0]["points"] == [[1, 4], [2, 2], [3, 1]]


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-3.2, 17.0), (1e-7, 3e-6), (5.0, 5.0), (-1e9, 1e9)])
def test_ticks_are_round_and_hold_the_range(low: float, high: float) -> None:
    found = curves.ticks(low, high, 4)
    assert found[0] <= low
    assert found[-1] >= high
    assert len(found) <= 7


def test_a_preset_of_the_field_is_valid() -> None:
    for method in OFFERED:
        method.config(**methods.FIELD.get(method.name, {}))
    assert SftConfig(**methods.FIELD["sft"]).ptx_tokens == 0


def test_a_quick_try_is_quick_where_nothing_is_limited(project: Project) -> None:
    sample = methods.BY_NAME["sample"]
    assert sample.in_force(project)["prompts"] == 0, "all of them"
    tried = sample.preset(project, "quick")
    assert (tried["prompts"], tried["held_out"]) == (20, 10)
