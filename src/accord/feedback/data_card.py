"""The data card of a run: what it learned from, from whom, under which guideline, how far labelers agree, and what is not in it.

Rows are counted in the run's snapshots. What they do not say comes from the database, as it is when the card is written. A card names
no person: labelers are counted by kind and group, and users by kind alone.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, func, select

from accord.errors import InputError, StoreError
from accord.feedback import schema, written
from accord.feedback.agreement import pairwise_agreement
from accord.feedback.imports import every
from accord.feedback.inserts import batches
from accord.feedback.intervals import Interval
from accord.feedback.labeler_kinds import kinds_of
from accord.feedback.profile import FEWEST, NOT_SAID, told, without_few
from accord.feedback.provenance import origin_of
from accord.feedback.question_agreement import QuestionAgreement, flag_agreement, question_agreement
from accord.feedback.snapshot import snapshot_digest
from accord.feedback.store import Store
from accord.feedback.withdrawals import is_withdrawn, withdrawn_counts
from accord.records import Ranking
from accord.runtime.files import write_atomic
from accord.runtime.model_card import cell
from accord.runtime.project import Project
from accord.settings.profile import fields

DATA_CARD = "data-card.md"
RESAMPLES = 200
"""Bootstrap draws for the intervals of a card; `accord agreement` takes more."""
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Row:
    """What a card needs of a snapshot's row."""

    what: str
    """The snapshot that it is in, such as ``rankings``."""
    id: str
    """Of a demonstration; empty for a row without one."""
    prompt: str
    split: str
    use_case: str
    origin: str
    labeler: str
    """Empty for a prompt."""
    group: str
    responses: frozenset[str]
    models: tuple[str, ...]
    media: frozenset[tuple[str, str]] = frozenset()
    """Kind and digest of each picture and recording in the prompt."""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a card: a sentence or two, and a table."""

    title: str
    text: str
    columns: tuple[str, ...] = ()
    rows: Sequence[tuple[object, ...]] = ()


@dataclass(frozen=True)
class _Labels:
    """The database's records behind a card's rows."""

    guidelines: Mapping[tuple[str, str], int]
    """Rows by guideline set and version."""
    imports: Mapping[int, int]
    """Labels by the number of their import; 0 for those that came otherwise."""
    answers: frozenset[str]
    """Ids of the labeling site's answers."""
    rankings: Sequence[Ranking]


def write(
    project: Project,
    folder: Path,
    *,
    stage: str,
    data: Mapping[str, str],
    kinds: str = "",
    held_out_group: str = "",
    more: Sequence[Section] = (),
) -> str:
    """Write a run's data card beside its snapshots, and return its sections for the card of the model. Empty for a run without snapshots.

    A database that cannot be read by now costs the card its sections on labels, and the run nothing.

    Args:
        folder: of the run.
        data: digests of the snapshots by kind, as in the model's lineage. Other data are left out.
        kinds: kinds of labelers that it learned from; empty where nobody chose.
        more: sections that others counted, such as hints of classifiers.
    """
    snapshots = {what: folder / f"{what}.jsonl" for what in data}
    found = {what: path for what, path in snapshots.items() if path.is_file() and snapshot_digest(path) == data[what]}
    rows = [row for what, path in found.items() for row in rows_of(what, path)]
    if not rows:
        return ""
    sections = counted(rows, data, held_out_group)
    try:
        with Store.open(project.store_url) as store:
            sections += asked(store, rows, kinds=kinds, profile=fields(project.settings.get("label.profile", {})))
    except StoreError:
        sections.append(Section("Not known", "The database could not be read when this card was written."))
    sections += more
    heads = f"Learned by `accord {stage}`. Snapshots lie beside this file; the database was read when the model was saved."
    write_atomic(folder / DATA_CARD, f"# Data of {cell(folder.name)}\n\n{heads}\n\n{markdown(sections)}\n")
    return markdown(sections, level=3)


def rows_of(what: str, path: Path) -> Iterator[Row]:
    """Yield the rows of a snapshot of any kind."""
    with path.open(encoding="utf-8", newline="\n") as lines:
        for line in lines:
            row: dict[str, Any] = json.loads(line)
            prompt: dict[str, Any] = row.get("prompt", row)
            answers: list[Any] = [*row.get("responses", ())]
            if isinstance(row.get("response"), dict):
                answers.append(row["response"])
            yield Row(
                what,
                str(row.get("id", "")) if "prompt" in row else "",
                str(prompt["id"]),
                str(prompt.get("split", "")),
                str(prompt.get("use_case", "")),
                origin_of(str(prompt.get("source", ""))),
                str(row.get("labeler", "")),
                str(row.get("group", "")),
                frozenset(str(answer["id"]) for answer in answers),
                tuple(str(answer.get("model", "")) for answer in answers),
                frozenset((str(each["kind"]), str(each["digest"])) for said in prompt["messages"] for each in said.get("media", ())),
            )


