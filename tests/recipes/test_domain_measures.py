"""What the recipes' rewards, measures and users say of answers that were written by hand, good ones and bad ones, in both languages."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from accord.runtime import recipes, sandbox
from accord.runtime.own_code import imported

NAMES = ("code", "recommend", "support", "tutor", "writing")
LANGUAGES = ("en", "zh")


def part(recipe: str, address: str) -> Any:
    """An object of a recipe's code, as a project's commands import it."""
    return imported(address, recipes.find(recipe), where="test", hint="")


def rows(recipe: str, language: str) -> list[dict[str, Any]]:
    text = (recipes.find(recipe) / f"prompts.{language}.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


def turns(row: dict[str, Any]) -> list[dict[str, str]]:
    return row.get("messages") or [{"role": "user", "content": row["prompt"]}]


def as_seen(recipe: str, language: str) -> list[dict[str, Any]]:
    """The prompts as a measure and an environment see them."""
    return [{**row, "messages": turns(row), "id": str(i), "seed": i} for i, row in enumerate(rows(recipe, language))]


def measured(recipe: str, language: str, answer: Callable[[dict[str, Any]], str]) -> dict[str, Any]:
    """A recipe's measure of a model that answers each prompt so, whatever was said since."""
    seen = as_seen(recipe, language)
    known = {row["messages"][-1]["content"]: row for row in seen}

    def answers(asked: Sequence[Any]) -> list[str]:
        return [answer(next(known[t["content"]] for t in reversed(talk) if t["content"] in known)) for talk in asked]

    found = part(recipe, f"measures:{recipe}")(answers, [], seen)
    return {name: sum(value) / len(value) if isinstance(value, list) else value for name, value in found.items()}


@pytest.fixture(autouse=True)
def modules_as_before() -> Iterator[None]:
    before = {name: sys.modules.get(name) for name in ("rewards", "users", "measures")}
    yield
    for name, module in before.items():
        sys.modules.pop(name, None)
        if module is not None:
            sys.modules[name] = module


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("recipe", NAMES)
def test_prompts_are_sixty_and_each_its_own(recipe: str, language: str) -> None:
    found = rows(recipe, language)
    texts = [turns(row)[-1]["content"] for row in found]
    assert len(found) == len(set(texts)) == 60
    assert len({row["user"] for row in found}) == 60
    splits = [row["split"] for row in found]
    assert splits.count("train") >= 36
    assert min(splits.count("validation"), splits.count("test")) >= 7
    assert {row["use_case"] for row in found if row["split"] == "test"} <= {row["use_case"] for row in found if row["split"] == "train"}
    openings = [text[: 24 if language == "en" else 8] for text in texts]
    assert max(openings.count(each) for each in openings) <= 4, "prompts begin alike"
    hanzi = [any("\u4e00" <= letter <= "\u9fff" for letter in text) for text in texts]
    assert all(hanzi) if language == "zh" else not any(hanzi)


