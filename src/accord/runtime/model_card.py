"""The card of a model folder, README.md: what the model is and what it was made of, with the header that model hubs read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CARD = "README.md"
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
CARRIED = ("license", "license_name", "license_link", "language", "base_model")
"""What a header takes over from the card of the model that it was trained from."""


@dataclass(frozen=True)
class About:
    """What a card says beside the record of lineage.json."""

    method: str = ""
    """The command's line in `accord --help`."""
    source: str = ""
    """Folder or hub name of the model that it was trained from."""
    judges: bool = False
    """Whether it gives a score instead of text."""
    sees: bool = False
    """Whether it reads pictures too."""
    template: str = ""
    ends: tuple[str, ...] = ()
    """Tokens at which an answer ends."""
    dtype: str = ""
    adapter: bool = False
    """Whether the adapter lies beside it."""
    data: str = ""
    """Sections of the data card."""


def header_of(source: str) -> dict[str, Any]:
    """Return what a model's card hands down: license, language and the hub name it descends from. Empty for a folder without card."""
    if not Path(source).exists():
        return {"base_model": source} if HUB_NAME.fullmatch(source) else {}
    path = Path(source, CARD)
    if not path.is_file():
        return {}
    from huggingface_hub import metadata_load

    try:
        found: Mapping[str, Any] = metadata_load(path) or {}
    except Exception:  # a header that is no YAML tells nothing
        return {}
    return {key: found[key] for key in CARRIED if found.get(key)}


def card(record: Mapping[str, Any], about: About) -> str:
    """Return README.md for a model with this lineage record."""
    carried = header_of(about.source) if about.source else {}
    tags = ["accord", str(record["stage"]), *(["lora"] if record["settings"].get("lora_rank") else [])]
    header: dict[str, Any] = {
        **carried,
        "library_name": "transformers",
        "pipeline_tag": "text-classification" if about.judges else "text-generation",
        "tags": tags,
    }
    lines = "\n".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in header.items())  # JSON is YAML
    parts = [
        f"---\n{lines}\n---\n\n# {record['name']}",
        _origin(record, about, carried),
        _use(about),
        _section("Data, by sha256", record["data"]),
        _data(about, record),
        _section("Metrics at the end of training", record["metrics"]),
        _section("Settings", record["settings"]),
        _format(about),
        _limits(about, carried),
        f"`lineage.json` holds all of this; `accord lineage {record['name']}` walks back to the feedback.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _origin(record: Mapping[str, Any], about: About, carried: Mapping[str, Any]) -> str:
    parents = ", ".join(record["parents"]) or "none: trained from scratch"
    base = carried.get("base_model")
    descends = f" It descends from `{base if isinstance(base, str) else ', '.join(base)}`." if base else ""
    method = f" {about.method.rstrip('.')}." if about.method else ""
    return f"Made by `accord {record['stage']}` (Accord {record['accord']}) at {record['at']}.{method} Learned from: {parents}.{descends}"


def _use(about: About) -> str:
    if not about.template or (about.sees and about.judges):
        return ""
    kind = "AutoModelForSequenceClassification" if about.judges else "AutoModelForImageTextToText" if about.sees else "AutoModelForCausalLM"
    asked = '[{"role": "user", "content": "..."}' + (', {"role": "assistant", "content": "..."}]' if about.judges else "]")
    rest = (
        'ids = tokenizer.apply_chat_template(turns, return_tensors="pt", return_dict=True)\nscore = model(**ids).logits[0, 0]'
        if about.judges
        else 'ids = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)\n'
        "answer = model.generate(**ids, max_new_tokens=256)"
    )
    loads = f'tokenizer, model = AutoTokenizer.from_pretrained(folder), {kind}.from_pretrained(folder, dtype="auto")'
    code = f"from transformers import {kind}, AutoTokenizer\n\n{loads}\nturns = {asked}\n{rest}"
    kept = "\n\nThe LoRA adapter by itself lies in `adapter/`." if about.adapter else ""
    return f"## Use\n\n```python\n{code}\n```{kept}"


def _data(about: About, record: Mapping[str, Any]) -> str:
    if not about.data:
        return ""
    before = " What its parents learned from stands in their own cards." if record["parents"] else ""
    return f"## Data card\n\nWhat this training learned from.{before}\n\n{about.data}"


def _format(about: About) -> str:
    ends = ", ".join(f"`{json.dumps(end, ensure_ascii=False)[1:-1]}`" for end in about.ends)
    facts = [f"Answers end with {ends}."] if ends else []
    facts += [f"Weights are stored in {about.dtype}."] if about.dtype else []
    template = f"\n\nChat template:\n\n````jinja\n{about.template}\n````" if about.template else ""
    return f"## Format\n\n{' '.join(facts)}{template}" if facts or template else ""


def _limits(about: About, carried: Mapping[str, Any]) -> str:
    told = ["It was trained on the data named above and on nothing that this card does not name; it was not reviewed for any use."]
    if about.judges:
        told.append("Scores compare answers to the same prompt. `reward_bias` in config.json is added by Accord alone.")
    else:
        told.append("It can be wrong, and it can repeat what is wrong in its data. The metrics above are those of training, not of use.")
    if not carried.get("license"):
        told.append("No license is named: the card of its base had none, or could not be read here. Name one before you publish it.")
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in told)


def _section(title: str, values: Mapping[str, object]) -> str:
    rows = "\n".join(f"| {name} | {cell(value)} |" for name, value in values.items())
    return f"## {title}\n\n| | |\n|---|---|\n{rows}" if rows else ""


def cell(value: object) -> str:
    """Return a value as the text of a Markdown table's cell."""
    return str(value).replace("|", "\\|").replace("\n", " ")
