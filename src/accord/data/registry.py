"""The import formats by name, and their detection from a row's fields."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from accord.data import (
    formats_apps,
    formats_argilla,
    formats_benchmarks,
    formats_chat,
    formats_cloud,
    formats_comparisons,
    formats_fastchat,
    formats_judged,
    formats_label_studio,
    formats_logs,
    formats_own,
    formats_pairs,
    formats_potato,
    formats_preferences,
    formats_probes,
    formats_tasks,
    formats_zh,
)
from accord.data.row_records import Gather, Known, Take, Taken
from accord.data.rows import Fault, Row, first_object
from accord.data.unread import carries_meaning, meant_within, name_of, near, value_at
from accord.errors import InputError, UsageError
from accord.runtime import plugins


def _each(rows: Iterator[Row]) -> Iterator[Row | Fault]:
    return rows


def _anything(_: dict[str, Any]) -> bool:
    return True


def _ranked_answers(value: dict[str, Any]) -> bool:
    return "rank" in first_object(value, "answers")


def _a_dialogue(value: dict[str, Any]) -> bool:
    return isinstance(value["chosen"], str) and "prompt" not in value and "\n\nHuman:" in value["chosen"]


def _solved(value: dict[str, Any]) -> bool:
    """Whether an answer ends as GSM8K's do, or models' solutions of the problem stand beside it."""
    if isinstance(value.get("answer"), str):
        return "####" in value["answer"]
    return any(isinstance(each, dict) and "solution" in each for each in value.values())


@dataclass(frozen=True)
class Format:
    """The conversion of a format's rows into records. ``Format.rewriting`` makes a format of your own."""

    take: Take
    fields: tuple[frozenset[str], ...]
    """Sets of fields; a row that has all fields of one set has this format."""
    gather: Gather = _each
    """Merges rows that belong together, or splits a row."""
    looks: Callable[[dict[str, Any]], bool] = _anything
    """Whether the content of these fields is that of the format."""
    aside: frozenset[str] = frozenset()
    """Columns that the format leaves out on purpose although their names say that they judge something. They are listed as not read, but
    stop no import. A name without dots stands for a field at any depth."""
    measures: bool = False
    """Whether the format itself says the split of its prompts. Those that it holds out leave the training split of a project."""

    @classmethod
    def rewriting(cls, rewrite: Callable[[dict[str, Any]], dict[str, Any]], *fields: str, aside: Collection[str] = ()) -> Format:
        """Make a format whose rows a function rewrites into rows of a built-in format, for example ``{"prompt": ..., "response": ...}``.

        Args:
            rewrite: takes a row's fields and returns the fields of the other row. A ValueError says why a row cannot be used.
            fields: names of fields, joined by "+". A row that has all fields of one of these is of this format.
            aside: fields that the function leaves out on purpose. Any other field that it does not read, and whose name says that it
                judges something (``score``, ``label``), stops the import.

        Raises:
            UsageError: no fields are named.
        """
        if not fields or not all(fields):
            raise UsageError("no fields are named", where="Format.rewriting", hint='for example Format.rewriting(read, "question+reply")')
        return _format(lambda row: _rewritten(rewrite, row), *fields, aside=aside)


def _format(
    take: Take,
    *fields: str,
    gather: Gather = _each,
    looks: Callable[[dict[str, Any]], bool] = _anything,
    aside: Collection[str] = (),
    measures: bool = False,
) -> Format:
    return Format(take, tuple(frozenset(names.split("+")) for names in fields), gather, looks, frozenset(aside), measures)


