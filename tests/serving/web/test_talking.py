"""The chat's pages, without scripts: saying, editing, asking again, comparing, stopping, and what one person may see of another."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from serving.web.conftest import Come, Scripted

from accord.feedback import chats, deployments, reactions
from accord.feedback.store import Store
from accord.serving.guards import DECLINED, WITHHELD, Rules
from accord.serving.host import TooLong, Unavailable
from accord.serving.screens import kinds as screen
from accord.serving.web import answers

NOW = datetime(2026, 1, 2, tzinfo=UTC)
HACK = "<img src=x onerror=alert(1)><script>alert(1)</script>"


def test_a_conversation_is_kept_and_its_answers_signed(come: Come, models: Scripted, store: Store) -> None:
    uma = come()
    to = uma.say("Which bread?", system="Be brief.")
    page = uma.get(to).text
    assert "<strong>ppo</strong> heard: Which bread?" in page
    assert "ppo@aaaaaaaaaaaa" in page
    uma.say("And cake?", to, parent=uma.turns(to)[-1].id)
    assert [turn.text for turn in uma.turns(to)] == ["Which bread?", "**ppo** heard: Which bread?", "And cake?", "**ppo** heard: And cake?"]
    assert [m.content for m in models.asked[-1][1]] == ["Be brief.", "Which bread?", "**ppo** heard: Which bread?", "And cake?"]
    answer = uma.turns(to)[-1]
    assert (answer.model, answer.digest, answer.finish, answer.sampling["seed"]) == ("ppo", "aaaaaaaaaaaa", "stop", models.asked[-1][3])
    assert "Which bread?" in uma.get("/").text, "in the list"


def test_another_persons_conversation_is_404_on_every_path(come: Come, store: Store) -> None:
    uma, eve = come(), come("eve")
    lea = come("lea", "lead")
    to = uma.say("My private words")
    asked, answer = uma.turns(to)
    for person in (eve, lea):
        assert person.get(to).status_code == person.get("/c/none").status_code == person.get("/c/%00").status_code == 404
        assert person.get(f"{to}/live").status_code == 404
        posts = [
            (f"{to}/say", {"text": "x", "key": "k"}),
            (f"{to}/stop", {}),
            (f"{to}/delete", {}),
            (f"/t/{asked.id}/again", {}),
            (f"/t/{answer.id}/thumb", {"up": "yes"}),
            (f"/t/{answer.id}/correction", {"text": "x"}),
            (f"/t/{answer.id}/report", {}),
            (f"/t/{answer.id}/choice", {"other": answer.id, "choice": "first"}),
        ]
        assert {person.post(path, **fields).status_code for path, fields in posts} == {404}
        pages = "".join(person.get(path).text for path in ("/", "/mine", "/mine/export"))
        assert "private words" not in pages
    assert "private words" not in lea.get("/review").text
    assert len(uma.turns(to)) == 2


def test_rules_hold_in_the_chat_and_what_they_say_is_marked(come: Come, models: Scripted) -> None:
    rules = Rules(input_filter="refuse", output_filter="refuse", screen=screen)
    uma = come(rules=rules)
    to = uma.say("How to build a bomb?")
    answer = uma.turns(to)[-1]
    assert (answer.text, answer.finish, answer.signature) == (DECLINED["en"], "withheld", "ppo@aaaaaaaaaaaa")
    assert "by a rule of this site" in uma.get(to).text
    assert not models.asked
    models.says = lambda model, said: "Mail ann@example.com."
    assert uma.turns(uma.say("Who helps me?"))[-1].text == WITHHELD["en"]
    models.digests["ppo"] = "cccccccccccc"
    assert uma.turns(uma.say("ann@example.com?"))[-1].signature == "ppo@cccccccccccc"


def test_a_form_sent_twice_says_it_once(come: Come) -> None:
    uma = come()
    to = {uma.say("Which bread?", key="same") for _ in range(3)}
    assert len(to) == 1
    assert len(uma.turns(to.pop())) == 2


def test_a_form_sent_twice_at_once_is_answered_once(come: Come, models: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    uma, models.pace = come(), 0.02
    real = answers.choose

    def slowly(*given: Any, **named: Any) -> Any:
        time.sleep(0.2)
        return real(*given, **named)

    monkeypatch.setattr(answers, "choose", slowly)
    with ThreadPoolExecutor(2) as both:
        to = {each.result() for each in [both.submit(uma.say, "Which bread?", key="same") for _ in range(2)]}
    assert len(to) == len(models.asked) == 1
    assert [turn.finish for turn in uma.turns(to.pop())] == ["", "stop"]


def test_an_answer_that_ends_while_the_page_is_read_is_on_it(come: Come, models: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    uma, models.pace = come(), 0.05
    real = chats.opened
    to = uma.post("/say", json=True, text="Which bread?", key="k").json()["next"]

    def overtaken(store: Store, user: str, id: str) -> Any:
        found, end = real(store, user, id), time.monotonic() + 10
        while uma.site.live.get(id) and time.monotonic() < end:
            time.sleep(0.01)
        return found

    assert uma.site.live
    monkeypatch.setattr(chats, "opened", overtaken)
    page = uma.get(to).text
    assert "heard: Which bread?" in page
    assert "This has no answer." not in page


def test_editing_and_asking_again_overwrite_nothing(come: Come, store: Store) -> None:
    uma = come()
    to = uma.say("Which bread?")
    first, answer = uma.turns(to)
    uma.say("Which cake?", to, parent="")
    assert "Which cake?" in uma.get(to).text
    assert "Which bread?" not in uma.get(to).text.split('id="thread"')[1].split('id="problems"')[0]
    assert "2 / 2" in uma.get(to).text
    assert "Which bread?" in uma.get(f"{to}?at={first.id}").text.split('id="thread"')[1].split('id="problems"')[0]
    uma.post(f"/t/{first.id}/again", model="sft")
    page = uma.get(to).text
    assert "Was this better than the answer before?" in page
    newest = uma.turns(to)[-1]
    assert (newest.parent, newest.model) == (first.id, "sft")
    uma.post(f"/t/{answer.id}/choice", other=newest.id, choice="second")
    assert [r.payload["choice"] for r in reactions.own(store, uma.id)] == ["second"]
    assert re.search(r'value="second" aria-pressed="true"', uma.get(to).text)


def test_two_models_side_by_side_are_blind_until_the_choice(come: Come, store: Store) -> None:
    uma = come()
    to = uma.say("Which bread?", against="sft")
    first, second = uma.turns(to)[1:]
    assert {first.model, second.model} == {"ppo", "sft"}
    assert first.pair == second.pair != ""
    page = uma.get(to).text
    assert "aaaaaaaaaaaa" not in page
    assert "bbbbbbbbbbbb" not in page
    uma.post(f"/t/{first.id}/choice", other=second.id, choice="second")
    page = uma.get(to).text
    assert "aaaaaaaaaaaa" in page
    assert "bbbbbbbbbbbb" in page
    uma.say("And?", to, parent=re.search(r'name="parent" value="(a-\w+)"(?!.*name="parent")', page, re.S)[1])
    assert uma.turns(to)[3].parent == second.id, "it goes on from the one that was chosen"


def test_orders_of_pairs_are_drawn(come: Come) -> None:
    uma = come()
    orders = {tuple(turn.model for turn in uma.turns(uma.say(f"Q{n}", against="sft"))[1:]) for n in range(12)}
    assert orders == {("ppo", "sft"), ("sft", "ppo")}


def test_a_share_of_turns_gets_two_answers_of_one_model(come: Come) -> None:
    uma = come(two=1.0)
    assert [turn.model for turn in uma.turns(uma.say("Which bread?"))[1:]] == ["ppo"], "a new user's first question gets one answer"
    assert [turn.model for turn in uma.turns(uma.say("Which cake?"))[1:]] == ["ppo", "ppo"]


def test_what_a_model_or_person_wrote_cannot_act(come: Come, models: Scripted) -> None:
    models.says = lambda model, said: f"{HACK} [x](javascript:alert(1)) ![p](http://evil.example/p.png)"
    uma = come(HACK[:30])
    to = uma.say(HACK, system=HACK)
    uma.post(f"/t/{uma.turns(to)[1].id}/correction", text=HACK + "!")
    uma.agree()
    lea = come("lea", "lead")
    for page in (uma.get(to).text, uma.get("/").text, uma.get("/mine").text, lea.get("/review").text):
        assert "<img" not in page
        assert "<script>" not in page
        assert 'href="javascript' not in page
        assert not re.search(r"<script(?![^>]* src=)|<style|\son\w+=[\"']|\sstyle=", page)


def test_every_answer_carries_the_headers(come: Come) -> None:
    uma = come()
    to = uma.say("Which bread?")
    for path in ("/", to, f"{to}/live", "/mine", "/mine/export", "/nowhere"):
        policy = uma.get(path).headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy


def test_forms_need_the_sessions_token_and_our_own_pages(come: Come) -> None:
    uma, eve = come(), come("eve")
    to = uma.say("Which bread?")
    asked, answer = uma.turns(to)
    paths = ["/say", f"{to}/say", f"{to}/stop", f"{to}/delete", f"/t/{asked.id}/again", "/consent", "/mine/delete", "/review", "/review/x"]
    paths += [f"/t/{answer.id}/{what}" for what in ("thumb", "choice", "correction", "report")]
    for path in paths:
        assert uma.client.post(path, data={"text": "x", "key": "k", "csrf": eve.csrf()}).status_code == 403, path
        assert uma.post(path, text="x", key="k", headers={"Origin": "https://evil.example"}).status_code == 403, path
    assert len(uma.turns(to)) == 2


def test_nothing_is_there_without_a_session(come: Come) -> None:
    uma = come()
    to = uma.say("Which bread?")
    uma.client.cookies.clear()
    for path in ("/", to, f"{to}/live", "/mine", "/mine/export", "/review"):
        assert uma.get(path).status_code == 401
    assert uma.get("/docs").status_code == uma.get("/openapi.json").status_code == 404


@pytest.mark.parametrize(
    ("text", "status"),
    [("", 422), ("  ", 422), ("x" * 101, 422), ("x" * 100, 200), ("\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"), 200)],
)
def test_what_is_said_is_held_to_its_length(come: Come, text: str, status: int) -> None:
    assert come(longest=100).post("/say", text=text, key="k").status_code == status


def test_bytes_that_are_no_text_are_refused(come: Come) -> None:
    uma = come()
    body = f"csrf={uma.csrf()}&key=k&text=%ff%fe".encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert uma.client.post("/say", content=body, headers=headers).status_code == 400


def test_a_person_is_held_to_their_pace(come: Come) -> None:
    uma = come(turns_per_minute=2)
    assert [uma.post("/say", text="x", key=f"k{n}").status_code for n in range(3)] == [200, 200, 429]
    eve = come("eve", turns_per_minute=2)
    to = eve.say("x")
    asked = eve.turns(to)[0].id
    assert [eve.post(f"/t/{asked}/again", model="sft").status_code for _ in range(3)] == [200, 429, 429]
    assert len(eve.turns(to)) == 3
    assert eve.post("/say", text="x", key="another").status_code == 429


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TooLong("the prompt has 900 tokens and the model's context 512"), "900 tokens"),
        (Unavailable("the server behind is down", seconds=5), "is not responding at the moment"),
    ],
)
def test_a_model_that_cannot_answer_is_told_honestly(come: Come, models: Scripted, error: Exception, said: str) -> None:
    uma = come()
    models.says = lambda model, messages: error
    reply = uma.post("/say", text="Which bread?", key="k")
    assert said in reply.text
    assert "This has no answer." in reply.text
    to = f"/c/{chats.listed(uma.site.store, uma.id)[0].id}"
    models.says = lambda model, messages: "There it is."
    uma.post(f"/t/{uma.turns(to)[0].id}/again")
    assert [turn.text for turn in uma.turns(to)] == ["Which bread?", "There it is."]


def test_an_answer_that_cannot_be_stored_does_not_count(come: Come, store: Store) -> None:
    uma = come()
    to = uma.say("Which bread?")
    with store.write() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER full BEFORE INSERT ON turns WHEN new.role = 'assistant' BEGIN SELECT RAISE(ABORT, 'full'); END"
        )
    reply = uma.post(f"{to}/say", text="And?", parent=uma.turns(to)[1].id, key="k2")
    assert "could not be saved" in reply.text
    assert [turn.role for turn in uma.turns(to)] == ["user", "assistant", "user"]


def test_stopping_keeps_what_was_said_so_far(come: Come, models: Scripted) -> None:
    models.pace = 0.02
    models.says = lambda model, said: "word " * 500
    uma = come()
    said = uma.post("/say", json=True, text="Tell me", key="k").json()
    wait_for(lambda: "word" in uma.get(said["next"]).text, "a first word")
    uma.post(f"{said['next']}/stop")
    answer = uma.turns(said["next"])[-1]
    assert answer.finish == "stopped"
    assert 0 < answer.text.count("word") < 500
    assert "stopped" in uma.get(said["next"]).text


def test_an_answer_is_followed_as_it_is_written(come: Come, models: Scripted) -> None:
    models.pace = 0.01
    models.says = lambda model, said: "**bold** " * 40
    uma = come()
    said = uma.post("/say", json=True, text="Tell me", key="k").json()
    events = uma.get(said["live"]).text
    assert events.count("event: text") > 2
    assert "<strong>bold</strong>" in events
    assert events.rstrip().endswith('event: done\ndata: {"problem": ""}')
    assert uma.get(said["live"]).text.startswith("event: done"), "nothing is being said any more"


def test_leads_alone_set_the_sampling(come: Come, models: Scripted) -> None:
    lea, uma = come("lea", "lead"), come()
    for person in (lea, uma):
        person.say("Hot?", temperature="1.5", max_tokens="7", top_p="0.5")
    assert [(asked[2].temperature, asked[2].max_tokens, asked[2].top_p) for asked in models.asked] == [(1.5, 7, 0.5), (0.7, 0, 1.0)]
    for bad in ({"temperature": "hot"}, {"temperature": "-1"}, {"top_p": "2"}, {"max_tokens": "100000"}, {"temperature": "nan"}):
        assert lea.post("/say", text="Hot?", key=f"{bad}", **bad).status_code == 422
    assert "temperature" in lea.get("/").text
    assert 'name="temperature"' not in uma.get("/").text


def test_a_switch_is_followed_at_the_next_turn_and_a_new_model_opened(come: Come, models: Scripted, store: Store) -> None:
    uma = come()
    to = uma.say("One")
    models.digests["ppo-2"] = "cccccccccccc"
    deployments.deploy(store, "ppo-2", "cccccccccccc", by="tests", now=NOW)
    uma.say("Two", to, parent=uma.turns(to)[-1].id)
    models.digests["ppo-2"] = "dddddddddddd"
    uma.say("Three", to, parent=uma.turns(to)[-1].id)
    assert [turn.signature for turn in uma.turns(to)[1::2]] == ["ppo@aaaaaaaaaaaa", "ppo-2@cccccccccccc", "ppo-2@dddddddddddd"]
    assert models.swaps == ["ppo-2", "ppo-2"]


def test_a_switch_to_a_model_that_is_gone_leaves_the_other(come: Come, store: Store) -> None:
    deployments.deploy(store, "gone", "eeeeeeeeeeee", by="tests", now=NOW)
    assert come().site.answering() == "ppo"


def test_a_project_without_models_says_so(come: Come, models: Scripted) -> None:
    models.digests.clear()
    uma = come()
    assert "no model to chat with yet" in uma.get("/").text
    assert "no model to chat with yet" in uma.post("/say", text="Anybody?", key="k").text


def test_a_trial_shows_both_models_on_its_share_and_counts_the_votes(come: Come, store: Store) -> None:
    trial = deployments.begin_trial(
        store, old="ppo", old_digest="aaaaaaaaaaaa", new="sft", new_digest="bbbbbbbbbbbb", share=0.5, by="tests", now=NOW
    )
    uma = come()
    uma.say("The first gets one answer")
    shown = 0
    for n in range(16):
        to = uma.say(f"Q{n}")
        answers = uma.turns(to)[1:]
        if len(answers) == 2:
            shown += 1
            better = next(turn for turn in answers if turn.model == "sft")
            other = next(turn for turn in answers if turn.model == "ppo")
            uma.post(f"/t/{better.id}/choice", other=other.id, choice="first")
    assert 3 <= shown <= 13
    assert [vote.outcome for vote in deployments.votes(store, trial)] == ["new"] * shown
    uma.say("Named", model="ppo")
    deployments.end_trial(store, trial.id, by="tests", why="enough", now=NOW)
    assert [len(uma.turns(uma.say(f"R{n}"))) for n in range(6)] == [2] * 6


def test_the_page_is_in_the_visitors_language(come: Come) -> None:
    uma = come()
    uma.say("Which bread?")
    page = uma.get("/", **{"Accept-Language": "zh-CN"}).text
    assert '<html lang="zh-Hans">' in page
    assert "新对话" in page
    assert "我对回复的评价，连同之前的对话" in page


def wait_for(holds: Any, what: str, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.02)
