"""Rows of an import on their way into the store: what is there already is found, and only the rest is new.

Prompts go first. Of the other records only those whose prompt was there need a closer look; ``is_met`` tells them, and the others are
inserted in bulk. All of it happens in the transaction of the import.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Table, exists, insert, or_, select, text, update

from accord.feedback import schema, transcripts
from accord.feedback.identity import UNDO, KnownPrompt, Said, known_prompts, paired, prompts_meant, said
from accord.feedback.inserts import add_ranking_rows, add_rows, batches
from accord.feedback.rows import TableRow, thumb_id
from accord.feedback.withdrawals import restore_undone
from accord.records import UNNAMED, same_words

KINDS = {"prompts": "prompt", "demonstrations": "demonstration", "responses": "response", "rankings": "ranking", "thumbs": "thumb"}
"""The kind of a table's records, as withdrawals name it."""
RankedRow = Sequence[Any]
"""A ranking's row, and the rows of its items."""
FetchResponses = Callable[[Iterable[str]], Mapping[str, TableRow]]


@dataclass
class Met:
    """An incoming prompt that was there."""

    stored: list[str]
    """The prompts that it can be, the likeliest first."""
    sources: set[str]
    """The sources that it came from. A response whose model is one of them names none."""


@dataclass(frozen=True)
class Change:
    """What an import changed in a prompt that was there, as an undo reads it."""

    number: int
    """The import's."""
    user: str = ""
    """The user that it gave."""
    extra: frozenset[str] = frozenset()
    """The keys that it gave."""
    split: str = ""
    """The split that it moved the prompt out of."""


