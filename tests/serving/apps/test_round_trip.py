"""Once around: an app's thumbs and corrections, a review, KTO and DPO, a lineage that names the app's answers, and an erasure."""

from __future__ import annotations

import json
import os
import runpy
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from running import serving
from serving.apps.conftest import Echo
from tiny import chat, llama

from accord.client import Client
from accord.commands.app import RunFlags
from accord.commands.models import load_model
from accord.commands.project.lineage import lineage
from accord.commands.serve.keys import add
from accord.commands.train.dpo import dpo
from accord.commands.train.kto import kto
from accord.feedback import review
from accord.feedback.app_prompts import Draw
from accord.feedback.store import Store
from accord.models.folders import save_model
from accord.runtime.project import Project
from accord.serving.api import create
from accord.serving.apps import routes
from accord.serving.apps.desk import Desk, mount
from accord.serving.apps.keeper import Keeper
from accord.serving.keys import Keys
from accord.serving.model_host import ModelHost
from accord.serving.screens import EVERYTHING
from accord.settings import DpoConfig, KtoConfig

EXAMPLE = Path(__file__).parents[3] / "examples" / "feedback_app.py"
FLAGS = RunFlags(dtype="float32")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project.create(tmp_path / "town")
    save_model(made.model("sft"), llama(1, vocab=len(chat().tokenizer), std=0.1), chat().tokenizer)
    (made.model("sft") / "lineage.json").write_text(json.dumps({"name": "sft", "parents": {}, "data": {}, "at": "2026-01-01T00:00:00Z"}))
    return made


@pytest.fixture
def app(project: Project, monkeypatch: pytest.MonkeyPatch) -> Generator[httpx.Client]:
    """The example's app on a port of its own, before a server with the project's model."""
    key = add(project, "bakery", scope=("chat", "feedback"), store="feedback")["key"]
    host = ModelHost(lambda name: load_model(project, name), ["sft"])
    desk = Desk(lambda: Store.open(project.store_url))
    keeper = Keeper(desk, Draw(EVERYTHING), 30)
    api = create(host, keys=Keys(project.path), keeper=keeper, extend=lambda app: mount(app, desk, routes.router))
    with serving(host, api) as url:
        monkeypatch.setenv("ACCORD_URL", url)
        monkeypatch.setenv("ACCORD_KEY", key)
        loaded = runpy.run_path(str(EXAMPLE))
        with serving(Echo(), loaded["app"]) as address, httpx.Client(base_url=address, timeout=60) as client:
            yield client
        loaded["accord"].close()
    desk.close()


def post(client: httpx.Client, path: str, **body: Any) -> Any:
    reply = client.post(path, json=body)
    assert reply.status_code == 200, reply.text
    return reply.json()


def accept_all(project: Project) -> None:
    with Store.open(project.store_url) as store:
        for item in review.waiting(store, EVERYTHING):
            review.accept(store, item.reaction.id, by="lea", screen=EVERYTHING, now=datetime.now(UTC))


def test_an_apps_feedback_comes_around_and_a_users_erasure_takes_it_out(project: Project, app: httpx.Client) -> None:
    ids: dict[str, list[str]] = {"ann": [], "ben": []}
    for user in ids:
        for number, question in enumerate(("Which bread?", "Which cake?", "Who keeps the mill?", "When do you open?")):
            answer = post(app, "/ask", user=user, question=f"{user}: {question}", model="sft")
            ids[user].append(answer["id"])
            better = "" if number % 2 else "Rye, from the mill."
            assert post(app, "/thumb", user=user, id=answer["id"], up=bool(number % 2), better=better) == "waiting_for_review"
    accept_all(project)
    settings: dict[str, Any] = {"kinds": "user", "epochs": 1, "batch_size": 2, "lr": 1e-3}
    kto(project, flags=FLAGS, config=KtoConfig(thumbs="given", **settings))
    dpo(project, flags=FLAGS, config=DpoConfig(**settings))
    named = {model: {row["response"] for row in lineage(project, model)["app_answers"]} for model in ("kto", "dpo")}
    assert named["kto"] == {*ids["ann"], *ids["ben"]}
    assert named["dpo"] == {*ids["ann"][::2], *ids["ben"][::2]}, "the corrected ones"
    rows = lineage(project, "kto")["app_answers"]
    assert {row["app"] for row in rows} == {"bakery"}
    users = {row["response"]: row["user"] for row in rows}
    assert len({users[id] for id in ids["ann"]}) == len({users[id] for id in ids["ben"]}) == 1
    snapshot = (project.run("kto") / "thumbs.jsonl").read_text("utf-8")
    assert '"ann: Which bread?"' in snapshot

    with Client(os.environ["ACCORD_URL"], os.environ["ACCORD_KEY"]) as accord:
        assert accord.erase("ann")["prompts"] == 4
    kto(project, name="kto-2", flags=FLAGS, config=KtoConfig(thumbs="given", **settings))
    again = (project.run("kto-2") / "thumbs.jsonl").read_text("utf-8")
    assert "ann:" not in again
    assert {row["response"] for row in lineage(project, "kto-2")["app_answers"]} == set(ids["ben"])
    assert json.loads(again.splitlines()[0])["prompt"]["source"].endswith(" bakery")
