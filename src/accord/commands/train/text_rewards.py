"""The parts of a reward that read text: functions, verifiers, tests of code, servers. Opened, and checked against the prompts' data, before
anything is trained. docs/rewards.md describes each.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from accord.commands.models import digest_of, local_speaker, locate
from accord.data.templates import ChatFormat
from accord.errors import InputError, UsageError
from accord.evaluation.llm_judge import QUESTIONS, conversation_of, reasoned, verdict
from accord.feedback.labeler_kinds import said_by
from accord.feedback.store import Store
from accord.protocols import Speaker
from accord.records import Message, Prompt
from accord.rewards.code_tests import CodeReward, read_tests
from accord.rewards.functions import Asks, FunctionReward, asks, load_function
from accord.rewards.isolated import IsolatedFunction, Verified
from accord.rewards.judge import OTHERS, JudgeReward, Question, agreement
from accord.rewards.rows import ONE, Said, TextReward, missing_share
from accord.rewards.servers import Address, ServerReward, is_address
from accord.rewards.verifiers import read_schema, schema_check
from accord.runtime import lineage, packages, plugins, ranks, sandbox
from accord.runtime.lineage import digest_rows
from accord.runtime.project import Project
from accord.runtime.seeds import generator
from accord.settings.mixins import Rewards

VERIFIERS = ("math", "regex", "json_schema", "code")
"""Parts that check a text, besides ``exact``."""
DEFAULT_COLUMNS = {"math": "answer", "code": "tests"}
"""The columns that these read where none is named."""
_IN_COLUMN = re.compile(r"(exact|math|regex|json_schema|code)\(([^()]+)\)")
_GIVEN = re.compile(r"(regex|json_schema):(.+)", re.DOTALL)
_JUDGE = re.compile(r"judge\(\s*(.+?)(?:\s+vs\s+([\w.-]+))?\s*\)")
WRITES_REASONS = "generative-reward"
"""The stage whose models write a reason before their verdict, and are asked in their own way."""
_OVERALL = re.compile(r"judge\(\s*vs\s+([\w.-]+)\s*\)")
"""A judge without a rubric."""
_ISOLATED = re.compile(r"isolated\((.+)\)")


@dataclass(frozen=True)
class TextTerm:
    """A part that reads text, as its name says it."""

    name: str
    kind: str
    """``function``, ``plugin``, ``server``, ``judge``, or the name of a verifier."""
    argument: str = ""
    column: str = ""
    against: str = ""
    """The column that a judge compares with."""
    isolated: bool = False


def read_term(name: str, reserved: Sequence[str]) -> TextTerm | None:
    """Return what a term means, if it is a part that reads text.

    Args:
        reserved: names that no plugin may have.
    """
    if is_address(name):
        return TextTerm(name, "server", name)
    if found := _ISOLATED.fullmatch(name):
        inner = read_term(found.group(1), reserved)
        if inner is None or inner.kind not in ("function", "plugin"):
            raise UsageError("only a Python function can be isolated", where=f"rewards, {name}", hint="isolated(module:function)")
        return TextTerm(name, inner.kind, inner.argument, isolated=True)
    if found := _OVERALL.fullmatch(name):
        return TextTerm(name, "judge", against=found.group(1))
    if found := _JUDGE.fullmatch(name):
        rubric, against = found.group(1), found.group(2) or ""
        in_file = "." in rubric or "/" in rubric
        return TextTerm(name, "judge", rubric if in_file else "", "" if in_file else rubric, against)
    if found := _IN_COLUMN.fullmatch(name):
        return TextTerm(name, found.group(1), column=found.group(2).strip())
    if found := _GIVEN.fullmatch(name):
        return TextTerm(name, found.group(1), found.group(2))
    if name in DEFAULT_COLUMNS:
        return TextTerm(name, name, column=DEFAULT_COLUMNS[name])
    if name in VERIFIERS:
        raise UsageError(f"{name} of what?", where="rewards", hint=f"{name}:ARGUMENT for all rows, or {name}(COLUMN) for each its own")
    if plugins.has("rewards", name, reserved):
        return TextTerm(name, "plugin", name)
    return TextTerm(name, "function", name) if ":" in name else None


@dataclass
class TextParts:
    """The opened parts that read text, and what is to be said of them before training."""

    parts: dict[str, TextReward] = field(default_factory=dict[str, "TextReward"])
    inputs: dict[str, str] = field(default_factory=dict[str, str])
    """Where each comes from, for the run's inputs."""
    remarks: list[str] = field(default_factory=list[str])