REPLIES = {
    "en": (
        "I'm sorry, and thank you for telling us. We'll send a refund.",
        "Calm down. Obviously you should have read it.",
        "refund",
    ),
    "zh": ("非常抱歉，理解您的心情，我们马上给您退款或换货。", "冷静点，都说了是你自己的错。", "退款"),
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_support_tells_help_from_scolding(language: str) -> None:
    good, bad, remedy = REPLIES[language]
    tone_of, resolves = part("support", "rewards:tone_of"), part("support", "rewards:resolves")
    assert tone_of(good, "angry") == 1 > tone_of(good[:2], "angry") > tone_of(bad, "angry") == -1 == tone_of("", "calm")
    assert resolves(good, [remedy])
    assert not resolves(bad, [remedy])
    assert not resolves({"en": "We cannot refund this.", "zh": "这个不能退款。"}[language], [remedy]), "a refusal resolves nothing"
    helpful = measured("support", language, lambda row: f"{good[:12]} {row['extra']['resolved_by'][0]}.")
    scolding = measured("support", language, lambda _: bad)
    assert (helpful["resolved"], helpful["turns"], helpful["customers"]) == (1, 1, 60)
    assert (scolding["resolved"], scolding["turns"]) == (0, 5)
    assert helpful["tone"] > 0 > scolding["tone"] == -1
    assert helpful["resolved_angry"] == 1


def test_a_customer_tells_what_it_is_asked_and_leaves_when_it_is_scolded() -> None:
    row = next(row for row in as_seen("support", "en") if row["extra"]["mood"] == "annoyed" and row["extra"].get("tells"))
    customer = part("support", "users:Customer")()
    said = customer.reset(row)
    said.append({"role": "assistant", "content": "I'm sorry. Please tell me the order number."})
    told, reward, done, _ = customer.step(said)
    assert (reward, done) == (0, False)
    assert row["extra"]["tells"]["order number"] in told[0]["content"]
    said += [*told, {"role": "assistant", "content": f"Thank you, {row['extra']['resolved_by'][0]} it is."}]
    _, reward, done, info = customer.step(said)
    assert done
    assert info["resolved"] == 1
    assert 0.9 < reward < 1.2
    customer.reset(row)
    moods = [customer.step([{"role": "assistant", "content": REPLIES["en"][1]}])[2] for _ in range(2)]
    assert moods == [False, True], "two rude replies end an annoyed customer's patience"


def quiz_of(row: dict[str, Any]) -> str:
    """Questions that quote the text: the last words of a sentence are left to the answer."""
    extra, lines = row["extra"], list[str]()
    chinese = any("\u4e00" <= letter <= "\u9fff" for letter in extra["text"])
    for sentence in filter(None, (each.strip() for each in re.split(r"[.。；：]", extra["text"]))):
        if chinese:
            lines.append(f"问：{sentence[:-3]}什么？\n答：{sentence[-3:]}")
        else:
            words = sentence.split()
            lines.append(f"Q: {' '.join(words[:-2])} what?\nA: {' '.join(words[-2:])}")
    return "\n".join(lines)


FOREIGN = {"en": "Q: Who wrote Hamlet?\nA: Shakespeare", "zh": "问：谁写了《红楼梦》？\n答：曹雪芹"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_tutor_knows_questions_that_the_text_answers(language: str) -> None:
    helps = {"en": "What do you think comes first?", "zh": "你觉得第一步该怎么想？"}[language]
    hard = {
        "en": "Notwithstanding considerable methodological heterogeneity, epidemiological investigations corroborate "
        "institutionalisation's deleterious consequences for intergenerational accountability.",
        "zh": "诠释学视阈中先验范畴之演绎，尤须审慎厘清其与经验诸表象间错综缠绕、彼此纠葛之辩证关联，方能窥其堂奥而免蹈窠臼。",
    }[language]
    good = measured("tutor", language, lambda row: quiz_of(row) if row["extra"].get("questions") else helps)
    bad = measured("tutor", language, lambda row: FOREIGN[language] + "\n" + str(row["extra"].get("solution", "")))
    assert good["answerable"] > 0.8
    assert bad["answerable"] == 0, "a question about something else"
    assert (good["asks_back"], bad["asks_back"]) == (1, 0)
    assert measured("tutor", language, lambda _: hard)["right_level"] == 0
    assert measured("tutor", language, lambda _: helps)["right_level"] == 1
    assert measured("tutor", language, lambda _: "")["right_level"] == 0


def test_a_quiz_is_read_in_the_forms_that_models_write() -> None:
    pairs = part("tutor", "rewards:pairs")
    assert pairs("Q: Who?\nA: Ann.\n\nQ2: Where?\nA2: Here.") == [("Who?", "Ann."), ("Where?", "Here.")]
    assert pairs("1. 问题：谁？\n答案：小明。\n问：哪里？\n答：家里。") == [("谁？", "小明。"), ("哪里？", "家里。")]
    assert pairs("Who? Ann.") == []
    answered_by = part("tutor", "rewards:answered_by")
    text = "The lamp burns gas. In 1923 electric lamps came."
    assert answered_by("When did electric lamps come?", "In 1923.", text)
    assert not answered_by("When did electric lamps come in 1923?", "In 1923.", text), "the question holds its answer"
    assert not answered_by("When did electric lamps come?", "In 1911.", text)
    same = "Q: When did electric lamps come?\nA: 1923\n" * 2
    assert part("tutor", "rewards:quiz_share")(same, text, 2) == 0.5, "the same question twice is one"


def test_a_pupil_finds_the_solution_by_a_hint_and_not_by_being_told() -> None:
    row = next(row for row in as_seen("tutor", "en") if row["extra"].get("solution") == "24")
    worth = list[float]()
    for reply in ("Imagine tiles: how many rows are there?", "It is 24.", "Well."):
        pupil = part("tutor", "users:Classroom")()
        said = [*pupil.reset(row), {"role": "assistant", "content": reply}]
        _, reward, done, _ = pupil.step(said)
        worth.append(reward if done else -1)
    assert worth == [1.0, 0.2, -1]
    teacher = part("tutor", "users:Classroom")()
    row = next(row for row in as_seen("tutor", "zh") if row["extra"].get("questions"))
    said, _, done, _ = teacher.step([*teacher.reset(row), {"role": "assistant", "content": FOREIGN["zh"] * 1}])
    assert not done
    assert str(row["extra"]["questions"]) in said[0]["content"] or "第1题" in said[0]["content"]


FORMS: list[tuple[dict[str, Any], str, str]] = [
    ({"lines": 2}, "one\n\ntwo", "one two"),
    ({"syllables": [5, 7, 5]}, "The last bus is gone\nrain counts the empty benches\nI begin to walk", "No bus\nno bus\nno bus"),
    ({"first_letters": "STAY"}, "Sun\nTea\nAsh\nYes", "Sun\nTea\nAsh\nNo"),
    ({"first_letters": "春暖花开"}, "春风\n暖阳\n花雨\n开门", "春风\n暖阳\n花雨"),
    ({"words": [3, 5]}, "We mend what opens.", "We mend."),
    ({"characters": [4, 6]}, "别扔，还能撑。", "别扔，它还想再撑一撑呢。"),
    ({"each_line": [7, 7]}, "雨洗青苔石板新，\n巷深犹有卖花人。", "雨洗青苔，\n巷深犹有卖花人。"),
    ({"sentences": 2}, "It rained. Nobody came.", "It rained and nobody came."),
    ({"sentences": 2}, "下雨了。没有人来！", "下雨了，没有人来。"),
    ({"must": ["bread"], "avoid": ["best"]}, "Bread, still warm.", "The best breadth."),
    ({"avoid": ["love"]}, "A glove on the stair.", "All you need is love."),
    ({"starts": "Nobody"}, '"Nobody knew," he wrote.', "Everybody knew."),
    ({"ends": "？"}, "您有锤子吗？", "我有锤子。"),
    ({"dialogue": True}, "Lock: Wait.\nKey: I turn.", "Wait.\nI turn."),
    ({"language": "zh", "avoid": ["雪"]}, "北风过境，OK 的。", "The north wind passes. 风"),
    ({"paragraphs": 2}, "One.\n\nTwo.", "One.\nTwo."),
    ({"words_a_line": 3}, "a b c\nd", "a b c d"),
]


@pytest.mark.parametrize(("form", "good", "bad"), FORMS)
def test_writing_counts_what_a_form_asks_for(form: dict[str, Any], good: str, bad: str) -> None:
    kept_share = part("writing", "rewards:kept_share")
    assert kept_share(good, form) == 1
    assert kept_share(bad, form) < 1
    assert kept_share("", form) == 0


def test_every_form_of_the_prompts_is_known_and_a_typing_mistake_is_not() -> None:
    checks = part("writing", "rewards:checks")
    for language in LANGUAGES:
        for row in rows("writing", language):
            extra = row["extra"]
            for form in (extra["form"], extra.get("then", {}).get("form", {})):
                checks("a", form)
    with pytest.raises(ValueError, match="no 'line'"):
        checks("a", {"line": 2})


def test_writing_sees_one_poem_for_all_and_the_prompt_said_again() -> None:
    poem = "The kettle sings of harbours it has never seen, and nobody corrects it."
    same = measured("writing", "en", lambda _: poem)
    echo = measured("writing", "en", lambda row: turns(row)[-1]["content"])
    own = measured("writing", "en", lambda row: " ".join(f"{row['user']}{word}" for word in poem.split()))
    assert same["novelty"] == 0
    assert echo["novelty"] == 0
    assert own["novelty"] == 1
    assert measured("writing", "zh", lambda _: "山高月小水落石出")["novelty"] == 0
    assert measured("writing", "en", lambda _: "no no no no no")["own_words"] < 0.5 < same["own_words"]
    assert measured("writing", "zh", lambda _: "1. 春天来了春天来了春天来了春天来了")["own_words"] < 0.5, "the digit is not all of the text"


def test_an_editor_sends_back_what_breaks_the_form_and_then_changes_its_mind() -> None:
    row = next(row for row in as_seen("writing", "en") if row["extra"]["form"] == {"sentences": 6} and row["extra"].get("then"))
    editor = part("writing", "users:Editor")()
    six = "It burned. She sat. Tea cooled. Rain came. It stopped. She rose."
    talk = editor.reset(row)
    steps = [editor.step([*talk, {"role": "assistant", "content": text}]) for text in (six, six, "It burned. She sat. Rain came.")]
    assert [done for _, _, done, _ in steps] == [False, False, True]
    assert "three" in steps[0][0][0]["content"]
    assert "sentences" in steps[1][0][0]["content"]
    assert steps[2][1] == pytest.approx(0.9)


@pytest.mark.parametrize("language", LANGUAGES)
def test_recommend_measures_hits_and_regret_of_held_out_choices(language: str) -> None:
    say = {"en": "I'd recommend {}, because it fits what you said.", "zh": "我推荐{}，因为正好符合您说的。"}[language]

    def ranked(row: dict[str, Any]) -> list[str]:
        return sorted(row["extra"]["options"], key=lambda name: -row["extra"]["options"][name])

    best = measured(recipe := "recommend", language, lambda row: say.format(ranked(row)[0]))
    worst = measured(recipe, language, lambda row: say.format(ranked(row)[-1]))
    everything = measured(recipe, language, lambda row: say.format(" / ".join(ranked(row))))
    assert (best["hit"], best["regret"], best["reason"]) == (1, 0, 1)
    assert worst["hit"] == 0
    assert worst["regret"] > best["chance_regret"] > 0
    assert (everything["hit"], everything["recommends"]) == (0, 0), "to praise every option is no recommendation"
    assert 0.3 <= best["chance"] <= 0.4


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_place_among_the_options_is_right_more_often(language: str) -> None:
    places = [0, 0, 0]
    for row in rows("recommend", language):
        options, text = row["extra"]["options"], row["prompt"].lower()
        order = sorted(options, key=lambda name: text.index(name.lower()))
        assert len(order) == 3
        places[order.index(max(options, key=lambda name: options[name]))] += 1
    assert min(places) >= 15, places


def test_recommended_reads_what_is_advised_against() -> None:
    recommended = part("recommend", "rewards:recommended")
    options = ["Loom", "Sword of Fate"]
    assert recommended("Avoid Sword of Fate. I suggest Loom.", options) == "Loom"
    assert recommended('Not "Sword of Fate"; go for *Loom*!', options) == "Loom"
    assert recommended("Loom is about weavers.", options) == "Loom"
    assert recommended("There is Loom and there is Sword of Fate.", options) == ""
    assert recommended("不建议看《命运之剑》，推荐《织机》。", ["织机", "命运之剑"]) == "织机"


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_programs_tests_pass_by_its_solution_and_fail_without(language: str) -> None:
    """Run in this process: the solutions are our own. The sandbox is asked in the next test."""
    for row in rows("code", language):
        space: dict[str, Any] = {}
        exec(row["extra"]["solution"], space)
        for test in row["extra"]["tests"]:
            exec(test, space)
        failed = 0
        for test in row["extra"]["tests"]:
            try:
                exec(test, {})
            except (NameError, AssertionError):
                failed += 1
        assert failed == len(row["extra"]["tests"]) >= 2, f"{row['user']}: a test passes without a program"


def test_code_runs_the_tests_in_the_sandbox() -> None:
    if sandbox.missing():
        with pytest.raises(Exception, match="Linux"):
            part("code", "rewards:passed")(None, ["x"], [["assert True"]])
        return
    row = rows("code", "zh")[0]
    worth, tests = part("code", "rewards:worth"), row["extra"]["tests"]
    answers = [f"```python\n{row['extra']['solution']}\n```", "我不会。", "```python\ndef hide_phone(number):\n    return number\n```"]
    found = worth(None, answers, [tests] * 3)
    assert found["passed"] == [1, 0, 0]
    assert found["fenced"] == [0.1, 0, 0.1]
    reviewer = part("code", "users:Reviewer")()
    talk = reviewer.reset(as_seen("code", "zh")[0])
    steps = [reviewer.step([*talk, {"role": "assistant", "content": text}]) for text in (answers[1], answers[2], answers[0])]
    assert "```" in steps[0][0][0]["content"]
    assert tests[0] in steps[1][0][0]["content"]
    assert steps[2][1:3] == (pytest.approx(0.8), True)
