"""`accord pretrain`: a base model that plain transformers opens, resuming, and a project without raw text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from small_project import BODY, CLOCK, FLAGS, PRETRAIN, RESUME, plain_model, with_raw_text, written

from accord.commands.train.pretrain import pretrain
from accord.data.corpus import read_documents, tokenized, write_documents
from accord.data.tokenizers import load_tokenizer
from accord.errors import InputError, RunError
from accord.runtime.lineage import digest_rows
from accord.runtime.project import Project


def test_it_leaves_a_base_model_whose_loss_it_says(tmp_path: Path) -> None:
    project = with_raw_text(tmp_path / "p")
    summary = pretrain(project, config=PRETRAIN, flags=FLAGS).summary
    plain, tokenizer = plain_model(project.model("base"))
    corpus = tokenized(project.path / "corpus", load_tokenizer(project.run("base") / "tokenizer"), PRETRAIN.context)
    assert summary.keys() == CLOCK | {"validation_loss", "documents", "corpus_tokens"}
    assert (summary["documents"], summary["corpus_tokens"]) == (len(corpus), corpus.size)
    losses = []
    for document in corpus.held_out():
        with torch.no_grad():
            logits = plain(torch.tensor([document])).logits[0, :-1]
        losses.append(torch.nn.functional.cross_entropy(logits, torch.tensor(document[1:]), reduction="none"))
    assert summary["validation_loss"] == pytest.approx(torch.cat(losses).mean().item(), abs=1e-4)
    assert tokenizer.chat_template is None
    assert len(tokenizer) == BODY["vocab_size"]


def test_its_lineage_holds_the_raw_text_and_no_parent(tmp_path: Path) -> None:
    project = with_raw_text(tmp_path / "p")
    pretrain(project, name="other", config=PRETRAIN, flags=FLAGS)
    lineage = json.loads((project.model("other") / "lineage.json").read_text())
    assert lineage["parents"] == {}
    assert lineage["data"] == {"raw_text": digest_rows(read_documents(project.path / "corpus"))}
    assert (lineage["stage"], lineage["settings"]["tokens"]) == ("pretrain", PRETRAIN.tokens)
    with pytest.raises(RunError, match="a finished run of this name exists already"):
        pretrain(project, name="other", config=PRETRAIN, flags=FLAGS)
    write_documents(project.path / "corpus" / "more.jsonl", ["A new book."])
    with pytest.raises(RunError, match="raw_text was"):
        pretrain(project, name="other", config=PRETRAIN, flags=RESUME)


def test_a_finished_run_is_resumed_by_doing_nothing(tmp_path: Path, typed: Any) -> None:
    project = with_raw_text(tmp_path / "p")
    words = ["pretrain", project.path, "--tokens", 2048, "--batch-tokens", 1024, "--dtype", "float32"]
    words += [word for key, value in BODY.items() for word in (f"--{key.replace('_', '-')}", value)]
    summary, files = typed(*words), written(project, "base")
    assert typed(*words, "--resume") == summary
    assert written(project, "base") == files


def test_a_project_without_raw_text_is_refused(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "p")
    with pytest.raises(InputError, match="raw text") as error:
        pretrain(project, config=PRETRAIN, flags=FLAGS)
    assert error.value.hint
    assert not project.run("base").exists()
