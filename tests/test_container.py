"""The container image without a container runtime: the Dockerfile's rules, what it copies, and what it starts in a fresh folder."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from accord.commands.app import main
from accord.runtime.project import Project

ROOT = Path(__file__).parents[1]
Step = tuple[str, str]


def stages() -> list[list[Step]]:
    """The Dockerfile's instructions by stage, lines joined; an argument's default stands where FROM names it."""
    arguments = dict[str, str]()
    found: list[list[Step]] = []
    text = re.sub(r"\\\n\s*", "", "".join(f"{line}\n" for line in _file().splitlines() if not line.startswith("#")))
    for line in filter(None, text.splitlines()):
        name, _, words = line.partition(" ")
        if name == "FROM":
            found.append([])
            words = re.sub(r"\$\{(\w+)\}", lambda named: arguments[named[1]], words)
        elif not found:
            argument, _, default = words.strip().partition("=")
            arguments[argument] = default
            continue
        found[-1].append((name, words.strip()))
    return found


def _file() -> str:
    return (ROOT / "Dockerfile").read_text("utf-8")


def _compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))


def test_the_image_is_small_and_runs_as_nobody_in_particular() -> None:
    build, last = stages()
    names = [name for name, _ in last]
    assert all(re.search(r":\d[\w.]*-slim", words) for stage in (build, last) for name, words in stage if name == "FROM"), (
        "a pinned, slim base"
    )
    users = [words for name, words in last if name == "USER"]
    assert len(users) == 1
    assert users[0].isdecimal(), "a number, so that a cluster can see that it is not root"
    assert int(users[0]) > 0
    assert names.index("USER") > max(index for index, name in enumerate(names) if name in ("RUN", "COPY"))
    assert {"HEALTHCHECK", "ENTRYPOINT", "VOLUME", "EXPOSE"} <= set(names)
    assert "ADD" not in names
    entry = json.loads(dict(last)["ENTRYPOINT"])
    assert isinstance(entry, list), "as a list: the program itself is told to stop"
    assert next(words for name, words in last if name == "COPY").startswith("--from=build"), "what built it stays behind"
    assert "--no-cache-dir" in dict(build)["RUN"]


def test_everything_that_is_copied_is_there_and_let_through() -> None:
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")]
    for stage in stages():
        for name, words in stage:
            if name != "COPY" or "--from=" in words:
                continue
            *sources, _ = [word for word in shlex.split(words) if not word.startswith("--")]
            for source in sources:
                assert (ROOT / source).exists(), source
                assert source.split("/")[0] in kept, f"{source} is ignored by .dockerignore"


def test_what_the_image_installs_can_be_built_from_what_it_copies(tmp_path: Path) -> None:
    """COPY and RUN of the first stage in a fresh folder; pip's download is left to .ci/wheel, the package itself is built."""
    root = tmp_path / "source"
    root.mkdir()
    (build, _) = stages()
    for name, words in build:
        if name == "COPY":
            *sources, target = shlex.split(words)
            for source in sources:
                to = root / (source if len(sources) > 1 or target in (".", "./") else target)
                shutil.copytree(ROOT / source, to, ignore=shutil.ignore_patterns("__pycache__", "screenshots")) if (
                    ROOT / source
                ).is_dir() else shutil.copy(ROOT / source, to)
    assert re.search(r"pip install .*-c constraints\.txt '\.\[postgres\]'", dict(build)["RUN"])
    words = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "out")]
    done = subprocess.run(words, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "out").glob("*.whl"))


@contextmanager
def container(folder: Path, **variables: str) -> Iterator[tuple[int, dict[str, str]]]:
    """What ENTRYPOINT starts, with a fresh /project; its port and its environment."""
    command = folder / "bin" / "accord"
    command.parent.mkdir()
    command.write_text(f"#!{sys.executable}\nfrom accord.commands.app import main\nmain()\n")
    command.chmod(0o755)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        "PATH": f"{command.parent}:/usr/local/bin:/usr/bin:/bin",
        "PYTHONPATH": str(ROOT / "src"),
        "OMP_NUM_THREADS": "1",
        "ACCORD_PROJECT": str(folder / "project"),
        "ACCORD_PORT": str(port),
        "ACCORD_LISTEN": "127.0.0.1",
        "ACCORD_SECRET": "x" * 40,
        **variables,
    }
    log = folder / "log.txt"
    with log.open("wb") as file:
        started = subprocess.Popen(
            ["sh", str(ROOT / "runs/container.sh")], env=environment, stdout=file, stderr=file, start_new_session=True
        )
    try:
        for _ in range(600):
            if started.poll() is not None or _answers(port):
                break
            time.sleep(0.1)
        assert started.poll() is None, log.read_text()
        yield port, environment
        os.kill(started.pid, signal.SIGTERM)  # to the one process, as docker stop does
        started.wait(timeout=30)
    finally:
        if started.poll() is None:
            os.killpg(started.pid, signal.SIGKILL)


