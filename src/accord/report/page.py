"""`accord report`: puts the page together and writes it in one piece."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from string import Template

from accord import __version__
from accord.report import background, results
from accord.report.figures import charts, framed
from accord.report.markup import Child, Html, both, tag, text
from accord.report.reading import ProjectRecord, read_project
from accord.runtime.files import write_atomic


def write_report(project_path: Path, out: Path | None = None) -> Path:
    """Writes the project's report, one HTML file that needs nothing else, and returns where it is.

    Args:
        out: the file to write; ``report.html`` in the project when None.
    Raises:
        InputError: there is no such project folder.
        AccordError: matplotlib is not installed.
    """
    target = out or project_path / "report.html"
    write_atomic(target, page(read_project(project_path)))
    return target


def page(record: ProjectRecord) -> str:
    """The whole page; the same record gives the same bytes."""
    here = files("accord.report")
    template = Template(here.joinpath("page.html").read_text("utf-8"))
    return template.substitute(
        title=text(record.name),
        style=here.joinpath("page.css").read_text("utf-8"),
        head=_head(record),
        body="\n".join(section for section in _sections(record) if section),
        version=text(__version__),
    )


def _head(record: ProjectRecord) -> Html:
    lead = both(
        "Raw text to a policy that people prefer: what was done, and what came of it.", "从原始文本到人们更喜欢的策略：做了什么，结果如何。"
    )
    return tag("div", tag("h1", record.name), tag("p", lead, class_="lead"))


def _sections(record: ProjectRecord) -> list[Html | None]:
    return [
        results.headline(record),
        _section("loop", "The loop", "整个循环", background.loop(record)),
        _section("better", "Did it get better?", "变好了吗？", results.duels(record), results.models(record)),
        _section("answers", "Answers side by side", "回答对照", results.answers(record)),
        _section("training", "How it learned", "学习过程", _training(record), _ppo(record)),
        _section("cost", "What it took", "代价", background.cost(record)),
        _section("lineage", "Where the models come from", "模型的来历", background.lineage(record)),
        _section("settings", "Settings", "设置", background.settings(record)),
        _section("missing", "Not there yet", "尚缺", background.missing(record)),
        _section("definitions", "What the figures mean", "各数字的含义", background.definitions()),
    ]


def _training(record: ProjectRecord) -> Html | None:
    """Pretraining, SFT and the reward model, a row each or sharing one."""
    stages = {"pretrain": ("Pretraining", "预训练"), "sft": ("Supervised fine-tuning", "监督微调"), "reward": ("Reward model", "奖励模型")}
    pictures = [picture for stage, names in stages.items() for picture in charts(record, stage, over=both(*names))]
    if lines := background.yardsticks(record):
        ladder = tag("ul", lines, class_="yardsticks")
        pictures.append(framed(both("Orders pairs as they do", "与其排序一致"), ladder, over=both(*stages["reward"])))
    return tag("div", pictures, class_="charts") if pictures else None


def _ppo(record: ProjectRecord) -> Html | None:
    pictures, more = charts(record, "ppo"), charts(record, "ppo", "ppo more")
    if not pictures:
        return None
    words = both("More for the practitioner", "更多诊断曲线")
    folded = tag("details", tag("summary", words), tag("div", more, class_="charts")) if more else None
    return tag("div", tag("h3", "PPO"), tag("div", pictures, class_="charts"), folded, class_="ppo")


def _section(name: str, english: str, chinese: str, *content: Child) -> Html | None:
    """A section; what has nothing to show is left out here and listed under "not there yet"."""
    return tag("section", tag("h2", both(english, chinese)), content, id=name) if any(content) else None
