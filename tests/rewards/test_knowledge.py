"""The reward of knowing what one knows: held against the score written out answer by answer, and against what a proper score must do."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from accord.data.classifiers.project_set import DEFAULT
from accord.data.semantics import UNKNOWN, ShortAnswers
from accord.records import Message
from accord.rewards.knowledge import KnowledgeReward, Known, known_from, quadratic
from accord.rewards.rows import ONE, Said

ASKED = "Where does Ada live?"
HILL, MILL, NOT = "Ada lives on Hill Street.", "Ada lives on Mill Lane.", "I do not know where Ada lives."


def known(*texts: str) -> Known:
    return known_from(ASKED, texts, ShortAnswers().groups([(ASKED, texts)])[0], UNKNOWN)


def scored(own: Sequence[str], *responses: str, threshold: float = 0.5) -> list[float | None]:
    part = KnowledgeReward({"p": known(*own)}, ShortAnswers().groups, DEFAULT.admits, threshold)
    return part.score([Said((Message("user", ASKED),), text, id="p") for text in responses])[ONE]


def brier(stated: float, agrees: Sequence[bool]) -> float:
    """One minus the squared error of a stated probability, averaged over the answers one by one."""
    return sum(1 - (stated - float(each)) ** 2 for each in agrees) / len(agrees)


def test_each_response_is_scored_against_the_models_own_answers() -> None:
    own = [HILL, "Hill Street.", HILL, MILL, NOT]
    hill = brier(1, [True, True, True, False, False])
    mill = brier(1, [False, False, False, True, False])
    admitted = brier(0, [True, True, True, False, False])
    elsewhere = brier(1, [False] * 5)
    assert scored(own, HILL, "Mill Lane", NOT, "Ada lives on Fox Row.") == pytest.approx([hill, mill, admitted, elsewhere])


def test_admitting_pays_where_the_answers_disagree_and_stating_where_they_agree() -> None:
    said, admitted = scored([HILL] * 9 + [MILL], HILL, NOT)
    assert said is not None
    assert admitted is not None
    assert said > admitted + 0.5
    said, admitted = scored([HILL, MILL, "Fox Row", "Elm Row", "Oak Row"], HILL, NOT)
    assert said is not None
    assert admitted is not None
    assert admitted > said + 0.5
    said, admitted = scored([NOT] * 5, HILL, NOT)
    assert (said, admitted) == (0, 1)


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8])
def test_stating_pays_exactly_above_the_threshold(threshold: float) -> None:
    for share in (each / 20 for each in range(21)):
        if abs(share - threshold) > 1e-9:
            assert (quadratic(1, share, threshold) > quadratic(0, share, threshold)) == (share > threshold)


def test_at_one_half_the_score_is_proper() -> None:
    """No stated probability scores higher than the share itself."""
    grid = [each / 20 for each in range(21)]
    for share in grid:
        assert max(grid, key=lambda stated: quadratic(stated, share, 0.5)) == share


def test_it_does_not_apply_to_a_prompt_that_asks_for_no_fact() -> None:
    part = KnowledgeReward({}, ShortAnswers().groups, DEFAULT.admits)
    assert part.score([Said((Message("user", "Hello"),), "Hello.", id="q")]) == {ONE: [None]}
