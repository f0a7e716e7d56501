"""`accord report`: builds the page and writes it atomically."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Literal

from accord.evaluation.findings import Finding
from accord.report import background, cards, classifier_cards, loop, manual, matrix, measures, results, samples
from accord.report.checkup import checkup, findings_of
from accord.report.curves import CHARTS, charts, framed
from accord.report.intake import intake
from accord.report.labelers import Labelers, data_and_labelers, read_labelers
from accord.report.markup import Child, Html, both, join, tag, text
from accord.report.method_curves import methods
from accord.report.project_files import ProjectRecord, read_project
from accord.report.two_runs import two_runs
from accord.runtime.files import write_atomic
from accord.runtime.version import __version__

Language = Literal["en", "zh_CN"]
Everything = tuple[ProjectRecord, Labelers | None, dict[str, list[Finding]]]
TITLES = {
    "doctor": ("What the doctor finds", "诊断"),
    "loop": ("The loop", "整个循环"),
    "labelers": ("Data and labelers", "数据与标注员"),
    "better": ("Did it get better?", "变好了吗？"),
    "measured": ("What else was measured", "其他测量"),
    "answers": ("Answers side by side", "回复对照"),
    "classifiers": ("What these figures are counted by", "这些数字由什么判定"),
    "training": ("How it learned", "学习过程"),
    "two": ("Two runs side by side", "两个运行并排比较"),
    "models": ("The models", "各模型"),
    "cost": ("Time and memory", "耗时与内存"),
    "lineage": ("Where the models come from", "模型的来源"),
    "settings": ("Settings, seeds, versions", "设置、种子与版本"),
    "missing": ("Not there yet", "尚缺"),
    "definitions": ("What the metrics mean", "各指标的含义"),
}


def read_everything(project_path: Path) -> Everything:
    """Return everything that the page shows. Raises InputError when there is no such project folder."""
    record = read_project(project_path)
    return record, read_labelers(project_path), findings_of(record)


def write_report(project_path: Path, out: Path | None = None, *, content: Everything | None = None) -> Path:
    """Write the project's report as one self-contained HTML file, and return its path.

    Args:
        out: the file to write; ``report.html`` in the project when None.
        content: the project as already read; read now when None.

    Raises:
        InputError: there is no such project folder.
        AccordError: matplotlib is not installed.
    """
    target = out or project_path / "report.html"
    write_atomic(target, page(*(content or read_everything(project_path))))
    return target


def page(
    record: ProjectRecord,
    labelers: Labelers | None,
    findings: dict[str, list[Finding]],
    *,
    live: str = "",
    back: str = "",
    language: Language | None = None,
) -> str:
    """Return the whole page. The same project gives the same bytes.

    Args:
        live: the state shown by a served page.
        back: the address of the site that the page is part of.
        language: the reader's choice; None leaves it to the browser.
    """
    parts = _sections(record, labelers, findings)
    return Template(_file("page.html")).substitute(
        title=text(record.name),
        live=f' data-live="{text(live)}"' if live else "",
        language="zh-Hans" if language == "zh_CN" else "en",
        chosen=" data-chosen" if language else "",
        english="" if language == "zh_CN" else " checked",
        chinese=" checked" if language == "zh_CN" else "",
        back=join(_back(record, back), "\n") if back else "",
        policy=live_policy() if live else policy(),
        style=_file("page.css"),
        script=_file("page.js"),
        head=_head(record),
        contents=_contents(parts),
        body="\n".join([str(results.headline(record) or ""), *parts.values()]),
        version=text(__version__),
    )


@cache
def _file(name: str) -> str:
    return files("accord.report").joinpath(name).read_text("utf-8")


def policy() -> str:
    """Return the page's content security policy: it loads nothing and runs only its own scripts, identified by
    their digest."""
    digest = base64.b64encode(hashlib.sha256(_file("page.js").encode()).digest()).decode()
    return f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def live_policy() -> str:
    """Return the policy for the served page, which may also ask its server for news."""
    return f"{policy()}; connect-src 'self'"


def _back(record: ProjectRecord, address: str) -> Html:
    return tag("nav", tag("a", "\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK} ", record.name, href=address), aria_label=record.name)


def _head(record: ProjectRecord) -> Html:
    lead = both(
        "Raw text to a policy that people prefer: what was done, and what came of it.", "从原始文本到人们更喜欢的策略：做了什么，结果如何。"
    )
    return tag("div", tag("h1", record.name), tag("p", lead, class_="lead"))


def _contents(parts: dict[str, Html]) -> Html:
    return tag("nav", [tag("a", both(*TITLES[name]), href=f"#{name}") for name in parts], class_="contents", aria_label="Contents · 目录")


def _sections(record: ProjectRecord, labelers: Labelers | None, findings: dict[str, list[Finding]]) -> dict[str, Html]:
    """Return every section with content. Empty ones are listed under "not there yet"."""
    content: dict[str, list[Child]] = {
        "loop": [loop.loop(record, labelers)],
        "doctor": [checkup(findings)],
        "better": [
            results.duels(record),
            matrix.matrices(record),
            results.models(record),
            matrix.frontier(record),
            measures.frontiers(record),
            measures.knowledge(record),
        ],
        "measured": [measures.others(record)],
        "answers": [results.answers(record), samples.browser(record)],
        "labelers": [data_and_labelers(labelers), intake(record)],
        "classifiers": [classifier_cards.section(record, findings)],
        "training": [_training(record), _ppo(record), methods(record)],
        "two": [two_runs(record)],
        "models": [cards.cards(record)],
        "lineage": [background.descent(record), background.lineage(record)],
        "cost": [background.cost(record)],
        "settings": [background.versions(record), background.settings(record)],
        "missing": [loop.missing(record, labelers)],
    }
    sections = {name: _section(name, *parts) for name, parts in content.items() if any(parts)}
    means = background.definitions()
    return sections | {"definitions": _section("definitions", means, manual.pages([*sections.values(), means]))}


def _section(name: str, *content: Child) -> Html:
    return tag("section", tag("h2", both(*TITLES[name])), content, id=name)


def _training(record: ProjectRecord) -> Html | None:
    """Return pretraining, SFT and the reward model, a row each or sharing one."""
    stages = {"pretrain": ("Pretraining", "预训练"), "sft": ("Supervised fine-tuning", "监督微调"), "reward": ("Reward model", "奖励模型")}
    pictures = list[Html]()
    for stage, names in stages.items():
        pictures += charts(record, stage, CHARTS[stage], over=both(*names))
    if lines := background.yardsticks(record):
        ladder = tag("ul", lines, class_="yardsticks")
        pictures.append(framed(both("Orders pairs as they do", "与其排序一致"), ladder, over=both(*stages["reward"])))
    return tag("div", pictures, class_="charts") if pictures else None


def _ppo(record: ProjectRecord) -> Html | None:
    pictures, more = charts(record, "ppo", CHARTS["ppo"]), charts(record, "ppo", CHARTS["ppo more"])
    if not pictures:
        return None
    words = both("More for the practitioner", "更多诊断曲线")
    folded = tag("details", tag("summary", words), tag("div", more, class_="charts")) if more else None
    return tag("div", tag("h3", "PPO"), tag("div", pictures, class_="charts"), folded, class_="ppo")