@dataclass
class Arrivals:
    """What an import found in the store, and what it changed there."""

    connection: Connection
    number: int
    """The import's."""
    measured: Collection[str] = frozenset()
    """Incoming prompts that an evaluation set holds out, whatever split they have here."""
    split_given: bool = True
    """Whether somebody chose the split of the rows; otherwise it follows from who asked or from the words."""
    new: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    known: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    """Records that were there, each counted once."""
    other_extra: int = 0
    """Rows whose ``extra`` contradicts that of their prompt, which stays as it was."""
    other_split: int = 0
    """Rows whose prompt stands in another split, where it stays. A split that nobody chose is not compared."""
    held_out: list[str] = field(default_factory=list[str])
    """Prompts that an evaluation set moved out of training."""
    user_in_two_splits: int = 0
    """Prompts that got a user whose other prompts are in another split, and that stay since labels, responses or tasks rest on them."""
    removed: int = 0
    """Rows whose prompt was removed before, and stays so."""
    moved: dict[str, str] = field(default_factory=dict[str, str])
    """The stored response that an incoming one is, where their ids differ."""
    _met: dict[str, Met] = field(default_factory=dict[str, Met])
    _placed: set[str] = field(default_factory=set[str])
    """Incoming responses that came with a ranking or a thumb."""
    _changes: dict[str, list[Change]] = field(default_factory=dict[str, list[Change]])
    """By prompt, for the batch at hand."""

    def is_met(self, prompt: str) -> bool:
        """Return whether the incoming prompt of this id was there."""
        return prompt in self._met

    def is_placed(self, response: str) -> bool:
        """Return whether an incoming response came with a ranking or a thumb."""
        return response in self._placed

    def prompts(self, batch: Sequence[TableRow]) -> None:
        """Insert the new prompts of a batch; complete those that were there by the user and the ``extra`` that they lack."""
        known = known_prompts(self.connection, (row["key"] for row in batch))
        self._changes = self._changes_of(known)
        new, repeated, gone = list[TableRow](), list[str](), list[str]()
        for row in batch:
            same = known.setdefault(row["key"], [])
            if found := prompts_meant(row, same):
                if before := self._meet(row, found):
                    (repeated if before.in_use else gone).append(before.id)
                known[row["key"]] = self._now(row, same, found, new)
            else:
                new.append({**row, "imported": self.number})
                names = ("id", "key", "user", "split", "source", "extra")
                same.append(KnownPrompt(*(row[name] for name in names), imported=self.number, withdrawn_by=None))
        self.new["prompts"] += add_rows(self.connection, schema.prompts, new)
        heard = transcripts.spoken(row["messages"] for row in batch)
        transcripts.brought(self.connection, heard, by=f"import {self.number}", at=datetime.now(UTC).isoformat())
        restored = set(self._back("prompts", list(dict.fromkeys(gone))))
        self.removed += sum(id not in restored for id in gone)
        self._repeated("prompts", list(dict.fromkeys(repeated)))

    def _meet(self, row: TableRow, found: list[KnownPrompt]) -> KnownPrompt | None:
        """Note which stored prompts a row can be; return the likeliest that was there before this import."""
        before = [prompt for prompt in found if not self._brought(prompt)]
        same_file = len(found) == 1 and found[0].id == row["id"] and found[0].source == row["source"]
        if before or not same_file:
            sources = {row["source"], *(prompt.source for prompt in found if self._brought(prompt))}
            met = self._met.setdefault(row["id"], Met([], set()))
            met.stored += [prompt.id for prompt in found if prompt.id not in met.stored]
            met.sources |= sources
        return before[0] if before else None

    def _brought(self, prompt: KnownPrompt) -> bool:
        """Return whether this very import brought a prompt."""
        return prompt.imported == self.number

    def _changes_of(self, known: Mapping[str, Sequence[KnownPrompt]]) -> dict[str, list[Change]]:
        """Return what imports that stand changed in the known prompts."""
        c, ids, found = schema.import_changes, list[str](), dict[str, list[Change]]()
        for same in known.values():
            ids += (prompt.id for prompt in same)
        columns = (c.c.prompt_id, c.c.number, c.c.user, c.c.extra, c.c.split)
        for part in batches(ids):
            for id, number, user, extra, split in self.connection.execute(select(*columns).where(c.c.prompt_id.in_(part))):
                found.setdefault(id, []).append(Change(number, user, frozenset(json.loads(extra)), split))
        return found

    def _now(self, row: TableRow, same: Sequence[KnownPrompt], found: Sequence[KnownPrompt], new: list[TableRow]) -> list[KnownPrompt]:
        """Return the prompts of a row's conversation after the row completed those that it can be.

        Args:
            same: the prompts of the conversation.
            found: those of them that the row can be.
            new: the prompts that wait to be inserted.
        """
        meant, measured, now = {prompt.id for prompt in found}, row["id"] in self.measured, list[KnownPrompt]()
        for prompt in same:
            # What is measured is learned from nobody, whoever asked it.
            if measured and prompt.split == "train" and (prompt.in_use or prompt.id in meant):
                self.held_out.append(prompt.id)
                prompt = self._changed(prompt, new, split=row["split"])
            if prompt.id in meant:
                prompt = self._completed(prompt, row, new)
            elif measured:
                self._agree(prompt, row, ())
            now.append(prompt)
            if prompt.id == found[0].id and (measured or self.split_given):
                self.other_split += prompt.split != row["split"]
        return now

    def _completed(self, prompt: KnownPrompt, row: TableRow, new: list[TableRow]) -> KnownPrompt:
        """Give a prompt the user and the keys of ``extra`` that it lacks."""
        user = row["user"] if not prompt.user else ""
        have: dict[str, Any] = json.loads(prompt.extra)
        given: dict[str, Any] = json.loads(row["extra"]) if row["extra"] != prompt.extra else have
        lacking = {name: value for name, value in given.items() if name not in have}
        self.other_extra += any(name in have and have[name] != value for name, value in given.items())
        self._agree(prompt, row, {name for name, value in given.items() if name in have and have[name] == value})
        if not user and not lacking:
            return prompt
        split = row["split"] if user and not self.split_given and prompt.split != row["split"] else ""
        if split and (prompt.split != "train" or self._is_rested_on(prompt.id)):
            # What is held out never comes into training by the way.
            self.user_in_two_splits += 1
            split = ""
        return self._changed(prompt, new, user=user, lacking=lacking, split=split)

    def _agree(self, prompt: KnownPrompt, row: TableRow, keys: Collection[str]) -> None:
        """Note what other imports gave a prompt and this one brings too, so that it stays when theirs are undone."""
        changes = self._changes.get(prompt.id, ())
        theirs, mine = ([each for each in changes if (each.number == self.number) is own] for own in (False, True))
        if not theirs or self._brought(prompt):
            return
        noted = frozenset[str]().union(*(each.extra for each in mine))
        extra = frozenset[str]().union(*(each.extra for each in theirs)) & frozenset(keys) - noted
        named = row["user"] and row["user"] not in {each.user for each in mine} and any(each.user == row["user"] for each in theirs)
        stays = (named or row["id"] in self.measured) and prompt.split == row["split"] and not any(each.split for each in mine)
        split = next((each.split for each in theirs if each.split), "") if stays else ""
        if named or extra or split:
            self._note(prompt.id, Change(self.number, row["user"] if named else "", extra, split))

    def _changed(
        self, prompt: KnownPrompt, new: list[TableRow], *, user: str = "", lacking: Mapping[str, Any] | None = None, split: str = ""
    ) -> KnownPrompt:
        """Give a prompt a user, keys of ``extra`` or another split, and remember which, so that an undo takes them back."""
        have: dict[str, Any] = json.loads(prompt.extra)
        extra = json.dumps(have | dict(lacking or {}), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        changed = {"extra": extra, "user": user or prompt.user, "split": split or prompt.split}
        waiting = next((each for each in new if each["id"] == prompt.id), None)
        if waiting is not None:
            waiting.update(changed)
        else:
            self.connection.execute(update(schema.prompts).where(schema.prompts.c.id == prompt.id).values(changed))
        if not self._brought(prompt):
            self._note(prompt.id, Change(self.number, user, frozenset(lacking or ()), prompt.split if split else ""))
        return replace(prompt, **changed)

    def _note(self, prompt: str, change: Change) -> None:
        extra = json.dumps(sorted(change.extra), ensure_ascii=False)
        log = {"number": self.number, "prompt_id": prompt, "user": change.user, "extra": extra, "split": change.split}
        self.connection.execute(insert(schema.import_changes).values(log))
        self._changes.setdefault(prompt, []).append(change)

    def _is_rested_on(self, prompt: str) -> bool:
        """Return whether there is any response, label or task on a prompt."""
        tables = (schema.responses, schema.demonstrations, schema.rankings, schema.thumbs, schema.tasks)
        return bool(self.connection.scalar(select(or_(*(exists(select(t.c.id).where(t.c.prompt_id == prompt)) for t in tables)))))

    def demonstrations(self, batch: Sequence[TableRow]) -> None:
        """Insert the new demonstrations of prompts that were there."""
        d = schema.demonstrations
        by_text: dict[tuple[str, str], list[Mapping[Any, Any]]] = {}
        for row in self.of_prompts(d, (row["prompt_id"] for row in batch)):
            by_text.setdefault((row["prompt_id"], same_words(row["text"])), []).append(row)
        new, known = list[TableRow](), list[str]()
        for row in batch:
            meant, words = self._met[row["prompt_id"]].stored, same_words(row["text"])
            equal: list[Mapping[Any, Any]] = []
            for prompt in meant:
                equal += by_text.get((prompt, words), ())
            same = [each for each in equal if row["labeler"] in (each["labeler"], UNNAMED)]
            if same:
                known.append(next((each["id"] for each in same if each["id"] == row["id"]), same[0]["id"]))
                continue
            placed = {**row, "prompt_id": meant[0], "imported": self.number}
            new.append(placed)
            by_text.setdefault((meant[0], words), []).append(placed)
        self._add(d, new)
        self._come_back("demonstrations", known, {row["id"] for row in new})

    def rankings(self, batch: Sequence[RankedRow], responses: FetchResponses) -> None:
        """Insert the new rankings of prompts that were there, on the responses that they are about.

        Args:
            responses: returns incoming responses by id.
        """
        item, wanted = schema.ranking_items, list[str]()
        for _, items in batch:
            wanted += (each["response_id"] for each in items)
        incoming = responses(wanted)
        house = _House(self, (row["prompt_id"] for row, _ in batch))
        there = self._rankings_there(batch)
        new, new_items, known = list[TableRow](), dict[str, Sequence[TableRow]](), list[str]()
        for row, items in batch:
            prompt, placed = house.place(row["prompt_id"], [incoming[each["response_id"]] for each in items])
            moved = [{**each, "response_id": placed[each["response_id"]]} for each in items]
            order = {str(each["response_id"]): int(each["rank"]) for each in moved}
            same = [id for id, at, ranks in there.get((prompt, row["labeler"]), ()) if ranks == order and row["at"] in ("", at)]
            if same and row["id"] not in same:
                known.append(same[0])
                continue
            if same:
                known.append(row["id"])
            new.append({**row, "prompt_id": prompt, "imported": self.number})
            new_items[row["id"]] = [{name: each[name] for name in (c.name for c in item.c)} for each in moved]
            there.setdefault((prompt, row["labeler"]), []).append((row["id"], row["at"], order))
        self._add(schema.responses, house.new)
        self._come_back("responses", house.known, {row["id"] for row in house.new})
        self.new["rankings"] += add_ranking_rows(self.connection, new, new_items)
        self._come_back("rankings", known, {row["id"] for row in new} - set(known))

    def thumbs(self, batch: Sequence[TableRow], responses: FetchResponses) -> None:
        """Insert the new thumbs on responses to prompts that were there."""
        incoming = responses(row["response_id"] for row in batch)
        house = _House(self, (row["prompt_id"] for row in batch))
        placed = list[TableRow]()
        for row in batch:
            prompt, ids = house.place(row["prompt_id"], [incoming[row["response_id"]]])
            response = ids[row["response_id"]]
            id = thumb_id(response, row["labeler"], up=row["up"])
            placed.append({**row, "id": id, "prompt_id": prompt, "response_id": response, "imported": self.number})
        self._add(schema.responses, house.new)
        self._come_back("responses", house.known, {row["id"] for row in house.new})
        t, there = schema.thumbs, set[str]()
        for part in batches(sorted({row["id"] for row in placed})):
            there.update(self.connection.scalars(select(t.c.id).where(t.c.id.in_(part))))
        self._add(t, placed)
        self._come_back("thumbs", sorted(there), {row["id"] for row in placed} - there)

    def responses(self, batch: Sequence[TableRow]) -> None:
        """Insert the new responses, without ranking or thumb, to prompts that were there."""
        house = _House(self, (row["prompt_id"] for row in batch))
        for row in batch:
            house.place(row["prompt_id"], [row])
        self._add(schema.responses, house.new)
        self._come_back("responses", house.known, {row["id"] for row in house.new})

    def meant(self, prompt: str) -> list[str]:
        """Return the stored prompts that an incoming one can be, the likeliest first."""
        return self._met[prompt].stored

    def place(self, incoming: Sequence[TableRow], placed: Mapping[str, str]) -> None:
        """Remember which stored responses incoming ones are."""
        for row in incoming:
            self._placed.add(row["id"])
            if placed[row["id"]] != row["id"]:
                self.moved[row["id"]] = placed[row["id"]]

    def compared(self, row: TableRow) -> Said:
        """Return an incoming response as it is compared with stored ones."""
        return said(row, self._met[row["prompt_id"]].sources)

    def of_prompts(self, table: Table, prompts: Iterable[str]) -> Iterator[Mapping[Any, Any]]:
        """Yield a table's rows of the stored prompts that incoming ones can be, ordered by id."""
        for part in batches(self._all_meant(prompts)):
            yield from self.connection.execute(select(table).where(table.c.prompt_id.in_(part)).order_by(table.c.id)).mappings()

    def _all_meant(self, prompts: Iterable[str]) -> list[str]:
        stored = set[str]()
        for prompt in prompts:
            stored.update(self._met[prompt].stored)
        return sorted(stored)

    def _rankings_there(self, batch: Sequence[RankedRow]) -> dict[tuple[str, str], list[tuple[str, str, dict[str, int]]]]:
        """Return the stored rankings of the batch's prompts: id, time and ranks, by prompt and labeler."""
        r, item = schema.rankings, schema.ranking_items
        found = dict[str, tuple[str, str, str, dict[str, int]]]()
        columns = (r.c.id, r.c.prompt_id, r.c.labeler, r.c.at, item.c.response_id, item.c.rank)
        for part in batches(self._all_meant(row["prompt_id"] for row, _ in batch)):
            query = select(*columns).join(item, item.c.ranking_id == r.c.id).where(r.c.prompt_id.in_(part)).order_by(r.c.id)
            for id, prompt, labeler, at, response, rank in self.connection.execute(query):
                found.setdefault(id, (prompt, labeler, at, {}))[3][response] = rank
        there: dict[tuple[str, str], list[tuple[str, str, dict[str, int]]]] = {}
        for id, (prompt, labeler, at, ranks) in found.items():
            there.setdefault((prompt, labeler), []).append((id, at, ranks))
        return there

    def _add(self, table: Table, rows: Sequence[TableRow]) -> None:
        self.new[table.name] += add_rows(self.connection, table, rows)

    def _come_back(self, table: str, known: Sequence[str], new: set[str]) -> None:
        """Note the records of a batch that were there, and restore those that an undo had taken out."""
        ids = [id for id in dict.fromkeys(known) if id not in new]
        self._back(table, ids)
        self._repeated(table, ids)

    def _back(self, table: str, ids: Sequence[str]) -> list[str]:
        """Restore the records that an undo took out; they are this import's now. Return their ids."""
        restored = list[str]()
        for part in batches(ids):
            restored += restore_undone(self.connection, KINDS[table], part, UNDO)
        t = schema.metadata.tables[table]
        for part in batches(restored):
            self.connection.execute(update(t).where(t.c.id.in_(part)).values(imported=self.number))
        self.new[table] += len(restored)
        return restored

    def _repeated(self, table: str, ids: Sequence[str]) -> None:
        """Note that records were there: they stay when the import that brought them is undone."""
        t, others = schema.metadata.tables[table], list[str]()
        for part in batches(ids):
            others += self.connection.scalars(select(t.c.id).where(t.c.id.in_(part), t.c.imported != self.number))
        statement = text("INSERT INTO import_repeats (number, kind, record_id) VALUES (:number, :kind, :id) ON CONFLICT DO NOTHING")
        if others:
            rows = [{"number": self.number, "kind": KINDS[table], "id": id} for id in others]
            self.known[table] += self.connection.execute(statement, rows).rowcount


class _House:
    """The responses of a batch's prompts: those that were there, found by id or text, and those that join them, found by id."""

    def __init__(self, arrivals: Arrivals, prompts: Iterable[str]) -> None:
        self.arrivals = arrivals
        self.new, self.known = list[TableRow](), list[str]()
        self._ids: dict[str, set[str]] = {}
        self._before: dict[str, list[Said]] = {}
        # Of equal texts, one that was sampled here is meant.
        for row in sorted(arrivals.of_prompts(schema.responses, prompts), key=lambda row: (row["tokens"] == "", row["id"])):
            self._ids.setdefault(row["prompt_id"], set()).add(row["id"])
            if row["imported"] != arrivals.number:
                self._before.setdefault(row["prompt_id"], []).append(Said(row["id"], row["text"], row["model"]))

    def place(self, prompt: str, incoming: Sequence[TableRow]) -> tuple[str, dict[str, str]]:
        """Return the stored prompt that has most of the incoming responses, and the stored response that each of them is.

        Those that it has not join it.
        """
        meant, best, pairs = self.arrivals.meant(prompt), "", dict[str, str]()
        for each in meant:
            found = self._found(each, incoming)
            if not best or len(found) > len(pairs):
                best, pairs = each, found
        self.known += pairs.values()
        for row in incoming:
            if row["id"] not in pairs:
                pairs[row["id"]] = id = row["id"] if best == meant[0] else _joined(row["id"], best)
                self.new.append({**row, "id": id, "prompt_id": best, "imported": self.arrivals.number})
                self._ids.setdefault(best, set()).add(id)
        self.arrivals.place(incoming, pairs)
        return best, pairs

    def _found(self, prompt: str, incoming: Sequence[TableRow]) -> dict[str, str]:
        ids, pairs = self._ids.get(prompt, set[str]()), dict[str, str]()
        for row in incoming:
            for id in (row["id"], _joined(row["id"], prompt)):
                if id in ids:
                    pairs[row["id"]] = id
        rest = [self.arrivals.compared(row) for row in incoming if row["id"] not in pairs]
        taken = set(pairs.values())
        return pairs | paired(rest, [said for said in self._before.get(prompt, ()) if said.id not in taken])


def _joined(response: str, prompt: str) -> str:
    """Return the id of an incoming response that joins another prompt than its likeliest."""
    return f"r-{hashlib.sha256(f'{response}{chr(0)}{prompt}'.encode()).hexdigest()[:20]}"
