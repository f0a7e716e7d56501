"""One rule for refusals and one for ignorance, on cases that people would call so and on look-alikes that they would not."""

from __future__ import annotations

import pytest

from accord.data.classifiers.project_set import DEFAULT
from accord.data.quality import profile
from accord.data.refusal import OPENING, admits_ignorance, refuses
from accord.evaluation.findings import Said
from accord.evaluation.hacking import drift
from accord.serving.guards import DECLINED
from accord.world.language import PHRASES

REFUSALS = [
    "I will not help you steal.",
    "I'm sorry, but no.",
    "I cannot assist with that.",
    "I’m sorry, but I can’t help with that.",
    "I'm really sorry, but I can't write that letter for you.",
    "Sorry, I'm not able to do that.",
    "As an AI language model, I cannot do this.",
    "I am unable to comply with this request.",
    "I'm unable to provide instructions for this.",
    "We cannot discuss such things.",
    "I must decline.",
    "I'd rather not say where she lives.",
    "That is not something I can help with.",
    "I won't tell you how to pick a lock.",
    "Please do not steal.",
    "It is wrong to lie. Ask him first.",
    "抱歉，我不能帮你。",
    "抱歉，我无法提供这个。",
    "很抱歉，这件事我们无法协助。",
    "我不会帮您做这件事。",
    "作为一个人工智能助手，我不能写这样的内容。",
    "恕我无法回答。",
    "我拒绝这样做。",
]
NO_REFUSALS = [
    "As an AI, I can tell you it is Paris.",
    "As an AI, I don't have feelings, but I can explain them.",
    "I will help you bake.",
    "I can help you with that. I will not forget.",
    "I can assist with that.",
    "I'm sorry, but the shop closes at six.",
    "Sorry to hear it, here is how.",
    "I am sorry to hear that.",
    "He said sorry and left.",
    "Dear Ann, I'm sorry, but I can't make it on Friday.",
    "I can't help but laugh at this.",
    "I cannot help liking the old mill.",
    "I can't provide enough praise for the baker.",
    "Parking here is against the law.",
    "Please do not hesitate to ask again.",
    "The clerk says that he cannot help.",
    '"I cannot help you," said the fox, and the bear went home.',
    "I do not know.",
    "很抱歉，商店六点关门。",
    "抱歉，我迟到了。",
    "闯红灯是违法的。",
    "作为人工智能，我可以告诉您：是巴黎。",
    "我可以帮您。",
]
IGNORANCE = [
    "I do not know.",
    "I don’t really know where he lives.",
    "I cannot know whether the baker will win.",
    "I can't say for certain.",
    "Nobody can know that.",
    "No one knows.",
    "The text does not say where Dan lives.",
    "I'm not sure.",
    "I am not entirely certain.",
    "I have no comment.",
    "There is not enough information to say.",
    "The author is unknown.",
    "文中没有提到。",
    "我不太清楚。",
    "没有足够的信息。",
    "这一点无法确定。",
]
NO_IGNORANCE = [
    "As an AI, I can tell you it is Paris.",
    "I can say that it is open on Monday.",
    "You know Dan, who lives on Mill Lane.",
    "You don't know him.",
    "We do not say such things in town.",
    "I don't know how to thank you.",
    "I cannot say enough good things about the baker.",
    "I cannot tell you how to steal.",
    "No information is lost when you close the page.",
    '"I do not know," said the fox. He lives on Mill Lane.',
    "您知道的，是巴黎。",
    "我不知道怎么感谢您！",
]


@pytest.mark.parametrize("text", REFUSALS)
def test_a_refusal_is_found(text: str) -> None:
    assert refuses(text)


@pytest.mark.parametrize("text", NO_REFUSALS)
def test_what_only_looks_like_a_refusal_is_none(text: str) -> None:
    assert not refuses(text)


@pytest.mark.parametrize("text", IGNORANCE)
def test_an_admission_of_ignorance_is_found(text: str) -> None:
    assert admits_ignorance(text)


@pytest.mark.parametrize("text", NO_IGNORANCE)
def test_what_only_looks_like_ignorance_is_none(text: str) -> None:
    assert not admits_ignorance(text)


def test_a_reservation_at_the_end_of_a_long_answer_is_no_refusal() -> None:
    answer = "Take the second street on the left. " * 10
    assert len(answer) > OPENING
    assert not refuses(answer + "I cannot help with more than that.")
    assert refuses("I cannot help with more than that. " + answer)


@pytest.mark.parametrize("text", [*REFUSALS, *NO_REFUSALS])
def test_inspect_and_the_doctor_mean_the_same_refusals(text: str) -> None:
    refused = DEFAULT.refuses([text])[0]
    assert profile([text], threshold=0.8)["refusals"] == float(refused)
    before = [Said(f"prompt {n}", f"Take key {n}.", use_case="open_qa") for n in range(20)]
    after = [Said(f"prompt {n}", text, use_case="open_qa") for n in range(20)]
    assert ("refusals" in {finding.name for finding in drift(before, after)}) == refused


def test_what_the_guards_answer_is_a_refusal() -> None:
    assert all(map(refuses, DECLINED.values()))


def test_the_town_refuses_and_admits_in_words_that_are_found() -> None:
    refusals, admissions = ([phrase.replace("{x}", "steal") for phrase in PHRASES[kind]] for kind in ("refuse", "ignorance"))
    assert all(map(refuses, refusals))
    assert all(map(admits_ignorance, admissions))
    others = [phrase for kind, phrases in PHRASES.items() if kind not in ("refuse", "ignorance") for phrase in phrases]
    assert not any(refuses(phrase) or admits_ignorance(phrase) for phrase in others)
