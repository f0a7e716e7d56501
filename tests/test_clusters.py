"""The examples for clusters: their words are ones that torchrun and accord know, and the Slurm script is run, with stand-ins for Slurm's
two programs: two nodes on this machine, told to end, and continued."""

from __future__ import annotations

import os
import shlex
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from torch.distributed.run import get_args_parser

from accord.commands import COMMANDS
from accord.commands.app import app, main

RUNS = Path(__file__).parent.parent / "runs"
WORLD = ["--documents", "60", "--prompts", "60", "--demonstrations", "24", "--users", "20"]
SRUN = """#!/usr/bin/env bash
# A node is a copy of the command; a signal goes on to all, as srun hands it on.
while [ "${1#--}" != "$1" ]; do shift; done
for ((node = 0; node < SLURM_JOB_NUM_NODES; node++)); do "$@" & nodes+=($!); done
trap 'kill -USR1 "${nodes[@]}"' USR1
code=0
for each in "${nodes[@]}"; do
    until wait "$each" || ! kill -0 "$each" 2>/dev/null; do :; done
    wait "$each" || code=1
done
exit $code
"""
SCONTROL = """#!/usr/bin/env bash
case $1 in show) echo 127.0.0.1 ;; requeue) echo "$2" >> "$REQUEUED" ;; esac
"""


def _words_of(name: str) -> list[str]:
    """The words of the torchrun command in an example."""
    text = (RUNS / name).read_text("utf-8")
    if name.endswith(".yaml"):
        documents: list[dict[str, Any]] = list(yaml.safe_load_all(text))
        last = documents[-1]
        text = last["run"] if "run" in last else last["spec"]["template"]["spec"]["containers"][0]["args"][0]
        text = text.replace("$COMMAND", last.get("envs", {}).get("COMMAND", ""))
    text = text.replace("\\\n", " ")
    line = next(line for line in text.splitlines() if "torchrun" in line and "-m accord" in line)
    words = shlex.split(line.replace('"$@"', "ppo my-project").rstrip("& "))
    return words[words.index("torchrun") + 1 :]


@pytest.mark.parametrize("name", ["slurm.sh", "skypilot.yaml", "k8s.yaml"])
def test_an_example_names_what_torchrun_and_accord_know(name: str) -> None:
    words = _words_of(name)
    numbers = {"--nnodes": "2", "--nproc-per-node": "2", "--rdzv-endpoint": "head:29500", "--rdzv-id": "7", "--shutdown-timeout": "1"}
    known = [numbers.get(before, word) if word.startswith("$") else word for before, word in zip(["", *words], words, strict=False)]
    asked = get_args_parser().parse_args(known)
    assert asked.module
    assert asked.training_script == "accord"
    assert asked.rdzv_backend == "c10d"
    assert "SIGTERM" in asked.signals_to_handle
    command, *_ = asked.training_script_args
    assert command in {each.name for each in COMMANDS}
    app.parse_args(asked.training_script_args, print_error=False, exit_on_error=False)


def test_the_table_of_the_page_is_what_the_formulas_give() -> None:
    done = subprocess.run([sys.executable, str(RUNS.parent / "benchmarks" / "throughput.py")], capture_output=True, text=True, check=True)
    page = (RUNS.parent / "docs" / "scaling.md").read_text("utf-8")
    table = page.partition("<!-- throughput")[2].partition("-->")[2].partition("<!-- end -->")[0]
    assert table.strip() == done.stdout.strip()


@pytest.mark.slow
def test_the_slurm_script_is_told_to_end_and_goes_on_in_the_queue(tmp_path: Path) -> None:
    project, tools, requeued = tmp_path / "town", tmp_path / "bin", tmp_path / "requeued"
    main(["init", str(project), "--world", *WORLD])
    main(["pretrain", str(project), "--tokens", "20000", "--hidden-size", "32", "--layers", "2", "--heads", "2", "--vocab-size", "512"])
    tools.mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (tools / name).write_text(text)
        (tools / name).chmod(stat.S_IRWXU)
    places = {"PATH": f"{tools}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "REQUEUED": str(requeued)}
    slurm = {"SLURM_JOB_ID": "12", "SLURM_JOB_NODELIST": "here,there", "SLURM_JOB_NUM_NODES": "2", "PROCESSES": "1", "OMP_NUM_THREADS": "1"}
    script = ["bash", str(RUNS / "slurm.sh"), "sft", str(project), "--device", "cpu", "--batch-size", "4", "--epochs", "30"]
    script += ["--max-tokens", "128", "--ptx-tokens", "0"]

    def job(restarts: int) -> subprocess.Popen[str]:
        env = os.environ | places | slurm | {"SLURM_RESTART_COUNT": str(restarts)}
        return subprocess.Popen(script, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)

    first = job(0)
    try:
        metrics = project / "runs" / "sft" / "metrics.jsonl"
        deadline = time.monotonic() + 240
        while not (metrics.exists() and len(metrics.read_text().splitlines()) > 2):
            assert first.poll() is None, first.communicate()[0][-2000:]
            assert time.monotonic() < deadline
            time.sleep(0.1)
        first.send_signal(signal.SIGUSR1)
        said, _ = first.communicate(timeout=240)
        assert first.returncode == 0, said[-2000:]
        assert requeued.read_text().split() == ["12"]
        assert not (project / "runs" / "sft" / "summary.json").exists()
        taken = len(metrics.read_text().splitlines())
    finally:
        if first.poll() is None:
            os.killpg(first.pid, signal.SIGKILL)

    second = job(1)
    try:
        said, _ = second.communicate(timeout=300)
    finally:
        if second.poll() is None:
            os.killpg(second.pid, signal.SIGKILL)
    assert second.returncode == 0, said[-2000:]
    assert requeued.read_text().split() == ["12"]
    assert (project / "runs" / "sft" / "summary.json").exists()
    assert (project / "models" / "sft" / "model.safetensors").exists()
    log = (project / "runs" / "sft" / "log.txt").read_text()
    assert f"resumed after step {taken}" in log, log
