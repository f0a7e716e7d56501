"""docs/deploy.md as it is written: two processes on PostgreSQL behind nginx with TLS, sign-in by OIDC, a backup under load, restored."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
from feedback.conftest import Postgres
from feedback.web.oidc_provider import CLIENT, SECRET
from sqlalchemy import select

from accord.commands.project.backup import backup
from accord.commands.project.restore import restore
from accord.feedback import accounts, schema
from accord.feedback.store import Store
from accord.records import Message, Prompt, Response
from accord.runtime.project import Project, check

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "deploy.md").read_text("utf-8")
PROVIDER = ROOT / "tests" / "feedback" / "web" / "oidc_provider.py"


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return found


def free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as made:
        return int(made.getsockname()[1])


def test_the_settings_of_the_page_are_settings() -> None:
    settings = tomllib.loads(block("toml"))
    check(settings, Path("docs/deploy.md"))
    check({"open": settings["label"]}, Path("docs/deploy.md"))  # "put the same lines into [open]"


def test_the_chinese_page_is_in_step() -> None:
    """Blocks, commands, addresses, links and the number of headings, rows and paragraphs are the English page's."""
    chinese = (ROOT / "docs" / "deploy.zh-CN.md").read_text("utf-8")
    for what in (r"^```.*?^```", r"`[^`\n]+`", r"\]\(([^)]+)\)", r"^    .+$"):
        ours, theirs = (sorted(re.findall(what, page, re.MULTILINE | re.DOTALL * what.startswith("^`"))) for page in (PAGE, chinese))
        assert ours == theirs, what
    for what in ("\n## ", "\n\n", "\n- ", "\n| ", "\n**"):
        assert PAGE.count(what) == chinese.count(what), what


def test_the_unit_starts_a_command_that_is_there_and_gives_it_little() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(block("systemd"))
    service = unit["Service"]
    assert service["ExecStart"].split()[1:] == ["label", "/srv/accord/town"]
    assert service["User"] == "accord"
    hardened = ("NoNewPrivileges", "ProtectHome", "PrivateTmp", "ProtectKernelModules", "RestrictNamespaces", "LockPersonality")
    assert {service[name] for name in hardened} == {"true"}
    assert int(service["TimeoutStopSec"]) > 10


def test_both_proxies_pass_streams_on_and_say_who_asks() -> None:
    nginx, caddy = block("nginx"), block("caddy")
    assert "proxy_buffering off;" in nginx
    assert "flush_interval -1" in caddy
    assert "X-Forwarded-For $remote_addr;" in nginx
    assert "X-Forwarded-For {remote_host}" in caddy
    assert "client_max_body_size 2m;" in nginx
    assert "max_size 2MB" in caddy


@contextmanager
def running(words: list[str], **options: object) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(words, text=True, **options) as process:  # type: ignore[call-overload]
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()


def certificate(folder: Path) -> Path:
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=label.example.org"]
    words += ["-addext", "subjectAltName=DNS:label.example.org,DNS:localhost"]
    subprocess.run([*words, "-keyout", folder / "key.pem", "-out", folder / "fullchain.pem"], check=True, capture_output=True)
    return folder / "fullchain.pem"


