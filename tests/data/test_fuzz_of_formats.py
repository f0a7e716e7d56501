"""Damaged rows of every format: refused or read, never a crash, and never a judgement lost silently.."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import fuzz_import as fuzz


def fuzzed(folder: Path, count: int, seed: int) -> dict[str, int]:
    rng, pool, outcomes = random.Random(seed), [given for given in fuzz.seeds() if given[0] == ".jsonl"], dict[str, int]()
    for _ in range(count):
        _, data = fuzz.changed(rng, pool)
        path = folder / "input.jsonl"
        path.write_bytes(data)
        outcome = fuzz.run(lambda path=path: fuzz.read_only(path))
        if outcome == "ok":
            path.write_bytes(fuzz.planted(data))
            outcome = fuzz.run(lambda path=path: fuzz.nothing_lost(path))
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    return outcomes


def test_a_few_hundred_damaged_inputs(tmp_path: Path) -> None:
    outcomes = fuzzed(tmp_path, 200, 1)
    assert set(outcomes) <= {"ok", "refused"}, next(iter(set(outcomes) - {"ok", "refused"}))
    assert outcomes["refused"] > 20


@pytest.mark.slow
def test_a_hundred_thousand_damaged_inputs(tmp_path: Path) -> None:
    outcomes = fuzzed(tmp_path, 100_000, 2)
    assert set(outcomes) <= {"ok", "refused"}, next(iter(set(outcomes) - {"ok", "refused"}))


@pytest.mark.parametrize("turns", ["[Infinity]", "5", "[1, 2]", "[]", "null", '[[], {"from": "gpt", "value": "Go"}]', '"x"', "true"])
@pytest.mark.parametrize("row", ['{{"conversations": {}, "rating": -1}}', '{{"prompt": "Hi?", "chosen": {0}, "rejected": {0}}}'])
def test_what_is_no_list_of_turns_is_refused(turns: str, row: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(row.format(turns) + "\n")
    assert fuzz.run(lambda: fuzz.read_only(path)) in ("ok", "refused")


FEEDBACK = """
{"id": "f", "user_id": "ann", "data": {"rating": 1, "model_id": "big", "sibling_model_ids": SIBLINGS}, "meta": {"message_id": "a"},
 "snapshot": {"chat": {"chat": {"history": {"messages": {"u": {"id": "u", "childrenIds": CHILDREN, "role": "user", "content": "Hi"},
  "a": {"id": "a", "parentId": "u", "role": "assistant", "content": "Hello", "model": "big"}}}}}}}
"""


@pytest.mark.parametrize(("children", "siblings"), [("-1", "[]"), ("[]", "7"), ("true", "[1]"), ('["a", 3, null]', "null")])
def test_a_tree_of_messages_with_odd_branches_is_read(children: str, siblings: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(FEEDBACK.replace("CHILDREN", children).replace("SIBLINGS", siblings).replace("\n", "") + "\n")
    assert fuzz.run(lambda: fuzz.read_only(path)) in ("ok", "refused")


def test_a_return_inside_a_line_of_a_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.tsv"
    path.write_bytes(b'{"canary": "no", "descri\rtion": "Name the opposite."}\n')
    assert fuzz.run(lambda: fuzz.read_only(path)) in ("ok", "refused")
    path.write_bytes(b'"a"\t"b\rc" d\n1\t2\re\n')
    assert fuzz.run(lambda: fuzz.read_only(path)) in ("ok", "refused")
