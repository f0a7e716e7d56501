"""The settings of what people do: labeling, screening, agreement, planning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from accord.settings.ranges import check_numbers, require


@dataclass(frozen=True)
class LabelConfig:
    """`accord label`: people rank what was sampled in the labeling site, or with `--by world` the simulated labelers do."""

    seed: int = 0
    """Fixes who ranks what, and the order in which each labeler sees the responses."""
    overlap: float = 0.2
    """Share of the prompts that a second labeler (with `--by world` of the training groups) ranks too, to measure agreement."""
    host: str = "127.0.0.1"
    """Address that the site listens on; any but this machine's own needs a secret, and https or `--insecure`."""
    port: int = 8400
    """Port that the site listens on; 0 takes a free one."""
    names: str = ""
    """Host names under which the site is reached, with commas; requests for another name are refused."""
    https: bool = False
    """The site is reached through https, by a proxy before it."""
    language: Literal["en", "zh_CN"] = "en"
    """Language of the site for a browser that asks for neither."""
    lease_minutes: float = 60.0
    """How long a task is a labeler's own before it goes back."""
    gold_rate: float = 0.0
    """Share of the tasks whose answer is known and is compared with it, while there are any."""
    repeat_rate: float = 0.0
    """Share of the tasks that show a labeler something again, to measure consistency."""
    session_days: float = 14.0
    """How long a browser stays logged in."""

    def __post_init__(self) -> None:
        check_numbers(self, "label")
        mixed = self.gold_rate + self.repeat_rate
        require(mixed <= 1, "label", f"gold_rate and repeat_rate together are {mixed}, above 1")
        require(self.port < 65_536, "label", f"port is {self.port}; 65535 at most")


@dataclass(frozen=True)
class ScreeningConfig:
    """Who may label, and when an answer came too fast: the cut-offs of the qualification run and of the lead's page."""

    sensitivity: float = 0.75
    """Least agreement with the researchers on which contents are sensitive."""
    ranking: float = 0.75
    """Least agreement with the researchers' rankings, over their untied pairs."""
    demonstrations: float = 6.0
    """Least mean score, of 7, of demonstrations written on sensitive prompts."""
    words_per_second: float = 10.0
    """Nobody reads faster: an item answered in less time than its words need counts as hurried."""
    sure: float = 0.9
    """Items whose consensus is less probable than this go to adjudication."""

    def __post_init__(self) -> None:
        check_numbers(self, "screening")
        require(self.demonstrations <= 7, "screening", f"demonstrations is {self.demonstrations}; scores end at 7")
        shares = max(self.sensitivity, self.ranking, self.sure) <= 1
        require(shares, "screening", "sensitivity, ranking and sure are shares, at most 1")
        require(self.words_per_second > 0, "screening", "words_per_second is 0; it must be above 0")


@dataclass(frozen=True)
class AgreementConfig:
    """`accord agreement`: how far labelers agree."""

    seed: int = 0
    """Fixes the draws of the intervals."""
    resamples: int = 2000
    """How often the prompts are drawn with replacement for each interval."""
    contested: int = 10
    """How many pairs that groups see differently are shown, the widest apart first; 0 shows none."""

    def __post_init__(self) -> None:
        check_numbers(self, "agreement")
        require(self.resamples > 0, "agreement", "resamples is 0; it must be above 0")


@dataclass(frozen=True)
class PlanConfig:
    """`accord plan`: how many labels reach which agreement, reward-model accuracy or interval."""

    seed: int = 0
    """Fixes every random choice."""
    labels: int = 0
    """Rankings that one can pay for: what do they reach? 0 asks nothing."""
    width: float = 0.0
    """Width of a 95% interval that is wanted, e.g. 0.04 for plus or minus 2%: how many rankings does it take? 0 asks nothing."""
    overlap: float = 0.2
    """Share of the prompts that a second labeler ranks too, for agreement."""
    held_out: float = 0.1
    """Share of the prompts kept out of training, to measure the reward model on."""
    k: int = 6
    """Responses a prompt, where nothing has been ranked yet."""
    pilot: int = 800
    """Prompts that the world's labelers rank to plan from."""

    def __post_init__(self) -> None:
        check_numbers(self, "plan")
        require(self.width < 1, "plan", f"width is {self.width}; an interval of shares is narrower than 1")
        require(self.overlap > 0, "plan", "overlap is 0, which measures no agreement")
        require(0 < self.held_out < 1, "plan", f"held_out is {self.held_out}; it must be between 0 and 1")
        require(2 <= self.k <= 9, "plan", f"k is {self.k}; a ranking takes 2 to 9 responses")
        require(self.pilot >= 20, "plan", f"pilot is {self.pilot}; 20 prompts at least")
