"""Measure the hint `machine-written` on texts of others, and write its card: nothing of ours could stand for people's texts.

    python benchmarks/measure_written.py --data ../shared/data --models alpaca_eval --pairs HC3-Plus
    python benchmarks/measure_written.py --data ../shared/data --models alpaca_eval --pairs HC3-Plus --write

`--data` is a folder with the sets that docs/classifiers.md names; `--models` a clone of github.com/tatsu-lab/alpaca_eval (answers of
models; CC BY-NC, measured on and not learned from), `--pairs` one of github.com/suu990901/chatgpt-comparison-detection-HC3-Plus.
Nothing is copied.
Every source counts alike: `EACH` texts of a source, drawn by a seed, of those that are long enough for the hint to say something.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from accord.data import machine_written
from accord.data.classifiers.measure import CARDS, Card, Share, as_json, cards, wilson
from accord.data.classifiers.registry import opened
from accord.data.written_hints import HARDEST, LABEL

EACH = 300
MODELS = (
    *("llama-2-7b-chat-hf", "claude-3-opus-20240229", "gpt-4-turbo-2024-04-09", "Qwen1.5-14B-Chat", "Mixtral-8x22B-Instruct-v0.1"),
    *("alpaca-7b", "oasst-sft-llama-33b", "pythia-12b-mix-sft", "cohere", "claude-2.1_concise"),
)
"""Models of 2023 and 2024 of several makers, chosen before anything was measured on them."""
PUBLISHER = {"OpenAssistant answers": "OpenAssistant", "OpenAssistant prompts": "OpenAssistant"}
HARD = "OpenAssistant answers"
SURE = 99
"""More habits than there are: a text that calls itself a model's."""


@dataclass(frozen=True, slots=True)
class Source:
    """Texts of one kind of writer from one publisher."""

    name: str
    machine: bool
    language: str
    texts: Sequence[str]
    counted: bool = True
    """Whether the card counts it; models of before 2023 are shown beside."""


def _rows(path: Path) -> list[Any]:
    packed = path.with_name(path.name + ".gz")
    text = _unpacked(packed) if packed.is_file() else path.read_text("utf-8")
    return json.loads(text) if path.suffix == ".json" else [json.loads(line) for line in text.split("\n") if line]


def _unpacked(path: Path) -> str:
    return gzip.decompress(path.read_bytes()).decode("utf-8")


