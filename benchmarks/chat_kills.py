"""People talk while the chat is killed (kill -9) again and again: is a turn lost that the page had kept, or an answer that it had shown?

python benchmarks/chat_kills.py demo --model ppo --kills 5        a part of `make serve-load`; works on a copy of the model
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from accord import Project, Store
from accord.feedback import accounts, chats

CHAT: dict[str, Any] = {"turns_per_minute": 0, "max_tokens": 24, "two": 0.0}
ASKED = ("Who keeps the mill?", "Where is the market?", "What does the baker sell?", "Who lives on Hill Street?")
ANSWER = re.compile(r'<article class="answer" id="([^"]+)"')
CSRF = re.compile(r'name="csrf" value="(\w+)"')


class Server:
    """``accord chat`` on a project; after the first start it comes back on the same port."""

    def __init__(self, project: Path) -> None:
        self.project, self.port = project, 0
        self.start()

    def start(self) -> None:
        command = [str(Path(sys.executable).parent / "accord"), "chat", str(self.project), "--port", str(self.port)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
        assert self.process.stdout
        said = self.process.stdout.readline()
        if not (found := re.search(r"http://\S+:(\d+)", said)):
            sys.exit(f"the chat did not start: {said}{self.process.stdout.read()}")
        self.address, self.port = found[0], int(found[1])

    def kill(self) -> None:
        """kill -9."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        assert self.process.stdout
        self.process.stdout.close()


@dataclass
class Kept:
    """What one person was told to be kept."""

    user: str
    turns: list[str] = field(default_factory=list[str])
    """Texts of the turns whose POST was answered."""
    answers: list[str] = field(default_factory=list[str])
    """Ids of the answers that a page has shown."""
    sent_again: int = 0


def talk(client: httpx.Client, kept: Kept, over: threading.Event, chance: random.Random) -> None:
    """Somebody who asks one thing after another; what gets no answer is sent again with the same key."""
    with closing(client):
        csrf, number = CSRF.findall(client.get("/mine").text)[0], 0
        while not over.is_set():
            number += 1
            text = f"{chance.choice(ASKED)} ({kept.user} {number})"
            if next_page := _say(client, {"csrf": csrf, "text": text, "key": f"{kept.user}-{number}"}, kept, over):
                kept.turns.append(text)
                _look(client, next_page, kept)


def _say(client: httpx.Client, form: dict[str, str], kept: Kept, over: threading.Event) -> str:
    while not over.is_set():
        try:
            reply = client.post("/say", data=form, headers={"Accept": "application/json"})
            return str(reply.raise_for_status().json()["next"])
        except httpx.HTTPError:
            kept.sent_again += 1
            time.sleep(0.2)
    return ""


def _look(client: httpx.Client, page: str, kept: Kept) -> None:
    """Follows the answer and looks at the page; a server that dies meanwhile has shown nothing."""
    try:
        client.get(f"{page}/live")
        kept.answers += ANSWER.findall(client.get(page, headers={"Accept": "text/html"}).text)
    except httpx.HTTPError:
        return


def lost(store: Store, people: Sequence[Kept]) -> dict[str, int]:
    """What was kept or shown and is not in the store, and what stands there twice."""
    found = {"turns": 0, "answers": 0, "lost_turns": 0, "doubled_turns": 0}
    for kept in people:
        told = [turn for talk in chats.listed(store, kept.user, limit=10**6) for turn in chats.opened(store, kept.user, talk.id)[1]]
        said = [turn.text for turn in told if turn.role == "user"]
        answers = {turn.id for turn in told if turn.role == "assistant" and turn.text}
        found["turns"] += len(kept.turns)
        found["answers"] += len(kept.answers)
        found["lost_turns"] += sum(text not in said for text in kept.turns) + sum(id not in answers for id in kept.answers)
        found["doubled_turns"] += len(said) - len(set(said))
    return found


def measure(model: Path, *, people: int = 8, kills: int = 5) -> dict[str, int]:
    """So many people and kills; returns turns kept, answers shown, and how many of them are lost."""
    chance, over = random.Random(0), threading.Event()
    with tempfile.TemporaryDirectory() as folder:
        project = Project.create(Path(folder) / "chat", settings={"chat": CHAT})
        shutil.copytree(model, project.path / "models" / model.name)
        with Store.open(project.store_url) as store:
            server = Server(project.path)
            everybody = [come(store, server.address, f"person {number}") for number in range(people)]
            threads = [threading.Thread(target=talk, args=(*one, over, random.Random(n))) for n, one in enumerate(everybody)]
            for thread in threads:
                thread.start()
            try:
                for number in range(kills + 1):
                    until(lambda number=number: sum(len(kept.answers) for _, kept in everybody) >= (number + 1) * people)
                    time.sleep(chance.random())
                    server.kill()
                    if number < kills:
                        server.start()
            finally:
                over.set()
                for thread in threads:
                    thread.join()
            found = lost(store, [kept for _, kept in everybody])
            return {"kills": kills + 1, "sent_again": sum(kept.sent_again for _, kept in everybody), **found}


def come(store: Store, address: str, name: str) -> tuple[httpx.Client, Kept]:
    """Somebody who has come in by an invitation."""
    token = accounts.invite(store, "user", name, by="kills", now=datetime.now(UTC))
    client = httpx.Client(base_url=address, timeout=60)
    client.post("/join", data={"token": token})
    return client, Kept(next(person.id for person in accounts.people(store) if person.name == name))


def until(reached: Callable[[], bool], seconds: float = 300.0) -> None:
    """Waits for something; a server that is killed before anybody was answered proves nothing."""
    end = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > end:
            sys.exit("nobody is answered")
        time.sleep(0.05)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("project", type=Path)
    parser.add_argument("--model", default="ppo")
    parser.add_argument("--people", type=int, default=8)
    parser.add_argument("--kills", type=int, default=5, help="before the last one, which always comes")
    options = parser.parse_args()
    print(json.dumps(measure(Project.open(options.project).model(options.model), people=options.people, kills=options.kills)))


if __name__ == "__main__":
    main()
