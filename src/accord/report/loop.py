"""The loop of this project: eight stations with its own numbers, and what is not there yet, with the command that it needs.

A project with the built-in world pretrains on its text and is compared by its gold judge. Any other one brings its data in, and is
compared by a reward model, an LLM or people. The station of the policy is the method's that the project uses.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field

from accord.report.labelers import Labelers
from accord.report.markup import Html, both, tag
from accord.report.project_files import ProjectRecord, RunRecord, interval_of, number, table
from accord.report.results import percent
from accord.settings.methods import METHODS, SAMPLING

Fact = tuple[str, Html, str]
"""A figure as written, the thing it counts, and the key of its definition."""


@dataclass(frozen=True)
class Station:
    """One station of the loop, with what is known of it."""

    english: str
    chinese: str
    command: str
    """What does it, as typed into a terminal."""
    run: RunRecord | None = None
    facts: list[Fact] = field(default_factory=list[Fact])
    optional: tuple[str, str] = ("", "")
    """Why the project can do without it."""
    stored: int = 0
    """Records in the database, or models, that another way than a run of ours brought."""

    @property
    def done(self) -> bool:
        return bool(self.facts or self.stored) or (self.run is not None and bool(self.run.summary))


def loop(record: ProjectRecord, labelers: Labelers | None) -> Html:
    """Return eight stations in a ring, each with this project's numbers."""
    talk = [tag("li", both("user feedback goes into the next round", "用户的反馈进入下一轮"))]
    chat = tag("li", tag("h3", both("Talk to it", "与它对话")), tag("ul", talk), tag("code", "accord chat"), class_="station")
    return tag("ol", [_drawn(each) for each in stations(record, labelers)], chat, class_="loop")


def _drawn(station: Station) -> Html:
    lines = [tag("li", tag("b", figure), " ", tag("a", words, href=f"#def-{key}")) for figure, words, key in station.facts]
    lines = lines or [tag("li", _standing(station))]
    title, command = tag("h3", both(station.english, station.chinese)), " ".join(station.command.split()[:2])
    waits = not station.done and not station.optional[0]
    return tag("li", title, tag("ul", lines), tag("code", command), class_=f"station{' waiting' if waits else ''}")


def _standing(station: Station) -> Html:
    if station.run is not None:
        return both("done", "已完成") if station.run.summary else both("running", "进行中")
    if station.stored:
        return both("done", "已完成")
    return both(*station.optional) if station.optional[0] else both("not there yet", "尚未进行")


def missing(record: ProjectRecord, labelers: Labelers | None) -> Html | None:
    """Return the parts that this project lacks, each with its command, and the unreadable files."""
    absent = [each for each in stations(record, labelers) if each.run is None and not each.stored and not each.optional[0]]
    items = [tag("li", both(each.english, each.chinese), ": ", tag("code", each.command)) for each in absent]
    stopped = both(": running, or stopped (continue it with --resume)", "：进行中，或已停止（用 --resume 继续）")
    items += [tag("li", run.name, stopped) for run in record.runs if not run.summary]
    if not record.summary and record.of("evaluate"):
        command = tag("code", f"accord evaluate {record.name}")
        items.append(tag("li", both("summary.json is missing: ", "缺少 summary.json："), command))
    items += [tag("li", both("could not be read: ", "无法读取："), tag("code", name)) for name in record.broken]
    return tag("ul", items, class_="missing") if items else None


def stations(record: ProjectRecord, labelers: Labelers | None) -> list[Station]:
    """Return the seven stations that a project can lack, in the order of the loop."""
    world, known, name = has_world(record), labelers or Labelers(), record.name
    if world:
        first = Station("Pretrain on raw text", "在原始文本上预训练", f"accord pretrain {name}", record.one("pretrain"))
        first.facts.extend(_text_facts(first.run))
    else:
        prompts = sum(known.prompts.values())
        first = Station("Bring data in", "导入数据", f"accord import {name} FILE", stored=prompts + known.demonstrations)
        first.facts.extend(_amount(prompts, both("prompts", "个提示词")))
        first.facts.extend(_amount(known.demonstrations, both("demonstrations", "条示范")))
    return [first, *_learned(record, known, world=world), _policy(record, known), _compared(record, world=world)]


