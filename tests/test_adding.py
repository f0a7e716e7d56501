"""docs/adding.md is followed to its end: its code blocks are run as they stand, among the imports of a file of their kind."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from starlette.testclient import TestClient
from tiny import FP32, llama, same, sequences, weights

from accord.algorithms import kto, sft
from accord.algorithms.dpo import RankedResponses, ranked_responses
from accord.data import formats_preferences, registry, row_records
from accord.data.importers import read
from accord.data.token_rows import RowWindow
from accord.errors import InputError
from accord.feedback import accounts
from accord.feedback.store import Store
from accord.feedback.web import label_pages
from accord.feedback.web.access import Site
from accord.feedback.web.app import build
from accord.models.responses import all_response_logprobs
from accord.records import Thumb
from accord.runtime.runs import Run
from accord.settings import DpoConfig, LabelConfig

PAGE = (Path(__file__).parent.parent / "docs" / "adding.md").read_text("utf-8")
BLOCKS = {re.findall(r"def (\w+)", block)[0]: block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)}


def block(name: str, names: Mapping[str, Any]) -> dict[str, Any]:
    """Run a block among these names, and return what it defines besides."""
    namespace = dict(names)
    exec(compile("from __future__ import annotations\n" + BLOCKS[name], f"docs/adding.md: {name}", "exec"), namespace)
    return namespace


def listwise_loss(scores: torch.Tensor, ranks: torch.Tensor) -> torch.Tensor:
    """The formula of step 1: the cross-entropy of the chances to be first, by the ranks and by the scores (Cao et al. 2007)."""
    return -(torch.softmax(-ranks.float(), 0).to(scores.device) * torch.log_softmax(scores, 0)).sum()


def accuracy(config: DpoConfig, policy: Any, rankings: Sequence[RankedResponses], dtype: torch.dtype) -> float:
    """How often the likeliest response per token is the best one."""
    hits = 0
    for ranked in rankings:
        said = all_response_logprobs(policy, ranked.rows, ranked.kept, dtype=dtype) / torch.tensor(ranked.kept)
        hits += ranked.ranks[int(said.argmax())] == min(ranked.ranks)
    return hits / len(rankings)


WINDOW = RowWindow(64)
RANKINGS = [
    ranked_responses(sequences([3 + i % 4], seed=i)[0], sequences([4, 2, 6], seed=90 + i), [2, 1, 3], RowWindow(64), str(i))
    for i in range(6)
]


class Stopped(Exception):
    """A run is stopped behind its second checkpoint."""


class StoppedRun(Run):
    def checkpoint(self, step: int, state: Any, *rest: Any, **others: Any) -> None:
        super().checkpoint(step, state, *rest, **others)
        if step == 8:
            raise Stopped


def test_the_method_learns_and_resumes(tmp_path: Path) -> None:
    names = {**vars(kto), **vars(sft), "response_logprobs": kto.response_logprobs, "listwise_loss": listwise_loss, "accuracy": accuracy}
    train = block("train", names)["train"]
    config = DpoConfig(beta=2.0, epochs=6, batch_size=4, lr=1e-2, warmup_steps=1, save_every=4)
    begun: dict[str, Any] = {"stage": "dpo", "config": config, "inputs": {}}

    def trained(run: Run) -> tuple[dict[str, float], Any]:
        policy = llama()
        return dict(train(config, policy=policy, rankings=RANKINGS, validation=RANKINGS, run=run, dtype=FP32)), weights(policy)

    before = accuracy(config, llama(), RANKINGS, FP32)
    found, whole = trained(Run.start(tmp_path / "whole", **begun, resume=False))
    assert found["validation_accuracy"] > before
    with pytest.raises(Stopped):
        trained(StoppedRun.start(tmp_path / "cut", **begun, resume=False))
    assert same(trained(Run.start(tmp_path / "cut", **begun, resume=True))[1], whole)


def test_the_format_comes_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_row = block("star_reviews", {**vars(formats_preferences), **vars(row_records), "Thumb": Thumb})[
        "star_reviews"
    ]  # as its file imports it
    monkeypatch.setitem(registry.FORMATS, "star-reviews", registry._format(read_row, "question+reply+stars"))
    path, broken = tmp_path / "reviews.jsonl", tmp_path / "broken.jsonl"
    rows = [
        {"question": f"Where is the {place}?", "reply": "By the river.", "stars": 5 - 2 * n}
        for n, place in enumerate(("mill", "inn", "well"))
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    broken.write_text(json.dumps({**rows[0], "stars": 6}), "utf-8")
    found = read(path)
    assert found.metrics["format"] == "star-reviews"
    assert [other.up for other in found.others if isinstance(other, Thumb)] == [True, False]
    assert len(found.responses) == 3
    with pytest.raises(InputError, match="6 is none of 1 to 5"):
        read(broken)


def test_the_page_of_the_site_lets_its_roles_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "own_pages"
    for folder in ("templates", "static", "locales"):
        (package / folder).mkdir(parents=True)
    (package / "__init__.py").touch()
    template = '{% extends "page.html" %}{% block title %}Own{% endblock %}{% block main %}{{ counts.rank }} rankings{% endblock %}'
    (package / "templates" / "own_statistics.html").write_text(template)
    shutil.copy(Path(label_pages.__file__).parent / "locales" / "zh_CN.po", package / "locales")
    monkeypatch.syspath_prepend(tmp_path)
    own = SimpleNamespace(counts=lambda store, account: {"rank": 2})
    router = block("own_statistics", {**vars(label_pages), "answers": own})["router"]
    with Store.open(f"sqlite:///{tmp_path / 'feedback.db'}") as store:
        site = Site(store, LabelConfig(), "bakery", "x" * 40, packages=("own_pages", "accord.feedback.web"))
        for role, status in ((None, 401), ("viewer", 403), ("labeler", 200), ("lead", 200)):
            client = TestClient(build(site, router), base_url="http://127.0.0.1:8400", follow_redirects=False)
            if role:
                client.post("/join", data={"token": accounts.invite(store, role, role, by="tests", now=datetime.now(UTC))})
            page = client.get("/mine")
            assert page.status_code == status, role
            assert ("2 rankings" in page.text) == (status == 200)
