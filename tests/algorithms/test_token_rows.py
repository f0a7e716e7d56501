"""One window for every method: the prompt's left is cut and counted, and a row that would lose its whole prompt is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from accord.algorithms import dpo, ilql, kto, process, reward, sft
from accord.data.token_rows import joined
from accord.errors import InputError
from accord.settings.methods import LABELED

PROMPT, RESPONSE, END = list(range(10, 30)), [5, 6, 1], 1
BUILDERS: dict[str, Callable[[list[int], list[int], int], list[int]]] = {
    "sft": lambda prompt, response, most: sft.example(prompt, response, most, "row 7").tokens,
    "reward": lambda prompt, response, most: reward.ranked_rows(prompt, [[4], response], [1, 2], most, "row 7").rows[1],
    "dpo": lambda prompt, response, most: dpo.ranked_responses(prompt, [[4], response], [1, 2], most, "row 7").rows[1],
    "kto": lambda prompt, response, most: kto.thumb_row(prompt, response, True, most, "row 7").tokens,
    "ilql": lambda prompt, response, most: ilql.episode(prompt, response, 0.5, most, "row 7").tokens,
    "process": lambda prompt, response, most: process.marked_row(prompt, response, [False] * len(response), most, "row 7").tokens,
}


def test_every_method_that_learns_from_labels_is_here() -> None:
    assert {*LABELED} <= BUILDERS.keys()


@pytest.mark.parametrize("method", BUILDERS)
def test_every_method_cuts_the_prompts_left(method: str) -> None:
    assert BUILDERS[method](PROMPT, RESPONSE, 8) == [25, 26, 27, 28, 29, 5, 6, 1]
    assert BUILDERS[method](PROMPT, RESPONSE, 100) == [*PROMPT, *RESPONSE]


@pytest.mark.parametrize("method", BUILDERS)
@pytest.mark.parametrize("response", [[5] * 7 + [END], [5] * 20, []], ids=["fills the window", "is longer", "is empty"])
def test_no_method_learns_from_a_response_without_its_prompt(method: str, response: list[int]) -> None:
    with pytest.raises(InputError, match="nothing to learn from") as refused:
        BUILDERS[method](PROMPT, response, 8)
    assert refused.value.where == "row 7"
    assert "raise max_tokens" in refused.value.hint


def test_what_is_cut_is_counted() -> None:
    assert joined(PROMPT, RESPONSE, 8, "row 7").cut == len(PROMPT) - 5
    assert joined(PROMPT, RESPONSE, 23, "row 7").cut == 0
    assert joined(PROMPT, RESPONSE, 8, "row 7").kept == len(RESPONSE)


def test_a_stop_token_alone_is_an_answer_to_rank_and_no_demonstration() -> None:
    assert joined(PROMPT, [END], 8, "row 7").tokens[-1] == END
    with pytest.raises(InputError, match="row 7"):
        joined(PROMPT, [END], 8, "row 7", shortest=2)
    with pytest.raises(InputError, match="row 7"):
        sft.example(PROMPT, [END], 8, "row 7")
