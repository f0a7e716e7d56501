"""The settings of what people do: labeling, screening, agreement, planning."""

from __future__ import annotations

from typing import Annotated, Literal

from accord.settings.mixins import Seed, Settings, section
from accord.settings.ranges import Count, Natural, Port, Positive, Range, RankedResponses, Share


@section
class LabelConfig(Seed):
    """`accord label`: people rank what was sampled in the labeling site, or with `--by world` the simulated labelers do."""

    seed: Natural = 0
    """Fixes who ranks what, and the order in which each labeler sees the responses."""
    overlap: Share = 0.2
    """Share of the prompts that a second labeler (with `--by world` of the training groups) ranks too, to measure agreement."""
    host: str = "127.0.0.1"
    """Address that the site listens on; any but this machine's own needs a secret, and https or `--insecure`."""
    port: Port = 8400
    """Port that the site listens on; 0 takes a free one."""
    names: str = ""
    """Host names under which the site is reached, with commas; requests for another name are refused."""
    https: bool = False
    """The site is reached through https, by a proxy before it."""
    language: Literal["en", "zh_CN"] = "en"
    """Language of the site for a browser that asks for neither."""
    lease_minutes: Positive = 60.0
    """How long a task is a labeler's own before it goes back."""
    gold_rate: Share = 0.0
    """Share of the tasks whose answer is known and is compared with it, while there are any."""
    repeat_rate: Share = 0.0
    """Share of the tasks that show a labeler something again, to measure consistency."""
    session_days: Positive = 14.0
    """How long a browser stays logged in."""

    def __post_init__(self) -> None:
        super().__post_init__()
        mixed = self.gold_rate + self.repeat_rate
        self.require(mixed <= 1, f"gold_rate and repeat_rate together are {mixed}, above 1")


@section
class ScreeningConfig(Settings):
    """Who may label, and when an answer came too fast: the cut-offs of the qualification run and of the lead's page."""

    sensitivity: Share = 0.75
    """Least agreement with the researchers on which contents are sensitive."""
    ranking: Share = 0.75
    """Least agreement with the researchers' rankings, over their untied pairs."""
    demonstrations: Annotated[float, Range(least=0, most=7, why="scores end at 7")] = 6.0
    """Least mean score, of 7, of demonstrations written on sensitive prompts."""
    words_per_second: Positive = 10.0
    """Nobody reads faster: an item answered in less time than its words need counts as hurried."""
    sure: Share = 0.9
    """Items whose consensus is less probable than this go to adjudication."""


@section
class AgreementConfig(Seed):
    """`accord agreement`: how far labelers agree."""

    seed: Natural = 0
    """Fixes the draws of the intervals."""
    resamples: Count = 2000
    """How often the prompts are drawn with replacement for each interval."""
    contested: Natural = 10
    """How many pairs that groups see differently are shown, the widest apart first; 0 shows none."""


@section
class PlanConfig(Seed):
    """`accord plan`: how many labels reach which agreement, reward-model accuracy or interval."""

    seed: Natural = 0
    """Fixes every random choice."""
    labels: Natural = 0
    """Rankings that one can pay for: what do they reach? 0 asks nothing."""
    width: Annotated[float, Range(least=0, below=1, why="an interval of shares is narrower than 1")] = 0.0
    """Width of a 95% interval that is wanted, e.g. 0.04 for plus or minus 2%: how many rankings does it take? 0 asks nothing."""
    overlap: Annotated[float, Range(above=0, most=1, why="above 0, at most 1: an overlap of 0 measures no agreement")] = 0.2
    """Share of the prompts that a second labeler ranks too, for agreement."""
    held_out: Annotated[float, Range(above=0, below=1, why="it must be between 0 and 1")] = 0.1
    """Share of the prompts kept out of training, to measure the reward model on."""
    k: RankedResponses = 6
    """Responses a prompt, where nothing has been ranked yet."""
    pilot: Annotated[int, Range(least=20, why="20 prompts at least")] = 800
    """Prompts that the world's labelers rank to plan from."""
