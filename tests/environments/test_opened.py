"""Environments by name: tools, an address, a played user, and what is refused."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from played import Brief, laid_by_hand, learned, three_turns

from accord.environments.hosted import Environments
from accord.environments.opened import open_environment
from accord.environments.tools import Calculator, PythonTool, Search, ToolError, ToolUse, answers, calls_in
from accord.errors import InputError, UsageError
from accord.records import Message
from accord.world.errands import QUESTION, Errand, ErrandUser, demonstrations, errands, gold, prompt, wished

ROW: dict[str, Any] = {"id": "p", "messages": [{"role": "user", "content": "What is 17 * 23?"}], "extra": {"answer": "391"}, "seed": 3}


def called(name: str, **arguments: object) -> str:
    return f"<tool_call>{json.dumps({'name': name, 'arguments': arguments})}</tool_call>"


def after(user: Any, text: str) -> tuple[Any, float, bool, Any]:
    return user.step([*ROW["messages"], {"role": "assistant", "content": text}])


# --- tools ---


def test_a_call_is_answered_and_a_turn_without_one_is_the_answer() -> None:
    user = ToolUse([Calculator()])
    opening = user.reset(ROW)
    assert opening[0]["role"] == "system"
    assert '"name": "calculator"' in opening[0]["content"]
    assert opening[1:] == ROW["messages"]
    assert after(user, called("calculator", expression="17 * 23")) == ([{"role": "tool", "content": "391"}], 0.0, False, {"calls": 1.0})
    assert after(user, "It is 391.") == ([], 1.0, True, {"right": 1.0})
    assert after(user, "It is 390.") == ([], 0.0, True, {"right": 0.0})


FORMS = {
    "hermes": '<tool_call>\n{"name": "calculator", "arguments": {"expression": "1+1"}}\n</tool_call>',
    "not closed": '<tool_call>{"name": "calculator", "arguments": {"expression": "1+1"}}',
    "llama": '{"name": "calculator", "parameters": {"expression": "1+1"}}',
    "mistral": '[TOOL_CALLS] [{"name": "calculator", "arguments": {"expression": "1+1"}}]',
    "arguments as text": '<tool_call>{"name": "calculator", "arguments": "{\\"expression\\": \\"1+1\\"}"}</tool_call>',
}


@pytest.mark.parametrize("form", FORMS)
def test_calls_are_read_in_the_forms_of_templates(form: str) -> None:
    (call,) = calls_in(FORMS[form])
    assert (call.name, call.arguments, call.fault) == ("calculator", {"expression": "1+1"}, "")


BAD = {
    "no json": ("<tool_call>calculator(1)</tool_call>", "calls_unreadable", "no JSON"),
    "deep": ("<tool_call>" + "[" * 100_000 + "</tool_call>", "calls_unreadable", "no JSON"),
    "a list": ("<tool_call>[1]</tool_call>", "calls_unreadable", "no JSON object"),
    "no name": ('<tool_call>{"arguments": {}}</tool_call>', "calls_unreadable", "names no tool"),
    "unknown": (called("rocket"), "calls_unknown", "there is no tool 'rocket'; there are calculator"),
    "arguments": ('<tool_call>{"name": "calculator", "arguments": 3}</tool_call>', "calls_unreadable", "arguments are no JSON object"),
    "missing": (called("calculator"), "calls_refused", "expression is missing"),
    "gigabytes": (called("calculator", expression="9**9**9**9"), "calls_refused", "too large"),
    "a long one": (called("calculator", expression="1" * 5000), "calls_refused", "more than 200 characters"),
    "code": (called("calculator", expression="__import__('os').getcwd()"), "calls_refused", "no arithmetic expression"),
    "by zero": (called("calculator", expression="1/0"), "calls_refused", "division by zero"),
    "complex": (called("calculator", expression="(-8)**0.5"), "calls_refused", "too large"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_call_is_counted_and_told_to_the_model(case: str) -> None:
    text, kind, words = BAD[case]
    user = ToolUse([Calculator()])
    user.reset(ROW)
    (result,), reward, done, counts = after(user, text)
    assert (reward, done, counts) == (0.0, False, {"calls": 1.0, kind: 1.0})
    assert result["role"] == "tool"
    assert result["content"].startswith("error: ")
    assert words in result["content"]


@pytest.mark.parametrize(
    ("text", "value"), [("2+3*4", "14"), ("(2+3)*4", "20"), ("7/2", "3.5"), ("-2**2", "-4"), ("10%4", "2"), ("2**0.5", "1.41421356237")]
)
def test_the_calculator_computes(text: str, value: str) -> None:
    assert Calculator().call({"expression": text}) == value


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("print(sum(range(101)))", "5050"),
        ("x = 1", "nothing"),
        ("print('so far'); 1 / 0", "error: the program failed: ZeroDivisionError: division by zero; it printed so far"),
        ("while True: pass", "error: the program took too long"),
        ("import socket; socket.socket()", "error: the program failed: PermissionError: [Errno 1] Operation not permitted"),
        ("x = 'a' * 10**10", "error: the program took too much memory: MemoryError"),
        ("import sys\nprint(6)\nsys.exit(0)", "6"),
    ],
)
def test_the_python_tool_runs_programs_in_the_sandbox(code: str, told: str) -> None:
    user = ToolUse([PythonTool(seconds=1.0)])
    user.reset(ROW)
    (result,), _, done, counts = after(user, called("python", code=code))
    assert (result["role"], result["content"], done) == ("tool", told, False)
    assert ("calls_refused" in counts) == told.startswith("error")


def test_an_environment_with_a_python_tool_does_not_say_that_it_answers_the_same_again(tmp_path: Path) -> None:
    assert open_environment("tools:calculator", tmp_path, seconds=5, at_once=1).deterministic
    assert not open_environment("tools:calculator+python", tmp_path, seconds=5, at_once=1).deterministic


@pytest.mark.parametrize(
    ("said", "answer", "right"),
    [
        ("It is 1,234.", "1234", True),
        ("so 5 and then\n#### 7", "7", True),
        ("#### 7 of 9", "7", True),
        ("It is 7, not 8.", "7", False),
        ("nothing", "7", False),
        ("The  red one.", "the red one", True),
        ("The blue one.", "the red one", False),
        ("3", 3, True),
        ("The answer is 0.", "0", True),
        ("It is 5.", "0", False),
        ("so\n#### 0", "7 - 7\n#### 0", True),
    ],
)
def test_an_answer_is_a_number_or_the_very_words(said: str, answer: object, right: bool) -> None:
    assert answers(said, answer) is right


def test_the_search_finds_a_passage_of_the_projects_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no documents"):
        Search(tmp_path)
    (tmp_path / "a.txt").write_text("The mill stands by the river.\n\nAda keeps bees behind the church.\n", "utf-8")
    (tmp_path / "b.md").write_text("Carl sells rope.", "utf-8")
    search = Search(tmp_path)
    assert search.call({"query": "Who keeps bees?"}) == "Ada keeps bees behind the church."
    assert search.call({"query": "zebra"}) == "no passage matches"
    with pytest.raises(ToolError):
        search.call({"query": "a" * 501})


# --- behind an address ---


@contextmanager
def served(answer: Any) -> Generator[tuple[str, list[tuple[str, Any, str]]]]:
    """A server that answers each post by a function of path and body; also what it was asked."""
    asked: list[tuple[str, Any, str]] = []

    class Handler(BaseHTTPRequestHandler):
        disable_nagle_algorithm = True  # an answer is two writes, and the second would wait for the first

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((self.path, body, self.headers.get("Authorization", "")))
            status, told = answer(self.path, body)
            held = told if isinstance(told, bytes) else json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(held)))
            self.end_headers()
            self.wfile.write(held)

        def log_message(self, format: str, *args: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


def one(environments: Any, what: str, given: Any) -> Any:
    getattr(environments, what)(0, given)
    ((_, reply),) = environments.arrived(wait=True)
    return reply


def test_an_environment_behind_an_address_is_played_over_http(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    busy: list[int] = [1]

    def answer(path: str, body: Any) -> tuple[int, Any]:
        if path == "/reset":
            if busy:
                busy.clear()
                return 503, {}
            return 200, {"episode": 7, "messages": body["row"]["messages"]}
        if path == "/close":
            return 200, {}
        said = body["messages"][-1]["content"]
        return 200, {"messages": [{"role": "user", "content": f"Again, {said}"}], "reward": 0.5, "done": False, "info": {"steps": 2}}

    monkeypatch.setenv("ACCORD_ENVIRONMENT_TOKEN", "secret")
    with served(answer) as (address, asked):
        environments = open_environment(address, tmp_path, seconds=5, at_once=2)
        assert not environments.deterministic
        reply = one(environments, "reset", ROW)
        assert reply.messages == (Message("user", "What is 17 * 23?"),)
        reply = one(environments, "step", [*reply.messages, Message("assistant", "hm")])
        assert (reply.messages[0].content, reply.reward, reply.done, dict(reply.info)) == ("Again, hm", 0.5, False, {"steps": 2})
        environments.end(0)
        environments.settle()
    assert [path for path, *_ in asked] == ["/reset", "/reset", "/step", "/close"]
    assert asked[2][1]["episode"] == 7
    assert {token for *_, token in asked} == {"Bearer secret"}


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ((200, b"<html>"), "JSONDecodeError"),
        ((500, {}), "answered 500"),
        ((200, {"episode": 1}), "KeyError"),
        ((200, b"x" * (5 << 20)), "more than"),
    ],
)
def test_a_server_that_answers_nonsense_ends_its_episode(told: tuple[int, Any], words: str, tmp_path: Path) -> None:
    def answer(path: str, body: Any) -> tuple[int, Any]:
        return told

    with served(answer) as (address, _):
        reply = one(open_environment(address, tmp_path, seconds=5, at_once=1), "reset", ROW)
    assert reply.failed == "crashed"
    assert words in reply.error


def test_a_step_is_sent_again_only_where_it_was_certainly_not_taken(tmp_path: Path) -> None:
    answers = [503, 429, 200, 502]

    def answer(path: str, body: Any) -> tuple[int, Any]:
        if path == "/reset":
            return 200, {"episode": 1, "messages": body["row"]["messages"]}
        return answers.pop(0), {"messages": [], "reward": 1.0, "done": False, "info": {}} | {"messages": ROW["messages"]}

    with served(answer) as (address, asked):
        environments = open_environment(address, tmp_path, seconds=5, at_once=1)
        said = one(environments, "reset", ROW).messages
        assert not one(environments, "step", [*said, Message("assistant", "a")]).failed
        assert one(environments, "step", [*said, Message("assistant", "b")]).error.endswith("answered 502")
    assert [path for path, *_ in asked] == ["/reset", "/step", "/step", "/step", "/step"]


def test_a_redirect_is_not_followed_with_the_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCORD_ENVIRONMENT_TOKEN", "secret")

    class Elsewhere(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(302)
            self.send_header("Location", f"{other}/reset")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None: ...

    asked: list[str] = []

    class Thief(Elsewhere):
        def do_GET(self) -> None:
            asked.append(self.headers.get("Authorization", ""))
            self.send_response(404)
            self.end_headers()

    servers = [ThreadingHTTPServer(("127.0.0.1", 0), handler) for handler in (Elsewhere, Thief)]
    other = f"http://127.0.0.1:{servers[1].server_port}"
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        environments = open_environment(f"http://127.0.0.1:{servers[0].server_port}", tmp_path, seconds=5, at_once=1)
        assert "answered 302" in one(environments, "reset", ROW).error
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()
    assert not asked


@pytest.mark.parametrize("name", ["http://me:secret@host:9", "user:big@http://me:secret@host/v1", "openenv:x@ws://host/?api_key=secret"])
def test_a_password_in_an_address_is_refused_and_not_repeated(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="would be written into the run") as error:
        open_environment(name, tmp_path, seconds=1, at_once=1)
    assert "secret" not in str(error.value)


@pytest.fixture
def game() -> Generator[Environments]:
    """A server of our protocol that keeps many games apart, each of three turns that are worth the more the shorter they are."""
    games, numbers = dict[int, Brief](), itertools.count()

    def answer(path: str, body: Any) -> tuple[int, Any]:
        if path == "/reset":
            number = next(numbers)
            games[number] = Brief()
            return 200, {"episode": number, "messages": games[number].reset(body["row"])}
        if path == "/close":
            return 200, {}
        messages, reward, done, info = games[body["episode"]].step(body["messages"])
        return 200, {"messages": messages, "reward": reward, "done": done, "info": info}

    with served(answer) as (address, _):
        yield open_environment(address, Path(), seconds=30, at_once=8)


def test_a_game_of_three_turns_is_played_behind_an_address(game: Environments) -> None:
    assert three_turns(game) == [0.25, 1.0, 0.125]


def test_an_episode_behind_an_address_is_recorded_as_a_hand_would_lay_it(game: Environments) -> None:
    laid_by_hand(game)


def test_grpo_learns_behind_an_address(game: Environments, tmp_path: Path) -> None:
    first, last = learned(tmp_path / "run", game)
    assert last > first + 0.3, (first, last)


def test_a_server_that_is_gone_ends_its_episode(tmp_path: Path) -> None:
    reply = one(open_environment("http://127.0.0.1:9", tmp_path, seconds=5, at_once=1), "reset", ROW)
    assert reply.failed == "crashed"
    assert "does not answer" in reply.error


def test_a_user_is_played_by_a_chat_model_that_knows_the_goal(tmp_path: Path) -> None:
    words = ["Near the river, please.", "DONE"]

    def answer(path: str, body: Any) -> tuple[int, Any]:
        return 200, {"choices": [{"message": {"role": "assistant", "content": words.pop(0)}}]}

    with served(answer) as (address, asked):
        environments = open_environment(f"user:big@{address}/v1", tmp_path, seconds=5, at_once=1)
        said = one(environments, "reset", {**ROW, "extra": {"goal": "a house by the river"}}).messages
        assert all("river" not in message.content for message in said), "the goal is not told at first"
        reply = one(environments, "step", [*said, Message("assistant", "Where?")])
        assert (reply.messages, reply.reward, reply.done) == ((Message("user", "Near the river, please."),), 0.0, False)
        reply = one(environments, "step", [*said, Message("assistant", "Where?"), *reply.messages, Message("assistant", "Done.")])
        assert (reply.messages, reply.reward, reply.done) == ((), 0.95, True)
    assert asked[0][0] == "/v1/chat/completions"
    roles = [message["role"] for message in asked[1][1]["messages"]]
    assert roles == ["system", "assistant", "user", "assistant", "user"], "the playing model is the assistant of its own conversation"
    assert "a house by the river" in asked[0][1]["messages"][0]["content"]


class Slow:
    """Repeats what was said last, slowly, where it is not too long; keeps how much it was asked at once."""

    def __init__(self) -> None:
        self.batches = list[int]()

    def speak(self, conversations: Sequence[Sequence[Message]]) -> list[str]:
        time.sleep(0.3)
        self.batches.append(len(conversations))
        last = [conversation[-1].content for conversation in conversations]
        if any(len(words) > 20 for words in last):
            raise InputError("a conversation is longer than the model's context")
        return [f"{words}?" for words in last]


def test_users_whom_a_model_of_the_project_plays_are_answered_together(tmp_path: Path) -> None:
    slow, opened = Slow(), list[str]()

    def player(name: str) -> Any:
        opened.append(name)
        return slow.speak

    environments = open_environment("user:mine", tmp_path, seconds=60, at_once=8, player=player)
    for key in range(8):
        environments.reset(key, {**ROW, "extra": {"goal": "bread"}})
    begun = dict[int, Any]()
    while environments.waiting:
        begun |= dict(environments.arrived(wait=True))
    for key in range(8):
        words = "x" * 30 if key == 3 else f"turn {key}"
        environments.step(key, [*begun[key].messages, Message("assistant", words)])
    replies = dict[int, Any]()
    while environments.waiting:
        replies |= dict(environments.arrived(wait=True))
    assert opened == ["mine"], "it is opened once"
    assert "longer than the model's context" in replies.pop(3).error
    assert {key: reply.messages[0].content for key, reply in replies.items()} == {key: f"turn {key}?" for key in replies}
    assert len(replies) == 7
    assert max(slow.batches) > 1


# --- names ---


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nothing", "there is no environment 'nothing'"),
        ("no_such_module:Game", "cannot be imported: ModuleNotFoundError"),
        ("json:dumps", "has no reset and no step"),
        ("tools:rocket", "there is no tool 'rocket'"),
        ("user:big", "is no model that could play a user"),
        ("user:@http://127.0.0.1:9", "is no model that could play a user"),
    ],
)
def test_an_unknown_environment_is_refused(name: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        open_environment(name, tmp_path, seconds=1, at_once=1)
    assert words in str(error.value)


def test_a_class_is_found_in_the_projects_folder(tmp_path: Path) -> None:
    (tmp_path / "my_game_of_this_test.py").write_text(
        "class Game:\n    deterministic = True\n"
        "    def reset(self, row):\n        return row['messages']\n"
        "    def step(self, messages):\n        return [], 1.0, True, {}\n",
        "utf-8",
    )
    environments = open_environment("my_game_of_this_test:Game", tmp_path, seconds=1, at_once=1)
    assert environments.deterministic
    assert one(environments, "reset", ROW).messages == (Message("user", "What is 17 * 23?"),)


# --- the world's errands ---


def talk(errand: Errand, *replies: str) -> list[tuple[Sequence[Mapping[str, str]], float, bool]]:
    user, asked = ErrandUser(), prompt(errand, 0, 0, "train")
    said: list[Any] = user.reset({"messages": [{"role": "user", "content": errand.request}], "extra": asked.extra})
    heard: list[tuple[Sequence[Mapping[str, str]], float, bool]] = []
    for reply in replies:
        said = [*said, {"role": "assistant", "content": reply}]
        messages, reward, done, _ = user.step(said)
        heard.append((messages, reward, done))
        said = [*said, *messages]
    return heard


def test_the_user_of_an_errand_tells_the_street_when_asked_and_is_content_with_it_alone() -> None:
    errand = Errand("rope", "Ada", "Mill Lane", open=True)
    assert errand.request == "Send the rope to Ada."
    (asked, cost, going), (thanks, reward, done) = talk(errand, QUESTION, "I send the rope to Ada at Mill Lane.")
    assert (asked, cost, going) == ([{"role": "user", "content": "To Mill Lane."}], -0.1, False)
    assert (thanks[0]["content"], reward, done) == ("Thank you!", 1.0, True)
    assert talk(errand, "I send the rope to Ada at Oak Lane.")[0][1:] == (0.0, True)
    clear = Errand("rope", "Ada", "Mill Lane", open=False)
    assert clear.request == "Send the rope to Ada at Mill Lane."


def test_the_gold_is_another_thing_than_the_users_content() -> None:
    """Every street in one reply contents the user, and is no errand done; a needless question costs."""
    errand, clear = Errand("rope", "Ada", "Mill Lane", open=True), Errand("rope", "Ada", "Mill Lane", open=False)
    everywhere = "I send the rope to Ada at Mill Lane and Oak Lane and Bell Road."
    assert talk(errand, everywhere)[0][1:] == (1.0, True)
    assert gold(errand, [everywhere]) == 0.0
    assert gold(errand, [QUESTION, errand.reply]) == 1.0
    assert gold(clear, [clear.reply]) == 1.0
    assert gold(clear, [QUESTION, clear.reply]) == pytest.approx(0.9)
    assert gold(errand, ["I send the boots to Ada at Mill Lane."]) == 0.0
    assert gold(errand, []) == 0.0


def test_errands_are_the_same_for_the_same_seed_and_open_in_half() -> None:
    given = errands(3, 400)
    assert given == errands(3, 400)
    assert given != errands(4, 400)
    assert 0.4 < sum(errand.open for errand in given) / 400 < 0.6
    written = list(demonstrations(given, 3))
    assert len({demonstration.prompt.id for demonstration in written}) == len(written)
    first = [demonstration for demonstration in written if len(demonstration.prompt.messages) == 1 and wished(demonstration.prompt).open]
    asks = sum(demonstration.text == QUESTION for demonstration in first) / len(first)
    assert 0.15 < asks < 0.35
    assert all(wished(d.prompt).where not in d.prompt.messages[0].content for d in first), "the wish is not in what a model is shown"