_TASKS = ("Positive Examples", "Negative Examples", "Reasoning")
_OASST = ("review_result", "emojis", "detoxify")
_DIGESTS = ("response_0_sha256", "response_1_sha256")
FORMATS: dict[str, Format] = {
    "accord": _format(formats_own.accord, "accord", measures=True),
    "label-studio": _format(
        formats_label_studio.tasks, "data+annotations", looks=formats_label_studio.of_tasks, aside=formats_label_studio.ASIDE
    ),
    "label-studio-min": _format(formats_label_studio.flat, "annotator+annotation_id"),
    "argilla": _format(formats_argilla.records, "fields+responses", looks=formats_argilla.of_records),
    "argilla-columns": _format(
        formats_argilla.columns, "external_id+metadata", "_server_id", looks=formats_argilla.of_columns, aside=("vectors",)
    ),
    "fastchat": _format(
        formats_fastchat.events, "tstamp+type+states", "tstamp+type+state", looks=formats_fastchat.of_log, aside=formats_fastchat.ASIDE
    ),
    "potato": _format(
        formats_potato.instances,
        "label_annotations+instance_id",
        "label_annotations+id",
        "user+instance_id",
        looks=formats_potato.of_instances,
    ),
    "open-webui-feedback": _format(formats_apps.open_webui_feedback, "data+meta+snapshot", looks=formats_apps.of_feedback),
    "open-webui-chats": _format(formats_apps.open_webui_chats, "chat", looks=formats_apps.of_chats),
    "chatgpt": _format(formats_apps.chatgpt, "mapping+current_node", "mapping+conversation_id", "mapping+create_time"),
    "langfuse": _format(formats_apps.langfuse, "input+output+scores", looks=formats_apps.of_traces),
    "openassistant": _format(formats_chat.openassistant, "message_tree_id+prompt", "message_id+role+text+replies", aside=_OASST),
    "openassistant-flat": _format(
        formats_chat.openassistant, "message_tree_id+message_id+role+text", gather=formats_chat.trees, aside=_OASST
    ),
    "fine-grained": _format(formats_preferences.fine_grained, "question+passages+prediction 1+preference"),
    "grounded": _format(formats_preferences.grounded, "question+passages+answer"),
    "ultrafeedback": _format(formats_preferences.ultrafeedback, "instruction+completions"),
    "vlfeedback": _format(formats_preferences.vlfeedback, "prompt+completions", looks=formats_preferences.of_vlfeedback),
    "moss": _format(formats_zh.moss, "chat+meta_instruction", "chat+num_turns"),
    "coig-exam": _format(formats_zh.coig_exam, "textbox_question+textbox_answer"),
    "coig-translated": _format(formats_zh.coig_translated, "trans_instruction+trans_output"),
    "coig-rounds": _format(formats_zh.coig_rounds, "round_0", "round_1"),
    "cvalues": _format(formats_zh.cvalues, "prompt+pos_resp+neg_resp"),
    "zhihu": _format(formats_zh.zhihu, "prompt+chosen+rejected+upvotes_chosen+upvotes_rejected"),
    "firefly": _format(formats_zh.firefly, "kind+input+target"),
    "firefly-chat": _format(formats_zh.firefly_chat, "conversation", looks=formats_zh.in_rounds),
    "wildchat": _format(formats_logs.wildchat, "conversation_hash+conversation+model", "conversation_id+conversation+model"),
    "gemini": _format(formats_cloud.gemini, "contents", looks=formats_cloud.of_contents),
    "bedrock": _format(formats_cloud.converse, "messages", looks=formats_cloud.of_parts),
    "vertex-text": _format(formats_cloud.text_pairs, "input_text+output_text", "input_text+candidate_0+candidate_1+choice"),
    "big-bench": _format(
        formats_benchmarks.big_bench,
        "examples",
        "inputs+targets+multiple_choice_targets",
        gather=formats_benchmarks.examples,
        looks=formats_benchmarks.of_examples,
        aside=("preferred_score", "metrics"),
        measures=True,
    ),
    "choices": _format(
        formats_benchmarks.choices,
        "question+choices+answer",
        "question+options+answer",
        "question+choices+answerKey",
        "question+A+B+C+D+answer",
        "Question+A+B+C+D+Answer",
        looks=formats_benchmarks.is_choice,
        measures=True,
    ),
    "ifeval": _format(formats_benchmarks.ifeval, "prompt+instruction_id_list", measures=True),
    "checkable": _format(
        formats_benchmarks.checkable, "messages+ground_truth", "prompt+ground_truth", "prompt+reward_model", "question+reward_model"
    ),
    "nectar": _format(formats_comparisons.nectar, "prompt+answers", looks=_ranked_answers),
    "helpsteer2-preference": _format(formats_comparisons.helpsteer2_preference, "prompt+response_1+response_2+preference_strength"),
    "helpsteer3": _format(formats_comparisons.helpsteer3, "context+response1+response2+overall_preference"),
    "helpsteer3-edit": _format(formats_comparisons.helpsteer3_edit, "context+original_response+edited_response"),
    "helpsteer3-edit-quality": _format(formats_comparisons.helpsteer3_edit_quality, "context+good_edited_response+bad_edited_response"),
    "helpsteer3-feedback": _format(formats_comparisons.helpsteer3_feedback, "context+response1+response2+feedback1+feedback2"),
    "shp": _format(formats_comparisons.shp, "history+human_ref_A+human_ref_B+labels"),
    "webgpt": _format(formats_comparisons.webgpt, "question+answer_0+answer_1+score_0+score_1"),
    "summaries": _format(formats_comparisons.summaries, "info+summaries+choice"),
    "summary-axes": _format(formats_comparisons.summary_axes, "info+summary+worker", gather=formats_comparisons.same_worker),
    "pku-saferlhf": _format(formats_comparisons.safe_pairs, "prompt+response_0+response_1+better_response_id", aside=_DIGESTS),
    "pku-safer": _format(formats_comparisons.safer_pairs, aside=_DIGESTS),
    "beavertails": _format(formats_comparisons.judged_safe, "prompt+response+is_safe"),
    "arena": _format(formats_comparisons.arena, "conversation_a+conversation_b+winner"),
    "helpsteer": _format(formats_comparisons.helpsteer, "prompt+response+helpfulness", gather=formats_preferences.same_prompt),
    "hh-rlhf": _format(formats_preferences.hh_rlhf, "chosen+rejected", looks=_a_dialogue),
    "trl-preference": _format(formats_pairs.comparisons, *formats_pairs.FIELDS, looks=formats_pairs.is_pair, aside=["parallel_tool_calls"]),
    "ms-swift": _format(formats_pairs.with_rejected, "messages+rejected_response", "messages+rejected_messages"),
    "scored": _format(formats_judged.scored, *formats_judged.SCORED, looks=formats_judged.is_scored),
    "trl-kto": _format(formats_pairs.completions, "prompt+completion+label", looks=formats_judged.is_thumb),
    "thumbs": _format(formats_judged.thumbs, *formats_judged.FIELDS, looks=formats_judged.is_thumb),
    "outputs": _format(formats_judged.outputs, *formats_judged.OUTPUTS, looks=formats_judged.ends_with_an_answer),
    "trl-completion": _format(formats_pairs.completions, "prompt+completion"),
    "self-instruct": _format(formats_tasks.self_instruct, "instruction+instances", aside=["instances[].output", "instances[].input"]),
    "self-instruct-written": _format(formats_tasks.self_instruct_written),
    "natural-instructions": _format(
        formats_tasks.natural_instructions,
        "Definition+Instances",
        "definition+inputs+targets",
        gather=formats_tasks.instances,
        aside=_TASKS,
    ),
    "history": _format(formats_own.history, "history+responses"),
    "rankings": _format(formats_own.rankings, "responses+ranks"),
    "dolly": _format(formats_tasks.dolly, "instruction+context+response"),
    "responses": _format(formats_own.responses, "instruction+input+response", "prompt+response+model", "messages+response+model"),
    "belle": _format(formats_zh.belle, "instruction+output", looks=formats_zh.in_marks),
    "alpaca": _format(formats_tasks.alpaca, "instruction+output"),
    "bbq": _format(formats_probes.bbq, "context+question+ans0+ans1+ans2+label", measures=True),
    "gsm8k": _format(formats_tasks.gsm8k, "question+answer", "question+ground_truth", looks=_solved),
    "mt-bench": _format(formats_probes.mt_bench, "question_id+turns", measures=True),
    "mt-bench-answers": _format(lambda row: formats_probes.mt_bench_answers(row, Known()), "question_id+choices", measures=True),
    "winogender": _format(formats_probes.winogender, "sentid+sentence", "occupation(0)+sentence", measures=True),
    "sharegpt": _format(formats_chat.sharegpt, "conversations", "conversation"),
    "demonstrations": _format(formats_own.demonstrations, "prompt+response", "messages+response"),
    "messages": _format(formats_chat.messages, "messages"),
    "prompts": _format(formats_own.prompts, "prompt"),
    "text": _format(formats_own.text, "text"),
}
"""Formats in the order of detection: those with more fields first."""


