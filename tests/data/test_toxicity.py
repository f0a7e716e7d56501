"""One lexicon for probe and inspect: whole words, phrases, words of scripts without spaces, and a file of one's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from accord.data.quality import profile
from accord.data.toxicity import is_toxic, lexicon, toxic_words
from accord.errors import InputError


@pytest.mark.parametrize("text", ["You IDIOT!", "你这个白痴", "Oh shut up.", "What a pathetic halfwit.", "Those bitches.", "Go to hell!"])
def test_insults_are_found(text: str) -> None:
    assert is_toxic(text)
    assert profile([text], threshold=0.8)["toxic"] == 1.0


@pytest.mark.parametrize("text", ["The assistant classified the shellfish.", "The scunthorpe assassin passed the class.", "门关上了。"])
def test_words_inside_other_words_are_none(text: str) -> None:
    assert not is_toxic(text)
    assert profile([text], threshold=0.8)["toxic"] == 0.0


def test_words_of_ones_own_join_the_lexicon(tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    own.write_text("# ours\nbumpkin\nvillage fool of the year\n乡巴佬\n", "utf-8")
    known = lexicon(own)
    assert toxic_words("You IDIOT!", known) == ["idiot"]
    assert "bumpkin" in toxic_words("What a bumpkin.", known)
    assert "village fool of the year" in toxic_words("the village fool of the year", known)
    assert toxic_words("他是乡巴佬。", known) == ["乡巴佬"]
    with pytest.raises(InputError, match="cannot be read"):
        lexicon(tmp_path / "none.txt")
