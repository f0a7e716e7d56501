"""Hints of machine-written text: what gives a text away, what does not, near copies, and a card that can be counted by hand."""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from accord.data import machine_written, written_hints
from accord.data.classifiers.folder import FolderClassifier
from accord.data.classifiers.interface import NONE
from accord.data.classifiers.measure import Card, cards, wilson
from accord.data.classifiers.project_set import ClassifierSet
from accord.records import Demonstration, Message, Prompt, Response
from accord.settings import ClassifiersConfig

ASSISTANT = """Certainly! Here are some tips for keeping houseplants healthy:

1. **Watering**: It's important to note that each plant is different.
2. **Light**: Ensure that your plants receive enough light.

In conclusion, a little care goes a long way. I hope this helps!"""
DICKENS = (
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness, it was the epoch of "
    "belief, it was the epoch of incredulity, it was the season of Light, it was the season of Darkness."
)
LETTER = "Additionally, I wanted to ask whether the boiler was fixed. The man came on Tuesday and said it would take a week, maybe two."
LU_XUN = "我冒了严寒，回到相隔二千余里，别了二十余年的故乡去。时候既然是深冬；渐近故乡时，天气又阴晦了，冷风吹进船舱中，呜呜的响。" * 2
MODEL_ZH = (
    "当然！以下是一些建议。首先，您可以多喝水，这有助于恢复。需要注意的是，如果加重，建议您咨询医生。总之，多休息。希望这对您有帮助。"
)


@pytest.mark.parametrize(
    ("text", "flagged"),
    [
        (ASSISTANT, True),
        (MODEL_ZH, True),
        (
            "As an AI language model, I do not have a favourite food, but I can tell you what people like in many parts of the world.",
            True,
        ),
        (
            "作为一个人工智能语言模型，我没有个人的喜好，不过我可以告诉您各地的人们都喜欢吃什么，以及为什么会这样，还可以介绍一些常见的做法，供参考。",
            True,
        ),
        (f"{LETTER}<|im_end|>", True),
        (DICKENS, False),
        (LETTER, False),
        (LU_XUN, False),
        (
            "My sister works as an AI researcher, and as an engineer before that; I asked her about language models for my essay on them.",
            False,
        ),
        ("As an AI language model, I cannot.", False),  # too short: nothing is said
    ],
)
def test_what_gives_a_text_away(text: str, flagged: bool) -> None:
    assert bool(machine_written.evidence(text)) is flagged


def test_one_habit_fewer_than_needed_is_no_hint() -> None:
    few = "In conclusion, the meeting was long and nobody agreed on anything at all, as ever. Let me know if you want the minutes of it."
    assert len(machine_written.habits(few)) == machine_written.HABITS - 1
    assert machine_written.evidence(few) == []
    assert machine_written.evidence(f"Sure! {few}") != []


@pytest.mark.parametrize("piece", ["a" * 50, "**", "1. A ", "not only ", "首先，", "while x", "as an AI ", "depends ", "varies \n"])
def test_a_long_text_of_one_piece_takes_no_time(piece: str) -> None:
    start = time.process_time()
    machine_written.evidence(piece * (machine_written.LONGEST // len(piece)))
    assert time.process_time() - start < 2


def classifiers_of(name: str) -> ClassifierSet:
    return ClassifierSet(ClassifiersConfig(written=name))


def demonstration(id: str, text: str, labeler: str = "ann") -> Demonstration:
    return Demonstration(id, Prompt(f"p-{id}", (Message("user", "How do I keep plants?"),), user="u"), text, labeler)


def test_hints_are_of_people_and_name_near_copies_but_no_corrections() -> None:
    mine = " ".join(f"I water plant number {n} on day {n}." for n in range(20))
    written = [
        demonstration("a", ASSISTANT),
        demonstration("b", ASSISTANT, "bot"),
        demonstration("c", mine),
        demonstration("d-7", mine + "!"),
    ]
    responses = [Response("r1", "p-c", mine, "sft"), Response("r-7", "p-d-7", mine + "!", "correction")]
    read = written_hints.Read([written[0].prompt], written, responses, {"bot"})
    found, said = written_hints.found_in(classifiers_of(""), read, near_to=0.8)
    assert [(each.id, each.like) for each in found["machine_written_demonstrations"]] == [("a", ""), ("c", "r1")]
    assert said["demonstrations"] == {"hints": 2, "of": 3, "by_labeler": {"ann": 2}}
    assert said["prompts"]["hints"] == 0
    assert written_hints.found_in(classifiers_of("off"), read, near_to=0.8) == ({}, {})
    assert written_hints.reasons(classifiers_of("off"), [ASSISTANT]) == [[]]


def test_the_hint_is_worded_by_the_source_where_it_errs_most() -> None:
    card = cards()["written rules"]
    assert written_hints.in_ten(classifiers_of("")) == round(10 * (1 - card.precision["hardest source"].value))
    assert card.precision["hardest source"].value < card.precision["machine-written"].value
    assert card.rough, "it misses most, and says so"
    assert written_hints.in_ten(classifiers_of("folder:never-measured")) is None


def _benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    path = Path(__file__).parent.parent.parent / "benchmarks" / "measure_written.py"
    spec = importlib.util.spec_from_file_location("measure_written", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "measure_written", module)  # where its dataclasses look for their module
    spec.loader.exec_module(module)
    return module


def test_the_card_counts_as_one_would_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    measure = _benchmark(monkeypatch)
    sources = [
        measure.Source("OpenAssistant answers", False, "en", ["x"] * 10),
        measure.Source("letters", False, "en", ["x"] * 10),
        measure.Source("a model", True, "en", ["x"] * 40),
        measure.Source("an old model", True, "en", ["x"] * 5, counted=False),
        measure.Source("zh people", False, "zh", ["x"] * 4),
        measure.Source("zh model", True, "zh", ["x"] * 4),
    ]
    flags = {"OpenAssistant answers": 2, "letters": 0, "a model": 20, "an old model": 0, "zh people": 0, "zh model": 1}
    found = {each.name: [n < flags[each.name] for n in range(len(each.texts))] for each in sources}
    card: Card = measure.card_of(sources, found)
    assert card.recall["machine-written"] == wilson(21, 44)
    assert card.precision["machine-written, en"] == wilson(10, 12)  # of 20 and 20: half of the model's, and 2
    assert card.precision["hardest source"] == wilson(5, 7)  # of 10 and 10
    assert card.precision["machine-written, zh"] == wilson(1, 1)
    assert card.false_alarms == wilson(2, 24)
    assert card.texts == 68


@pytest.mark.parametrize(("people", "machine"), [("Human", "ChatGPT"), ("Real", "Fake")])
def test_a_models_label_for_people_is_no_hint(people: str, machine: str, tmp_path: Path) -> None:
    told = FolderClassifier.label_of("written", people, tmp_path), FolderClassifier.label_of("written", machine, tmp_path)
    assert told == (NONE, "machine-written")