OFTEN = frozenset(
    """answer chosen completion conversations dialog feedback group history instruction labeler messages models output preference prompt
    question ranking rejected response responses score system use_case user""".split()  # noqa: SIM905
)
"""Fields that formats often read beside those that they must have."""
NOT_MEANT = frozenset(
    "accord at content contents context data example examples id info input inputs model models name source states text turns value".split()  # noqa: SIM905
)
"""Fields whose names are too near to other words to suspect a misspelling."""


_PART = re.compile(r"[./\[]")


def format_of(name: str) -> Format:
    """Return a format by name, ours or a plugin's.

    Raises:
        UsageError: there is none of this name, or a plugin that is not a format.
    """
    if not plugins.has("formats", name, FORMATS):
        if name not in FORMATS:
            raise UsageError(f"unknown format {name!r}", where="--format", hint=plugins.known(("auto", *FORMATS), "formats"))
        return FORMATS[name]
    found = plugins.load("formats", name)
    if not isinstance(found, Format):
        hint = "make one by accord.Format.rewriting"
        raise UsageError(f"{name} is of type {type(found).__name__}, not a Format", where=plugins.origin("formats", name), hint=hint)
    return found


def detect(row: Row) -> str:
    """Return the name of a row's format. A plugin's takes precedence over ours when it matches more fields.

    Raises:
        InputError: no format has the row's fields.
        UsageError: a plugin cannot be imported, or has a name of ours.
    """
    return Detection().name(row)