def open_texts(
    project: Project, config: Rewards, terms: Sequence[TextTerm], prompts: Sequence[Prompt], demonstrated: Mapping[str, str]
) -> TextParts:
    """Open each part, and hold what it needs against the prompts' data.

    Args:
        demonstrated: demonstrations by prompt, from which ``math`` takes the answers that are in no column.

    Raises:
        UsageError: a function cannot be imported, a package is missing, or a program cannot be confined here.
        InputError: a file is missing, or prompts lack the data that a part needs.
        RunError: the process of an isolated function does not start.
    """
    opened = TextParts()
    for term in terms:
        if term.kind in ("function", "plugin"):
            opened.parts[term.name], wanted = _function(project, config, term)
            for column in wanted.needed:
                _refuse_missing(term, column, prompts)
            if term.kind == "plugin":
                opened.inputs[f"reward {term.name}"] = plugins.origin("rewards", term.argument)
            continue
        where = f"rewards, {term.name}"
        if term.kind == "server":
            opened.parts[term.name] = _server(config, term)
            continue
        if term.kind == "judge":
            opened.parts[term.name] = _judge(project, config, term, opened)
            for column in filter(None, (term.column, term.against if term.against != OTHERS else "")):
                _check_column(replace(term, column=column), prompts, {}, opened)
            continue
        if term.kind == "code":
            sandbox.require()
            limits = sandbox.Limits(config.code_seconds, config.code_memory_mb)
            workers = min(config.reward_workers, os.cpu_count() or 1)
            opened.parts[term.name] = CodeReward(term.name, term.column, limits, workers)
            if not sandbox.confines_files():
                opened.remarks.append(f"{term.name}: this kernel has no Landlock, so a program can read and write files as you can")
        else:
            argument = _argument(project, term, opened, where)
            answers = dict(demonstrated) if term.name == "math" else {}
            opened.parts[term.name] = Verified(term.name, term.kind, argument, term.column, answers)
        if term.column:
            _check_column(term, prompts, demonstrated if term.name == "math" else {}, opened)
    return opened


def _function(project: Project, config: Rewards, term: TextTerm) -> tuple[TextReward, Asks]:
    """Open a function, here or in a process of its own; return it, and what it asks for."""
    how: dict[str, Any] = {"seconds": config.reward_seconds, "batch": config.reward_batch, "workers": config.reward_workers}
    if not (term.isolated or config.isolate_rewards):
        found: Any = (
            plugins.load_function("rewards", term.argument) if term.kind == "plugin" else load_function(term.argument, project.path)
        )
        return FunctionReward(term.argument, found, **how), asks(found, f"rewards, {term.name}")
    if term.argument.startswith("__main__:"):
        what = "is a function of the script that runs, which another process cannot import"
        raise UsageError(what, where=f"rewards, {term.name}", hint="put it into a module of its own")
    part = IsolatedFunction(term.argument, term.kind, str(project.path), **how, memory_mb=config.reward_memory_mb)
    return part, ranks.from_first(lambda: part.asks)


def _server(config: Rewards, term: TextTerm) -> ServerReward:
    address = Address.read(term.argument)
    if find_spec("httpx") is None:
        raise UsageError("a reward server needs httpx", where=term.name, hint=packages.install("httpx"))
    how: dict[str, Any] = {"seconds": config.reward_seconds, "batch": config.reward_batch, "workers": config.reward_workers}
    return ServerReward(term.name, address, **how)