def _tree(message: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield message
    for reply in message.get("replies", []):
        yield from _tree(reply)


def of_data(data: Path) -> Iterator[Source]:
    """Yield the sources in a folder of data sets, English all of them."""
    turns: dict[str, list[str]] = {"Human": [], "Assistant": []}
    for row in _rows(data / "hh-rlhf/harmless-base-test.jsonl"):
        for part in re.split(r"\n\n(?=Human:|Assistant:)", row["chosen"].strip()):
            who, _, said = part.partition(":")
            turns.get(who, []).append(said)
    yield Source("HH-RLHF prompts", False, "en", turns["Human"])
    yield Source("HH-RLHF answers of a model, 2021", True, "en", turns["Assistant"], counted=False)
    messages = [each for row in _rows(data / "openassistant-sample/en_100_tree.jsonl") for each in _tree(row["prompt"])]
    people = [each for each in messages if not each.get("synthetic")]
    yield Source(HARD, False, "en", [each["text"] for each in people if each["role"] == "assistant"])
    yield Source("OpenAssistant prompts", False, "en", [each["text"] for each in people if each["role"] == "prompter"])
    tasks = [*_rows(data / "self-instruct/seed_tasks.jsonl"), *_rows(data / "self-instruct/user_oriented_instructions.jsonl")]
    yield Source("Self-Instruct tasks and answers", False, "en", [said for row in tasks for said in _said(row)])
    for name in ("davinci-self-instruct", "text-davinci-001", "text-davinci-003"):
        texts = [row["response"] for row in _rows(data / f"self-instruct/{name}_predictions.jsonl")]
        yield Source(f"{name}, 2022", True, "en", texts, counted=False)
    asked = _rows(data / "finegrained-rlhf-qa/dev_feedback.json")
    yield Source("ASQA answers", False, "en", [row["gold"] for row in asked])
    yield Source("answers of a T5 to ASQA, 2023", True, "en", [row["prediction 1"] for row in asked], counted=False)
    yield Source("GSM8K solutions", False, "en", [re.sub(r"<<.*?>>", "", row["answer"]) for row in _rows(data / "gsm8k/train.jsonl")])
    yield Source(
        "MT-bench prompts", False, "en", [turn for row in _rows(data / "mt-bench/mt_bench_question.jsonl") for turn in row["turns"]]
    )
    yield Source(
        "Vicuna-bench prompts by GPT-4",
        True,
        "en",
        [turn for row in _rows(data / "mt-bench/vicuna_bench_question.jsonl") for turn in row["turns"]],
        counted=False,
    )
    books = [_unpacked(path) for path in sorted((data / "text-standardebooks").glob("*.gz"))]
    yield Source("novels, passages", False, "en", [part for book in books for part in book.split("\n\n") if len(part) < 2500])


def _said(row: Mapping[str, Any]) -> list[str]:
    return [row["instruction"], *(each[key] for each in row["instances"] for key in ("input", "output"))]


def of_clones(models: Path, pairs: Path) -> Iterator[Source]:
    """Yield the sources in the two clones; a bare one will do."""
    for name in MODELS:
        yield Source(name, True, "en", [row["output"] for row in json.loads(_shown(models, f"results/{name}/model_outputs.json"))])
    files = {"news and talks": "en/val_hc3_si", "Chinese answers": "zh/val_hc3_QA", "Chinese sentences": "zh/val_hc3_si"}
    for name, file in files.items():
        rows = [json.loads(line) for line in _shown(pairs, f"data/{file}.jsonl").split("\n") if line]
        language, whole = file[:2], file.endswith("QA")
        for machine, who in ((False, ""), (True, ", ChatGPT")):
            texts = [row["text"] for row in rows if row["label"] == machine]
            yield Source(f"HC3-Plus, {name}{who}", machine, language, texts, counted=whole or (language == "en" and not machine))


def _shown(clone: Path, file: str) -> str:
    command = ["git", "-C", str(clone), "show", f"HEAD:{file}"]
    return subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout


def drawn(source: Source) -> Source:
    """Return a source with ``EACH`` texts at most, of those that are long enough."""
    long = sorted({text.strip() for text in source.texts if machine_written.long_enough(text.strip())})
    return replace(source, texts=random.Random(0).sample(long, min(EACH, len(long))))


def card_of(sources: Sequence[Source], found: Mapping[str, list[bool]]) -> Card:
    """Return the card: people's and models' texts are as many, by language; precision is at that mix."""
    recall, precision, right = dict[str, Share](), dict[str, Share](), dict[str, Share]()
    rows = ((LABEL, ("en", "zh"), ""), (f"{LABEL}, en", ("en",), ""), (f"{LABEL}, zh", ("zh",), ""), (HARDEST, ("en",), HARD))
    for label, languages, only in rows:
        own = [each for each in sources if each.counted and each.language in languages]
        flags: dict[bool, list[bool]] = {True: [], False: []}
        for source in own:
            if source.machine or only in ("", source.name):
                flags[source.machine] += found[source.name]
        hits, alarms = sum(flags[True]), sum(flags[False])
        even = min(len(flags[True]), len(flags[False]))
        right_ones, wrong_ones = (round(sum(flags[machine]) / len(flags[machine]) * even) for machine in (True, False))
        recall[label], precision[label] = wilson(hits, len(flags[True])), wilson(right_ones, right_ones + wrong_ones)
        right[label] = wilson(hits + len(flags[False]) - alarms, len(flags[True]) + len(flags[False]))
    people = [flag for source in sources if source.counted and not source.machine for flag in found[source.name]]
    texts = sum(len(source.texts) for source in sources if source.counted)
    on = f"others' texts; precision where half are models', {HARDEST}: {HARD}"
    by_language = {language: right[f"{LABEL}, {language}"] for language in ("en", "zh")}
    alarms_of_all = wilson(sum(people), len(people))
    return Card("written", "rules", texts, right[LABEL], recall, precision, alarms_of_all, by_language, on, "Apache-2.0", 0)


def left_out(sources: Sequence[Source], most: float = 0.01) -> Iterator[str]:
    """Yield for each publisher of people's texts how many habits the others would choose, and the publisher's false alarms at that."""
    people = [source for source in sources if source.counted and not source.machine and source.language == "en"]
    by_publisher: dict[str, list[int]] = {}
    for source in people:
        by_publisher.setdefault(PUBLISHER.get(source.name, source.name), []).extend(_strength(text) for text in source.texts)
    for publisher, own in by_publisher.items():
        rest = [strength for name, each in by_publisher.items() if name != publisher for strength in each]
        least = next(k for k in range(1, SURE + 1) if sum(strength >= k for strength in rest) <= most * len(rest))
        yield f"| {publisher} | {least} | {wilson(sum(strength >= least for strength in own), len(own))} of {len(own)} |"


def _strength(text: str) -> int:
    return SURE if machine_written.gives_itself_away(text) else len(machine_written.habits(text))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("data", "models", "pairs"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--write", action="store_true", help="write the card among those that come with Accord")
    arguments = parser.parse_args()
    sources = [drawn(each) for each in (*of_data(arguments.data), *of_clones(arguments.models, arguments.pairs))]
    classify = opened("written", "rules")
    found = {each.name: [verdict.label == LABEL for verdict in classify(each.texts)] for each in sources}
    print("| texts | written by | flagged |\n|---|---|---|")
    for each in sources:
        share = wilson(sum(found[each.name]), len(each.texts))
        print(f"| {each.name} | {'a model' if each.machine else 'people'} | {share} of {len(each.texts)} |")
    print("\nBy length (characters), of what the card counts")
    for low, high in ((0, 200), (200, 500), (500, 1000), (1000, 10**9)):
        for machine in (False, True):
            flags = [
                flag
                for each in sources
                if each.counted and each.machine == machine and each.language == "en"
                for text, flag in zip(each.texts, found[each.name], strict=True)
                if low <= len(text) < high
            ]
            print(f"| {low} to {high} | {'a model' if machine else 'people'} | {wilson(sum(flags), len(flags))} of {len(flags)} |")
    print("\nHabits that the other publishers would choose, and the false alarms of the one left out\n" + "\n".join(left_out(sources)))
    card = card_of(sources, found)
    for label, share in card.recall.items():
        print(f"{label}: recall {share} of {share.of}, precision {card.precision[label]} of {card.precision[label].of}")
    print(f"people's texts flagged: {card.false_alarms} of {card.false_alarms.of if card.false_alarms else 0}")
    if arguments.write:
        kept = cards() | {f"{card.task} {card.name}": card}
        CARDS.write_text(json.dumps([as_json(each) for each in kept.values()], ensure_ascii=False, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
