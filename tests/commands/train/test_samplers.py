"""`--sampler`: the commands that learn from samples, and `accord sample`, by servers that speak vLLM's routes.

The server of `--sampler vllm` is a process of its own here as well: tests/engine/vllm_stand_in.py in the place of vLLM's command.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_project import ASKED, FLAGS, RESUME, SAMPLED, SHORT, SMALL, learned
from tiny import metrics
from vllm_stand_in import Lies, StandIn, serving

from accord.commands.train.grpo import grpo
from accord.commands.train.ppo import ppo
from accord.commands.train.raft import raft
from accord.commands.train.sample import sample
from accord.engine.vllm_api import VllmServer
from accord.engine.vllm_server import OwnServer, environment, free_port, room_for, vllm_command
from accord.errors import RunError, UsageError
from accord.feedback.store import Store
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.settings import GrpoConfig, PpoConfig, RaftConfig, SampleConfig

GROUPS: dict[str, Any] = {**SMALL, "group_size": 3, "truncation": "terminate", "rewards": "town_short:short", "steps": 3}
SYNCS = {"syncs", "sync_seconds", "sync_bytes", "sync_gap", "sync_gap_sequence", "sampler_faults"}
SERVER = Path(__file__).parents[2] / "engine" / "vllm_stand_in.py"


@pytest.fixture
def server(project: Project) -> Iterator[StandIn]:
    (project.path / "town_short.py").write_text(SHORT)
    with serving(StandIn(project.model("sft"))) as stand:
        yield stand


def syncs(run: Run) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run.folder / "sampler" / "syncs.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(("lora", "way"), [(0, "folder"), (2, "adapter"), (2, "folder")])
def test_grpo_by_a_server_at_an_address(project: Project, server: StandIn, lora: int, way: str) -> None:
    config = GrpoConfig(**GROUPS, sampler=server.address, sampler_sync=way, lora_rank=lora, logprob_gap=1e-4)  # type: ignore[arg-type]
    run = grpo(project, config=config, flags=FLAGS)
    assert run.summary.keys() == SAMPLED | SYNCS
    rows = syncs(run)
    assert [row["way"] for row in rows] == ["none", way, way]
    assert len({row["weights"] for row in rows}) == 3
    assert all(row["gap"]["token"] < 1e-5 for row in rows)
    assert max(row["logprob_gap"] for row in metrics(run)) < 1e-5
    learned(project, "grpo")


def test_one_step_ahead_of_a_server_each_draw_names_its_weights_and_a_replay_needs_no_server(project: Project, server: StandIn) -> None:
    run = grpo(project, name="ahead", config=GrpoConfig(**GROUPS, sampler=server.address, staleness=1), flags=FLAGS)
    index = [json.loads(line) for line in (run.folder / "rollouts" / "index.jsonl").read_text().splitlines()]
    assert [(line["step"], line["policy_step"]) for line in index] == [(1, 0), (2, 0), (3, 1)]
    first, second = (row["weights"] for row in syncs(run)[:2])
    assert [line["version"] for line in index] == [first, first, second]
    assert {line["server"] for line in index} == {server.address}
    grpo(project, name="again", config=GrpoConfig(**GROUPS, staleness=1, replay="ahead"), flags=FLAGS)
    ahead, again = (json.loads((project.model(name) / "lineage.json").read_text()) for name in ("ahead", "again"))
    assert (ahead["digest"], ahead["data"]["rollouts"]) == (again["digest"], again["data"]["rollouts"])


def test_auto_takes_adapters_where_there_are_some(project: Project, server: StandIn) -> None:
    run = grpo(project, config=GrpoConfig(**{**GROUPS, "steps": 2}, sampler=server.address, lora_rank=2), flags=FLAGS)
    assert syncs(run)[-1]["way"] == "adapter"
    with pytest.raises(UsageError, match="lora_rank is 0"):
        grpo(project, name="other", config=GrpoConfig(**GROUPS, sampler=server.address, sampler_sync="adapter"), flags=FLAGS)
    assert not project.run("other").exists()


def test_ppo_raft_and_sample_by_two_servers(town: Project, server: StandIn, project: Project) -> None:
    """The server has the weights of one project's model; a server of ours learns those of the other by the folder."""
    with serving(StandIn(town.model("sft"))) as one, serving(StandIn(town.model("sft"))) as other:
        both = f"{one.address} {other.address}/v1"
        run = ppo(town, config=PpoConfig(**SMALL, ptx_coef=0, steps=2, sampler=both), flags=FLAGS)
        assert run.summary["syncs"] == 4
        assert run.summary.keys() >= SYNCS | ASKED
        config = RaftConfig(**{**SMALL, "batch_size": 4}, group_size=2, rounds=2, save_every=1, sampler=both)
        assert raft(town, config=config, flags=FLAGS).summary["sync_gap"] < 1e-5
        run = sample(town, name="more", config=SampleConfig(k=2, max_tokens=5, top_k=20, sampler=both), flags=FLAGS)
        assert run.summary["sync_bytes"] == 0 or run.summary["syncs"] >= 2
        with Store.open(town.store_url) as store:
            assert len([row for row in store.responses() if row.model == "sft" and row.tokens]) >= run.summary["responses"]