def _answers(port: int) -> bool:
    with socket.socket() as line:
        return line.connect_ex(("127.0.0.1", port)) == 0


def test_the_container_makes_a_project_serves_it_and_is_healthy(tmp_path: Path) -> None:
    with container(tmp_path, ACCORD_FLAGS="--https --names accord.test", ACCORD_NAME="accord.test") as (port, environment):
        health = json.loads(re.sub(r".*CMD ", "", dict(stages()[1])["HEALTHCHECK"]))
        assert health == ["accord-container", "health"]
        script = ["sh", str(ROOT / "runs/container.sh")]
        assert subprocess.run([*script, *health[1:]], env=environment, check=False).returncode == 0
        elsewhere = environment | {"ACCORD_PORT": "9"}
        assert subprocess.run([*script, *health[1:]], env=elsewhere, capture_output=True, check=False).returncode != 0
        request = urllib.request.Request(f"http://127.0.0.1:{port}/health", headers={"Host": "accord.test"})
        assert urllib.request.urlopen(request, timeout=10).status == 200
        project = environment["ACCORD_PROJECT"]
        words = [*script, "labelers", "invite", project, "Ann", "--role", "lead"]
        assert "Ann" in subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout
    assert Project.open(project).runs() == []


def test_a_new_project_is_kept_in_the_database_that_is_named(tmp_path: Path) -> None:
    """As the script writes it: the address of compose.yaml, which accord reads."""
    main(["init", str(tmp_path / "project")])
    written = re.search(r"printf '(.*)' \"\$ACCORD_STORE\"", (ROOT / "runs/container.sh").read_text("utf-8"))
    assert written
    url = _compose()["services"]["app"]["environment"]["ACCORD_STORE"]
    with (tmp_path / "project" / "accord.toml").open("a") as file:
        file.write(written[1].replace("\\n", "\n").replace("%s", url))
    assert Project.open(tmp_path / "project").store_url == url
    assert url.startswith("postgresql+psycopg://")


def test_compose_joins_the_site_a_database_and_https() -> None:
    services = _compose()["services"]
    assert set(services) == {"app", "store", "proxy"}
    assert all("ports" not in services[name] for name in ("app", "store")), "only the proxy is reached from outside"
    assert services["app"]["depends_on"]["store"]["condition"] == "service_healthy"
    assert services["proxy"]["depends_on"]["app"]["condition"] == "service_healthy"
    assert services["app"]["cap_drop"] == ["ALL"]
    secrets = json.dumps(services)
    for name in ("ACCORD_SECRET", "POSTGRES_PASSWORD", "ACCORD_NAME"):
        assert f"${{{name}:?" in secrets, f"{name} is asked for, and has no default"
    proxy = _compose()["configs"]["caddy"]["content"]
    port = dict(stages()[1])["EXPOSE"]
    assert f"reverse_proxy app:{port}" in proxy
    assert "flush_interval -1" in proxy, "answers are shown while they grow"
    assert all(not re.search(r":latest$|^[^:]+$", service["image"]) for name, service in services.items() if name != "app")


@pytest.mark.slow
def test_the_image_is_built_and_serves_and_a_stranger_gets_along_on_a_bare_machine() -> None:
    """`.ci/image`: the Dockerfile's steps in a fresh root, its health check, and README's first commands in a bare Debian."""
    done = subprocess.run(["bash", str(ROOT / ".ci/image")], capture_output=True, text=True, check=False, timeout=3000)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert "the image serves as user 10001 and is healthy" in done.stdout
    assert "passed" in done.stdout


@pytest.mark.parametrize("name", ["runs/container.sh"])
def test_the_script_is_plain_sh(name: str) -> None:
    done = subprocess.run(["sh", "-n", str(ROOT / name)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
