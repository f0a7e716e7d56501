"""A log stays readable, a pipe stays clean, and nothing is printed where quiet was asked."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from rich.console import Console

from accord.runtime import progress


def test_a_log_gets_one_line_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.track(100, "sft") as bar:
        for step in range(100):
            bar.advance(loss=2.0 - step / 100, tokens_per_second=12_345.6)
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "sft: 100/100 in 0 s  loss 1.01  tokens/s 12,346\n"


def test_a_long_stage_writes_every_ten_seconds(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 100_000, 4))
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    with progress.track(12, "ppo", done=2) as bar:
        for _ in range(10):
            bar.advance()
    lines = capsys.readouterr().err.splitlines()
    assert 3 <= len(lines) <= 6
    assert lines[-1].startswith("ppo: 12/12")


def test_a_stopped_stage_says_how_far_it_came(capsys: pytest.CaptureFixture[str]) -> None:
    def stopped() -> None:
        with progress.track(10, "reward") as bar:
            bar.advance(3)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert "reward: 3/10" in capsys.readouterr().err


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.track(3, "sft", quiet=True) as bar:
        bar.advance(loss=1.0)
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_a_bar_with_the_figures(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "Console", lambda stderr: Console(stderr=stderr, force_terminal=True, width=140))
    with progress.track(2, "ppo") as bar:
        bar.advance(reward=0.5, kl=1.25)
        bar.advance(1)
    err = capsys.readouterr().err
    for words in ("ppo", "2/2", "reward 0.5", "kl 1.25"):
        assert words in err


def test_a_table_goes_to_standard_output_as_it_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    progress.table("Result [x]", ["model", "win rate", "tokens"], [["sft [b]", 0.81234, 12_000], ["ppo", 0.9, 5]])
    out = capsys.readouterr().out
    for words in ("Result", "sft [b]", "0.8123", "12,000", "win rate"):
        assert words in out
