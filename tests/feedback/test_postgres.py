"""What only PostgreSQL could get wrong."""

from __future__ import annotations

import pytest

from accord.errors import StoreError
from accord.feedback.store import Store
from accord.records import Message, Prompt, Response

NASTY = ("\0", "\x1a", "\x1a0", "\x1a1\0\x1a", "a\0b\\0")


def test_any_text_comes_back(store: Store) -> None:
    prompt = Prompt("p", (Message("user", "".join(NASTY)),))
    responses = [Response(f"r{n}", "p", text, "m") for n, text in enumerate(NASTY)]
    for _ in range(2):
        store.add(prompts=[prompt], responses=responses)
    assert list(store.prompts()) == [prompt]
    assert list(store.responses()) == responses


def test_ids_sort_by_their_bytes(store: Store) -> None:
    ids = ["A", "B-1", "B1", "a", "b", "É", "é", "中"]
    store.add_prompts(Prompt(id, (Message("user", "?"),)) for id in ids)
    assert [prompt.id for prompt in store.prompts()] == ids


def test_a_server_that_is_down() -> None:
    with pytest.raises(StoreError, match=r"cannot be opened.*is the server running") as caught:
        Store.open("postgresql+psycopg://me:secret@/none?host=/no/such/folder")
    assert "secret" not in str(caught.value)
