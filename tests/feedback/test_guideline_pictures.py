"""Pictures in guidelines: read as those of messages are, kept by each version, and shown to whoever reads the guideline."""

from __future__ import annotations

import io
import re
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from feedback.web.conftest import HOME, task
from PIL import Image
from starlette.testclient import TestClient

from accord.data import pictures
from accord.errors import InputError
from accord.feedback import accounts, tasks
from accord.feedback.guideline_pictures import LARGEST, MOST, digests, files, names_in
from accord.feedback.guidelines import Change, changes_since_read, keep, mark_read, path_of, pictures_of, reference, text_of
from accord.feedback.media import media_file
from accord.feedback.store import Store
from accord.feedback.web.app import create
from accord.records import Labeler
from accord.settings import LabelConfig

NOW = datetime(2026, 1, 2, tzinfo=UTC)
TEXT = "# Ours\nCompare with ![a red field](pictures/red%20field.png), see [it alone](pictures/red%20field.png).\n"
NAME = "pictures/red field.png"


def drawn(colour: str) -> bytes:
    written = io.BytesIO()
    Image.new("RGB", (6, 4), colour).save(written, "PNG", pnginfo=None)
    return written.getvalue()


def illustrated(project: Path, text: str = TEXT, colour: str = "red") -> None:
    path_of(project, "training", "en").parent.mkdir(exist_ok=True)
    path_of(project, "training", "en").write_text(text, "utf-8")
    (project / "guidelines" / "pictures").mkdir(exist_ok=True)
    (project / "guidelines" / NAME).write_bytes(drawn(colour))


@contextmanager
def opened(store: Store, project: Path) -> Generator[TestClient]:
    """A labeler's browser, without scripts."""
    site = create(store, LabelConfig(), name="bakery", secret="x" * 40, folder=project, pictures=pictures.read)
    with TestClient(site, base_url=HOME) as client:
        token = accounts.invite(store, "labeler", "ann", by="tests", now=datetime.now(UTC))
        client.post("/join", data={"token": token}, follow_redirects=False)
        yield client


def test_names_of_files_are_found_and_addresses_are_left() -> None:
    text = "![a](x.png) `![b](code.png)` ![c][c] ![d](https://a.example/d.png) ![e](//a.example/e.png) ![x](x.png)\n\n[c]: 图.png"
    assert names_in(text) == ("x.png", "图.png")
    assert names_in("- ![a](b.png)\n\n| ![c](d.png) |\n|---|\n") == ("b.png", "d.png")


def test_a_replaced_picture_makes_another_version_and_each_keeps_its_own(store: Store, tmp_path: Path) -> None:
    store.add_labelers([Labeler("ann", "person")])
    illustrated(tmp_path)
    old = keep(store, "training", now=NOW, project=tmp_path, reader=pictures.read)
    mark_read(store, "ann", old, now=NOW)
    illustrated(tmp_path, colour="blue")
    new = keep(store, "training", now=NOW, project=tmp_path, reader=pictures.read)
    assert old != new == reference("training", tmp_path)
    red, blue = (pictures_of(store, each)[NAME] for each in (old, new))
    assert media_file(store, red) == pictures.read(drawn("red"))
    assert media_file(store, blue) == pictures.read(drawn("blue"))
    changed = [Change("removed", f"🖼 {NAME} ({red[:8]})"), Change("added", f"🖼 {NAME} ({blue[:8]})")]
    assert changes_since_read(store, "ann", new) == changed
    illustrated(tmp_path)
    assert reference("training", tmp_path) == old


