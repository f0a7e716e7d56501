"""What a tutor's answer is worth: quiz questions that the text answers, words of the right level, hints instead of solutions.

    accord grpo my-project --rewards "rewards:worth"
    accord label my-project --by rewards:worth          # a trial of the way, without people

Everything is read by words, in English and Chinese. A question that a teacher would call silly may pass: hold it against people.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_PAIR = re.compile(
    r"(?:^|\n)\s*(?:\d+[.)、]\s*)?(?:Q\d*|问题?\d*)\s*[:：.]\s*(.+?)\s*\n+\s*(?:A\d*|答案?\d*)\s*[:：.]\s*(.+?)(?=\n|$)", re.IGNORECASE
)
_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?|\d+(?:\.\d+)?|[\u4e00-\u9fff]", re.IGNORECASE)
_ENGLISH = (
    "a an and are as at be been but by can could did do does for from had has have he her his how i if in into is it its may more most "
    "my no not of on one or our out she so some than that the their them then there they this to up was we were what when where which "
    "who why will with would you your"
)
SMALL = frozenset((*_ENGLISH.split(), *"的了是在和有不也就都而被把它他她们这那个一么什哪谁几多少吗呢为怎样里上下"))
"""Words that say nothing about a text's subject."""
COMMON = frozenset(
    "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同工也能下过子说产种面而方后多定行学法所民得经十三之进着等部度家电力里如水化高自二理起小物"
    "现实加量都两体制机当使点从业本去把性好应开它合还因由其些然前外天政四日那社义事平形相全表间样与关各重新线内数正心反你明看原又么利比或但质气第向道命此变条只没结解问意建月公无"
    "系军很情者最立代想已通并提直题党程展五果料象员革位入常文总次品式活设及管特件长求老头基资边流路级少图山统接知较将组见计别她手角期根论运农指几九区强放决西被干做必战先回则任取据"
    "处队南给色光门即保治北造百规热领七海口东导器压志世金增争济阶油思术极交受联什认六共权收证改清己美再采转更单风切打白教速花带安场身车例真务具万每目至达走积示议声报斗完类八离华名确"
    "才科张信马节话米整空元况今集温传土许步群广石记需段研界拉林律叫且究观越织装影算低持音众书布复容儿须际商非验连断深难近周素技备半办青省列习响约支般史感便团往酸历市克何除消构府称太"
    "准精值号率族维划选标写存候毛亲快效院查江型眼王按格养易置派层片始却专状育京识适属圆包火住调满县局照参红细引听该铁价吃喝爱笑跑飞鸟鱼猫狗树叶草雨雪冰冷睡觉早晚妈爸奶爷弟妹哥姐孩朋友"
)
"""Frequent characters, which children read first."""


def pairs(text: str) -> list[tuple[str, str]]:
    """Return the questions of a quiz with their answers: lines that begin with Q: and A:, or 问： and 答：."""
    return [(question, answer) for question, answer in _PAIR.findall(text)]


def words(text: str) -> list[str]:
    """Return the words that say something, in small letters; in Chinese the characters."""
    return [word for word in _WORD.findall(text.lower()) if word not in SMALL]


def answered_by(question: str, answer: str, text: str) -> bool:
    """Return whether a text answers a question: its answer's words stand in the text, and the question is about that place.

    The question must share a word with the sentences that hold the answer, and must not contain the answer itself.
    """
    given, asked = set(words(answer)), set(words(question))
    if not given or not asked or given <= asked:
        return False
    sentences = [sentence for sentence in re.split(r"(?<=[.!?。！？；])\s*", text) if sentence]
    if len(given - set(words(text))) > 0.34 * len(given):
        return False
    holding = [sentence for sentence in sentences if given & set(words(sentence))]
    return any(asked & set(words(sentence)) for sentence in holding)


def quiz_share(response: str, text: str, count: int) -> float:
    """Return the share of the wished questions that are there, different, and answered by the text."""
    seen, good = set[str](), 0
    for question, answer in pairs(response):
        key = " ".join(words(question))
        good += key not in seen and answered_by(question, answer, text)
        seen.add(key)
    return min(good, count) / max(count, 1)


def syllables(word: str) -> int:
    """Return a word's syllables in English, by its groups of vowels."""
    groups = len(re.findall(r"[aeiouy]+", word))
    silent = word.endswith("e") and not word.endswith(("le", "ee")) and groups > 1
    return max(groups - silent, 1)


def grade(response: str) -> float:
    """Return the school grade that a text asks for.

    English by Kincaid et al. 1975 (0.39 words per sentence + 11.8 syllables per word - 15.59). Chinese by a rule of ours: characters per
    sentence, and the share of characters that are not among the frequent ones. Neither knows whether the thought is hard.
    """
    sentences = [each for each in re.split(r"[.!?。！？；\n]+", response) if _WORD.search(each)]
    if not sentences:
        return 99.0
    hanzi = [letter for letter in response if "\u4e00" <= letter <= "\u9fff"]
    if hanzi:
        rare = sum(letter not in COMMON for letter in hanzi) / len(hanzi)
        return max(1.0, 0.3 * len(hanzi) / len(sentences) + 10 * rare - 1)
    said = re.findall(r"[a-z']+", response.lower())
    if not said:
        return 1.0
    return max(1.0, 0.39 * len(said) / len(sentences) + 11.8 * sum(map(syllables, said)) / len(said) - 15.59)


def fits_level(response: str, level: float, above: float = 2.0) -> bool:
    """Return whether a text asks for no more than a grade, and a little above."""
    return grade(response) <= level + above


def gives_away(response: str, solution: str) -> bool:
    """Return whether a reply states the solution that a pupil is to find."""
    return re.sub(r"\s", "", solution.lower()) in re.sub(r"\s", "", response.lower())


def worth(
    prompts: object,
    responses: Sequence[str],
    level: Sequence[float],
    text: Sequence[str | None] = (),
    questions: Sequence[int | None] = (),
    solution: Sequence[str | None] = (),
) -> list[Mapping[str, float | None]]:
    """The parts of each answer: ``quiz`` for a quiz, ``hint`` for a pupil who asks for help, ``level`` for all."""
    none = [None] * len(responses)
    found = list[Mapping[str, float | None]]()
    for reply, grade_of, passage, count, right in zip(responses, level, text or none, questions or none, solution or none, strict=True):
        quiz = quiz_share(reply, passage, count) if passage and count else None
        hint = None
        if right:
            hint = 0.0 if gives_away(reply, right) else float("?" in reply or "？" in reply)
        fits = float(bool(reply.strip()) and fits_level(reply, grade_of))
        found.append({"quiz": quiz, "hint": hint, "level": 0.5 * fits})
    return found
