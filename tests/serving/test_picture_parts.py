"""Pictures in the API's requests: what a model that sees answers, what goes on to a server behind this one, and what is refused."""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import torch
from opened import open_model
from PIL import Image
from running import serving
from seeing import picture, seeing
from test_upstream import END, EVENTS, scripted
from transformers import AutoModelForImageTextToText, AutoProcessor

from accord.commands.models import load_model
from accord.feedback.store import Store
from accord.records import MediaFile
from accord.runtime.media_files import data_url
from accord.runtime.project import Project
from accord.serving.api import create
from accord.serving.guards import Rules
from accord.serving.model_host import Capacity, ModelHost
from accord.serving.upstream import Upstream

FILES = [picture(0), picture(1, (24, 40))]
QUESTION = "Where is the baker?"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return seeing(tmp_path_factory.mktemp("seeing") / "model", "llava")


@pytest.fixture(scope="module")
def hosting(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelHost:
    """A host of a model that sees and of one that reads text alone."""
    project = Project.create(tmp_path_factory.mktemp("project") / "town")
    with Store.open(project.store_url):
        pass

    def opened(name: str) -> Any:
        return load_model(project, str(folder)) if name == "seeing" else open_model(name)

    return ModelHost(opened, ["seeing", "tiny-1"], capacity=Capacity(slots=4))


@pytest.fixture(scope="module")
def url(hosting: ModelHost) -> Generator[str]:
    with serving(hosting, create(hosting, keys=None)) as at:
        yield at


def client(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=60)


def part(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def asked(*urls: str, question: str = QUESTION) -> list[Any]:
    return [{"role": "user", "content": [*map(part, urls), {"type": "text", "text": question}]}]


def refused(url: str, messages: list[Any], model: str = "seeing", **how: Any) -> dict[str, Any]:
    answer = httpx.post(f"{url}/v1/chat/completions", json={"model": model, "messages": messages, "max_tokens": 2, **how}, timeout=60)
    assert answer.status_code == 400, answer.text
    return answer.json()["error"]


@torch.no_grad()
def likeliest(folder: Path, file: MediaFile) -> float:
    """The log-probability of the likeliest first token of an answer about a picture, by transformers alone."""
    model, processor = AutoModelForImageTextToText.from_pretrained(folder).float().eval(), AutoProcessor.from_pretrained(folder)
    turns = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTION}]}]
    prompt = processor.apply_chat_template(turns, add_generation_prompt=True)
    seen = Image.open(io.BytesIO(file.content)).convert("RGB")
    given = processor(text=prompt, images=seen, return_tensors="pt", add_special_tokens=False)
    return float(model(**given).logits[0, -1].log_softmax(-1).max())


def test_an_answer_about_a_picture_is_the_one_of_transformers_alone(url: str, folder: Path, hosting: ModelHost) -> None:
    expected = [likeliest(folder, file) for file in FILES]
    assert abs(expected[0] - expected[1]) > 0.01  # else a model that looks at nothing would pass
    inside: Any = hosting
    gallery = inside._served["seeing"].gallery
    kept = ("_shown", "_told", "_held")
    before = {name: set(getattr(gallery, name)) for name in kept}  # of the model's first use
    how: Any = {"model": "seeing", "temperature": 0, "max_tokens": 6}
    texts = list[Any]()
    for file, by_transformers in zip(FILES, expected, strict=True):
        answer = client(url).chat.completions.create(messages=asked(data_url(file)), n=2, logprobs=True, **how)
        for choice in answer.choices:
            assert choice.logprobs
            assert choice.logprobs.content
            assert choice.logprobs.content[0].logprob == pytest.approx(by_transformers, abs=1e-3)
        texts.append(answer.choices[0].message.content)
        content: Any = [{"type": "input_image", "image_url": data_url(file)}, {"type": "input_text", "text": QUESTION}]
        given: Any = [{"role": "user", "content": content}]
        found = client(url).responses.create(model="seeing", input=given, temperature=0, max_output_tokens=6)
        assert found.output_text == texts[-1]
    streamed = client(url).chat.completions.create(messages=asked(data_url(FILES[0])), stream=True, **how)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in streamed if chunk.choices) == texts[0]
    until = time.monotonic() + 30
    while set(gallery._shown) != before["_shown"] and time.monotonic() < until:
        time.sleep(0.05)
    assert {name: set(getattr(gallery, name)) for name in kept} == before  # nothing of a request stays


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("http://127.0.0.1:9/cat.png", "this server fetches no addresses"),
        ("data:image/png;base64,@@@@", "no base 64"),
        ("data:image/png;base64," + base64.b64encode(b"<svg/>").decode(), "no PNG, JPEG, WebP or GIF"),
        ("data:image/png;base64," + base64.b64encode(FILES[0].content[:60]).decode(), "damaged, or cut off"),
    ],
)
def test_what_is_no_picture_is_refused_with_its_place(url: str, given: str, words: str) -> None:
    said = refused(url, asked(data_url(FILES[0]), given))
    assert words in said["message"]
    assert said["param"] == "messages.0.content.1.image_url.url"