def test_a_version_with_pictures_is_not_stored_without_them(store: Store, tmp_path: Path) -> None:
    illustrated(tmp_path)
    assert text_of(store, keep(store, "training", now=NOW, project=tmp_path)) is None
    assert text_of(store, keep(store, "training", now=NOW, project=tmp_path, reader=pictures.read)) == TEXT


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("![](missing.png)", "whose file is not there"),
        ("![](../../outside.png)", "whose file is not there"),
        ("![](link.png)", "whose file is not there"),
        ("![](large.png)", "more than 20 MB"),
        (f"![]({'x' * 201}.png)", "longer than 200"),
        (" ".join(f"![]({n}.png)" for n in range(MOST + 1)), "shows 21 pictures"),
    ],
)
def test_a_picture_that_cannot_be_taken_is_named(tmp_path: Path, text: str, said: str) -> None:
    project = tmp_path / "project"
    project.mkdir()
    illustrated(project, text)
    (tmp_path / "outside.png").write_bytes(drawn("red"))
    (project / "guidelines" / "link.png").symlink_to(tmp_path / "outside.png")
    with (project / "guidelines" / "large.png").open("wb") as large:
        large.truncate(LARGEST + 1)
    with pytest.raises(InputError, match=said):
        reference("training", project)


def test_a_file_that_is_no_picture_is_refused_and_nothing_is_stored(store: Store, tmp_path: Path) -> None:
    illustrated(tmp_path)
    (tmp_path / "guidelines" / NAME).write_bytes(b"<svg onload='alert(1)'/>")
    with pytest.raises(InputError, match="no PNG, JPEG, WebP or GIF"):
        keep(store, "training", now=NOW, project=tmp_path, reader=pictures.read)
    assert text_of(store, reference("training", tmp_path)) is None


def test_a_picture_may_lie_in_the_projects_folder_as_a_recipe_brings_it(tmp_path: Path) -> None:
    illustrated(tmp_path, "![](pictures/blue.png)")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "blue.png").write_bytes(drawn("blue"))
    shown = files(["![](pictures/blue.png)"], tmp_path / "guidelines")
    assert shown == {"pictures/blue.png": tmp_path / "pictures" / "blue.png"}
    before = digests(shown)
    (tmp_path / "pictures" / "blue.png").write_bytes(drawn("green") + b" and more")
    assert digests(shown) != before, "a file that changed is read again"


def test_a_labeler_sees_the_picture_on_the_guidelines_page_and_beside_a_task(store: Store, tmp_path: Path) -> None:
    tasks.add(store, [task(1)])
    illustrated(tmp_path)
    digest = pictures.read(drawn("red")).digest
    link = f'<a href="/media/{digest}"'
    with opened(store, tmp_path) as client:
        for address in ("/guidelines/training", "/next"):
            page = client.get(address).text
            assert f'<img src="/media/{digest}" alt="a red field">' in page
            assert page.count(link) == 2, "around the picture, and the link beside it"
        reply = client.get(f"/media/{digest}")
        assert (reply.status_code, reply.headers["content-type"]) == (200, "image/png")
        assert client.get(f"/media/{'0' * 64}").status_code == 404


def test_addresses_and_other_names_stay_text(store: Store, tmp_path: Path) -> None:
    illustrated(tmp_path, TEXT + "![far](https://a.example/p.png) [a file](keys.json) [bad](javascript:alert(1))")
    with opened(store, tmp_path) as client:
        page = client.get("/guidelines/training").text
    assert "[far: https://a.example/p.png]" in page
    assert re.findall(r'<img src="([^"]*)"', page) == [f"/media/{pictures.read(drawn('red')).digest}"]
    assert 'href="keys.json"' not in page
    assert 'href="javascript' not in page


def test_while_a_picture_is_missing_the_version_before_it_stays(store: Store, tmp_path: Path) -> None:
    tasks.add(store, [task(1)])
    illustrated(tmp_path)
    first = reference("training", tmp_path)
    with opened(store, tmp_path) as client:
        path_of(tmp_path, "training", "en").write_text(TEXT + "![soon](later.png)", "utf-8")
        page = client.get("/guidelines/training")
        assert (page.status_code, first.version in page.text) == (200, True)
        (tmp_path / "guidelines" / "later.png").write_bytes(drawn("green"))
        assert 'alt="soon"' in client.get("/guidelines/training").text
    path_of(tmp_path, "training", "en").write_text("![](gone.png)", "utf-8")
    with pytest.raises(InputError, match=r"gone\.png"), opened(store, tmp_path):
        pass
