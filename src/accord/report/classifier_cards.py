"""The cards of the classifiers that figures on the page rest on, and the links to them: how much each finds, and how often it is right."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from accord.evaluation.card_file import Card, Share, known_cards
from accord.evaluation.findings import MEASURED_BY, Finding
from accord.report import manual
from accord.report.markup import Html, both, join, tag
from accord.report.project_files import ProjectRecord, Table, table


def link(key: str) -> Html:
    """Return a link to a card on this page.

    Args:
        key: a task and the name of its classifier, as in ``stance small``.
    """
    return tag("a", both("card", "分类器卡片"), href=f"#{_id(key)}", class_="quiet")


def basis(summary: Table) -> dict[str, tuple[str, str]]:
    """Return by metric the card that a run's figure rests on, and that card's line; runs of an older version kept the line alone."""
    found: dict[str, tuple[str, str]] = {}
    for metric, each in table(summary.get(MEASURED_BY)).items():
        held = table(each)
        found[metric] = (str(held.get("card", "")), str(held.get("says", ""))) if held else ("", str(each))
    return found


def lines(summary: Table) -> Html | None:
    """Return what each figure of a run rests on, each with a link to its card."""
    items = list[Html]()
    for metric, (key, says) in basis(summary).items():
        items.append(tag("li", tag("code", metric), ": ", says, " ", link(key) if key else manual.link("classifiers")))
    return tag("ul", items, class_="quiet") if items else None


def section(record: ProjectRecord, findings: Mapping[str, Iterable[Finding]]) -> Html | None:
    """Return the card of every classifier that a figure of the page rests on."""
    keys = dict.fromkeys(_used(record, findings))
    shown = known_cards(record.path)
    parts = [_card(key, shown.get(key)) for key in sorted(keys)]
    said = both(
        "Shares such as refusals and admissions are counted by these classifiers. Recall is the share of such texts that is found, "
        "precision the share of what is found that is right. ",
        "拒绝、承认不知道等比例由下列分类器判定。召回率：此类文本中被找出的比例；精确率：判定为此类的文本中判对的比例。",
    )
    return join(tag("p", said, manual.link("classifiers"), class_="quiet"), parts) if parts else None


def _used(record: ProjectRecord, findings: Mapping[str, Iterable[Finding]]) -> Iterator[str]:
    for summary in (record.summary, *(run.summary for run in record.runs)):
        yield from (key for key, _ in basis(summary).values() if key)
    for found in findings.values():
        yield from (str(finding.metrics["card"]) for finding in found if "card" in finding.metrics)


def _card(key: str, card: Card | None) -> Html:
    task, _, name = key.partition(" ")
    head = tag("h3", tag("code", task), " · ", tag("code", name), id=_id(key))
    if card is None:
        command = tag("code", f"accord classifiers PROJECT --task {task}")
        return join(head, tag("p", both("Never measured: run ", "从未测量；请运行 "), command))
    facts = [
        join(both("texts", "文本"), f": {card.texts} ({card.measured_on})" if card.measured_on else f": {card.texts}"),
        join(both("right", "判对"), f": {card.right}"),
        join(_alarms_on(task), f": {card.false_alarms}") if card.false_alarms else None,
        *(join(language, f": {share}") for language, share in card.by_language.items()),
        join(both("licence", "许可证"), f": {card.licence}") if card.licence else None,
        join(both("size", "大小"), f": {card.size / 1e6:.2g} MB") if card.size else None,
    ]
    return join(head, tag("ul", [tag("li", fact) for fact in facts if fact is not None]), _labels(card))


def _alarms_on(task: str) -> Html:
    if task == "written":
        return both("false alarms on people's texts", "人写文本误报")
    return both("false alarms on ordinary prompts", "普通提示词误报")


def _labels(card: Card) -> Html:
    heads = [both("label", "类别"), both("recall", "召回率"), both("precision", "精确率"), ""]
    rows = list[Html]()
    for label, recall in card.recall.items():
        shares = [tag("td", _share(each)) for each in (recall, card.precision[label])]
        rough = tag("td", both("rough", "粗略") if label in card.rough else "")
        rows.append(tag("tr", tag("th", label, scope="row"), shares, rough))
    head = tag("tr", [tag("th", words, scope="col") if words else tag("td") for words in heads])
    return tag("div", tag("table", tag("thead", head), tag("tbody", rows), class_="settings"), class_="scroll", tabindex="0")


def _share(share: Share) -> str:
    return f"{share} / {share.of}"


def _id(key: str) -> str:
    return "card-" + re.sub(r"[^A-Za-z0-9]+", "-", key)
