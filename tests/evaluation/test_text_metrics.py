"""Text metrics against independent values: rouge-score's, SQuAD's rules, a plain recursion, and figures worked out by hand."""

from __future__ import annotations

import math
import random
from functools import cache
from pathlib import Path

import pytest

from accord.errors import InputError
from accord.evaluation import text_metrics
from accord.evaluation.text_metrics import METRICS, Information, against, corpus_bleu, coverage, rouge_l, rouge_n, ter, token_f1, tokens

PAGE = (Path(__file__).parents[2] / "docs" / "texts.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("text", "reference", "one", "two", "longest"),
    [  # by rouge-score 0.1.2, use_stemmer=False
        ("The mill sells bread.", "Bread is sold at the old mill.", 0.545455, 0.0, 0.363636),
        ("Ada doesn't know, she said; 3.5 loaves!", "She said that Ada does not know: 3.5 loaves.", 0.736842, 0.352941, 0.526316),
        ("police killed the gunman", "police kill the gunman", 0.75, 0.333333, 0.75),
        ("a b c d e f g", "g f e d c b a", 1.0, 0.0, 0.142857),
        ("", "x", 0.0, 0.0, 0.0),
    ],
)
def test_rouge_is_rouge_scores_in_english(text: str, reference: str, one: float, two: float, longest: float) -> None:
    found = rouge_n(text, [reference], 1), rouge_n(text, [reference], 2), rouge_l(text, [reference])
    assert found == pytest.approx((one, two, longest), abs=1e-6)


def test_chinese_is_compared_by_character() -> None:
    """Seven characters of the reference's six: six in common, in order; five common pairs of six and five."""
    said, reference = "面包在磨坊出售。", "面包在磨坊卖。"
    assert tokens("Ada说：面包3个！") == ["ada", "说", "面", "包", "3", "个"]
    assert rouge_n(said, [reference], 1) == pytest.approx(2 * 5 / (7 + 6))
    assert rouge_n(said, [reference], 2) == pytest.approx(2 * 4 / (6 + 5))
    assert rouge_l(said, [reference]) == pytest.approx(2 * 5 / (7 + 6))
    assert token_f1(said, [reference]) == pytest.approx(2 * 5 / (7 + 6))
    assert ter(said, [reference]) == pytest.approx(2 / 7), "a character is changed, one is added; the stop counts"
    assert all(0 < METRICS[name](said, [reference]) < 1 for name in ("bleu", "chrf"))


def test_the_longest_common_subsequence_is_the_plain_recursions() -> None:
    rng = random.Random(0)
    for _ in range(60):
        one, other = ([rng.choice("abcd") for _ in range(rng.randrange(9))] for _ in range(2))

        @cache
        def longest(i: int, j: int, one: tuple[str, ...] = tuple(one), other: tuple[str, ...] = tuple(other)) -> int:
            if i == len(one) or j == len(other):
                return 0
            return longest(i + 1, j + 1) + 1 if one[i] == other[j] else max(longest(i + 1, j), longest(i, j + 1))

        common = longest(0, 0)
        f1 = 2 * common / (len(one) + len(other)) if common else 0.0
        assert rouge_l(" ".join(one), [" ".join(other)]) == pytest.approx(f1)


def test_equal_texts_are_as_near_as_can_be_and_others_are_not() -> None:
    text = "Bread is sold at the old mill by the river."
    near, far = against([text, text], [[text], ["Nobody knows when Bert was born."]]), {"ter"}
    for name, (same, other) in near.items():
        assert same == pytest.approx(0.0 if name in far else 1.0), name
        assert (other > 0.5) if name in far else (other < 0.3), name
    assert corpus_bleu([text, text], [[text], [text, "x"]]) == pytest.approx(1.0)
    best = against(["the mill"], [["Bert", "The Mill!"]])
    assert (best["exact"], best["token_f1"], best["rouge_1"]) == ([1.0], [1.0], [1.0])


def test_squads_rules() -> None:
    """Articles, case and punctuation do not count; words count as often as they stand in both."""
    assert METRICS["exact"]("The Mill.", ["mill"]) == 1
    assert token_f1("a dog and a dog", ["the dog"]) == pytest.approx(2 * 1 / (3 + 1))
    assert token_f1("", [""]) == 1
    assert token_f1("", ["x"]) == 0


def test_a_long_text_has_no_edit_rate_rather_than_a_wait() -> None:
    assert math.isnan(ter("word " * 101, ["word"]))
    assert math.isfinite(ter("word " * 100, ["word"]))


def test_what_has_no_reference_is_refused() -> None:
    with pytest.raises(InputError, match="each text needs a reference"):
        against(["a"], [[]])


def test_coverage_counts_answers_and_intents() -> None:
    said = ["At the mill.", "I do not know.", "  ", "I cannot help with that.", "我不知道。"]
    by_text, by_intent = coverage(said, ["qa", "qa", "chat", "harmful", "chat"])
    assert by_text == [1, 0, 0, 0, 0]
    assert by_intent == [1, 0, 0]


def test_information_is_lost_by_repetition_echo_and_filler() -> None:
    """With four words in equal shares a new word is worth about two bits."""
    known = Information(["mill bread ada bert"] * 1000)
    assert known.per_word("mill bread") == pytest.approx(2, abs=0.01)
    assert known.per_word("mill mill mill mill") == pytest.approx(0.5, abs=0.01)
    assert known.per_word("mill bread", prompt="Where is the mill?") == pytest.approx(1, abs=0.01)
    assert known.per_word("...") == 0


def test_every_metric_has_its_source_and_range_in_the_docs() -> None:
    others = {"corpus_bleu", "referenced", "coverage", "coverage_intents", "information", "embedded_by"}
    differing = {"distinct_1", "distinct_2", "self_bleu", "semantic_spread"}
    assert not [name for name in {*METRICS, *others, *differing} if f"`{name}`" not in PAGE]
    rows = [line for line in PAGE.splitlines() if line.startswith("| `")]
    assert all(line.count("|") == 4 and line.split("|")[2].strip() for line in rows), "a metric without a range"
    assert text_metrics.__doc__