def test_a_model_of_text_alone_and_turns_of_others_refuse_pictures(url: str) -> None:
    broken = "data:image/png;base64,@@@@"  # nobody looks at it
    said = refused(url, asked(broken), model="tiny-1")
    assert "reads text alone" in said["message"]
    assert said["param"] == "messages.0.content.0.type"
    for role in ("system", "assistant"):
        turns = [{"role": role, "content": [part(data_url(FILES[0]))]}, {"role": "user", "content": "So?"}]
        assert "user's turns" in refused(url, turns)["message"]
    there = [{"title": "a", "text": "The baker is at the market."}]
    assert "documents allow quotes alone" in refused(url, asked(data_url(FILES[0])), documents=there)["message"]
    item: Any = {"role": "user", "content": [{"type": "input_image", "file_id": "file-1"}]}
    answer = httpx.post(f"{url}/v1/responses", json={"model": "seeing", "input": [item]}, timeout=60)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "input.0.content.0.image_url")


def test_pictures_and_their_pixels_are_bounded(url: str) -> None:
    assert "more than 16 pictures" in refused(url, asked(*[data_url(FILES[0])] * 17))["message"]
    large = io.BytesIO()
    Image.new("L", (5_000, 5_000)).save(large, "PNG")
    one = "data:image/png;base64," + base64.b64encode(large.getvalue()).decode()
    said = refused(url, asked(one, one))
    assert "40 million pixels in all" in said["message"]
    assert said["param"] == "messages.0.content.1.image_url.url"


def test_the_best_of_several_is_not_picked_without_a_look(hosting: ModelHost) -> None:
    inside: Any = hosting
    host = ModelHost(inside._open, ["seeing"])
    with serving(host, create(host, keys=None, rules=Rules(best_of=2, score=lambda said, texts: [0.0] * len(texts)))) as at:
        assert "without a look" in refused(at, asked(data_url(FILES[0])))["message"]


def test_a_server_behind_gets_pictures_where_the_setting_says_that_it_sees() -> None:
    file = io.BytesIO()
    noted = Image.Exif()
    noted[0x010E] = "taken at home"
    Image.open(io.BytesIO(FILES[0].content)).save(file, "PNG", exif=noted)
    assert b"taken at home" in file.getvalue()
    given = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    with scripted((200, {}, EVENTS + END)) as (behind, came):
        gate = Upstream(behind)
        with serving(gate, create(gate, keys=None)) as at:
            assert "reads text alone" in refused(at, asked(given), model="far")["message"]
        assert not came
        gate = Upstream(behind, sees=True)
        with serving(gate, create(gate, keys=None)) as at:
            answer = client(at).chat.completions.create(model="far", messages=asked(given))
    assert answer.choices[0].message.content == "Hello"
    first, second = came[0]["messages"][0]["content"]
    assert second == {"type": "text", "text": QUESTION}
    content = base64.b64decode(first["image_url"]["url"].removeprefix("data:image/png;base64,"))
    assert b"taken at home" not in content
    shown, sent = (Image.open(io.BytesIO(data)).convert("RGB") for data in (FILES[0].content, content))
    assert shown.tobytes() == sent.tobytes()
    assert "image_url" not in json.dumps(came[0]["messages"][0]["content"][1:])