def counted(rows: Sequence[Row], data: Mapping[str, str], held_out_group: str = "") -> list[Section]:
    """Return the sections that follow from the snapshots alone."""
    what = list[tuple[object, ...]]()
    for name in dict.fromkeys(row.what for row in rows):
        own = [row for row in rows if row.what == name]
        splits = Counter(row.split for row in own)
        held_out = [row for row in own if held_out_group and row.group == held_out_group]
        learned = splits["train"] - sum(row.split == "train" for row in held_out)
        rest = (splits["train"], splits["validation"], splits["test"], len(held_out), data[name][:12])
        what.append((name, len(own), len({row.prompt for row in own}), learned, *rest))
    by = {row.prompt: row for row in rows}
    use_cases, origins = Counter(row.use_case for row in by.values()), Counter(row.origin for row in by.values())
    columns = ("snapshot", "rows", "prompts", "to learn from", "train", "validation", "test", "held-out group", "sha256")
    text = "Weights learn from rows of the split `train` that are not of the held-out group. The others measure."
    return [
        Section("What", text, columns, what),
        _table("Use cases", "Prompts by use case.", "use case", use_cases),
        _media(by.values()),
        _table("Origins", "Prompts by where they come from: a file, the chat, an app.", "origin", origins),
        _table("Models", "Responses in the rows, by the model that gave them.", "model", _by_model(rows)),
    ]


def _media(rows: Iterable[Row]) -> Section:
    """Count the pictures and recordings in prompts, and the prompts that hold some, by kind."""
    prompts, files = Counter[str](), dict[str, set[str]]()
    for row in rows:
        prompts.update({kind for kind, _ in row.media})
        for kind, digest in row.media:
            files.setdefault(kind, set()).add(digest)
    names = {"image": "pictures", "audio": "recordings"}
    table = [(names.get(kind, kind), count, len(files[kind])) for kind, count in sorted(prompts.items())]
    return Section("Pictures and recordings", "Prompts that hold some, and how many different ones.", ("kind", "prompts", "files"), table)


def _by_model(rows: Iterable[Row]) -> Counter[str]:
    """Return the places that responses take in the rows, by model: a response that two labelers ranked counts twice."""
    return Counter(model for row in rows for model in row.models)


def asked(
    store: Store, rows: Sequence[Row], *, kinds: str = "", resamples: int = RESAMPLES, profile: Collection[str] = ()
) -> list[Section]:
    """Return the sections that need the database.

    Args:
        profile: the lead's own fields of labelers' profiles.
    """
    prompts = sorted({row.prompt for row in rows})
    labels = _labels(store, rows)
    people = {person.id: (str(person.kind), "" if person.kind == "user" else person.group) for person in store.labelers()}
    shared = [each for each in labels.rankings if each.labeler in people]
    guidelines = [(set, version, count) for (set, version), count in sorted(labels.guidelines.items())]
    with store.read() as connection:
        return [
            _labelers(rows, people),
            _drafts(connection, labels.answers),
            *([_profile(store, rows, people, profile)] if profile else []),
            *_provenance(connection, prompts),
            _imports(store, connection, prompts, labels.imports),
            Section("Guidelines", "Rows by the guideline in force when they were given.", ("set", "version", "rows"), guidelines),
            _agreement(store, shared, resamples),
            _missing(connection, rows, people, labels.answers),
            _left_out(store, connection, people, kinds),
        ]


