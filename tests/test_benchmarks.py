"""Our half of `make bench` runs on today's loops, with all weights and with adapters. No figure is asserted: each row is measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from itertools import product
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
ROWS = ("sft", "reward", "reward_k9", "dpo", "ppo", "grpo", "episodes", "generate_b8", "startup")
TINY = """
import json, sys
from dataclasses import asdict, replace
from pathlib import Path
import ours, three_turns
from measure import Task
from work import SIZES, write_models
size = replace(SIZES["1M"], vocab=64, hidden=32, layers=2, heads=4, intermediate=48, sft_batch=2, reward_batch=2, ppo_batch=8, ppo_prompt=4,
               ppo_new=4, turn=6, reply=4, kv_heads=2, rank=int(sys.argv[2]))
write_models(size, Path(sys.argv[1]), 0)
three_turns.write_caller(size, Path(sys.argv[1]), 0)
found = {name: asdict(measure(Task(name, size, Path(sys.argv[1]), 1, 1, 0, {}))) for name, measure in ours.MEASURES.items()}
three_turns.CERTAIN, refused = 0.0, ""
three_turns.write_caller(size, Path(sys.argv[1]), 0)
try:
    ours.MEASURES["episodes"](Task("episodes", size, Path(sys.argv[1]), 1, 1, 0, {}))
except RuntimeError as error:
    refused = str(error)
print(json.dumps([found, refused]))
"""


@pytest.mark.parametrize("rank", [0, 4])
def test_each_row_of_the_bench_is_measured_on_our_side(tmp_path: Path, rank: int) -> None:
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(BENCHMARKS), os.environ.get("PYTHONPATH", "")]), "BENCH_STARTED": "0"}
    command = [sys.executable, "-c", TINY, str(tmp_path / "models"), str(rank)]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found, refused = json.loads(done.stdout.splitlines()[-1])
    assert set(ROWS) <= set(found)
    for name, row in found.items():
        assert row["value"] > 0, name
        assert row["seconds"] > 0, name
    assert found["episodes"]["checks"] | {"turns": 3, "tokens_trained": 8 * 3 * 6} == found["episodes"]["checks"]
    assert "an episode ended as tokens" in refused, "a model that takes other turns was measured all the same"


def test_an_episode_of_the_bench_trains_the_models_turns_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    three_turns, work = import_module("three_turns"), import_module("work")
    size = replace(work.SIZES["1M"], turn=4, reply=1)
    own = [True] * 4 + [False] * 3 + [True] * 4 + [False] * 3 + [True] * 4
    three_turns.require_mask(own, size)
    for wrong in ([True] * 18, own[:11], [*own, True], [not each for each in own], [*own[:4], True, *own[5:]]):
        with pytest.raises(RuntimeError, match="tokens of the model"):
            three_turns.require_mask(wrong, size)


def test_every_word_of_the_bench_has_one_place_in_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    three_turns, work = import_module("three_turns"), import_module("work")
    for size, lengths in product(work.SIZES, work.LENGTHS):
        places = Counter(three_turns.classes(work.sized(size, lengths)))
        turn = work.sized(size, lengths).turn
        assert set(places) - {-1} == set(range(turn + 1)), "from the assistant's mark to EOS"
        assert {place for place, tokens in places.items() if tokens == 1} == {0, 1, turn - 1, turn}, "words share a place, marks do not"


def test_the_step_with_both_harnesses_fails_where_nothing_was_learned(capsys: pytest.CaptureFixture[str]) -> None:
    """What .ci/benchmarks checks: a model whose training is left out, or one that says nothing, does not pass."""
    spec = spec_from_file_location("before_and_after", BENCHMARKS / "before_and_after.py")
    assert spec is not None
    assert spec.loader is not None
    script: Any = module_from_spec(spec)
    spec.loader.exec_module(script)

    def figures(before: float, after: float, items: int = 6) -> dict[str, Any]:
        return {"items": items, "by_model": {"raw": [before, 0, 1], "dpo": [after, 0, 1]}, "change": {"dpo": [after - before, -1, 1]}}

    def found(acc: dict[str, Any], lengths: tuple[float, float]) -> list[str]:
        rows = [
            {"task": "spoken", "model": name, "items": {"letters": {str(i): length for i in range(6)}}}
            for name, length in zip(("raw", "dpo"), lengths, strict=True)
        ]
        return script.faults({"linden": {"acc": acc}, "spoken": {"includes": figures(0, 0)}}, rows, "raw")

    assert found(figures(0.5, 0.83), (40.0, 31.0)) == []
    assert "must bring more" in found(figures(0.5, 0.5), (40.0, 31.0))[0]
    assert "not that of all items" in found(figures(0.5, 0.83, items=5), (40.0, 31.0))[0]
    assert "same model" in found(figures(0.5, 0.83), (40.0, 40.0))[0]
    assert "nothing" in found(figures(0.5, 0.83), (0.0, 31.0))[0]
    assert "0.50 before DPO and 0.83 after" in capsys.readouterr().out


def test_what_grows_faster_than_its_work_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    growth, axes = import_module("growth"), import_module("growth_axes")
    axis = axes.Axis("rows", "reading", 10, lambda size, folder: None, float, "rows")

    def judged(seconds: Callable[[int], float], megabytes: Callable[[int], float]) -> tuple[float, bool, bool]:
        points = [{"size": size, "seconds": seconds(size), "peak_mb": megabytes(size)} for size in axis.sizes(5)]
        row = growth.judged(axis, points)
        return row["seconds"], row["seconds_too_fast"], row["memory_too_fast"]

    assert judged(lambda n: 0.01 * n, lambda n: 2.0 * n) == (1.0, False, False)
    assert judged(lambda n: 0.01 * n**1.2, lambda n: 2.0 * n) == (1.2, True, False)
    assert judged(lambda n: 0.01 * n, lambda n: 0.1 * n**2) == (1.0, False, True)
    assert judged(lambda n: 0.2 + 0.00005 * n**2, lambda n: 2.0 * n)[1:] == (True, False), "it shows at the end, behind a constant cost"
    assert judged(lambda n: 5.0, lambda n: 1.0)[1:] == (False, False)
