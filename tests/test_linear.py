"""Text of strangers costs time in proportion to its length: no pattern can step back without limit, and the worst texts are no dearer."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

import pytest

from accord.data import attached, machine_written, names, patterns, personal, refusal, retrieval, row_reader, tags
from accord.data.classifiers.concepts import CONCEPTS, concepts_in
from accord.data.formats_fastchat import _NAMED
from accord.data.formats_label_studio import _pairs
from accord.data.row_records import all_answered
from accord.data.rows import Row
from accord.evaluation import grounding
from accord.feedback import guidelines, moderation
from accord.feedback.moderation import Finding
from accord.feedback.web import markdown
from accord.records import Message, Prompt
from accord.world import errands

Work = Callable[[int], Callable[[], object]]
"""From a size to the work on an input of this size."""


def cpu(work: Callable[[], object], least: float = 0.02) -> float:
    """Return the processor seconds of one call, measured over so many calls that they take ``least``."""
    work()
    calls, took = 0, 0.0
    start = time.process_time()
    while took < least:
        work()
        calls, took = calls + 1, time.process_time() - start
    return took / calls


def growth(make: Work, size: int) -> float:
    """Return by how much the work grows when its input is doubled: the least of five tries, because load only ever adds to one."""
    ratios = list[float]()
    while len(ratios) < 5 and min(ratios, default=9.0) > 2.3:
        small = min(cpu(make(size)) for _ in range(1 + len(ratios)))
        ratios.append(min(cpu(make(2 * size)) for _ in range(1 + len(ratios))) / small)
    return min(ratios)


UNITS = (
    *("Aa-", "a@b.co ", "1.2.3.4 ", "Aa Bb ", "Dr. Aa ", "my name is mary ", "12 Aa Bb Cc ", "12 Aa\n", "-----BEGIN PRIVATE KEY-----"),
    *("-----BEGIN A", "eyJaaaaaaaaa.", "a at b dot ", "4111 1111 1111 1111 ", "GB82 ABCD ", "0123 ", "+86 138 ", "::1 ", "phone is 1 "),
    *("张伟先生", "姓名：张伟 ", "北京市海淀区", "路1号", "苑1室", "我是张", "[INST]", "<|a", "ignore all ", "kill myself ", "aaaaaaaab"),
    "我是北京市室街-P.O. Box 82 is  is 号+86",  # the dearest that a search of half a million texts found
)


@pytest.mark.parametrize("unit", UNITS)
def test_personal_data_and_signs_of_harm_are_found_in_linear_time(unit: str) -> None:
    def screened(text: str) -> None:
        found = [Finding("personal", each.kind, each.start, each.end) for each in personal.find(text)]
        moderation.apart([*found, *moderation.screen(text)])

    def make(size: int) -> Callable[[], object]:
        text = (unit * size)[:size]
        return lambda: screened(text)

    assert growth(make, 4_000) < 2.5


def _unbounded(tree: Any) -> Iterator[Any]:
    """Yield what a parsed pattern repeats without a limit."""
    for op, value in tree:
        if op in (codes.MAX_REPEAT, codes.MIN_REPEAT):
            _, most, inner = value
            if most == codes.MAXREPEAT:
                yield inner
            yield from _unbounded(inner)
        elif op is codes.SUBPATTERN:
            yield from _unbounded(value[3])
        elif op in (codes.ASSERT, codes.ASSERT_NOT):
            yield from _unbounded(value[1])
        elif op is codes.BRANCH:
            for branch in value[1]:
                yield from _unbounded(branch)


def _patterns() -> Iterator[tuple[str, re.Pattern[str]]]:
    for rule in patterns.RULES:
        yield rule.name, rule.pattern
        if rule.unless:
            yield f"{rule.name}, unless", rule.unless
    for task, table in CONCEPTS.items():
        yield from ((f"{task}: {name}", pattern) for name, pattern in table.items())
    for module in (names, patterns, moderation, machine_written):
        for name, value in vars(module).items():
            for each in value.values() if isinstance(value, dict) else [value]:
                if isinstance(each, re.Pattern):
                    yield f"{module.__name__}.{name}", each


@pytest.mark.parametrize(("name", "pattern"), [each for each in _patterns() if "NOISE" not in each[0]])
def test_no_pattern_for_text_of_strangers_repeats_without_a_limit(name: str, pattern: re.Pattern[str]) -> None:
    """So that each place of a text costs a bounded number of steps. NOISE repeats only what it has found, which it then passes over."""
    assert not list(_unbounded(parser.parse(pattern.pattern, pattern.flags)))
    assert list(_unbounded(parser.parse("a+(?=b*)", 0)))


def _findings(size: int) -> Callable[[], object]:
    text = "a@b.co " * size
    return lambda: personal.redact(text)


def _answers(size: int) -> Callable[[], object]:
    prompt = Prompt("p", (Message("user", "?"),), "chat", "l", "train", "s")
    return lambda: all_answered(prompt, ["same"] * size, ["m"] * size)


def _ranked(size: int) -> Callable[[], object]:
    question, texts = " ".join(f"q{i}" for i in range(size)) + " w" * size, [f"w d{i}" for i in range(size)]
    return lambda: retrieval.rank(question, texts, 6)


def _versions(size: int) -> Callable[[], object]:
    old, new = "a\nb\n" * size, "b\na\nc\n" * size
    return lambda: guidelines.differences(old, new)


def _columns(size: int) -> Callable[[], object]:
    row = Row({f"answer{i}a": "x" for i in range(size)}, Path("f"), 1)
    return lambda: list(_pairs(row))


def _header(size: int) -> Callable[[], object]:
    header = [f"c{i}" for i in range(size)]
    return lambda: row_reader._check_names(header, Path("f"))


def _of(function: Callable[[str], object], unit: str) -> Work:
    def make(size: int) -> Callable[[], object]:
        text = unit * size
        return lambda: function(text)

    return make


WORK: dict[str, tuple[Work, int]] = {
    "redaction of many findings": (_findings, 1_000),
    "a question of many words, repeated, against many texts": (_ranked, 1_500),
    "equal answers to one prompt": (_answers, 1_500),
    "versions of a guideline": (_versions, 1_000),
    "numbered columns": (_columns, 1_500),
    "a header of many names": (_header, 2_000),
    "names shown by FastChat": (_of(lambda text: _NAMED.sub("", text), "<h3>: "), 400),
    "quotations that never end": (_of(refusal.admits_ignorance, "“"), 4_000),
    "quotations within quotations": (_of(lambda text: grounding._QUOTE.findall(text), "「"), 4_000),
    "blank lines before a pair of examples": (_of(lambda text: tags._PAIR.findall(text), "\n"), 4_000),
    "lines of a paragraph": (_of(attached._flowing, "the lines of a paragraph that goes on\n"), 500),
    "words that are parted": (_of(attached._flowing, "the lines of a paragraph that goes on-\n"), 500),
    "concepts of stances": (_of(lambda text: concepts_in("stance", text), "i can't aa i don't aa not aa our aa "), 1_500),
    "concepts of injections": (_of(lambda text: concepts_in("injection", text), "ignore all aa your aa previous "), 1_500),
    "concepts of harm": (_of(lambda text: concepts_in("harm", text), "how do i aa my aa kill aa "), 1_500),
    "errands": (_of(lambda text: errands._DONE.search(text), "I send the a to aa at  "), 400),
}


@pytest.mark.parametrize("name", WORK)
def test_work_grows_with_its_input(name: str) -> None:
    make, size = WORK[name]
    assert growth(make, size) < 2.5


@pytest.mark.parametrize("columns", [10, 50, 200, 800])
def test_a_table_costs_no_more_than_its_text(columns: int) -> None:
    """A row of one mark would be filled up with empty cells: 65,536 of them took a second."""
    head = f"|{'a|' * columns}\n|{'-|' * columns}\n"
    text = head + "|\n" * ((markdown.LONGEST - len(head)) // 2)
    assert cpu(lambda: markdown._PARSER.render(text)) < 0.5
    small = f"{head}|x|\n"
    assert "<table>" in markdown.render(small)


def test_versions_beyond_the_limit_are_shown_whole() -> None:
    old = "\n".join(map(str, range(guidelines.MOST_LINES)))
    changes = guidelines.differences(old, f"{old}\nmore")
    assert [change.line for change in changes if change.kind == "removed"] == old.splitlines()
    assert [change.line for change in changes if change.kind == "added"] == [*old.splitlines(), "more"]


def test_a_private_key_is_found_whole_and_one_that_never_ends_by_its_head() -> None:
    key = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nMII+/=\n-----END RSA PRIVATE KEY-----"
    assert [each.text for each in personal.find(f"see {key} and") if each.kind == "secret"] == [key]
    assert [each.text for each in personal.find("-----BEGIN PRIVATE KEY-----\nMII")] == ["-----BEGIN PRIVATE KEY-----"]