def _learned(record: ProjectRecord, known: Labelers, *, world: bool) -> Iterator[Station]:
    name, policy = record.name, _method(record, known)
    there = sum(row.get("stage") == "sft" for row in record.models.values()) if not world else 0
    sft = Station(
        "Learn demonstrations", "学习示范（SFT）", f"accord sft {name}{'' if world else ' --base MODEL'}", record.one("sft"), stored=there
    )
    sft.facts.extend(_text_facts(sft.run))
    yield sft
    sampled = record.one("sample")
    sample = Station("Sample K responses", "采样 K 个回复", f"accord sample {name}", sampled, stored=known.responses)
    sample.facts.extend(_counted(sampled, "responses", both("responses", "个回复")))
    sample.facts.extend(_counted(sampled, "prompts", both("prompts", "个提示词")))
    if not sample.facts:
        sample.facts.extend(_amount(known.responses, both("responses", "个回复")))
    yield sample
    ranked = record.one("label")
    label = Station("Have them ranked", "由人排序", f"accord label {name}", ranked, stored=known.rankings)
    label.facts.extend(_counted(ranked, "rankings", both("rankings", "次排序")))
    label.facts.extend(_counted(ranked, "labelers", both("labelers", "位标注员")))
    if not label.facts:
        label.facts.extend(_amount(known.rankings, both("rankings", "次排序")))
    label.facts.extend(_share(record.summary.get("agreement"), both("agreement", "一致率"), "agreement"))
    yield label
    title = METHODS[policy].name.upper()
    needless = (f"{title} needs none", f"{title} 不需要") if policy not in SAMPLING else ("", "")
    reward = Station("Train the reward model", "训练奖励模型", f"accord reward {name}", record.one("reward"), optional=needless)
    reward.facts.extend(_reward_facts(record, reward.run))
    yield reward


def _policy(record: ProjectRecord, known: Labelers) -> Station:
    method = _method(record, known)
    run, title = record.one(method), method.upper()
    station = Station(f"Improve by {title}", f"用 {title} 改进", f"accord {method} {record.name}", run)
    if method in SAMPLING:
        station.facts.extend(_rise(run))
        station.facts.extend(_figure(run.last("kl_k1") if run else None, "{:.1f}", both("nats from SFT", "nat 偏离 SFT"), "kl_k1"))
    else:
        found = next((value for key in ("heldout_accuracy", "validation_accuracy") if run and (value := run.last(key)) is not None), None)
        station.facts.extend(_share(found, both("of held-out pairs", "留出对判断正确"), "validation_accuracy"))
    return station


def _method(record: ProjectRecord, known: Labelers) -> str:
    """Return the method that the project improves its policy by: that of its newest policy, else what its data are enough for."""
    made = [(str(row.get("at", "")), str(row.get("stage", ""))) for row in record.models.values() if row.get("stage") in METHODS]
    if made:
        return max(made)[1]
    run = next((run for method in METHODS for run in record.of(method)), None)
    if run is not None:
        return run.stage
    paired = not has_world(record) and record.one("reward") is None and known.rankings > 0
    return "dpo" if paired else "ppo"


def _compared(record: ProjectRecord, *, world: bool) -> Station:
    evaluated, run = record.one("evaluate"), record.one("compare")
    if world and (evaluated is not None or run is None):
        station = Station("Compare blind", "盲测比较", f"accord evaluate {record.name}", evaluated)
        rates = table(record.summary.get("win_rate"))
        station.facts.extend(_share(rates.get("sft_vs_base"), both("SFT over base", "SFT 胜基座"), "win_rate"))
        station.facts.extend(_share(rates.get("ppo_vs_sft"), both("PPO over SFT", "PPO 胜 SFT"), "win_rate"))
        return station
    station = Station("Compare blind", "盲测比较", f"accord compare {record.name} {' '.join(_pair(record))} --by {_judge(record)}", run)
    for duel, value in table(run.summary.get("win_rate") if run else None).items():
        first, _, second = duel.partition("_vs_")
        if interval_of(value) and len(station.facts) < 2:
            station.facts.extend(_share(value, both(f"{first} over {second}", f"{first} 胜 {second}"), "win_rate"))
    return station


