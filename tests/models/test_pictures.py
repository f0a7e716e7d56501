"""What Accord computes for rows with pictures is what plain transformers computes, on each vision-language architecture."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from seeing import FAMILIES, picture, seeing

from accord.commands.models import Model, load_model
from accord.engine.local import LocalSampler
from accord.errors import InputError
from accord.feedback.store import Store
from accord.models.packing import pack
from accord.models.pictures import open_processor
from accord.models.policy import logprobs
from accord.records import Media, Message, Prompt, Sampling, composed
from accord.runtime.pictures import FIRST
from accord.runtime.project import Project

FP32 = torch.float32
FILES = [picture(0), picture(1, (24, 40)), picture(2, (32, 32))]
ONE, TWO, THREE = (file.named() for file in FILES)
ASKED: list[list[Message]] = [
    [composed("user", [ONE, "Where is the baker?"])],
    [Message("user", "Who keeps the mill?")],
    [
        composed("user", ["Is this ", TWO, " a bridge, or this ", THREE, "?"]),
        Message("assistant", "The first."),
        composed("user", [ONE, "And this?"]),
    ],
]
SAID = "At the market, by the river."


HERE = [pytest.param(name, marks=pytest.mark.slow if name in ("smolvlm", "qwen3_vl") else ()) for name in FAMILIES]


@pytest.fixture(scope="module", params=HERE)
def of_family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Model]:
    """A folder with an opened model of each family."""
    folder = tmp_path_factory.mktemp(request.param)
    return folder, opened(folder, request.param)


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return opened(tmp_path_factory.mktemp("llava-alone"), "llava")


def opened(folder: Path, family: str) -> Model:
    project = Project.create(folder / "project")
    prompts = [Prompt(f"p{number}", tuple(messages)) for number, messages in enumerate(ASKED)]
    with Store.open(project.store_url) as store:
        store.add(prompts=prompts, media=FILES)
    return load_model(project, str(seeing(folder / "model", family)))


def plain(folder: Path, conversation: list[Message], said: str) -> tuple[Any, dict[str, Any], int]:
    """The model and its inputs for a conversation, by transformers alone; and how many tokens the answer has."""
    from io import BytesIO

    from PIL import Image
    from transformers import AutoModelForImageTextToText

    contents = {file.digest: file.content for file in FILES}
    processor = open_processor(str(folder))
    turns: list[dict[str, Any]] = []
    pictures: list[Any] = []
    for message in conversation:
        parts: list[dict[str, Any]] = []
        media = iter(message.media)
        for number, text in enumerate(message.content.split("\ufffc") if message.media else [message.content]):
            if number:
                pictures.append(Image.open(BytesIO(contents[next(media).digest])).convert("RGB"))
                parts.append({"type": "image"})
            parts += [{"type": "text", "text": text}] if text else []
        turns.append({"role": message.role, "content": parts})
    template = processor.tokenizer.apply_chat_template
    prompt = template(turns, tokenize=False, add_generation_prompt=True)
    whole = template([*turns, {"role": "assistant", "content": said}], tokenize=False)
    rows = [processor(text=[text], images=pictures or None, return_tensors="pt", add_special_tokens=False) for text in (prompt, whole)]
    model = AutoModelForImageTextToText.from_pretrained(folder).float().eval()
    return model, dict(rows[1]), rows[1]["input_ids"].shape[1] - rows[0]["input_ids"].shape[1]


def test_rows_with_pictures_say_what_plain_transformers_says(of_family: tuple[Path, Model]) -> None:
    folder, model = of_family
    assert model.path == "padded"
    rows: list[list[int]] = []
    kept: list[int] = []
    wanted: list[torch.Tensor] = []
    for conversation in ASKED:
        prompt, response = model.format.prompt(conversation), model.format.response(conversation, SAID)
        transformers_model, given, behind = plain(folder / "model", conversation, SAID)
        ids = given["input_ids"][0].tolist()
        own = [model.lm.config.image_token_id if token >= FIRST else token for token in [*prompt, *response]]
        assert own == ids[: len(own)]
        assert behind == len(ids) - len(prompt)
        with torch.no_grad():
            after = transformers_model(**given).logits[0].log_softmax(-1)
        wanted.append(after[len(prompt) - 1 : len(own) - 1].gather(1, torch.tensor(response)[:, None])[:, 0])
        rows, kept = [*rows, [*prompt, *response]], [*kept, len(response)]
    with torch.no_grad():
        found = logprobs(model.lm, pack(rows, kept), dtype=FP32)[0]
    assert torch.allclose(found, torch.cat(wanted), atol=1e-4)
    blind = [[3 if token >= FIRST else token for token in row] for row in rows]
    with torch.no_grad():
        unseen = logprobs(model.lm, pack(blind, kept), dtype=FP32)[0]
    assert (unseen[: kept[0]] - found[: kept[0]]).abs().max() > 1e-2, "the picture matters"


def test_greedy_responses_to_pictures_are_those_of_transformers(of_family: tuple[Path, Model]) -> None:
    folder, model = of_family
    sampler = LocalSampler(model.lm, stop=model.format.stop, dtype=FP32)
    prompts = [model.format.prompt(conversation) for conversation in ASKED]
    drawn = sampler.sample(prompts, n=2, sampling=Sampling(temperature=0.0, max_tokens=6), generator=torch.Generator())
    rows = drawn.rows()
    assert rows[::2] == rows[1::2]
    for conversation, row, noted in zip(ASKED, rows[::2], drawn.logprobs[::2], strict=True):
        transformers_model, given, behind = plain(folder / "model", conversation, SAID)
        begun = given["input_ids"].shape[1] - behind
        for step, token in enumerate(row):
            kinds = {name: value[:, :begun] for name, value in given.items() if name in ("token_type_ids", "mm_token_type_ids")}
            told = torch.tensor([[*given["input_ids"][0, :begun].tolist(), *row[:step]]])
            kinds = {name: torch.cat([value, value.new_zeros(1, step)], 1) for name, value in kinds.items()}
            pixels = {name: value for name, value in given.items() if name not in ("input_ids", "attention_mask", *kinds)}
            with torch.no_grad():
                after = transformers_model(input_ids=told, **kinds, **pixels).logits[0, -1].log_softmax(-1)
            assert float(after[token]) == pytest.approx(float(after.max()), abs=1e-4)
            assert float(noted[step]) == pytest.approx(float(after.max()), abs=1e-4)


def test_what_a_model_has_no_place_for_is_refused(llava: Model) -> None:
    tokenizer = copy.copy(llava.format.tokenizer)
    tokenizer.chat_template = tokenizer.chat_template.replace("in message['content'] %}", "in message['content'][:2] %}")
    model = replace(llava, format=replace(llava.format, tokenizer=tokenizer))
    with pytest.raises(InputError, match="1 places for 2 pictures"):
        model.format.prompt([composed("user", [ONE, "?", TWO])])
    with pytest.raises(InputError, match="a recording without a transcript"):
        model.format.prompt([composed("user", [ONE, Media("audio", "0" * 64)])])


def test_a_recording_beside_a_picture_is_read_as_its_transcript(llava: Model) -> None:
    spoken = composed("user", [ONE, Media("audio", "0" * 64, "What is it?")])
    assert llava.format.prompt([spoken]) == llava.format.prompt([composed("user", [ONE, "What is it?"])])


def test_a_typed_picture_token_is_words(llava: Model) -> None:
    model = llava
    asked = [composed("user", [ONE, "What does <image> mean?"])]
    row = model.format.prompt(asked)
    assert sum(token >= FIRST for token in row) == sum(token >= FIRST for token in model.format.prompt(ASKED[0]))
    assert model.lm.config.image_token_id not in row
    assert "<image>" in model.format.decode(row)


def test_a_model_without_a_processor_says_so(tmp_path: Path) -> None:
    folder = seeing(tmp_path / "model", "llava")
    (folder / "processor_config.json").unlink()
    (folder / "preprocessor_config.json").unlink(missing_ok=True)
    project = Project.create(tmp_path / "project")
    model = load_model(project, str(folder))
    assert model.format.prompt([Message("user", "Who keeps the mill?")])
    with pytest.raises(InputError, match="no processor") as refused:
        model.format.prompt(ASKED[0])
    assert "preprocessor_config.json" in refused.value.hint
