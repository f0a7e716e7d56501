"""Scenes while serving: which rules, model, documents and sampling answer a request, and how the response tells it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from opened import host as tiny
from opened import whole
from running import serving

from accord.data.retrieval import Document
from accord.data.scenes import Choice, Router
from accord.errors import UsageError
from accord.records import MediaFile, Message, Sampling
from accord.serving.api import create
from accord.serving.guards import Rules, no_weaker
from accord.serving.host import Ask, NotUnderstood, Piece, UnknownModel
from accord.serving.keys import Keys
from accord.serving.scenes import HEADER, Scened, Stage, Stages
from accord.settings.scenes import read


class Noting:
    """A host that says one word, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Ask]] = []
        self.open = ["sft"]

    def models(self) -> list[str]:
        return self.open

    def version(self, model: str) -> str:
        return f"{model}@0"

    def sees(self, model: str) -> bool:
        return False

    def state(self) -> dict[str, dict[str, float]]:
        return {}

    async def start(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def swap(self, name: str, model: str) -> None:
        self.open = [*self.open, name]

    async def embed(self, model: str, text: str | tuple[int, ...]) -> Any:
        raise NotImplementedError

    def stream(self, model: str, conversation: Sequence[Message], *, sampling: Sampling, **_: Any) -> AsyncGenerator[Piece]:
        return self.ask(model, Ask(sampling, tuple(conversation)))

    async def ask(self, model: str, ask: Ask) -> AsyncGenerator[Piece]:
        self.asked.append((model, ask))
        yield Piece("Yes.", "stop", count=1, version=self.version(model))


SCENES = read({
    "poem": {"aliases": "poet", "model": "rhymes", "system": "Write in rhymes.", "temperature": 0.2, "max_tokens": 7},
    "returns": {"classifier": "language:zh", "documents": "returns.md"},
    "rest": {"default": True, "input_filter": "refuse"},
})  # fmt: skip


def scened(host: Any) -> Scened:
    rules = Rules(screen=lambda text: ["harm"] if "bomb" in text else [])
    stages = {
        "poem": Stage(Rules(system="Write in rhymes."), "rhymes", (), SCENES["poem"].sampling()),
        "returns": Stage(rules, "", (Document("returns.md", "可以在三十天内退货。"),)),
        "rest": Stage(Rules(input_filter="refuse", screen=rules.screen)),
    }
    return Scened(host, rules, Stages(Router(SCENES), stages))


def answer(host: Noting, text: str, model: str = "sft", **how: Any) -> Piece:
    ask = Ask(Sampling(temperature=0.9), (Message("user", text),), seed=1, **how)
    said, pieces = asyncio.run(whole(scened(host).ask(model, ask)))
    assert said
    return pieces[-1]


def test_a_scene_brings_its_model_its_system_prompt_and_its_sampling() -> None:
    host = Noting()
    piece = answer(host, "A song about the mill", "poet")
    ((model, asked),) = host.asked
    assert model == "rhymes"
    assert piece.version == "rhymes@0"
    assert asked.conversation[0] == Message("system", "Write in rhymes.")
    assert asked.sampling == Sampling(temperature=0.2, max_tokens=7)
    assert piece.scene == Choice("poem", "alias", filters="rest")
    assert piece.sampling == asked.sampling


def test_what_a_request_names_itself_stays() -> None:
    host = Noting()
    answer(host, "A song", "poet", named=frozenset({"temperature"}))
    assert host.asked[0][1].sampling == Sampling(temperature=0.9, max_tokens=7)
    answer(host, "A song", "sft", scene=Choice("poem", "named"), pinned=True)
    assert host.asked[1][0] == "sft"  # two models are compared: the scene's own would answer for both


def test_another_scene_brings_other_filters_and_documents() -> None:
    host = Noting()
    assert answer(host, "How is a bomb made?").withheld == "input"
    assert answer(host, "How is a bomb made?", scene=Choice("poem", "classifier")).withheld == ""
    quoted = answer(host, "可以在三十天内退货吗？")
    assert [quote.text for quote in quoted.quotes] == ["可以在三十天内退货。"]
    assert quoted.scene == Choice("returns", "classifier")


def test_a_scene_that_is_named_is_no_way_around_the_models_of_a_key() -> None:
    around, ask = scened(Noting()), Ask(Sampling(), (Message("user", "A song"),))

    def named(scene: str, *models: str) -> Choice | None:
        return asyncio.run(around.choose("sft", ask, scene, lambda model: model in models))

    with pytest.raises(UnknownModel, match="the key may not use the model of the scene 'poem'"):
        named("poem", "sft")
    for models in (("sft", "rhymes"), ("sft", "poet")):
        assert named("poem", *models) == Choice("poem", "named", filters="rest")
    assert named("rest", "sft") == Choice("rest", "named")


def test_the_api_holds_a_key_to_its_models_whatever_scene_it_names(tmp_path: Path) -> None:
    host, keys, body = Noting(), Keys(tmp_path), {"model": "sft", "messages": [{"role": "user", "content": "A song"}]}
    token = keys.add("app", models=("sft",))[0]
    stages = scened(host).stages
    with serving(host, create(host, keys=keys, scenes=stages)) as url:
        headers = {"Authorization": f"Bearer {token}", HEADER: "poem"}
        refused = httpx.post(f"{url}/v1/chat/completions", json=body, headers=headers, timeout=60)
        assert refused.status_code == 404
        assert host.asked == []
        assert httpx.post(f"{url}/v1/chat/completions", json=body, headers=headers | {HEADER: "rest"}, timeout=60).status_code == 200


def test_a_scene_that_is_named_weakens_no_filter_unless_the_key_was_given_it(tmp_path: Path) -> None:
    host, keys = Noting(), Keys(tmp_path)
    limited, given, by_alias = (
        keys.add("app", **how)[0] for how in ({"models": ("sft", "rhymes")}, {"scenes": ("poem",)}, {"models": ("sft", "poet")})
    )

    def asked(url: str, token: str, model: str = "sft", scene: str = "") -> tuple[str, str]:
        body = {"model": model, "messages": [{"role": "user", "content": "A song about a bomb"}]}
        headers = {"Authorization": f"Bearer {token}"} | ({HEADER: scene} if scene else {})
        answer = httpx.post(f"{url}/v1/chat/completions", json=body, headers=headers, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()["choices"][0]["message"]["content"], answer.headers[HEADER]

    declined = "I can't help with that."
    with serving(host, create(host, keys=keys, scenes=scened(host).stages)) as url:
        assert asked(url, limited) == (declined, "rest; by=default")
        assert asked(url, limited, scene="poem") == (declined, "poem; by=named; filters=rest")
        assert asked(url, limited, scene="returns") == (declined, "returns; by=named; filters=rest")
        assert asked(url, given, model="poet") == ("Yes.", "poem; by=alias")
        assert asked(url, given, scene="poem") == ("Yes.", "poem; by=named")
        assert asked(url, given, scene="returns") == (declined, "returns; by=named; filters=rest")
        assert asked(url, by_alias, model="poet") == ("Yes.", "poem; by=alias")
        assert asked(url, by_alias, scene="poem") == (declined, "poem; by=named; filters=rest")
    piece = answer(host, "A bomb", "poet")  # the chat's own users have no key
    assert (piece.text, piece.scene) == (declined, Choice("poem", "alias", filters="rest"))


@pytest.mark.parametrize(("own", "other"), [("off", "report"), ("off", "refuse"), ("report", "refuse")])
def test_filters_are_held_to_the_stronger_ones_on_each_side(own: Any, other: Any) -> None:
    screen, none = (lambda text: ["harm"]), (lambda text: [])
    weak, strong = Rules(input_filter=own, screen=none, system="s"), Rules(input_filter=other, output_filter="report", screen=screen)
    held = no_weaker(weak, strong)
    assert (held.input_filter, held.output_filter, held.system) == (other, "report", "s")
    assert held.screen is (screen if own == "off" else none)  # rules without any filter have nothing to screen with
    assert no_weaker(strong, weak) is strong
    assert no_weaker(weak, weak) is weak


def test_a_picture_is_refused_where_the_scenes_model_reads_text_alone() -> None:
    host, picture = Noting(), MediaFile("image", "image/png", b"x", 1, 1)
    with pytest.raises(NotUnderstood, match="the model of the scene poem reads text alone"):
        answer(host, "What is this?", scene=Choice("poem", "classifier"), media=(picture,))
    assert host.asked == []


def test_a_scenes_model_is_opened_once_for_all_that_wait_for_it() -> None:
    class Slow(Noting):
        async def swap(self, name: str, model: str) -> None:
            await asyncio.sleep(0.01)
            await super().swap(name, model)

    host = Slow()

    async def asked() -> None:
        around, ask = scened(host), Ask(Sampling(), (Message("user", "A song"),))
        await asyncio.gather(*(whole(around.ask("poet", ask)) for _ in range(5)))

    asyncio.run(asked())
    assert host.open == ["sft", "rhymes"]
    assert len(host.asked) == 5


def test_raw_text_is_of_no_scene() -> None:
    host = Noting()
    _, pieces = asyncio.run(whole(scened(host).ask("sft", Ask(Sampling(), prompt="Once"))))
    assert pieces[-1].scene is None
    with pytest.raises(NotUnderstood, match="raw text is of no scene"):
        asyncio.run(scened(host).choose("sft", Ask(Sampling(), prompt="Once"), "poem"))


def test_the_api_tells_the_scene_and_two_models_answer_side_by_side() -> None:
    """Two scenes of two models over HTTP: each answers as its model does alone, and a header says which scene it was and why."""
    scenes = read({"one": {"aliases": "first", "model": "tiny-1"}, "two": {"model": "tiny-2", "system": "Be kind."}})
    stages = Stages(Router(scenes), {"one": Stage(Rules(), "tiny-1"), "two": Stage(Rules(system="Be kind."), "tiny-2")})
    hosting = tiny("tiny-1", "tiny-2")
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "Who keeps the mill?"}], "seed": 5, "max_tokens": 12}
    kind = {"messages": [{"role": "system", "content": "Be kind."}, *body["messages"]], "seed": 5, "max_tokens": 12}
    with serving(hosting, create(hosting, keys=None, scenes=stages)) as url, httpx.Client(base_url=f"{url}/v1", timeout=60) as client:

        def post(asked: dict[str, Any], scene: str = "") -> httpx.Response:
            return client.post("/chat/completions", json=asked, headers={HEADER: scene} if scene else {})

        def words(answered: httpx.Response) -> str:
            return answered.json()["choices"][0]["message"]["content"]

        assert [model["id"] for model in client.get("/models").json()["data"]] == ["tiny-1", "tiny-2", "first"]
        plain = post(body | {"model": "tiny-1"})
        assert plain.headers[HEADER] == "none; by=none"
        first, second = post(body | {"model": "first"}), post(body | {"model": "tiny-1"}, "two")
        assert first.headers[HEADER] == "one; by=alias"
        assert words(first) == words(plain)
        assert second.headers[HEADER] == "two; by=named"
        assert second.json()["system_fingerprint"].startswith("tiny-2@")
        assert words(second) == words(post(kind | {"model": "tiny-2"}))
        unknown = post(body | {"model": "tiny-1"}, "three")
        assert unknown.status_code == 400
        assert "there is no scene 'three'" in unknown.json()["error"]["message"]
        with client.stream("POST", "/chat/completions", json=body | {"model": "first", "stream": True}) as streamed:
            assert streamed.headers[HEADER] == "one; by=alias"
        counted = httpx.get(f"{url}/metrics").text
        assert 'accord_scenes_total{also="no",by="alias",scene="one"} 2.0' in counted


def test_a_server_without_scenes_refuses_a_request_that_names_one() -> None:
    hosting = tiny("tiny-1")
    body = {"model": "tiny-1", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}
    with serving(hosting, create(hosting, keys=None)) as url:
        refused = httpx.post(f"{url}/v1/chat/completions", json=body, headers={HEADER: "poem"}, timeout=60)
        assert refused.status_code == 400
        assert "this server has no scenes" in refused.json()["error"]["message"]
        assert HEADER not in httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60).headers


def test_a_classifier_that_fails_later_is_told_as_what_it_is() -> None:
    broken = Router(read({"poem": {"classifier": "nobody:poem"}}))
    around = Scened(Noting(), Rules(), Stages(broken, {"poem": Stage(Rules())}))
    with pytest.raises(UsageError, match="there is no classifier 'nobody'"):
        asyncio.run(around.choose("sft", Ask(Sampling(), (Message("user", "Hi"),))))