def _judge(project: Project, config: Rewards, term: TextTerm, opened: TextParts) -> JudgeReward:
    """Open a judge; its model is loaded, or its server asked, at the first question.

    Raises:
        UsageError: no model is named.
        InputError: the rubric is missing or empty.
        ModelError: the project has no such model.
    """
    where, model, address = f"rewards, {term.name}", config.judge_model, config.judge_address
    if not model:
        hint = "--judge-model NAME, and --judge-address http://host/v1 for a server"
        raise UsageError("a judge needs a model", where=where, hint=hint)
    rubric = _rubric(project_file(project, term.argument)) if term.argument else "" if term.column else QUESTIONS["overall"]
    identity = f"{address} {model}" if address else digest_of(locate(project, model))
    opened.inputs[f"reward {term.name}"] = digest_rows([rubric, identity])

    def speaker() -> Speaker:
        if not address:
            return local_speaker(project, model)
        from accord.engine.remote import RemoteSpeaker  # needs httpx, of the extra remote

        return RemoteSpeaker(address, model, seconds=min(120.0, config.reward_seconds), side_by_side=config.reward_workers)

    writes_reasons = not address and _stage(locate(project, model)) == WRITES_REASONS
    if writes_reasons and not term.against:
        what = f"{model} compares two responses, and grades none"
        raise UsageError(what, where=where, hint=f"judge(vs {OTHERS})")
    pair = (by_its_reasons if writes_reasons else _both_orders) if term.against else None
    return JudgeReward(term.name, speaker, identity, project.path / "advice" / "judged", rubric, term.column, term.against, pair)


def _both_orders(row: Said, other: str, rubric: str) -> list[Question]:
    """Return the two questions of a comparison, the response shown first and second."""
    prompt, question = Prompt(row.id, row.messages), f"Which answer is better by this rubric?\n{rubric}\n"
    first = conversation_of(prompt, row.response, other, question)
    second = conversation_of(prompt, other, row.response, question)
    return [Question(first, verdict), Question(second, lambda text: 1 - verdict(text))]


def by_its_reasons(row: Said, other: str, rubric: str) -> list[Question]:
    """Return the two questions to a judge that has learned people's rankings, which need no rubric."""
    prompt = Prompt(row.id, row.messages)
    there, back = reasoned(prompt, row.response, other), reasoned(prompt, other, row.response)
    return [Question(there, verdict), Question(back, lambda text: 1 - verdict(text))]


def _stage(folder: str) -> str:
    """Return the command that a model's folder came from; empty where it is not known."""
    path = Path(folder)
    return str(lineage.read(path).get("stage", "")) if (path / lineage.LINEAGE).is_file() else ""


def _rubric(path: Path) -> str:
    try:
        text = path.read_text("utf-8").strip()
    except OSError as error:
        hint = "write the rubric into a file of the project or of the current folder, or name a column: judge(COLUMN)"
        raise InputError("there is no such rubric", where=str(path), hint=hint) from error
    if not text:
        raise InputError("the rubric is empty", where=str(path))
    return text


def judged_agreement(project: Project, config: Rewards, part: JudgeReward) -> str:
    """Return what is said of a judge before it is used: how far it agrees with the people who ranked responses.

    Raises:
        RunError: the judge does not answer, or nothing readable.
    """
    with Store.open(project.store_url) as store:
        ranked = [row for row in said_by(store, store.ranked_prompts(), config.kinds) if len(set(row.ranks)) > 1]
    order: list[int] = torch.randperm(len(ranked), generator=generator(0, "judge", "pairs")).tolist()
    better, worse = list[Said](), list[Said]()
    for row in (ranked[place] for place in order[: config.judge_pairs]):
        best, last = row.ranks.index(min(row.ranks)), row.ranks.index(max(row.ranks))
        for rows, place in ((better, best), (worse, last)):
            rows.append(Said(row.prompt.messages, row.responses[place].text, row.prompt.extra, row.prompt.id))
    if not better:
        return f"{part.name}: there are no rankings to hold this judge against; rank some (`accord label`) before you trust it"
    both = part.score([*better, *worse])[ONE]
    found = agreement(both[: len(better)], both[len(better) :])
    return f"{part.name}: the judge {found}" if found else f"{part.name}: the judge does not apply to any ranked pair"


