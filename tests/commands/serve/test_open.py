"""`accord open`: the site of a project in a process of its own; its pages are in tests/site."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from shelved import real_model, running

from accord.commands.data.import_ import import_
from accord.commands.serve.open_ import open_
from accord.errors import UsageError
from accord.runtime import jobs
from accord.runtime.project import Project
from accord.settings import OpenConfig

LOADED = """
import sys
from pathlib import Path
import accord.commands.serve.open_
from accord.runtime import jobs
from accord.runtime.project import Project
from accord.feedback.store import Store
from accord.settings import OpenConfig
from accord.site import app
app.serve_processes = lambda *_: None
accord.commands.serve.open_.open_(Project.create(Path(sys.argv[1])), config=OpenConfig(port=0))
print(sorted({"torch", "transformers", "peft"} & set(sys.modules)))
"""


def csrf(page: str) -> str:
    found = re.search(r'name="csrf" value="(\w+)"', page)
    assert found
    return found[1]


def test_the_site_opens_and_its_chat_answers_by_the_projects_model(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "p", settings={"chat": {"max_tokens": 4}})
    with running("open", project.path, "--port", 0, code=130) as output:
        link = re.findall(r"http://\S+", output.readline() + output.readline())[-1]
        address, _, token = link.partition("/join?token=")
        with httpx.Client(base_url=address, timeout=60, follow_redirects=True) as browser:
            assert browser.get("/").status_code == 401
            home = browser.post("/join", data={"token": token})
            assert (home.status_code, home.url.path) == (200, "/")
            empty = browser.get("/chat").text
            assert "accord sft" in empty, "a project without a model says what makes one"
            real_model(project, "sft")
            said = browser.post("/say", data={"csrf": csrf(browser.get("/chat").text), "text": "Hello?", "key": "k"})
            assert said.status_code == 200
            assert re.search(r"sft@\w{12}", said.text), "the model that came after the site was opened"


def test_no_torch_is_loaded_before_a_model_is_asked(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", LOADED, str(tmp_path / "p")], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "Come in as lead, once: http://127.0.0.1:" in done.stdout
    assert done.stdout.endswith("[]\n")


def test_what_cannot_be_served_is_refused(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "p")
    with pytest.raises(UsageError, match="no secret is set"):
        open_(project, config=OpenConfig(host="0.0.0.0"))
    with pytest.raises(UsageError, match="is no path"):
        open_(project, config=OpenConfig(root_path="accord", port=0))
    with pytest.raises(UsageError, match="is not an address"):
        open_(project, upstream="127.0.0.1:9")


def test_a_folder_of_projects_opens_under_one_address(tmp_path: Path) -> None:
    for name in ("one", "two"):
        Project.create(tmp_path / name)
    with running("open", "--all", tmp_path, "--port", 0, code=130) as output:
        link = re.findall(r"http://\S+", output.readline() + output.readline())[-1]
        address, _, token = link.partition("/join?token=")
        with httpx.Client(base_url=address, timeout=60, follow_redirects=True) as browser:
            listed = browser.post("/join", data={"token": token})
            assert 'href="/p/two/"' in listed.text
            assert 'class="loop"' in browser.get("/p/two/").text
    with pytest.raises(UsageError, match="is a project itself"):
        open_(tmp_path / "one", all=True)


def test_a_lead_trains_reads_the_report_and_chats_with_the_new_model_by_the_page_alone(tmp_path: Path) -> None:
    quick = {"epochs": 1, "batch_size": 4}
    project = Project.create(tmp_path / "p", settings={"chat": {"max_tokens": 4}, "dpo": quick})
    real_model(project, "sft")
    rows = [{"prompt": f"Which bread on day {n}?", "chosen": "Rye.", "rejected": "None, go away.", "user": f"u{n}"} for n in range(12)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    import_(project, tmp_path / "rows.jsonl")
    with running("open", project.path, "--port", 0, code=130) as output:
        link = re.findall(r"http://\S+", output.readline() + output.readline())[-1]
        address, _, token = link.partition("/join?token=")
        with httpx.Client(base_url=address, timeout=120, follow_redirects=True) as browser:
            home = browser.post("/join", data={"token": token}).text
            assert re.search(r'<li class="station ready next" id="policy">', home)
            browser.post("/do/policy", data={"csrf": csrf(home), "key": "k"})
            ended = jobs.wait(jobs.newest(project)[0], 120)
            assert ended.state == "done", ended.log()
            until = time.monotonic() + 60  # on a busy machine the first page counts behind itself
            while "<b>dpo</b>" not in browser.get("/").text:
                assert time.monotonic() < until
                time.sleep(0.5)
            report = browser.get("/report").text
            assert "Improve by DPO" in report
            assert 'href="#docs-dpo-loss"' in report, "its curves"
            said = browser.post("/say", data={"csrf": csrf(browser.get("/chat").text), "text": "Which bread?", "key": "k"})
            assert re.search(r"dpo@\w{12}", said.text), "the newest policy answers"
