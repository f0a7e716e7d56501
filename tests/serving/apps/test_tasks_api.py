"""Tasks over REST: created, leased, answered under the form's own checks, exported, and closed to keys of another scope."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving.apps.conftest import Served, problem

from accord.feedback import answers, guidelines, questions, tasks
from accord.feedback.store import Store
from accord.records import Labeler, Message, Prompt, Response
from accord.serving.apps.desk import Desk

ASKED = [{"role": "user", "content": "Which bread?"}]
TWO = [{"content": "Rye.", "model": "ppo"}, {"content": "None.", "model": "sft"}]


@pytest.fixture
def team(served: Served) -> httpx.Client:
    return served.client("crowd", scopes=("tasks",), store="")


def create(team: httpx.Client, **task: Any) -> httpx.Response:
    return team.post("/v1/tasks", json={"kind": "rank", "messages": ASKED, "responses": TWO, **task})


def lease(team: httpx.Client, labeler: str = "lou", **how: Any) -> Any:
    reply = team.post("/v1/tasks/next", json={"labeler": labeler, **how})
    assert reply.status_code == 200, reply.text
    return reply.json()["task"]


def answer(team: httpx.Client, task: Any, payload: Any, labeler: str = "lou", key: str = "", **more: Any) -> httpx.Response:
    said = {"labeler": labeler, "payload": payload, "guideline_version": task["guideline_version"], "questions": task["questions"]}
    return team.post(f"/v1/tasks/{task['id']}/answers", json=said | more, headers={"Idempotency-Key": key} if key else {})


def ranked(task: Any) -> dict[str, Any]:
    ids = {response["text"]: response["id"] for response in task["responses"]}
    ranks = {ids["Rye."]: 1, ids["None."]: 2}
    return {"ranks": ranks, "ratings": {id: {"quality": 8 - 3 * rank} for id, rank in ranks.items()}}


def test_a_task_goes_around_as_on_the_site(served: Served, team: httpx.Client) -> None:
    made = create(team)
    assert made.status_code == 201
    assert create(team).json() == made.json(), "the same task again is the one that is there"
    task = lease(team)
    assert (task["id"], task["messages"]) == (made.json()["id"], ASKED)
    assert {response["model"] for response in task["responses"]} == {None}, "a labeler is not told the model"
    assert lease(team)["id"] == task["id"], "until it is answered"
    assert lease(team, "max") is None, "one labeler is enough"
    sent = [answer(team, task, ranked(task), key="k1") for _ in range(2)]
    assert [reply.status_code for reply in sent] == [201, 201]
    assert sent[0].json() == sent[1].json()
    (ranking,) = served.store.ranked_prompts()
    assert {r.text: rank for r, rank in zip(ranking.responses, ranking.ranks, strict=True)} == {"Rye.": 1, "None.": 2}
    assert ranking.prompt.source == "tasks crowd"
    assert ranking.group == "crowd"
    assert lease(team) is None
    listed = team.get("/v1/tasks").json()
    assert [(each["taken"], each["open"]) for each in listed["data"]] == [(1, False)]
    assert {each["model"] for each in listed["data"][0]["responses"]} == {"ppo", "sft"}
    lines = team.get("/v1/export/answers").text.splitlines()
    assert [json.loads(line)["id"] for line in lines] == [sent[0].json()["id"]]
    corrected = answer(team, task, ranked(task) | {"reason": "sure"}, revision=1)
    assert corrected.json()["revision"] == 2
    assert len(list(served.store.rankings())) == 1


def test_the_forms_checks_hold_here(served: Served, team: httpx.Client) -> None:
    create(team)
    task = lease(team)
    good = ranked(task)
    first = task["responses"][0]["id"]
    refused = {
        "ranks_incomplete": {"ranks": {first: 1}, "ratings": good["ratings"]},
        "rating_missing": {"ranks": good["ranks"]},
        "malformed": good | {"colour": "red"},
        "text_missing": None,
    }
    for code, payload in refused.items():
        if payload is not None:
            assert problem(answer(team, task, payload)) == (422, code)
            with pytest.raises(answers.Refused) as same:
                submit_directly(served, team, task, payload)
            assert same.value.key == code, "the site refuses it with the same words"
    assert problem(answer(team, task, good, revision=3)) == (409, "stale")
    assert problem(answer(team, task, good, questions="other")) == (409, "questions_changed")
    assert problem(answer(team, task, good, labeler="max")) == (403, "not_yours")
    assert problem(answer(team, task | {"id": "t-none"}, good)) == (404, "no_such_task")
    assert answer(team, task, good, key="k1").status_code == 201
    assert problem(answer(team, task, good | {"reason": "other"}, key="k1")) == (409, "key_reused")
    assert answer(team, task, {"skip": "tired"}, revision=1).status_code == 201


def submit_directly(served: Served, team: httpx.Client, task: Any, payload: Any) -> None:
    from datetime import UTC, datetime

    labeler = team.post("/v1/tasks/next", json={"labeler": "lou"}).json()["labeler"]
    guideline = guidelines.reference("training")
    how: dict[str, Any] = {"key": "direct", "revision": 0, "seconds": 1.0, "guideline": guideline, "now": datetime.now(UTC)}
    answers.submit(served.store, labeler, task["id"], payload, **how)


def test_tasks_of_the_project_and_of_the_app_share_one_queue(served: Served, team: httpx.Client) -> None:
    prompt = Prompt("p1", (Message("user", "Which cake?"),))
    responses = [Response("r1", "p1", "Plum.", "ppo"), Response("r2", "p1", "None.", "sft")]
    served.store.add(prompts=[prompt], responses=responses, labelers=[Labeler("zoe", "person")])
    made = create(team, kind="compare", prompt_id="p1", messages=[], responses=[], response_ids=["r1", "r2"], priority=5).json()
    same = create(team, kind="demonstrate", messages=[{"role": "user", "content": "Which cake?"}], responses=[]).json()
    assert same["prompt_id"] == made["prompt_id"] == "p1", "one prompt is one prompt"
    demonstration = lease(team, kinds=["demonstrate"])
    assert answer(team, demonstration, {"text": "Plum cake."}).status_code == 201
    assert [d.text for d in served.store.demonstrations()] == ["Plum cake."]
    from datetime import UTC, datetime

    leased = tasks.next_task(served.store, "zoe", now=datetime.now(UTC), lease_seconds=60)
    assert leased
    assert leased.task.id == made["id"], "the site hands it out too"
    assert problem(team.delete(f"/v1/tasks/{made['id']}")) == (409, "task_taken")
    free = create(team, kind="demonstrate", messages=[{"role": "user", "content": "And tea?"}], responses=[]).json()
    assert team.delete(f"/v1/tasks/{free['id']}").json()["open"] is False
    page = team.get("/v1/tasks", params={"limit": 2}).json()
    rest = team.get("/v1/tasks", params={"limit": 2, "after": page["after"]}).json()
    assert len({each["id"] for each in page["data"] + rest["data"]}) == 3
    assert rest["after"] is None
    assert [each["id"] for each in team.get("/v1/tasks", params={"open": True}).json()["data"]] == []


@pytest.mark.parametrize(
    ("task", "status", "code"),
    [
        ({"responses": TWO[:1]}, 400, "invalid_value"),
        ({"kind": "demonstrate"}, 400, "invalid_value"),
        ({"kind": "paint"}, 400, "invalid_value"),
        ({"messages": []}, 400, "invalid_value"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, 400, "invalid_value"),
        ({"prompt_id": "p1"}, 400, "invalid_value"),
        ({"messages": [], "prompt_id": "none"}, 404, "no_such_prompt"),
        ({"responses": [], "response_ids": ["none", "such"]}, 404, "no_such_response"),
        ({"overlap": 0}, 400, "invalid_value"),
        ({"purpose": "gold"}, 400, "unknown_field"),
    ],
)
def test_a_task_that_cannot_be_is_refused(team: httpx.Client, task: dict[str, Any], status: int, code: str) -> None:
    assert problem(create(team, **task)) == (status, code)
    assert team.get("/v1/tasks").json()["data"] == []


def test_other_scopes_are_kept_out(served: Served, team: httpx.Client) -> None:
    app = served.client("bakery")
    assert problem(create(app)) == (403, "insufficient_scope")
    assert problem(app.get("/v1/export/rankings")) == (403, "insufficient_scope")
    assert problem(team.get("/v1/users", params={"user": "ann"})) == (403, "insufficient_scope")
    assert problem(team.get("/v1/models")) == (403, "insufficient_scope")
    assert team.get("/v1/export/audit").status_code == 400


def test_a_task_that_asks_for_a_prompt_has_a_brief_that_nothing_learns_from(team: httpx.Client, served: Served) -> None:
    about = [{"role": "user", "content": "plan a week of meals"}]
    made = create(team, kind="prompt", messages=about, responses=[])
    assert made.status_code == 201, made.text
    assert list(served.store.prompts()) == []
    assert [task["id"] for task in team.get("/v1/tasks").json()["data"]] == [made.json()["id"]]
    assert create(team, kind="prompt", messages=about, responses=[]).json() == made.json()
    assert answer(team, lease(team), {"text": "Which soup keeps for three days?"}).status_code == 201
    assert [prompt.messages[-1].content for prompt in served.store.prompts()] == ["Which soup keeps for three days?"]
    (ask,) = served.store.prompts()
    for wrong in ({"messages": [*about, {"role": "assistant", "content": "Soup."}, *about]}, {"messages": [], "prompt_id": ask.id}):
        assert problem(create(team, kind="prompt", responses=[], **wrong)) == (400, "invalid_value")


def test_the_wording_of_the_questions_is_kept_when_answers_come_over_rest(team: httpx.Client, served: Served, tmp_path: Path) -> None:
    own = questions.load({"clear": {"kind": "yes-no", "tasks": ["demonstrate"], "about": "prompt", "text": "Is it clear?"}})
    with Store.open(f"sqlite:///{tmp_path / 'feedback.db'}") as another:
        Desk(lambda: another, own).store()
        assert ("clear", own.by_name["clear"].version) in questions.kept(another)
    served.desk.questions = own
    create(team, kind="demonstrate", responses=[])
    given = {"text": "Rye.", "answers": {"prompt": {"clear": True}}}
    saved = answer(team, lease(team), given)
    assert saved.status_code == 201, saved.text
    (said,) = questions.said(served.store)
    assert (said.question, said.version, said.value) == ("clear", own.by_name["clear"].version, True)


def test_a_claim_is_checked_over_rest_and_comes_back_in_the_export(served: Served, team: httpx.Client) -> None:
    said = {"content": "Rye keeps long.", "model": "app"}
    fact = {"claim": "keeps long", "document": "Rye keeps for ten days.", "title": "Baker"}
    made = create(team, kind="fact", responses=[said], fact=fact)
    assert made.status_code == 201
    assert made.json()["fact"] == fact
    other = create(team, kind="fact", responses=[said], fact=fact | {"document": "Rye keeps for one day."}).json()
    assert other["id"] != made.json()["id"], "another document is another task"
    task = lease(team, kinds=["fact"])
    assert task["fact"] == fact
    assert problem(answer(team, task, {"verdict": "true"})) == (422, "verdict_missing")
    assert answer(team, task, {"verdict": "supported"}).status_code == 201
    (row,) = map(json.loads, team.get("/v1/export/facts").text.splitlines())
    assert (row["claim"], row["verdict"], row["start"], row["response"]) == ("keeps long", "supported", 4, "Rye keeps long.")
    for wrong in ({"fact": fact | {"claim": "keeps short"}}, {"fact": None}, {"kind": "correct", "fact": fact}):
        assert create(team, **({"kind": "fact", "responses": [said]} | wrong)).status_code == 400
