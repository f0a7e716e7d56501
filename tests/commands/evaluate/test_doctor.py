"""`accord doctor` on a small project that went through every stage: what takes models, labels and judges to find, and its exit codes."""

from __future__ import annotations

import json
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from accord.commands.app import main
from accord.commands.evaluate import doctor as doctor_file
from accord.commands.evaluate.doctor import doctor
from accord.commands.feedback.plan_pilot import simulated_pilot
from accord.commands.world import world_of
from accord.evaluation.findings import Finding
from accord.evaluation.run_facts import RESULTS
from accord.feedback.store import Store
from accord.report.checkup import findings_of
from accord.report.project_files import read_project
from accord.runtime import lineage
from accord.runtime.project import Project
from accord.settings import PlanConfig
from accord.world import labelers

WORLD = ["--documents", "60", "--prompts", "90", "--demonstrations", "24", "--users", "20"]
BODY = ["--hidden-size", "16", "--layers", "1", "--heads", "2", "--intermediate-size", "32", "--vocab-size", "400", "--tokens", "500"]
SMALL = [*BODY, "--context", "128", "--batch-tokens", "256", "--save-every", "1"]
SAMPLE = ["--k", "4", "--prompts", "40", "--held-out", "8", "--max-tokens", "6"]
PPO = [
    "--steps",
    "4",
    "--batch-size",
    "8",
    "--minibatch-size",
    "8",
    "--epochs",
    "1",
    "--ptx-coef",
    "0",
    "--max-tokens",
    "6",
    "--save-every",
    "1",
]
Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every stage in its smallest form, two reward models, and a PPO run; responses rarely end at six tokens."""
    path = str(tmp_path_factory.mktemp("doctor") / "town")
    commands = [["init", path, "--world", *WORLD], ["pretrain", path, *SMALL]]
    commands += [["sft", path, "--epochs", "1", "--ptx-tokens", "0", "--max-tokens", "128"], ["sample", path, *SAMPLE]]
    commands += [["label", path, "--by", "world", "--overlap", "1"], ["reward", path, "--max-tokens", "128"]]
    commands += [["reward", path, "--max-tokens", "128", "--name", "reward-b", "--seed", "1"], ["ppo", path, *PPO]]
    for words in commands:
        main(words)
    return Path(path)


@pytest.fixture
def town(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "town"))


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str]) -> Iterator[Typed]:
    pipes = signal.getsignal(signal.SIGPIPE)

    def run(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            main([str(word) for word in words])
        except SystemExit as end:
            return int(end.code or 0), *capsys.readouterr()
        return 0, *capsys.readouterr()

    yield run
    signal.signal(signal.SIGPIPE, pipes)


def diagnosed(town: Path, run: str = "ppo", **how: Any) -> dict[str, Finding]:
    findings = map(Finding.from_json, doctor(town, run, **how)["runs"][run])
    return {finding.name: finding for finding in findings}


def test_grave_findings_are_told_in_words_kept_and_end_with_1(typed: Typed, town: Path) -> None:
    code, out, err = typed("doctor", town, "ppo")
    assert code == 1, err
    assert "[high, " in out
    assert "(no_eos)" in out
    assert "max_tokens" in out
    kept = json.loads((town / "runs" / "ppo" / RESULTS).read_text("utf-8"))
    assert "no_eos" in {row["name"] for row in kept["findings"]}


def test_all_runs_as_json_and_a_healthy_one_ends_with_0(typed: Typed, town: Path) -> None:
    code, out, _ = typed("doctor", town, "--json", "--no-judges")
    found = json.loads(out)
    assert code == (0 if found["healthy"] else 1)
    assert set(found["runs"]) == {"base", "sft", "sample", "label", "reward", "reward-b", "ppo"}
    assert typed("doctor", town, "sft")[0] == 0


@pytest.mark.parametrize(("words", "code", "part"), [(["nothing"], 1, "there is no run 'nothing'"), (["../ppo"], 2, "cannot name a run")])
def test_a_run_that_is_not_there_is_one_line(typed: Typed, town: Path, words: list[str], code: int, part: str) -> None:
    found, _, err = typed("doctor", town, *words)
    assert (found, err.count("\n")) == (code, 1)
    assert part in err


def test_a_reward_model_that_was_spoken_to_differently(town: Path) -> None:
    assert "template_mismatch" not in diagnosed(town, judges=False)
    template = town / "models" / "reward" / "chat_template.jinja"
    template.write_text(template.read_text("utf-8") + "{{ bos_token }}", "utf-8")
    finding = diagnosed(town, judges=False)["template_mismatch"]
    assert (finding.severity, finding.sure) == ("high", 1.0)
    assert "ppo, reward, sft have different chat templates" in finding.what()


def test_a_parent_that_is_another_model_now(town: Path) -> None:
    shutil.copytree(town / "models" / "reward-b", town / "models" / "reward", dirs_exist_ok=True)
    finding = diagnosed(town, judges=False)["parent_changed"]
    assert finding.metrics["name"] == "reward"
    assert finding.metrics["now"] == lineage.digest_folder(town / "models" / "reward")[:10]


def test_padding_that_is_the_stop_token(town: Path) -> None:
    for name in ("ppo", "sft"):
        path = town / "models" / name / "tokenizer_config.json"
        words = json.loads(path.read_text("utf-8"))
        path.write_text(json.dumps(words | {"pad_token": words["eos_token"]}), "utf-8")
    findings = diagnosed(town, judges=False)
    assert findings["pad_is_eos"].severity == "low"
    assert findings["no_eos"].causes[0] == "pad"


def test_training_on_prompts_that_are_held_out(town: Path) -> None:
    assert "contaminated" not in diagnosed(town, "sft", judges=False)
    lines = (town / "runs" / "sft" / "demonstrations.jsonl").read_text("utf-8").splitlines()
    prompts = {row["prompt"]["id"] for row in map(json.loads, lines) if row["prompt"]["split"] == "train"}
    with Store.open(Project.open(town).store_url) as store:
        learned = next(prompt for prompt in store.prompts("train") if prompt.id in prompts)
        store.add_prompts([replace(learned, id="again", user="somebody else", split="test")])
    finding = diagnosed(town, "sft", judges=False)["contaminated"]
    assert finding.severity == "high"
    assert f"1 of {len(prompts)} training prompts" in finding.what()


def test_a_model_on_the_plain_path(town: Path) -> None:
    assert "plain_path" not in diagnosed(town, judges=False)
    path = town / "runs" / "ppo" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"paths": {"model": "fused", "reward": "grouped"}}), "utf-8")
    finding = diagnosed(town, judges=False)["plain_path"]
    assert (finding.severity, finding.about) == ("low", "reward")
    assert "grouped" in finding.what()


@pytest.mark.parametrize("guessed", [False, True])
def test_labels_at_random_are_found_before_the_reward_model_is_blamed(guessed: bool, town: Path) -> None:
    """The world's labelers on responses that differ, as they rank and at random."""
    world, rng = world_of(Project.open(town)), random.Random(0)
    ranked, rankings = simulated_pilot(world, PlanConfig(k=4, pilot=80, overlap=0.5))
    if guessed:
        rankings = [replace(ranking, ranks=_shuffled(len(ranking.ranks), rng)) for ranking in rankings]
    fresh = Project.create(town.parent / "labels")
    with Store.open(fresh.store_url) as store:
        people, prompts = [person.record for person in labelers(world)], {row.prompt.id: row.prompt for row in ranked}
        responses = {response.id: response for row in ranked for response in row.responses}
        store.add(prompts=prompts.values(), labelers=people, responses=responses.values(), rankings=rankings)
    shutil.copytree(town / "runs" / "reward", fresh.run("reward"))
    assert ("labels_at_chance" in diagnosed(fresh.path, "reward")) is guessed