def _labels(store: Store, rows: Sequence[Row]) -> _Labels:
    """Find the records behind rows: a ranking has no id in a snapshot, and is known by its labeler and its responses."""
    prompts = {row.prompt for row in rows if row.responses}
    given: dict[tuple[str, str], list[Ranking]] = {}
    for ranking in store.rankings("training"):
        if ranking.prompt_id in prompts:
            given.setdefault((ranking.prompt_id, ranking.labeler), []).append(ranking)
    guidelines, imports = Counter[tuple[str, str]](), Counter[int]()
    used: dict[str, Ranking] = {}
    with store.read() as connection:
        ids = {ranking.id for each in given.values() for ranking in each}
        ranking_imports = dict(_by_id(connection, schema.rankings, "imported", ids))
        demonstrations = {row.id for row in rows if row.id}
        imports_of = dict(_by_id(connection, schema.demonstrations, "imported", demonstrations))
        a = schema.answers
        answered = dict[str, tuple[str, str]]()
        for part in batches(sorted(id.removeprefix("d-") for id in imports_of)):
            for answer in connection.execute(select(a.c.id, a.c.guideline_set, a.c.guideline_version).where(a.c.id.in_(part))):
                answered[f"d-{answer[0]}"] = (answer[1], answer[2])
        thumbs = _thumbs(connection, {row.prompt for row in rows if row.labeler and len(row.responses) == 1})
    for row in rows:
        if not row.labeler:
            continue
        if row.id in imports_of:
            imports[imports_of[row.id]] += 1
            guidelines[answered.get(row.id, ("none recorded", ""))] += 1
        elif len(row.responses) == 1 and (thumb := thumbs.get((row.labeler, min(row.responses)))) is not None:
            imports[thumb] += 1
            guidelines["none recorded", ""] += 1
        elif (ranking := _taken(given.get((row.prompt, row.labeler), []), row, used)) is not None:
            used[ranking.id] = ranking
            imports[ranking_imports[ranking.id]] += 1
            guidelines[ranking.guideline.set, ranking.guideline.version] += 1
        else:
            guidelines["no longer in the database", ""] += 1
    answers = {id.removeprefix("k-") for id in used} | {id.removeprefix("d-") for id in answered}
    return _Labels(guidelines, imports, frozenset(answers), list(used.values()))


def _taken(given: Sequence[Ranking], row: Row, used: Mapping[str, Ranking]) -> Ranking | None:
    """Return the ranking that a row shows; of several with the same responses one that no row has taken yet."""
    fitting = [ranking for ranking in given if row.responses and row.responses <= set(ranking.response_ids)]
    return next((ranking for ranking in fitting if ranking.id not in used), fitting[0] if fitting else None)


def _thumbs(connection: Connection, prompts: Collection[str]) -> dict[tuple[str, str], int]:
    """Return the import of each thumb on these prompts, by labeler and response."""
    t, found = schema.thumbs, dict[tuple[str, str], int]()
    for part in batches(sorted(prompts)):
        query = select(t.c.labeler, t.c.response_id, t.c.imported).where(t.c.prompt_id.in_(part), ~is_withdrawn("thumb", t.c.id))
        found |= {(labeler, response): number for labeler, response, number in connection.execute(query)}
    return found


def _by_id(connection: Connection, table: Table, column: str, ids: Iterable[str]) -> Iterator[tuple[str, Any]]:
    for part in batches(sorted(ids)):
        rows = connection.execute(select(table.c.id, table.c[column]).where(table.c.id.in_(part)))
        yield from ((str(row[0]), row[1]) for row in rows)


def _labelers(rows: Sequence[Row], people: Mapping[str, tuple[str, str]]) -> Section:
    """Count rows and labelers by kind and group; of users only how many they are."""
    said, who = Counter[tuple[str, str, str]](), dict[tuple[str, str, str], set[str]]()
    for row in rows:
        if row.labeler:
            key = (row.what, *people.get(row.labeler, ("no longer in the database", "")))
            said[key] += 1
            who.setdefault(key, set()).add(row.labeler)
    table = [(*key, len(who[key]), said[key]) for key in sorted(said)]
    return Section("From whom", "Rows by labeler kind and group.", ("snapshot", "kind", "group", "labelers", "rows"), table)


def _drafts(connection: Connection, answers: Collection[str]) -> Section:
    """Count what labelers wrote from a model's draft, by the model, and how much of the drafts they kept."""
    a, r = schema.answers, schema.responses
    shares, unchanged = dict[str, list[float]](), Counter[str]()
    for part in batches(sorted(answers)):
        said = [json.loads(text).get("draft") for text in connection.scalars(select(a.c.payload).where(a.c.id.in_(part)))]
        drafts = [draft for draft in said if draft]
        named = select(r.c.id, r.c.model).where(r.c.id.in_({draft["response_id"] for draft in drafts}))
        models = {str(row[0]): str(row[1]) for row in connection.execute(named)}
        for draft in drafts:
            model = models.get(draft["response_id"], UNKNOWN)
            shares.setdefault(model, []).append(draft["kept"])
            unchanged[model] += draft["kept"] == 1.0
    rows = [(model, len(each), unchanged[model], f"{sum(each) / len(each):.2f}") for model, each in sorted(shares.items())]
    text = "What labelers wrote or corrected from a model's draft: how often all of its words stayed, and the mean share that did."
    return Section("Drafts", text, ("model", "rows", "all words kept", "mean share kept"), rows)