def _judge(record: ProjectRecord) -> str:
    """Return a judge that a project without a gold judge has, and that its newest policy was not trained against."""
    trained = {name for row in record.models.values() if row.get("stage") in SAMPLING for name in table(row.get("parents"))}
    free = [name for name, row in record.models.items() if row.get("stage") == "reward" and name not in trained]
    return "reward" if "reward" in free else "people"


def _pair(record: ProjectRecord) -> tuple[str, str]:
    """Return the newest policy and what it started from, as far as there are any."""
    at = {name: str(row.get("at", "")) for name, row in record.models.items()}
    policies = sorted((name for name, row in record.models.items() if row.get("stage") in METHODS), key=lambda name: at[name])
    if not policies:
        return ("sft", "base") if "sft" in record.models and "base" in record.models else ("MODEL", "MODEL")
    kin = [name for name in table(record.models[policies[-1]].get("parents")) if record.models.get(name, {}).get("stage") != "reward"]
    return policies[-1], next((name for name in kin if not name.endswith("-value")), "sft")


def has_world(record: ProjectRecord) -> bool:
    """Return whether the built-in world is in a project, by its settings or by runs that need it."""
    if record.of("pretrain") or record.of("evaluate"):
        return True
    try:
        return "world" in tomllib.loads((record.path / "accord.toml").read_text("utf-8"))
    except (OSError, ValueError):
        return False


def _text_facts(run: RunRecord | None) -> Iterator[Fact]:
    yield from _counted(run, "corpus_tokens", both("tokens of raw text", "词元的原始文本"))
    yield from _counted(run, "demonstrations", both("demonstrations", "条示范"))
    loss = run.last("validation_loss") if run else None
    yield from _figure(loss, "{:.2f}", both("validation loss", "验证损失"), "validation_loss")


def _reward_facts(record: ProjectRecord, run: RunRecord | None) -> Iterator[Fact]:
    metrics = table(record.summary.get("reward_model")) or (run.summary if run else {})
    yield from _share(metrics.get("accuracy_gold"), both("against gold", "对金标"), "accuracy_gold")
    yield from _share(metrics.get("accuracy_labelers"), both("against labelers", "对标注员"), "accuracy_labelers")
    yield from _share(metrics.get("accuracy_heldout_group"), both("against a held-out group", "对留出组"), "accuracy_heldout_group")
    yield from _share(metrics.get("noise_ceiling"), both("noise ceiling", "噪声上限"), "noise_ceiling")


def _counted(run: RunRecord | None, key: str, words: Html) -> Iterator[Fact]:
    yield from _figure(number(run.summary.get(key)) if run else None, "{:,.0f}", words, "counted")


def _amount(count: int, words: Html) -> Iterator[Fact]:
    if count:
        yield f"{count:,}", words, "counted"


def _figure(value: float | None, form: str, words: Html, key: str) -> Iterator[Fact]:
    if value is not None:
        yield form.format(value).replace("-", "\N{MINUS SIGN}"), words, key


def _share(value: object, words: Html, key: str) -> Iterator[Fact]:
    figure = number(value)
    if figure is not None:
        yield percent(figure), words, key


def _rise(run: RunRecord | None) -> Iterator[Fact]:
    ends = run.ends("reward") if run else None
    if ends:
        written = (f"{value:.2f}".replace("-", "\N{MINUS SIGN}") for value in ends)
        yield " \N{RIGHTWARDS ARROW} ".join(written), both("proxy reward", "代理奖励"), "reward"