def test_a_lie_on_the_way_stops_the_run_and_a_resume_goes_on(project: Project, server: StandIn) -> None:
    server.stop_at, plain = 2, server.reload  # type: ignore[attr-defined]

    def reload(path: Path) -> None:
        server.lies = Lies(stale=len([name for name in server.asked if name == "/collective_rpc"]) >= 2)
        plain(path)

    server.reload = reload  # type: ignore[method-assign]
    config = GrpoConfig(**GROUPS, sampler=server.address, save_every=1)
    with pytest.raises(RunError, match=r"has others.*--resume"):
        grpo(project, config=config, flags=FLAGS)
    assert [row["step"] for row in metrics(Run(project.run("grpo"), "grpo", {}))] == [1, 2]
    server.reload, server.lies = plain, Lies()  # type: ignore[method-assign]
    with serving(StandIn(project.model("sft"))) as fresh:
        elsewhere = GrpoConfig(**GROUPS, sampler=fresh.address, save_every=1)
        run = grpo(project, config=elsewhere, flags=RESUME)
    assert [row["step"] for row in metrics(run)] == [1, 2, 3]
    assert "resumed with config.sampler was" in (run.folder / "log.txt").read_text()


def test_vllm_is_started_and_ended_with_the_run(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project.path / "town_short.py").write_text(SHORT)
    monkeypatch.setenv("ACCORD_VLLM", command(tmp_path))
    run = grpo(project, config=GrpoConfig(**GROUPS, sampler="vllm", sampler_options="--max-num-seqs 8"), flags=FLAGS)
    assert [row["way"] for row in syncs(run)] == ["none", "folder", "folder"]
    told = (run.folder / "vllm.log").read_text()
    first = told.splitlines()[0]
    for flag in (
        "--dtype float32",
        "--logprobs-mode processed_logprobs",
        "--max-num-seqs 8",
        "--host 127.0.0.1",
        "--max-model-len",
        "--no-enable-chunked",
    ):
        assert flag in first
    assert "VLLM_SERVER_DEV_MODE=1 VLLM_ALLOW_RUNTIME_LORA_UPDATING=1" in told
    gone(int(told.split("pid ")[1].split()[0]))


