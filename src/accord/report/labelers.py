"""Data and labelers: the amount of each kind of data, who labeled, and inter-annotator agreement."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from accord.errors import AccordError, InputError
from accord.evaluation.statistics import Interval
from accord.feedback.agreement import pairwise_agreement
from accord.feedback.store import Store
from accord.records import Labeler, Ranking
from accord.report.captions import use_case
from accord.report.curves import definition_link
from accord.report.markup import Html, both, join, tag
from accord.report.results import percent, span
from accord.runtime.project import Project

RESAMPLES = 500
SPLITS = {"train": ("training", "训练"), "validation": ("validation", "验证"), "test": ("held out", "留出")}
KINDS = {"person": ("people", "人"), "simulated": ("simulated", "模拟"), "model": ("models", "模型"), "user": ("users", "用户")}


@dataclass(frozen=True)
class Group:
    """Labelers of one group: their number, their rankings, and the agreement between two of them."""

    name: str
    labelers: int
    rankings: int
    agreement: Interval | None


@dataclass(frozen=True)
class Labelers:
    """The content of a feedback store."""

    prompts: dict[str, int] = field(default_factory=dict[str, int])
    """Number of prompts by split."""
    use_cases: dict[str, int] = field(default_factory=dict[str, int])
    demonstrations: int = 0
    responses: int = 0
    rankings: int = 0
    answered: dict[int, int] = field(default_factory=dict[int, int])
    """Number of rankings by number of responses."""
    kinds: dict[str, int] = field(default_factory=dict[str, int])
    """Number of labelers by kind."""
    agreement: dict[str, Interval] = field(default_factory=dict[str, Interval])
    """Agreement by tie rule."""
    groups: list[Group] = field(default_factory=list[Group])


def read_labelers(path: Path) -> Labelers | None:
    """Return the content of the project's store; None when there is none, or it cannot be opened."""
    try:
        url = Project.open(path).store_url
        if url.startswith("sqlite") and not Path(url.partition(":///")[2]).is_file():
            return None
        with Store.open(url) as store:
            return _labelers(store)
    except AccordError:
        return None


def _labelers(store: Store) -> Labelers:
    prompts, labelers, rankings = list(store.prompts()), list(store.labelers()), list(store.rankings())
    counts = store.counts()
    active = {ranking.labeler for ranking in rankings}
    return Labelers(
        prompts=dict(Counter(str(prompt.split) for prompt in prompts)),
        use_cases=dict(Counter(prompt.use_case for prompt in prompts).most_common()),
        demonstrations=counts.get("demonstrations", 0),
        responses=counts.get("responses", 0),
        rankings=len(rankings),
        answered=dict(sorted(Counter(len(ranking.response_ids) for ranking in rankings).items())),
        kinds=dict(Counter(str(person.kind) for person in labelers if person.id in active)),
        agreement=_agreement(rankings),
        groups=_groups(labelers, rankings),
    )


def _agreement(rankings: Sequence[Ranking]) -> dict[str, Interval]:
    try:
        found = pairwise_agreement(rankings, resamples=RESAMPLES)
    except InputError:
        return {}
    rules = {"dropped": found.dropped, "disagreement": found.disagreement, "half": found.half}
    return {rule: Interval(*three) for rule, three in rules.items() if three[0] == three[0]}


def _groups(labelers: Sequence[Labeler], rankings: Sequence[Ranking]) -> list[Group]:
    group = {person.id: person.group or "\N{EN DASH}" for person in labelers}
    parts: dict[str, list[Ranking]] = {}
    for ranking in rankings:
        parts.setdefault(group[ranking.labeler], []).append(ranking)
    groups = list[Group]()
    for name, part in sorted(parts.items()):
        labeled = {ranking.labeler for ranking in part}
        groups.append(Group(name, len(labeled), len(part), _agreement(part).get("dropped")))
    return groups


def as_json(labelers: Labelers | None) -> dict[str, object]:
    """Return the record as JSON values."""
    return dataclasses.asdict(labelers) if labelers else {}


# --- the section --------------------------------------------------------------------------------------------------------------------


def data_and_labelers(labelers: Labelers | None) -> Html | None:
    """Return the section on sizes, use cases, groups and agreement."""
    if labelers is None or not (labelers.prompts or labelers.rankings):
        return None
    left = tag("div", _sizes(labelers), _rules(labelers))
    right = tag("div", _by_group(labelers), _by_case(labelers))
    return tag("div", left, right, class_="columns")


def _sizes(labelers: Labelers) -> Html:
    splits = [(both(*SPLITS.get(split, (split, split))), count) for split, count in sorted(labelers.prompts.items())]
    rows = [(join(both("prompts, ", "提示词，"), words), count) for words, count in splits]
    rows += [(both("demonstrations", "示范"), labelers.demonstrations), (both("responses", "回复"), labelers.responses)]
    rows += [(both(f"rankings of {k}", f"{k} 个回复的排序"), count) for k, count in labelers.answered.items()]
    rows += [(join(both("labelers, ", "标注员，"), both(*KINDS.get(kind, (kind, kind)))), count) for kind, count in labelers.kinds.items()]
    lines = [tag("tr", tag("th", words, scope="row"), tag("td", f"{count:,}")) for words, count in rows if count]
    return join(tag("h3", definition_link("counted")), tag("table", lines, class_="sizes"))


RULES = {
    "dropped": ("ties dropped", "去掉平局"),
    "disagreement": ("a tie is a disagreement", "平局算不一致"),
    "half": ("a tie counts half", "平局算一半"),
}


def _rules(labelers: Labelers) -> Html | None:
    if not labelers.agreement:
        return None
    rows = list[Html]()
    for rule, three in labelers.agreement.items():
        share = tag("td", tag("b", percent(three.mean)), " ", _interval(three))
        rows.append(tag("tr", tag("th", both(*RULES[rule]), scope="row"), share))
    return join(tag("h3", definition_link("agreement")), tag("table", rows, class_="sizes"))


def _interval(three: Interval | None) -> Html | None:
    return tag("span", span(three), class_="quiet") if three else None


def _by_group(labelers: Labelers) -> Html | None:
    if not labelers.groups:
        return None
    head = [both("Group", "组"), both("Labelers", "标注员"), both("Rankings", "排序"), definition_link("agreement_within")]
    rows = list[Html]()
    for group in labelers.groups:
        share = tag("b", percent(group.agreement.mean)) if group.agreement else "\N{EN DASH}"
        counts = tag("td", group.labelers), tag("td", f"{group.rankings:,}")
        agreement = tag("td", share, " ", _interval(group.agreement))
        rows.append(tag("tr", tag("th", group.name, scope="row"), counts, agreement))
    heads = tag("tr", [tag("th", words, scope="col") for words in head])
    return tag("table", tag("thead", heads), tag("tbody", rows), class_="groups")


def _by_case(labelers: Labelers) -> Html | None:
    if not labelers.use_cases:
        return None
    most = max(labelers.use_cases.values())
    rows = list[Html]()
    for name, count in labelers.use_cases.items():
        bar = tag("i", class_="bar", style=f"--v:{100 * count / most:.0f}%")
        cells = tag("td", f"{count:,}"), tag("td", bar, class_="barred")
        rows.append(tag("tr", tag("th", use_case(name), scope="row"), cells))
    title = tag("summary", both("Prompts by use case", "各用途的提示词数"))
    return tag("details", title, tag("table", rows, class_="cases small"))