def _profile(store: Store, rows: Sequence[Row], people: Mapping[str, tuple[str, str]], fields: Collection[str]) -> Section:
    """Count rows and labelers by what labelers told of themselves, so that nobody is known by it."""
    table = list[tuple[object, ...]]()
    heard = {row.labeler for row in rows if people.get(row.labeler, ("",))[0] == "person"}
    for field in fields:
        said = {id: value for id, value in told(store, field).items() if id in heard}
        shown = without_few(said)
        labelers, count = (
            Counter(shown.get(id, NOT_SAID) for id in heard),
            Counter(shown.get(row.labeler, NOT_SAID) for row in rows if row.labeler in heard),
        )
        table += [(field, value, labelers[value], count[value]) for value in sorted(labelers)]
    text = f"What labelers told of themselves, voluntarily. Values that fewer than {FEWEST} of them told are counted together."
    return Section("Who they are", text, ("field", "value", "labelers", "rows"), table)


def _provenance(connection: Connection, prompts: Sequence[str]) -> list[Section]:
    """Count prompts by language, and by consent and terms; one without a record is ``unknown``."""
    v = schema.provenance
    languages, terms, known = Counter[str](), Counter[tuple[str, str]](), 0
    for part in batches(prompts):
        query = select(v.c.language, v.c.consent, v.c.terms).where(v.c.prompt_id.in_(part))
        for language, consent, licence in connection.execute(query):
            languages[language or UNKNOWN] += 1
            terms[consent, licence or UNKNOWN] += 1
            known += 1
    if rest := len(prompts) - known:
        languages[UNKNOWN] += rest
        terms[UNKNOWN, UNKNOWN] += rest
    rows = [(*key, count) for key, count in sorted(terms.items())]
    return [
        _table("Languages", "Prompts by language, as `accord prompts` found it.", "language", languages),
        Section("Licence and terms", "Prompts by consent, and by licence or terms.", ("consent", "licence or terms", "prompts"), rows),
    ]


def _imports(store: Store, connection: Connection, prompts: Sequence[str], labels: Mapping[int, int]) -> Section:
    brought = Counter(number for _, number in _by_id(connection, schema.prompts, "imported", prompts))
    rows = list[tuple[object, ...]]()
    for one in every(store):
        if one.number in brought or one.number in labels:
            state = f"undone {one.undone[:10]}" if one.undone else ""
            file = Path(one.source).name if Path(one.source).is_absolute() else one.source
            rows.append((one.number, file, one.format, one.digest[:12], brought[one.number], labels.get(one.number, 0), state))
    if brought[0] or labels.get(0):
        rows.append(("none", "", "", "", brought[0], labels.get(0, 0), ""))
    columns = ("import", "file", "format", "sha256", "prompts", "labels", "state")
    return Section("Imports", "Prompts and labels by the import that brought them first.", columns, rows)


def _agreement(store: Store, rankings: Sequence[Ranking], resamples: int) -> Section:
    rows = list[tuple[object, ...]]()
    try:
        found = pairwise_agreement(rankings, resamples=resamples)
        rows.append(("pairs in the rows, ties excluded", found.untied_pairs, "alike", _interval(found.dropped)))
    except InputError:
        if rankings:
            rows.append(("pairs in the rows", 0, "no two labelers ranked the same responses", ""))
    rows += (row for flag in flag_agreement(rankings, resamples=resamples) for row in _question_rows("flag", flag))
    rows += (row for each in question_agreement(store, resamples=resamples) for row in _question_rows("question", each))
    text = "With 95% intervals that resample prompts. Flags and pairs are those of the rows; questions those of the whole database."
    return Section("Agreement", text, ("of", "judged by two or more", "measure", "value"), rows)


def _question_rows(what: str, each: QuestionAgreement) -> Iterator[tuple[object, ...]]:
    name = f"{what} {each.name}{f' {each.version[:8]}' if each.version else ''}"
    alphas = [(measure, value) for measure, value in each.metrics.items() if measure.startswith("alpha")]
    for measure, value in alphas:
        yield name, each.shared, measure, _interval(value)
    if not alphas:
        yield name, each.shared, "not measured", ""


def _interval(value: Interval) -> str:
    return f"{value.mean:.3f} [{value.low:.3f}, {value.high:.3f}]" if value.mean == value.mean else "undefined"