def _shuffled(count: int, rng: random.Random) -> tuple[int, ...]:
    return tuple(rng.sample(range(1, count + 1), count))


def test_other_judges_are_asked_about_the_samples(town: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    examine = doctor_file.examine
    monkeypatch.setattr(doctor_file, "examine", lambda facts, rows: seen.append(facts) or examine(facts, rows))
    diagnosed(town)
    (facts,) = seen
    assert len(facts.samples) == 32
    assert all(set(said.others) == {"reward-b", "gold"} for said in facts.samples)
    assert all(0 <= said.others["gold"] <= 1 for said in facts.samples)


def test_the_report_shows_what_the_doctor_found(town: Path) -> None:
    doctor(town)
    shown = findings_of(read_project(town))
    for run, findings in shown.items():
        kept = json.loads((town / "runs" / run / RESULTS).read_text("utf-8"))["findings"]
        assert {row["name"] for row in kept} <= {finding.name for finding in findings}


def test_alarms_are_in_the_runs_log_once(town: Path) -> None:
    folder = town / "runs" / "ppo"
    rows = "".join(
        json.dumps({"step": step, "prompt": f"prompt {n}", "response": "I see." if step < 3 else "What a great question!", "score": step})
        + "\n"
        for step in range(1, 5)
        for n in range(12)
    )
    (folder / "samples.jsonl").write_text(rows, "utf-8")
    for _ in range(2):
        doctor(town, "ppo", judges=False)
    log = (folder / "log.txt").read_text("utf-8")
    assert log.count("ALARM flattery") == 1
    assert "What a great question!" in log
