"""Settings of the work with labelers: labeling, screening, agreement, planning."""

from __future__ import annotations

from typing import Annotated, Literal

from accord.settings.mixins import Seed, Settings, section
from accord.settings.ranges import Count, Natural, Port, Positive, Range, RankedResponses, Share


@section
class LabelConfig(Seed):
    """`accord label`: labelers rank sampled responses on the labeling site, or with `--by world` simulated labelers do."""

    seed: Natural = 0
    """Seed of the assignment of tasks and of the order in which each labeler sees the responses."""
    overlap: Share = 0.2
    """Share of the prompts ranked by a second labeler, to measure agreement (with `--by world`, one of the training groups)."""
    tastes: bool = False
    """With `--by world`: labelers who want different answers, brief, thorough, warm or plain, and agree on harm and untruth."""
    host: str = "127.0.0.1"
    """Address that the site listens on; any other than this machine's own needs a secret, and https or `--insecure`."""
    port: Port = 8400
    """Port that the site listens on; 0 takes a free one."""
    names: str = ""
    """Host names of the site, separated by commas; requests for another name are refused."""
    https: bool = False
    """The site is served over https by a proxy in front of it."""
    workers: Count = 1
    """Server processes that share the address."""
    trusted_proxies: str = ""
    """Addresses or networks of proxies, separated by commas, whose `X-Forwarded-For` names the client; nobody's is believed by default."""
    access_log: bool = False
    """Logs a line per request on the standard error stream, without tokens."""
    language: Literal["en", "zh_CN"] = "en"
    """Language of the site for browsers that request neither English nor Chinese."""
    lease_minutes: Positive = 60.0
    """Minutes that a task is reserved for a labeler before it returns to the queue."""
    gold_rate: Share = 0.0
    """Share of the tasks with a known answer, to which the labeler's is compared, while such tasks remain."""
    repeat_rate: Share = 0.0
    """Share of the tasks that repeat an earlier one of the same labeler, to measure self-consistency."""
    session_days: Positive = 14.0
    """Days that a browser stays signed in."""

    def __post_init__(self) -> None:
        super().__post_init__()
        mixed = self.gold_rate + self.repeat_rate
        self.require(mixed <= 1, f"gold_rate and repeat_rate together are {mixed}, above 1")


@section
class ScreeningConfig(Settings):
    """Thresholds of the labeler screening, and of the lead's page for answers that came too fast."""

    sensitivity: Share = 0.75
    """Lowest agreement with the researchers on which contents are sensitive."""
    ranking: Share = 0.75
    """Lowest agreement with the researchers' rankings, over pairs they did not tie."""
    demonstrations: Annotated[float, Range(least=0, most=7, why="scores end at 7")] = 6.0
    """Lowest mean score, out of 7, of demonstrations written on sensitive prompts."""
    words_per_second: Positive = 10.0
    """Fastest plausible reading speed; an item answered in less time than its words need counts as rushed."""
    sure: Share = 0.9
    """Items whose consensus has a lower probability than this go to adjudication."""


@section
class AgreementConfig(Seed):
    """`accord agreement`: inter-annotator agreement with confidence intervals."""

    seed: Natural = 0
    """Seed of the bootstrap."""
    resamples: Count = 2000
    """Bootstrap resamples of the prompts for each interval."""
    contested: Natural = 10
    """Pairs to show on which groups disagree, widest disagreement first; 0 shows none."""


@section
class PlanConfig(Seed):
    """`accord plan`: the number of labels needed for an agreement, a reward-model accuracy or an interval."""

    seed: Natural = 0
    """Seed of every random choice."""
    labels: Natural = 0
    """Rankings within your budget: the plan says which accuracy they reach. 0 skips this."""
    width: Annotated[float, Range(least=0, below=1, why="an interval of shares is narrower than 1")] = 0.0
    """Width of the 95% interval you want, for example 0.04 for plus or minus 2%: the plan says how many rankings it takes. 0 skips this."""
    overlap: Annotated[float, Range(above=0, most=1, why="above 0, at most 1: an overlap of 0 measures no agreement")] = 0.2
    """Share of the prompts that a second labeler ranks too, to measure agreement."""
    held_out: Annotated[float, Range(above=0, below=1, why="it must be between 0 and 1")] = 0.1
    """Share of the prompts kept out of training, to evaluate the reward model."""
    k: RankedResponses = 6
    """Responses per prompt, when nothing has been ranked yet."""
    pilot: Annotated[int, Range(least=20, why="20 prompts at least")] = 800
    """Prompts that the world's labelers rank to plan from."""