def test_a_server_that_dies_late_is_started_again_on_the_newest_weights(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder that it was started on is gone by then: only the two newest versions are kept."""
    log = project.run("grpo") / "vllm.log"
    (project.path / "town_deadly.py").write_text(DEADLY.format(log=str(log)))
    monkeypatch.setenv("ACCORD_VLLM", command(tmp_path))
    asked = {**GROUPS, "rewards": "town_deadly:deadly", "steps": 6}
    run = grpo(project, config=GrpoConfig(**asked, sampler="vllm"), flags=FLAGS)
    started = [line for line in log.read_text().splitlines() if line.startswith("$ ")]
    folders = [Path(line.split(" serve ")[1].split()[0]) for line in started]
    assert len(folders) == 2, "it died once"
    assert not folders[0].exists()
    assert len(metrics(run)) == 6
    assert run.summary["sampler_faults"] > 0


def test_a_server_dies_with_its_trainer(tmp_path: Path) -> None:
    words = f"""
import time
from pathlib import Path
from accord.engine.vllm_api import VllmServer
from accord.engine.vllm_server import OwnServer
OwnServer("model", [], Path({str(tmp_path / "log")!r})).start(60)
print("up", flush=True)
time.sleep(60)
"""
    environment = {**os.environ, "ACCORD_VLLM": program(tmp_path, HEALTHY)}
    trainer = subprocess.Popen([sys.executable, "-c", words], stdout=subprocess.PIPE, env=environment)
    assert trainer.stdout is not None
    assert trainer.stdout.readline() == b"up\n"
    trainer.kill()
    trainer.wait()
    trainer.stdout.close()
    gone(int((tmp_path / "log").read_text().split("pid ")[1].split()[0]))


def test_a_server_that_dies_is_started_again_and_not_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCORD_VLLM", program(tmp_path, HEALTHY))
    server = OwnServer("model", [], tmp_path / "log")
    there = VllmServer(server.start(60))
    try:
        pids = [int(part.split()[0]) for part in (tmp_path / "log").read_text().split("pid ")[1:]]
        os.kill(pids[-1], signal.SIGKILL)
        gone(pids[-1])
        assert server.revive(there)
        assert there.ask("GET", "/health") == {}
        assert not server.revive(VllmServer("http://127.0.0.1:9"))
        server.starts = 10
        assert not server.revive(there)
    finally:
        server.end()
        there.client.close()
    assert (tmp_path / "log").read_text().count("pid ") == 2


def test_a_server_that_cannot_start_is_told_with_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCORD_VLLM", program(tmp_path, "raise ValueError('no room for the cache')"))
    with pytest.raises(RunError, match="ended while it started: ValueError: no room for the cache"):
        OwnServer("model", [], tmp_path / "log").start(60)
    monkeypatch.setenv("ACCORD_VLLM", program(tmp_path, "import time; print('loading', flush=True); time.sleep(60)"))
    with pytest.raises(RunError, match=r"did not answer within 2 s: loading"):
        OwnServer("model", [], tmp_path / "slow").start(2)
    monkeypatch.setenv("ACCORD_VLLM", str(tmp_path / "nothing"))
    with pytest.raises(UsageError, match="which is no program"):
        vllm_command()
    monkeypatch.delenv("ACCORD_VLLM")
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(UsageError, match="vLLM is not installed"):
        vllm_command()


def test_the_server_gets_an_environment_without_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYTHONPATH", "RANK", "MASTER_PORT", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    made = environment()
    assert not {"PYTHONPATH", "RANK", "MASTER_PORT", "OMP_NUM_THREADS"} & made.keys()
    assert made["VLLM_SERVER_DEV_MODE"] == "1"
    assert [room_for(rank) for rank in (1, 8, 9, 512)] == [8, 8, 16, 512]
    with pytest.raises(UsageError, match="lora_rank is 600"):
        room_for(600)
    assert free_port() > 1023


@pytest.mark.parametrize("sampler", ["remote", "", "localhost:8000", "local http://127.0.0.1:1"])
def test_what_is_no_sampler(sampler: str) -> None:
    with pytest.raises(UsageError, match="local, vllm, or addresses"):
        GrpoConfig(sampler=sampler)
    with pytest.raises(UsageError, match="sampler_options"):
        GrpoConfig(sampler_options="--max-num-seqs 8")


HEALTHY = """
import http.server, os, sys

class Healthy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

print("pid", os.getpid(), flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Healthy).serve_forever()
"""


DEADLY = """
import os, signal
from pathlib import Path
calls = 0


def deadly(prompts, responses):
    global calls
    calls += 1
    if calls == 4:
        os.kill(int(Path({log!r}).read_text().split("pid ")[1].split()[0]), signal.SIGKILL)
    return [float(-len(response)) for response in responses]
"""
"""A reward that kills the server after the fourth rollout."""


def command(folder: Path) -> str:
    """A command that stands in for vLLM's."""
    file = folder / "vllm"
    paths = f"{SERVER.parents[2] / 'src'}:{SERVER.parents[1]}:{SERVER.parent}"
    file.write_text(f'#!/bin/sh\nPYTHONPATH={paths} exec {sys.executable} {SERVER} "$@"\n')
    file.chmod(0o755)
    return str(file)


def program(folder: Path, words: str) -> str:
    """A command that does no more than this program of Python's."""
    file = folder / "vllm"
    file.write_text(f"#!{sys.executable}\n{words}")
    file.chmod(0o755)
    return str(file)


def gone(pid: int) -> None:
    """Assert that a process ends soon."""
    ends = time.monotonic() + 30
    while time.monotonic() < ends:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{pid}/stat").exists() and Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
            return
        time.sleep(0.05)
    pytest.fail(f"process {pid} is still there")


@pytest.mark.parametrize(("shard", "lora"), [("replicate", 0), pytest.param("full", 0, marks=pytest.mark.slow), ("full", 2)])
def test_two_processes_ask_a_server_as_one_does(project: Project, server: StandIn, shard: str, lora: int) -> None:
    """The first process brings the weights and asks; the other learns from the same answers. Where both shard, the first gathers them."""
    config = GrpoConfig(**GROUPS, sampler=server.address, sampler_sync="folder", lora_rank=lora)
    one = grpo(project, name="one", config=config, flags=FLAGS)
    asked = server.asked.count("/v1/completions")
    code, errors = by_two_processes(project, server, "--shard", shard, "--lora-rank", str(lora))
    assert code == 0, errors
    assert server.asked.count("/v1/completions") == 2 * asked
    for row, wanted in zip(metrics(Run(project.run("two"), "grpo", {})), metrics(one), strict=True):
        assert row == pytest.approx(wanted, abs=1e-5)
    brought = syncs(Run(project.run("two"), "grpo", {}))
    assert [row["way"] for row in brought] == ["folder"] * 3, "the server still had the weights of the run before"
    assert all(row["gap"]["token"] < 1e-5 for row in brought), "the weights of each step, gathered whole"


def test_a_sharded_run_that_resumes_brings_the_weights_of_its_checkpoint(project: Project, server: StandIn) -> None:
    """They are restored after the sampler was opened: what was gathered then are the weights of the start."""
    one = grpo(project, name="one", config=GrpoConfig(**GROUPS, sampler=server.address, save_every=1), flags=FLAGS)
    plain, before = server.reload, server.asked.count("/collective_rpc")

    def reload(path: Path) -> None:
        server.lies = Lies(stale=server.asked.count("/collective_rpc") - before > 2)
        plain(path)

    server.reload = reload  # type: ignore[method-assign]
    words = ("--shard", "full", "--save-every", "1")
    code, errors = by_two_processes(project, server, *words)
    assert code != 0
    assert "has others" in errors
    two = Run(project.run("two"), "grpo", {})
    assert [row["step"] for row in metrics(two)] == [1, 2]
    server.reload, server.lies = plain, Lies()  # type: ignore[method-assign]
    code, errors = by_two_processes(project, server, *words, "--resume")
    assert code == 0, errors
    for row, wanted in zip(metrics(two), metrics(one), strict=True):
        assert row == pytest.approx(wanted, abs=1e-5)


def by_two_processes(project: Project, server: StandIn, *more: str) -> tuple[int, str]:
    """Run GRPO by a server as two processes; return the exit code and what they said."""
    settings = [word for name, value in GROUPS.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    words = ["grpo", str(project.path), "--name", "two", "--processes", "2", "--sampler", server.address, "--dtype", "float32", *settings]
    command = [sys.executable, "-m", "accord", *words, *more]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        _, errors = process.communicate(timeout=240)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, errors