def written_by(chat_format: ChatFormat, row: Said, whole: bool) -> str:
    """Return a conversation as a model's template writes it, control tokens included; with ``whole`` its response as well."""
    ids = chat_format.conversation([*row.messages, Message("assistant", row.response)]) if whole else chat_format.prompt(row.messages)
    return chat_format.written(ids)


def _argument(project: Project, term: TextTerm, opened: TextParts, where: str) -> Any:
    """Return the argument that a verifier's rows have in common; None where each has its own, or it needs none."""
    if term.kind == "math" and find_spec("math_verify") is None:
        raise UsageError("math needs math-verify", where=where, hint=packages.install("math_verify"))
    if term.column or not term.argument:
        return None
    if term.kind == "regex":
        try:
            re.compile(term.argument)
        except re.error as error:
            raise UsageError(f"is no regular expression: {error}", where=where) from None
        return term.argument
    schema = read_schema(project_file(project, term.argument))
    opened.inputs[f"reward {term.name}"] = digest_rows([schema])
    return schema


def project_file(project: Project, name: str) -> Path:
    """Return the path of a file that settings name: in the project, or else from the current folder."""
    inside = project.path / name
    return inside if inside.exists() else Path(name)


def _refuse_missing(term: TextTerm, column: str, prompts: Sequence[Prompt]) -> None:
    """Refuse prompts without a column that a function cannot be called without."""
    share = missing_share([prompt.extra for prompt in prompts], column)
    if share:
        what = f"asks for the column {column!r}, which {_counted(share, len(prompts))} lack"
        there = sorted({name for prompt in prompts for name in prompt.extra})
        hint = f"give it a default ({column}=None), which then stands for what is missing, or import rows that have it"
        raise InputError(what, where=f"rewards, {term.name}", hint=f"{hint}; columns that are there: {', '.join(there) or 'none'}")


def _counted(share: float, rows: int) -> str:
    return f"{round(share * rows):,} of {rows:,} prompts ({share:.0%})"


def _check_column(term: TextTerm, prompts: Sequence[Prompt], instead: Mapping[str, str], opened: TextParts) -> None:
    """Say how many rows a verifier does not apply to, and refuse values that it cannot use.

    Raises:
        InputError: it applies to none, or a row's value is unusable.
    """
    without = sum(prompt.extra.get(term.column) is None and prompt.id not in instead for prompt in prompts)
    share, where = without / max(len(prompts), 1), f"rewards, {term.name}"
    if share == 1:
        there = sorted({name for prompt in prompts for name in prompt.extra})
        hint = f"import rows that have it, or name another: {term.kind}(COLUMN); columns that are there: {', '.join(there) or 'none'}"
        raise InputError(f"reads the column {term.column!r}, which no prompt has", where=where, hint=hint)
    if share:
        opened.remarks.append(f"{term.name}: {_counted(share, len(prompts))} have nothing in {term.column!r}; it does not apply to them")
    for prompt in prompts:
        if (value := prompt.extra.get(term.column)) is not None:
            _check_value(term, value, f"{where}, prompt {prompt.id}")


def _check_value(term: TextTerm, value: Any, where: str) -> None:
    if term.kind == "code":
        read_tests(value, where)
    elif term.kind == "regex":
        try:
            re.compile(str(value))
        except re.error as error:
            raise InputError(f"{value!r:.60} is no regular expression: {error}", where=where) from None
    elif term.kind == "json_schema":
        try:
            schema_check(json.loads(value) if isinstance(value, str) else value)
        except (ValueError, InputError) as error:
            raise InputError(f"{value!r:.60} is no JSON Schema: {error}", where=where) from None
