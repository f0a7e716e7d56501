"""Banned words on a server: no answer has them, and no request lifts the ban."""

from __future__ import annotations

import pytest
from opened import hello, open_model, sampling, served, whole

from accord.errors import UsageError
from accord.serving.host import Ask
from accord.serving.model_host import Capacity, ModelHost


def tokens(banned: str, bias: tuple[tuple[int, float], ...] = ()) -> list[int]:
    host = ModelHost(open_model, ("tiny-1",), capacity=Capacity(), banned=banned)

    async def asked() -> list[int]:
        ask = Ask(sampling(temperature=0.0), tuple(hello()), seed=1, logprobs=0, logit_bias=bias)
        _, pieces = await whole(host.ask("tiny-1", ask))
        return [token.id for piece in pieces for token in piece.tokens]

    return served(host, asked)


def test_a_banned_token_is_never_drawn_and_a_bias_does_not_lift_it() -> None:
    first = tokens("")[0]
    assert first not in tokens(f"id:{first}")
    assert first not in tokens(f"id:{first}", ((first, 100.0),))
    assert tokens("", ((first, -100.0),)) == tokens(f"id:{first}")


def test_a_word_that_cannot_be_banned_is_named_when_the_models_open() -> None:
    with pytest.raises(UsageError, match=r"\[serve\] banned_words: .* tokens of this tokenizer"):
        tokens("a word of many tokens")