class Detection:
    """Chooses a format for each row of a file: by the fields that the format must have, and by their content.

    A row that has only a part of the fields that other rows have is an incomplete row of theirs, not a complete one of a format that
    asks for less: a prompt among comparisons is a comparison that lacks both answers.

    Args:
        sample: rows of the file, to know which formats occur in it.
    """

    def __init__(self, sample: Sequence[Row] = ()) -> None:
        self._having = dict[frozenset[str], dict[str, Format]]()
        self.thumbs = formats_judged.thumb_columns([row.value for row in sample]) if sample else None
        """The columns that say up or down; None when a row alone has to tell."""
        self._plugins = {name: format_of(name) for name in plugins.find("formats")}
        names = dict.fromkeys(name for row in sample if (name := self._first(row)))
        self._fuller = {name: _fuller(name, names) for name in names}

    def name(self, row: Row) -> str:
        """Return the name of a row's format. Raises InputError if it is of none."""
        if name := self._first(row):
            return self._fuller.get(name, name)
        raise _unknown(row)

    def _first(self, row: Row) -> str:
        fields = frozenset(row.value)
        if fields not in self._having:
            self._having[fields] = _formats_with(fields, self._plugins)
        found = [(name, format) for name, format in self._having[fields].items() if self._looks(format, row.value)]
        whole = (name for name, format in found if any(row.has(*needed) for needed in format.fields))
        return next(whole, found[0][0] if found else "")

    def _looks(self, format: Format, value: dict[str, Any]) -> bool:
        return formats_judged.is_thumb(value, self.thumbs) if format.looks is formats_judged.is_thumb else format.looks(value)


def _formats_with(fields: frozenset[str], others: Mapping[str, Format]) -> dict[str, Format]:
    """Return the formats whose required fields are among these: ours in their order, each after the plugins that ask for more."""
    ours = {name: matched for name, format in FORMATS.items() if (matched := _matched(format, fields))}
    theirs = {name: matched for name, format in others.items() if (matched := _matched(format, fields))}
    best = next(iter(ours.values()), 0)
    first = sorted((name for name in theirs if theirs[name] > best), key=lambda name: -theirs[name])
    return {name: FORMATS[name] if name in ours else others[name] for name in (*first, *ours)}


def _matched(format: Format, fields: frozenset[str]) -> int:
    """Return the number of fields by which a row with these fields matches a format; 0 when it does not."""
    return max((len(needed) for needed in format.fields if needed <= fields), default=0)


def _fuller(name: str, others: Collection[str]) -> str:
    """Return the one of several formats whose required fields include all those of a format and more; the format itself otherwise."""
    if len(others) < 2:
        return name
    mine = detected(name).fields
    for found in others:
        other = detected(found)
        more = any(few < many for few in mine for many in other.fields)
        less = any(many < few for few in mine for many in other.fields)
        if other.looks is _anything and more and not less:
            return found
    return name


def detected(name: str) -> Format:
    """Return a format by the name that it was detected by, without looking for plugins of that name again."""
    return FORMATS[name] if name in FORMATS else format_of(name)


def _unknown(row: Row) -> InputError:
    what = f"no known format has the fields {', '.join(map(str, row.value))[:200] or '(none)'}"
    misspelt = [f"--map {meant}={name}" for name in row.value if (meant := near(name, known_fields(), row.value))]
    if misspelt:
        return InputError(what, where=row.where, hint=f"is a name misspelt? {' '.join(misspelt)}")
    closest = "; ".join(f"{name} needs {' and '.join(sorted(missing))}" for name, missing in _nearest(row)[:3])
    return InputError(what, where=row.where, hint=f"map columns with --map FIELD=COLUMN, or give the format with --format: {closest}")


