"""The audit log as a page: who may see it, filters, pages, and a table that no spreadsheet runs."""

from __future__ import annotations

import csv
import io
import re
from datetime import UTC, datetime

from feedback.web.conftest import Come

from accord.feedback.audit import audit
from accord.feedback.store import Store

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def numbers(page: str) -> list[str]:
    return re.findall(r'<td class="wide">(reason \d+)</td>', page)


def test_leads_and_viewers_read_what_was_done_newest_first(store: Store, come: Come) -> None:
    lead, viewer, labeler = come("lead"), come("viewer", name="viv"), come("labeler", name="lab")
    for number in range(230):
        audit(store, who=lead.id, what="pause" if number % 2 else "resume", on="p-1", why=f"reason {number}", at=NOW)
    page = lead.client.get("/lead/audit", params={"on": "p-1"})
    assert page.status_code == 200
    assert numbers(page.text) == [f"reason {n}" for n in range(229, 129, -1)]
    older = re.findall(r'href="(/lead/audit\?[^"]*before=\d+)"', page.text)[0].replace("&amp;", "&")
    assert numbers(viewer.client.get(older).text) == [f"reason {n}" for n in range(129, 29, -1)]
    assert numbers(lead.client.get("/lead/audit", params={"what": "pause", "on": "p-1"}).text)[:2] == ["reason 229", "reason 227"]
    assert "Nothing was done" in lead.client.get("/lead/audit", params={"who": "nobody"}).text
    assert labeler.client.get("/lead/audit").status_code == 403
    assert labeler.client.get("/lead/audit.csv").status_code == 403


def test_the_table_has_every_row_and_no_formula(store: Store, come: Come) -> None:
    lead = come("lead")
    audit(store, who="operator", what="exclude", on="p-2", why="=1+1", at=NOW)
    reply = lead.client.get("/lead/audit.csv", params={"on": "p-2"})
    (row,) = csv.DictReader(io.StringIO(reply.text.lstrip("\ufeff")))
    assert (row["who"], row["what"], row["on"], row["why"]) == ("operator", "exclude", "p-2", "'=1+1")
