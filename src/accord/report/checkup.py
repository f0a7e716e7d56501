"""The doctor's findings in each run, with the responses that they quote."""

from __future__ import annotations

from collections.abc import Sequence

from accord.evaluation.findings import ALARMS, MEASURED_BY, Finding, Said
from accord.evaluation.run_facts import examine, facts_of, kept_findings, together
from accord.report import classifier_cards, manual
from accord.report.markup import Html, both, join, tag
from accord.report.project_files import ProjectRecord, RunRecord
from accord.report.results import percent
from accord.report.said import Words

SEVERITIES = {"high": ("grave", "严重"), "medium": ("look at it", "需留意"), "low": ("good to know", "供参考")}
QUOTE = 600
"""Characters of a quoted response."""


def findings_of(record: ProjectRecord) -> dict[str, list[Finding]]:
    """Return each run's findings: those from its files now, and those added by `accord doctor` if the run has
    not changed since."""
    return {run.name: _found(run) for run in record.runs}


def _found(run: RunRecord) -> list[Finding]:
    facts = facts_of(run.folder, {**run.config, "stage": run.stage}, run.summary, run.metrics, run.samples.rows)
    return together(kept_findings(run.folder, run.metrics.rows), examine(facts, run.samples.rows))


def checkup(findings: dict[str, list[Finding]]) -> Html | None:
    """Return one card per finding, the gravest first within its run; one line when all is well."""
    if not findings:
        return None
    lines: list[Html] = []
    for name, found in findings.items():
        lines += [_card(name, finding) for finding in found]
    sound = [name for name, found in findings.items() if not found]
    healthy = tag("p", both("Nothing is wrong with ", "未发现问题："), ", ".join(sound), both(".", "。"), class_="quiet") if sound else None
    return join(tag("div", lines, class_="findings") if lines else None, healthy)


def _card(run: str, finding: Finding) -> Html:
    about = f"{run}: {finding.about}" if finding.about else run
    severity = tag("span", both(*SEVERITIES[finding.severity]), class_=f"badge {finding.severity}")
    sure = tag("a", percent(finding.sure), " ", both("sure", "把握"), href="#def-sure", class_="def")
    head = tag("p", severity, tag("b", about), tag("span", sure, class_="quiet"), class_="about")
    title = tag("h3", both(finding.title(), finding.title("zh")), " ", tag("code", _documented(finding.name)))
    what = join(tag("p", both(finding.what(), finding.what("zh"))), _basis(finding))
    advice = zip(finding.change(), finding.change("zh"), strict=True)
    change = tag("ul", [tag("li", both(*lines)) for lines in advice], class_="change")
    return tag("article", head, title, what, change, _quotes(finding.quotes), class_=f"finding {finding.severity}")


def _basis(finding: Finding) -> Html | None:
    """Return the classifier that a finding rests on, with a link to its card."""
    if MEASURED_BY not in finding.metrics:
        return None
    key = str(finding.metrics.get("card", ""))
    return tag("p", str(finding.metrics[MEASURED_BY]), " ", classifier_cards.link(key) if key else None, class_="quiet")


def _documented(name: str) -> Html:
    """Return a finding's name, linked to its line among the diagnoses or the alarms."""
    return manual.link("hacking" if name in ALARMS else "doctor", name, words=name)


def _quotes(quotes: Sequence[Said]) -> Html | None:
    if not quotes:
        return None
    items, words = list[Html](), Words()
    for said in quotes:
        prompt = tag("p", words(_short(said.prompt, 200)), class_="quiet")
        items.append(tag("blockquote", prompt, tag("p", words(_short(said.response, QUOTE)))))
    return tag("details", tag("summary", both("What was said", "原话")), items, open=len(quotes) == 1)


def _short(text: str, length: int) -> str:
    text = text.strip() or "\N{EMPTY SET}"
    return text if len(text) <= length else f"{text[:length]}\N{HORIZONTAL ELLIPSIS}"