def nginx(folder: Path, secure: int, plain: int, site: int) -> list[str]:
    """The page's block, with other ports, in a folder of its own."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program, "nginx is not installed; `bash .ci/nginx` installs it"
    text = block("nginx").replace("/etc/ssl/accord", str(folder)).replace("127.0.0.1:8400", f"127.0.0.1:{site}")
    text = text.replace("listen 443 ssl", f"listen 127.0.0.1:{secure} ssl").replace("listen 80;", f"listen 127.0.0.1:{plain};")
    paths = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    head = f"daemon off;\npid {folder}/nginx.pid;\nerror_log {folder}/error.log;\nevents {{}}\n"
    user = "user root;\n" if os.getuid() == 0 else ""
    (folder / "nginx.conf").write_text(f"{user}{head}http {{\naccess_log off;\n{paths}{text}}}\n")
    return [program, "-p", str(folder), "-c", str(folder / "nginx.conf")]


@pytest.mark.slow
def test_the_deploy_example_runs(postgres: Postgres, tmp_path: Path) -> None:
    """Two workers, PostgreSQL, nginx, TLS, OIDC; people answer while a backup is taken, which comes back elsewhere with its digest."""
    url, proxied = postgres.database(), tmp_path / "nginx"
    proxied.mkdir()
    secure, plain, site = free(), free(), free()
    trust = ssl.create_default_context(cafile=str(certificate(proxied)))
    home = f"https://localhost:{secure}"
    with ExitStack() as stack:
        provider = stack.enter_context(running([sys.executable, str(PROVIDER)], stdout=subprocess.PIPE))
        assert provider.stdout
        issuer = provider.stdout.readline().strip()
        settings = tomllib.loads(block("toml"))
        settings["store"] = {"url": url}
        settings["label"] |= {"names": "label.example.org", "port": site, "seed": 1}
        settings["sso"] = {"issuer": issuer, "client_id": CLIENT, "create": True, "domains": "bakery.example"}
        project = Project.create(tmp_path / "town", settings=settings)
        with Store.open(url) as store:
            prompts = [Prompt(f"p{n:03}", (Message("user", f"Question {n}?"),)) for n in range(60)]
            store.add(
                prompts=prompts, responses=[Response(f"r{n:03}-{k}", f"p{n:03}", f"answer {k}", "m") for n in range(60) for k in range(3)]
            )
        environment = os.environ | {"ACCORD_SECRET": "x" * 40, "ACCORD_SSO_SECRET": SECRET, "OMP_NUM_THREADS": "1"}
        words = [sys.executable, "-m", "accord", "label", str(project.path)]
        label = stack.enter_context(running(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        stack.enter_context(running(nginx(proxied, secure, plain, site)))
        ready(home, trust)

        with httpx.Client() as anybody:
            moved = anybody.get(f"http://127.0.0.1:{plain}/next", headers={"Host": "label.example.org"})
            assert (moved.status_code, moved.headers["location"]) == (301, "https://label.example.org/next")

        acknowledged: list[str] = []
        people = [person(issuer, home, trust, number) for number in range(3)]
        over = threading.Event()
        threads = [threading.Thread(target=answer_all, args=(one, home, acknowledged, over)) for one in people]
        for thread in threads:
            thread.start()
        end = time.monotonic() + 120
        while len(acknowledged) < 6:
            assert time.monotonic() < end, "nobody gets anything done"
            time.sleep(0.05)
        before = set(acknowledged)
        made = backup(project, tmp_path / "town.zip")
        over.set()
        for thread, one in zip(threads, people, strict=True):
            thread.join(60)
            one.close()
        restored = restore(tmp_path / "town.zip", tmp_path / "elsewhere")
        assert restored["store"] == made["store"]
        with Store.open(Project.open(tmp_path / "elsewhere").store_url) as store:
            with store.read() as connection:
                answered = set(connection.scalars(select(schema.answers.c.task_id)))
            assert {person.name for person in accounts.people(store) if person.role == "labeler"} == {"Ann 0", "Ann 1", "Ann 2"}
        assert before <= answered, "what was acknowledged before the backup began is in it"

        began = time.monotonic()
        label.terminate()
        label.wait(30)
        assert time.monotonic() - began < 15
        assert label.stderr
        logged = label.stderr.read()
        assert re.search(r"127\.0\.0\.1 GET /sso/back 303 \d+ ms", logged)
        assert "code=" not in logged
        assert "password" not in logged.lower()


def ready(home: str, trust: ssl.SSLContext) -> None:
    end = time.monotonic() + 90
    with httpx.Client(verify=trust) as client:
        while True:
            try:
                if client.get(f"{home}/ready", timeout=10).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            assert time.monotonic() < end, "the site does not come up"
            time.sleep(0.2)


def person(issuer: str, home: str, trust: ssl.SSLContext, number: int) -> httpx.Client:
    """Somebody who signed in at the provider."""
    claims = {"sub": f"s-{number}", "name": f"Ann {number}", "email": f"ann{number}@bakery.example", "email_verified": True}
    httpx.post(f"{issuer}/control", json={"claims": claims})
    client = httpx.Client(verify=trust, timeout=60)
    to = client.get(f"{home}/sso/start")
    assert to.status_code == 303, to.text
    back = httpx.get(to.headers["location"]).headers["location"]
    assert back.startswith(f"{home}/sso/back?")
    assert client.get(back).status_code == 303
    (cookie,) = [cookie for cookie in client.cookies.jar if cookie.name == "__Host-accord"]
    assert cookie.secure
    return client


def answer_all(client: httpx.Client, home: str, acknowledged: list[str], over: threading.Event) -> None:
    accept = {"Accept": "application/json"}
    while not over.is_set():
        said = client.get(f"{home}/next", headers=accept).json()
        task = said.get("task")
        if not task:
            return
        k = len(task["responses"])
        fields = {"csrf": said["csrf"], "key": said["key"], "revision": task["revision"], "version": task["guideline"]["version"]}
        fields |= {f"rank-{n}": str(n) for n in range(1, k + 1)} | {f"quality-{n}": "4" for n in range(1, k + 1)}
        done = client.post(f"{home}/tasks/{task['id']}/answer", data={**fields, "action": "save"}, headers=accept)
        if done.status_code == 200:
            acknowledged.append(task["id"])
