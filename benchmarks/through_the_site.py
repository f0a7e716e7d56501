"""A finished demo's labelers answer once more, now through the labeling site: are what models learn from, and the reward model, the same?

    python benchmarks/through_the_site.py demo              every ranking of the demo in the folder `demo`, which is only read
    python benchmarks/through_the_site.py demo --train      also trains the reward model from both stores and compares the weights

A new project gets the demo's prompts, responses and labelers, and `accord label` serves it. Each simulated labeler is a visitor with
a kept connection and gets the tasks that it had in the demo. Then a snapshot of the rankings is written as `accord reward` writes it.
The digests are compared: of the site's, of the demo's store, and the one that the demo's own reward model names.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select
from visitor import Visitor, ranking_form

from accord import LabelConfig, Project, RankedPrompt, RewardConfig, Store, queue
from accord.commands.world import world_of
from accord.feedback import accounts, schema, tasks
from accord.feedback.guidelines import reference
from accord.feedback.snapshot import write_snapshot
from accord.world import SimulatedLabeler, labelers

START = "from accord.commands.app import main; main()"


def fresh(demo: Project, own: Store, folder: Path, prompts: int) -> tuple[Project, list[RankedPrompt]]:
    """A project with the demo's prompts, the responses that were ranked there, and its labelers; and the demo's rankings of them.

    Args:
        prompts: how many of the prompts that were ranked; 0 takes all.
    """
    ranked = sorted({r.prompt_id for r in own.rankings("training")})[: prompts or None]
    rows = [row for row in own.ranked_prompts() if row.prompt.id in set(ranked)]
    settings: dict[str, Any] = {**demo.settings, "project": {"name": "site"}, "label": {"seed": site_seed(demo)}, "store": {}}
    project = Project.create(folder / "site", settings={key: value for key, value in settings.items() if value})
    with Store.open(project.store_url) as store:
        store.add(
            prompts=own.prompts(),
            labelers=own.labelers(),
            demonstrations=own.demonstrations(),
            responses={response.id: response for row in rows for response in row.responses}.values(),
        )
    queue(project, as_world=True, config=LabelConfig(**_config(demo, "label")))
    return project, rows


def site_seed(project: Project) -> int:
    """The seed of the order in which responses are shown: the world's where there is one, so that its labelers see their own pages."""
    world, own = project.settings.get("world", {}), project.settings.get("project", {})
    return int(world.get("seed", own.get("seed", 0)))


@contextmanager
def serving(project: Project) -> Iterator[str]:
    """The address at which ``accord label`` serves a project."""
    command = [sys.executable, "-c", START, "label", str(project.path), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"}) as server:
        try:
            assert server.stdout
            said = server.stdout.readline()
            found = re.search(r"http://\S+:\d+", said)
            if not found:
                raise RuntimeError(said + server.stdout.read())
            yield found[0]
        finally:
            server.kill()


def answer_all(address: str, token: str, person: SimulatedLabeler, given_out: dict[str, tasks.Task]) -> int:
    """One simulated labeler's browser, until nothing is left; returns the number of answers.

    Raises:
        RuntimeError: a page does not show what the labeler would see, or an answer was not taken.
    """
    visitor, done = Visitor(address), 0
    visitor.join(token)
    while given := visitor.next():
        task = given_out[given["task"]["id"]]
        ranking = person.rank(task.prompt, task.responses, guideline=reference("training"), at="", id="")
        texts = {response.id: response.text for response in task.responses}
        if given["task"]["responses"] != [texts[id] for id in ranking.response_ids]:
            raise RuntimeError(f"{task.id} is shown to {person.record.id} in another order")
        reply = visitor.answer(given, ranking_form(ranking))
        if reply.status != 200:
            raise RuntimeError(f"{task.id}: {reply.status} {reply.body[:200]!r}")
        done += 1
    visitor.close()
    return done


def answered(project: Project, store: Store, visitors: int) -> int:
    """Lets every labeler of the project's world answer everything in the site, so many at once; returns the number of answers."""
    people, now = labelers(world_of(project)), datetime.now(UTC)
    with store.read() as connection:
        ids = set(connection.scalars(select(schema.tasks.c.id)))
        given_out = {task.id: task for task in tasks.load_all(connection, ids)}
    tokens = [accounts.invite(store, "labeler", p.record.id, by="benchmark", now=now, labeler=p.record.id) for p in people]
    with serving(project) as address, ThreadPoolExecutor(visitors) as pool:
        return sum(pool.map(lambda token, person: answer_all(address, token, person, given_out), tokens, people))


def weights(project: Project, demo: Project, name: str) -> bytes:
    """The reward model that a project's rankings train, with the demo's settings, from the demo's SFT model."""
    from accord import reward

    if not project.model("sft").exists():
        shutil.copytree(demo.model("sft"), project.model("sft"))
    reward(project, name=name, config=RewardConfig(**_config(demo, "reward")))
    return (project.model(name) / "model.safetensors").read_bytes()


def compare(demo: Project, folder: Path, *, visitors: int, prompts: int, train: bool) -> dict[str, Any]:
    """All figures; what is written goes into the folder."""
    shutil.copy(demo.path / "feedback.db", folder / "demo.db")  # opening a store may migrate it
    with Store.open(f"sqlite:///{folder / 'demo.db'}") as own:
        project, rows = fresh(demo, own, folder, prompts)
    start = time.perf_counter()
    with Store.open(project.store_url) as store:
        answers = answered(project, store, visitors)
        seconds = time.perf_counter() - start
        site = write_snapshot(store.ranked_prompts(), folder / "site.jsonl")
    direct = write_snapshot(rows, folder / "demo.jsonl")
    figures: dict[str, Any] = {"answers": answers, "rankings_in_demo": len(rows), "labelers": len({row.labeler for row in rows})}
    figures |= {"visitors": visitors, "seconds": round(seconds, 1), "digest_site": site, "digest_demo": direct, "equal": site == direct}
    if not prompts:
        figures["digest_in_demos_reward_model"] = _head(demo, "reward")["inputs"]["rankings"]
    if train:
        twin = Project.create(folder / "twin", settings={**project.settings, "store": {"url": f"sqlite:///{folder / 'demo.db'}"}})
        figures["weights_equal"] = weights(project, demo, "reward") == weights(twin, demo, "reward")
    return figures


def _head(demo: Project, run: str) -> dict[str, Any]:
    return json.loads((demo.run(run) / "config.json").read_text())


def _config(demo: Project, run: str) -> dict[str, Any]:
    return _head(demo, run)["config"]


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", type=Path, help="a finished demo's folder")
    parser.add_argument("--visitors", type=int, default=8, help="how many labelers answer at once")
    parser.add_argument("--prompts", type=int, default=0, help="only so many of the prompts; 0 takes all")
    parser.add_argument("--train", action="store_true", help="train the reward model from both")
    given = parser.parse_args(words)
    with tempfile.TemporaryDirectory(prefix="accord-site-") as folder:
        figures = compare(Project.open(given.demo), Path(folder), visitors=given.visitors, prompts=given.prompts, train=given.train)
    print(json.dumps(figures, indent=2))
    return int(not figures["equal"] or not figures.get("weights_equal", True))


if __name__ == "__main__":
    sys.exit(main())
