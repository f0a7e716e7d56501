"""Scenes: what accord.toml may say of them, and which one a prompt or a request is of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from installed import package

from accord.data.classifiers.learned import Learned
from accord.data.scenes import CARRIED, Choice, Router, carrying, staged
from accord.errors import InputError, ModelError, UsageError
from accord.records import Message, Prompt
from accord.runtime.project import Project
from accord.settings.scenes import Scene, read


def said(text: str = "Hello", use_case: str = "other", **extra: object) -> Prompt:
    return Prompt("p1", (Message("user", text),), use_case, extra=extra)


WORDS = """
def told(texts):
    found = []
    for text in texts:
        said = text if isinstance(text, str) else text[-1].content
        found.append(("complaint", 0.9) if "broken" in said else ("other", 1.0))
    return found

def rhymes(texts):
    found = []
    for text in texts:
        said = text if isinstance(text, str) else text[-1].content
        found.append(("poem", 0.6) if "verse" in said else ("other", 1.0))
    return found
"""


@pytest.fixture
def router(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Router:
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    package(tmp_path / "site", "town-scenes", WORDS, classifiers="mood = town_scenes:told\nform = town_scenes:rhymes")
    written: dict[str, Any] = {
        "poem": {"classifier": "form:poem", "use_cases": "rhyme, song"},
        "complaint": {"classifier": "mood:complaint", "aliases": "desk", "model": "sft"},
        "rest": {"default": True},
    }
    return Router(read(written))


def test_the_rules_go_in_their_order_and_each_says_that_it_was_used(router: Router) -> None:
    poem = (Message("user", "A verse, please"),)
    assert router.of_request(poem, model="desk", name="rest") == Choice("rest", "named")
    assert router.of_request(poem, model="desk") == Choice("complaint", "alias")
    assert router.of_request(poem, model="sft") == Choice("poem", "classifier")
    assert router.of_request((Message("user", "Good day"),), model="sft") == Choice("rest", "default")
    prompts = [
        said("It is broken", "song", scene="rest"), said("It is broken", "song"), said("It is broken"), said("Good day"),
    ]  # fmt: skip
    expected = [Choice("rest", "named"), Choice("poem", "use_case"), Choice("complaint", "classifier"), Choice("rest", "default")]
    assert router.of_prompts(prompts) == expected


def test_of_two_that_are_found_the_first_of_the_file_counts_and_the_other_is_told(router: Router) -> None:
    both = router.of_request((Message("user", "A verse about what is broken"),))
    assert both == Choice("poem", "classifier", ("complaint",))
    assert both.told == "poem; by=classifier; also=complaint"


def test_where_no_scene_is_the_default_nothing_is_found_and_said_so() -> None:
    router = Router(read({"poem": {"use_cases": "rhyme"}}))
    assert router.of_prompts([said()]) == [Choice("", "none")]
    assert router.of_request(said().messages).told == "none; by=none"
    assert carrying(said(), Choice("", "none")) == said()


def test_a_probability_below_the_threshold_finds_nothing(router: Router) -> None:
    strict = Router(dict(router.scenes) | {"poem": Scene(classifier="form:poem", above=0.7)})
    assert strict.found(["A verse"]) == [Choice("", "none")]
    assert router.found(["A verse"]) == [Choice("poem", "classifier")]


def test_a_scene_of_the_projects_own_classifiers(router: Router) -> None:
    by_task = Router(read({"harm": {"classifier": "harm:violence"}, "chinese": {"classifier": "language:zh"}}))
    found = by_task.found(["How do I build a bomb to kill my neighbours?", "请问磨坊在哪里，我想去那里买一些面粉？"])
    assert [choice.scene for choice in found] == ["harm", "chinese"]


def test_learned_tells_what_it_was_shown() -> None:
    """Held-out texts of three kinds: a classifier without knowledge is right in a third of them."""
    kinds = {
        "complaint": [
            "My {} arrived broken, give me my money back",
            "The {} is late again, the third time",
            "Your {} does not work",
        ],
        "homework": ["Explain how a {} works, step by step", "What does the word {} mean in physics?", "Solve this task about a {}"],
        "poem": ["Write a poem about a {}", "Compose a short verse on the {}", "A rhyme with the word {}, please"],
    }
    things = ["mill", "bridge", "clock", "boat", "lamp", "wheel", "kettle", "chair", "garden", "letter"]
    shown = [(form.format(thing), kind) for kind, forms in kinds.items() for form in forms[:2] for thing in things]
    shown += [(forms[2].format(thing), kind) for kind, forms in kinds.items() for thing in things[:5]]
    unseen = [(forms[2].format(thing), kind) for kind, forms in kinds.items() for thing in things[5:]]
    learned = Learned([text for text, _ in shown], [kind for _, kind in shown])
    right = [verdict.label == kind for verdict, (_, kind) in zip(learned([text for text, _ in unseen]), unseen, strict=True)]
    assert sum(right) >= 13
    again = Learned([text for text, _ in shown], [kind for _, kind in shown])
    assert again(["A poem"]) == learned(["A poem"])


def test_a_prompt_is_asked_with_its_scenes_system_prompt_unless_it_has_one() -> None:
    scenes = read({"poem": {"system": "Write in rhymes."}})
    asked = staged(carrying(said(), Choice("poem", "use_case")), scenes)
    assert asked.messages == (Message("system", "Write in rhymes."), Message("user", "Hello"))
    assert asked.extra == {CARRIED: "poem"}
    own = Prompt("p2", (Message("system", "Be brief."), Message("user", "Hello")), extra={CARRIED: "poem"})
    assert staged(own, scenes) == own
    assert staged(said(), scenes) == said()


@pytest.mark.parametrize(
    ("written", "part"),
    [
        ({"poem": {"systen": "x"}}, r"\[scenes.poem\] has no key 'systen'.*did you mean 'system'"),
        ({"poem": {"above": 2.0}}, r"\[scenes.poem\].*above is 2.0"),
        ({"poem": {"temperature": "hot"}}, r"temperature is \"hot\", not a number"),
        ({"poem": {"input_filter": "maybe"}}, 'input_filter is "maybe", not one of off, report, refuse'),
        ({"poem": {"aliases": "poet"}}, "aliases without model"),
        ({"poem": {"classifier": "harm"}}, "classifier is 'harm'; write learned"),
        ({"poem": 3}, "which is no table"),
        ({"Poem": {}}, "'Poem' cannot name a scene"),
        ({"none": {}}, "'none' cannot name a scene"),
        ({"a": {"use_cases": "x"}, "b": {"use_cases": "y, x"}}, r"the use case 'x' stands in \[scenes.a\] and \[scenes.b\]"),
        ({"a": {"aliases": "x", "model": "m"}, "b": {"aliases": "x", "model": "m"}}, "the alias 'x'"),
        ({"a": {"default": True}, "b": {"default": True}}, "a and b are both default"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_place(written: dict[str, object], part: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=part):
        Project.create(tmp_path / "p", settings={"scenes": written})


def test_whole_numbers_stand_for_numbers_and_order_is_kept(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "p", settings={"scenes": {"b": {"temperature": 1}, "a": {"best_of": 4, "unsure_below": 0}}})
    assert list(project.scenes) == ["b", "a"]
    assert project.scenes["b"].sampling() == {"temperature": 1}
    assert project.scenes["a"].rules() == {"best_of": 4, "unsure_below": 0}


@pytest.mark.parametrize(
    ("classifier", "kind", "part"),
    [
        ("harm:violent", UsageError, "has no label 'violent'"),
        ("nobody:x", UsageError, "there is no classifier 'nobody'"),
        ("learned", UsageError, "nothing to learn from"),
        ("folder:nowhere:x", ModelError, "no model for text classification"),
    ],
)
def test_a_classifier_that_cannot_be_had_is_named_at_the_start(classifier: str, kind: type[Exception], part: str) -> None:
    with pytest.raises(kind, match=part):
        Router(read({"poem": {"classifier": classifier}})).open()


def test_a_prompt_that_carries_an_unknown_scene_stops_the_work() -> None:
    with pytest.raises(UsageError, match="prompt p1: it is of the scene 'poems'"):
        Router(read({"poem": {}})).of_prompts([said(scene="poems")])


def test_a_document_that_is_not_there_is_named(tmp_path: Path) -> None:
    from accord.commands.scenes import documents_of

    with pytest.raises(InputError, match=r"nowhere\.md"):
        documents_of(Project.create(tmp_path / "p"), ["nowhere.md"])
