"""A card for each model: its kind, its training data, its metrics."""

from __future__ import annotations

import json
from collections.abc import Iterator
from math import prod
from pathlib import Path

from accord.report.captions import DEFINITIONS, model_key, model_name
from accord.report.curves import definition_link
from accord.report.markup import Html, both, tag
from accord.report.project_files import ProjectRecord, Table, number, table
from accord.report.results import measured, percent
from accord.runtime.lineage import metrics_of

Fact = tuple[Html, str]


def cards(record: ProjectRecord) -> Html | None:
    """Return the project's models in the order in which they were made."""
    made = sorted(record.models, key=lambda name: (str(record.models[name].get("at", "")), name))
    return tag("div", [_card(record, name) for name in made], class_="cards") if made else None


def _card(record: ProjectRecord, name: str) -> Html:
    facts = [*_body(record.path / "models" / name), *_metrics(record.models[name]), *_measured(record, name)]
    rows = [tag("tr", tag("th", words, scope="row"), tag("td", figure)) for words, figure in facts]
    stage = tag("span", str(record.models[name].get("stage", "")), class_="quiet")
    return tag("article", tag("h3", model_name(name), " ", stage), tag("table", rows, class_="small"), class_="card", id=f"model-{name}")


def _body(folder: Path) -> Iterator[Fact]:
    weights = parameters(folder)
    if weights:
        yield definition_link("parameters"), f"{weights / 1e6:,.2f} M" if weights < 1e9 else f"{weights / 1e9:,.2f} B"


def parameters(folder: Path) -> int:
    """Return the number of parameters in a model folder's safetensors files, from their headers; 0 when none can be read."""
    total = 0
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with path.open("rb") as file:
                header = json.loads(file.read(min(int.from_bytes(file.read(8), "little"), 1 << 26)))
            total += sum(prod(table(tensor).get("shape", [0])) for name, tensor in header.items() if name != "__metadata__")
        except (OSError, ValueError, TypeError, AttributeError):
            continue
    return total


COUNTS = {
    "demonstrations": ("demonstrations", "示范"),
    "documents": ("documents", "文档"),
    "corpus_tokens": ("tokens of raw text", "原始文本词元"),
    "rankings": ("rankings", "排序"),
}


def _metrics(lineage: Table) -> Iterator[Fact]:
    """Return the metrics of the model's own run, in order. All counts share one definition."""
    for key, value in table(metrics_of(lineage)).items():
        figure = number(value)
        if figure is None:
            continue
        name = definition_link(key) if key in DEFINITIONS else _counted(key)
        written = percent(figure, 1) if key.startswith("accuracy") else f"{figure:,.0f}" if figure == int(figure) else f"{figure:.3f}"
        yield name, written.replace("-", "\N{MINUS SIGN}")


def _counted(key: str) -> Html:
    words = both(*COUNTS.get(key, (key.replace("_", " "), key)))
    return tag("a", words, href="#def-counted", class_="def") if key in COUNTS else words


def _measured(record: ProjectRecord, name: str) -> Iterator[Fact]:
    key = model_key(name)
    criteria = {model_key(model): table(row) for model, row in measured(record, "criteria").items()}
    for criterion in ("utility", "helpful", "truthful", "harmless"):
        if (value := number(criteria.get(key, {}).get(criterion))) is not None:
            yield definition_link(criterion), f"{value:.2f}"
    for figure, form in (("kl", "{:.1f}"), ("hallucination", "{:.0%}"), ("alignment_tax", "{:+.1%}")):
        values = {model_key(model): number(value) for model, value in measured(record, figure).items()}
        found = values.get(key, values.get("ppo_ptx") if key == "ppo" else None)
        if found is not None:
            yield definition_link(figure), form.format(found).replace("-", "\N{MINUS SIGN}")
