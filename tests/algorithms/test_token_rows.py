"""One rule for rows that are too long, for every method: left out and counted, the prompt's left cut, or refused; never a cut response."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny import END as STOP
from tiny import FP32, llama, scalar

from accord.algorithms import dpo, ilql, kto, process, reward, sft
from accord.data.token_rows import LongRows, RowTooLong, RowWindow, window_tokens
from accord.errors import InputError, UsageError
from accord.models.packing import pack
from accord.models.scalar import RewardModel, scored_row, scores
from accord.runtime.pictures import picture_id
from accord.settings.methods import LABELED

PROMPT, RESPONSE, END = list(range(10, 30)), [5, 6, 1], 1
BUILDERS: dict[str, Callable[[list[int], list[int], RowWindow], Any]] = {
    "sft": lambda prompt, response, window: sft.example(prompt, response, window, "row 7").tokens,
    "reward": lambda prompt, response, window: reward.ranked_rows(prompt, [response, response], [1, 2], window, "row 7").rows[1],
    "dpo": lambda prompt, response, window: dpo.ranked_responses(prompt, [response, response], [1, 2], window, "row 7").rows[1],
    "kto": lambda prompt, response, window: kto.thumb_row(prompt, response, True, window, "row 7").tokens,
    "ilql": lambda prompt, response, window: ilql.episode(prompt, response, 0.5, window, "row 7").tokens,
    "process": lambda prompt, response, window: process.marked_row(prompt, response, [False] * len(response), window, "row 7").tokens,
}


def test_every_method_that_learns_from_labels_is_here() -> None:
    assert {*LABELED} <= BUILDERS.keys()


@pytest.mark.parametrize("method", BUILDERS)
def test_every_method_leaves_a_row_whole_leaves_it_out_or_cuts_its_prompt(method: str) -> None:
    build = BUILDERS[method]
    for long_rows in ("drop", "cut_prompt", "refuse"):
        assert build(PROMPT, RESPONSE, RowWindow(23, long_rows)) == [*PROMPT, *RESPONSE]
    assert build(PROMPT, RESPONSE, RowWindow(8, "cut_prompt")) == [25, 26, 27, 28, 29, 5, 6, 1]
    for long_rows in ("drop", "refuse"):
        with pytest.raises(RowTooLong, match="20 prompt and 3 response tokens in a window of 22") as refused:
            build(PROMPT, RESPONSE, RowWindow(22, long_rows))
        assert (refused.value.where, refused.value.tokens) == ("row 7", 23)
        assert "max_tokens" in refused.value.hint


@pytest.mark.parametrize("long_rows", ["drop", "cut_prompt", "refuse"])
@pytest.mark.parametrize("method", BUILDERS)
@pytest.mark.parametrize("response", [[5] * 7 + [END], [5] * 20, [5] * 6 + [END], []], ids=["fills", "longer", "one left", "empty"])
def test_no_method_learns_from_a_response_without_its_prompt_or_its_end(method: str, response: list[int], long_rows: LongRows) -> None:
    with pytest.raises(InputError, match=r"window of 8|nothing to learn from") as refused:
        BUILDERS[method](PROMPT, response, RowWindow(8, long_rows))
    assert refused.value.where == "row 7"
    assert refused.value.hint


def test_a_stop_token_alone_is_an_answer_to_rank_and_no_demonstration() -> None:
    window = RowWindow(64)
    assert window.join(PROMPT, [END], "row 7").tokens[-1] == END
    with pytest.raises(InputError, match="row 7"):
        sft.example(PROMPT, [END], window, "row 7")


def test_rows_that_do_not_fit_are_left_out_counted_and_named() -> None:
    window, records = RowWindow(12), [2, 9, 3, 40, 0]
    built = window.fit(records, lambda n: window.join(PROMPT[:4], [5] * n, f"row {n}").kept, "rows")
    assert built == [2, 3]
    assert window.counts() == {"window": 12, "rows_left_out": 3, "rows_cut": 0}
    (remark,) = window.remarks()
    assert remark.startswith("left out 3 of 5 rows")
    for named in ("row 9: 4 prompt and 9 response tokens in a window of 12", "row 40", "row 0: 4 prompt and 0 response tokens"):
        assert named in remark


def test_cut_prompts_are_counted() -> None:
    window = RowWindow(8, "cut_prompt")
    assert window.fit([PROMPT, PROMPT[:5]], lambda prompt: window.join(prompt, RESPONSE, "row").cut, "rows") == [15, 0]
    assert window.counts() == {"window": 8, "rows_left_out": 0, "rows_cut": 1}
    assert window.remarks() == ["cut the left of 1 prompts to the window of 8 tokens"]


def test_refuse_stops_at_the_first_row_that_does_not_fit() -> None:
    window = RowWindow(12, "refuse")
    with pytest.raises(RowTooLong, match="row 9"):
        window.fit([2, 9, 40], lambda n: window.join(PROMPT[:4], [5] * n, f"row {n}"), "rows")


def test_where_none_fits_the_error_names_the_longest_and_the_way_out() -> None:
    window = RowWindow(12)
    with pytest.raises(InputError, match=r"row 40: none of the 2 rows fits a window of 12 tokens; the longest has 44") as refused:
        window.fit([9, 40], lambda n: window.join(PROMPT[:4], [5] * n, f"row {n}"), "rows")
    assert "max_tokens to 44" in refused.value.hint
    assert "cut_prompt" in refused.value.hint
    assert RowWindow(12).fit([99], lambda n: window.join(PROMPT[:4], [5] * n, "row"), "validation rows", needed=False) == []


def test_a_ranking_loses_only_the_responses_that_do_not_fit() -> None:
    window = RowWindow(8)
    found = dpo.ranked_responses([2, 3], [[5, 1], [6] * 9, [7, 8, 1]], [2, 1, 3], window, "prompt 7")
    assert (found.rows, found.kept, found.ranks) == ([[2, 3, 5, 1], [2, 3, 7, 8, 1]], [2, 3], [2, 3])
    assert window.counts()["responses_left_out"] == 1
    for ranks in ([1, 2, 1], [2, 1, 2]):  # what is left says nothing
        with pytest.raises(RowTooLong, match="prompt 7"):
            reward.ranked_rows([2, 3], [[5, 1], [6] * 9, [7, 8, 1]], ranks, RowWindow(8), "prompt 7")


def test_the_window_is_the_models_context_within_reason() -> None:
    assert window_tokens(0, 512, "sft") == 512
    assert window_tokens(0, 131_072, "sft") == 2048
    assert window_tokens(0, 0, "sft") == 2048
    assert window_tokens(4096, 131_072, "sft") == 4096
    with pytest.raises(UsageError, match="sft: max_tokens is 2000, but the model's context holds 512"):
        window_tokens(2000, 512, "sft")


def test_a_reward_model_scores_by_the_window_that_it_was_trained_with() -> None:
    model = scalar(llama())
    model.config.reward_window = 8
    scorer = RewardModel(model, dtype=FP32)
    trained = reward.ranked_rows(PROMPT, [RESPONSE, [7, STOP]], [1, 2], RowWindow(8, "cut_prompt"), "x")
    found = scorer.score([PROMPT, PROMPT, [4]], [RESPONSE, [7, STOP], [7, STOP]])
    assert torch.allclose(found[:2], scores(model, pack(trained.rows), dtype=FP32), atol=1e-5)
    assert (scorer.scored, scorer.cut) == (3, 2)


def test_a_reward_model_never_reads_a_response_without_its_prompt() -> None:
    model = scalar(llama())
    model.config.reward_window = 8
    long = [5] * 30
    one, other = RewardModel(model, dtype=FP32).score([PROMPT, PROMPT[::-1]], [long, long]).tolist()
    assert one != other
    whole = scores(model, pack([[28, 29, *long]]), dtype=FP32).item()
    assert one == pytest.approx(whole, abs=1e-5), "a quarter of the window is the prompt's, and the response keeps its end"


def test_no_cut_goes_through_a_picture_or_takes_one_away() -> None:
    picture = [picture_id("ab" * 32)] * 3
    window = RowWindow(8, "cut_prompt")
    assert window.join([1, 2, *picture, 3], [4, 5, 6], "p").tokens == [2, *picture, 3, 4, 5, 6]
    for before in ([1, *picture, 1], [*picture, 1, 2, 3]):
        with pytest.raises(RowTooLong):
            window.join([*before, 2, 3], [4, 5, 6], "p")
    assert window.fit_prompt([9, 1, 2, *picture, 3, 4, 5], "p") == [1, 2, *picture, 3, 4, 5]
    with pytest.raises(RowTooLong):
        window.fit_prompt([*picture, 1, 2, 3, 4, 5, 6], "p")
    assert scored_row([1, 2, *picture, 3], [4, 5], 7) == [2, *picture, 3, 4, 5]
    assert scored_row([*picture, 1, 2, 3], [4, 5], 6) == [*picture, 1, 2, 3, 4, 5], "it exceeds the window"