def _missing(connection: Connection, rows: Sequence[Row], people: Mapping[str, tuple[str, str]], answers: Collection[str]) -> Section:
    """Name what the database has and no row of the card comes from."""
    inside, heard = {row.prompt for row in rows}, {people.get(row.labeler) for row in rows}
    groups = Counter(each for each in people.values() if each[0] != "user")
    missing, labeled = list[tuple[object, ...]](), any(row.labeler for row in rows)
    for (kind, group), count in sorted(groups.items()):
        if labeled and (kind, group) not in heard:
            missing.append(("labeler group", f"{kind} {group}".strip(), count))
    p, v = schema.prompts, schema.provenance
    there, here = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    query = select(p.c.id, p.c.use_case, v.c.language, v.c.kind).select_from(p.outerjoin(v, v.c.prompt_id == p.c.id))
    for id, use_case, language, kind in connection.execute(query.where(~is_withdrawn("prompt", p.c.id))):
        for value in (("use case", use_case), ("language", language or ""), ("prompt kind", kind or "")):
            if value[1]:
                there[value] += 1
                here[value] += id in inside
    missing += [(*value, count) for value, count in sorted(there.items()) if not here[value]]
    t, a = schema.tasks, schema.answers
    work = select(t.c.kind, func.count()).where(t.c.purpose == "work").group_by(t.c.kind)
    queued = {str(row[0]): int(row[1]) for row in connection.execute(work)}
    learned = set[str]()
    for part in batches(sorted(answers)):
        learned.update(connection.scalars(select(t.c.kind).join(a, a.c.task_id == t.c.id).where(a.c.id.in_(part))))
    missing += [("task kind", kind, count) for kind, count in sorted(queued.items()) if labeled and kind not in learned]
    text = "What the database has and no row comes from." if missing else "Nobody: what the database has of each, rows come from."
    return Section("Who is missing", text, ("what", "value", "labelers, prompts or tasks") if missing else (), missing)


def _left_out(store: Store, connection: Connection, people: Mapping[str, tuple[str, str]], kinds: str) -> Section:
    """Count what the database holds and no training reads, or this one did not."""
    d, t = schema.demonstrations, schema.thumbs
    # A brief for labelers is withdrawn from the start, and was never a prompt to learn from.
    rows: list[tuple[object, ...]] = [(f"withdrawn: {kind}", count) for kind, count in withdrawn_counts(connection, but_by=written.BY)]
    if excluded := connection.scalar(select(func.count()).select_from(schema.excluded)):
        rows.append(("excluded labelers", excluded))
    by = Counter[tuple[str, str]]()
    for (set, labeler), count in store.ranked_by().items():
        by["rankings" if set == "training" else "rankings under the evaluation guideline", _kind(people, labeler)] += count
    for table, kind in ((d, "demonstration"), (t, "thumb")):
        each = select(table.c.labeler, func.count()).where(~is_withdrawn(kind, table.c.id)).group_by(table.c.labeler)
        for labeler, count in connection.execute(each):
            by[table.name, _kind(people, labeler)] += count
    chosen = kinds_of(kinds) if kinds else {kind for kind, _ in people.values()}
    for (what, kind), count in sorted(by.items()):
        if kind not in chosen or "evaluation" in what:
            rows.append((f"{what} by labelers of kind {kind}", count))
    text = "Records of the whole database that were not learned from." if rows else "Nothing was withdrawn or left out by kind."
    return Section("Left out", text, ("what", "records") if rows else (), rows)


def _kind(people: Mapping[str, tuple[str, str]], labeler: str) -> str:
    return people[labeler][0] if labeler in people else UNKNOWN


def _table(title: str, text: str, column: str, counts: Mapping[str, int]) -> Section:
    unit = "responses" if title == "Models" else "prompts"
    return Section(title, text, (column, unit), [(name or "(none)", count) for name, count in sorted(counts.items())])


def markdown(sections: Iterable[Section], level: int = 2) -> str:
    """Return sections as Markdown; those with a table and no rows are left out."""
    parts = list[str]()
    for section in sections:
        if section.columns and not section.rows:
            continue
        parts.append(f"{'#' * level} {section.title}\n\n{section.text}")
        if section.columns:
            head = [section.columns, tuple("---" for _ in section.columns)]
            parts.append("\n".join(f"| {' | '.join(_text(value) for value in row)} |" for row in [*head, *section.rows]))
    return "\n\n".join(parts)


def _text(value: object) -> str:
    """Return a table's cell; what came from files and apps opens no tag."""
    return cell(value).replace("<", "&lt;")