@cache
def known_fields() -> frozenset[str]:
    """Return the fields that formats must have or often read, of which other names may be misspellings."""
    needed = frozenset().union(*(fields for format in FORMATS.values() for fields in format.fields))
    plain_words = {name for name in needed if name.islower() and not name[-1].isdigit()}
    return (OFTEN | plain_words) - NOT_MEANT - {*formats_judged.NAMED, "generation"}


def tell_unread(format: Format, row: Row, taken: Taken) -> Taken:
    """Return a row's records with the columns that were not read, and those of them that stop an import."""
    if taken.dropped:
        return taken
    paths = (*taken.unread, *row.unread())
    stops = tuple(name for path in paths for name in _stopping(format, row, path))
    return replace(taken, unread=paths, stops=stops)


def _stopping(format: Format, row: Row, path: str) -> Iterator[str]:
    """Yield what stops an import of a field that was not read: its own name, or else what stands within it."""
    name = name_of(path)
    if _aside(format, name):
        return
    if _stops(name, row.value):
        yield name
        return
    within = value_at(row.value, path.removeprefix(row.inside))
    yield from dict.fromkeys(inner for inner in meant_within(name, within) if not _aside(format, inner))


def _aside(format: Format, name: str) -> bool:
    return name in format.aside or re.split(r"\.(?=\w)", name)[-1] in format.aside


def _stops(name: str, fields: Mapping[str, Any]) -> bool:
    return carries_meaning(name) or bool("." not in name and near(name, known_fields(), fields))


def _rewritten(rewrite: Callable[[dict[str, Any]], dict[str, Any]], row: Row) -> Taken:
    """Return the records of a row that a plugin's function rewrites."""
    try:
        value = rewrite(_Read(row))
    except ValueError as error:
        raise InputError(str(error), where=row.where) from error
    except Exception as error:
        raise InputError(f"the format's function raised {type(error).__name__}: {error}", where=row.where) from error
    if not isinstance(value, dict):  # pyright: ignore[reportUnnecessaryIsInstance]  (another package wrote it)
        raise InputError(f"the format's function returned a {type(value).__name__}, not a dict", where=row.where)
    other = Row(value, row.file, row.line, row.inside)
    name = next(iter(name for name in _formats_with(frozenset(value), {}) if name in FORMATS and FORMATS[name].looks(value)), "")
    if not name or FORMATS[name].gather is not _each:
        what = f"no built-in format reads a row with the fields {', '.join(map(str, value)) or '(none)'}"
        if name:
            what = f"a row of {name} cannot be read alone"
        hint = 'return for example {"prompt": ..., "response": ...}'
        raise InputError(f"the format's function returned what cannot be read: {what}", where=row.where, hint=hint)
    taken = FORMATS[name].take(other)
    # A field that the function passed on under its own name is read where the other row's is.
    row.reads.update(path for path in other.reads if _PART.split(path)[0] in row.value)
    unread = tuple(path for path in other.unread() if _PART.split(path)[0] not in row.value)
    return replace(taken, unread=unread, measured=FORMATS[name].measures)


class _Read(dict[str, Any]):
    """A row's fields for a plugin's function, which note what it reads; a copy of all of them reads nothing."""

    def __init__(self, row: Row) -> None:
        super().__init__(row.value)
        self._row = row

    def __getitem__(self, field: str) -> Any:
        self._row.reads.add(self._row.inside + field)
        return super().__getitem__(field)

    def get(self, field: str, default: Any = None) -> Any:
        self._row.reads.add(self._row.inside + field)
        return super().get(field, default)

    def pop(self, field: str, *default: Any) -> Any:
        self._row.reads.add(self._row.inside + field)
        return super().pop(field, *default)


def _nearest(row: Row) -> list[tuple[str, frozenset[str]]]:
    """Return formats with the fields that a row lacks, closest format first."""
    lacking = list[tuple[str, frozenset[str], int]]()
    for name, format in FORMATS.items():
        for fields in format.fields:
            present = len(fields & row.value.keys())
            if present:
                lacking.append((name, fields - row.value.keys(), present))
    lacking.sort(key=lambda found: (-found[2] / (found[2] + len(found[1])), len(found[1])))
    nearest = [(name, missing) for name, missing, _ in lacking]
    for name, needed in (("prompts", {"prompt"}), ("demonstrations", {"prompt", "response"}), ("text", {"text"})):
        nearest.append((name, frozenset(needed - row.value.keys())))
    return nearest
