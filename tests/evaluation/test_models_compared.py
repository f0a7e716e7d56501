"""Win rates, criteria, made-up answers and the alignment tax, on a judge whose verdicts are written down here."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from accord.errors import InputError
from accord.evaluation.tax import alignment_tax
from accord.evaluation.truth import made_up_share
from accord.evaluation.win_rate import CRITERIA, criteria, judge_all, win_rate
from accord.records import Judgement, Message, Prompt


@dataclass(frozen=True)
class Scripted:
    """A judge that reads its verdict out of the response: "0.8" is a utility, a trailing ! is made up."""

    def judge(self, prompt: Prompt, response: str) -> Judgement:
        value = float(response.rstrip("!"))
        return Judgement(value, 1 - value, 1.0, 0.5, value, made_up=response.endswith("!"))


PROMPTS = [Prompt(str(n), (Message("user", "?"),), use_case="chat" if n % 2 else "extract") for n in range(40)]
GOOD, BAD = ["0.9"] * 40, ["0.1"] * 40


def test_a_model_that_always_wins_has_rate_one_no_ties_and_an_exact_interval() -> None:
    rate = win_rate(Scripted(), PROMPTS, GOOD, BAD)
    assert (rate.mean, rate.high, rate.ties, rate.prompts) == (1.0, 1.0, 0.0, 40)
    assert rate.low == pytest.approx(0.025 ** (1 / 40)), "40 wins of 40 are seen in 2.5% of samples from a rate this low"


def test_a_model_against_itself_ties_everywhere_at_one_half() -> None:
    rate = win_rate(Scripted(), PROMPTS, GOOD, GOOD)
    assert (rate.mean, rate.low, rate.high, rate.ties) == (0.5, 0.5, 0.5, 1.0)


def test_swapping_the_models_mirrors_the_interval() -> None:
    mixed = ["0.95" if n < 25 else "0.05" for n in range(40)]
    there, back = win_rate(Scripted(), PROMPTS, mixed, GOOD), win_rate(Scripted(), PROMPTS, GOOD, mixed)
    assert there.mean == 25 / 40
    assert back.interval == pytest.approx((1 - there.mean, 1 - there.high, 1 - there.low), abs=0.03)


def test_use_cases_are_told_apart() -> None:
    chat_only = ["0.95" if prompt.use_case == "chat" else "0.05" for prompt in PROMPTS]
    rates = win_rate(Scripted(), PROMPTS, chat_only, GOOD).by_use_case
    assert {case: rate.mean for case, rate in rates.items()} == {"chat": 1.0, "extract": 0.0}


def test_criteria_are_the_judges_means() -> None:
    means = criteria(judge_all(Scripted(), PROMPTS, ["0.2"] * 20 + ["0.4"] * 20))
    assert tuple(means) == CRITERIA
    assert [round(means[name].mean, 6) for name in CRITERIA] == [0.3, 0.7, 1.0, 0.5, 0.3]
    assert means["helpful"].low < 0.3 < means["helpful"].high


def test_made_up_answers_are_counted() -> None:
    words = judge_all(Scripted(), PROMPTS, ["0.5!"] * 10 + ["0.5"] * 30)
    assert made_up_share([[word] for word in words]).mean == 0.25


def test_one_response_a_prompt_or_an_error() -> None:
    with pytest.raises(InputError, match="40 prompts but 39 responses"):
        win_rate(Scripted(), PROMPTS, GOOD, BAD[1:])
    with pytest.raises(InputError, match="at least one"):
        win_rate(Scripted(), [], [], [])


def test_alignment_tax_is_the_relative_rise_of_the_loss() -> None:
    tax = alignment_tax(2.0, 2.1)
    assert tax.tax == pytest.approx(0.05)
    assert alignment_tax(2.0, 1.9).tax < 0


@pytest.mark.parametrize("losses", [(0.0, 1.0), (1.0, float("nan")), (-1.0, 1.0)])
def test_a_loss_that_is_none_is_refused(losses: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="alignment tax"):
        alignment_tax(*losses)
