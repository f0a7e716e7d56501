"""Records of models, metrics and configurations that somebody damaged or made up: one clear error, or the value left out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from accord.errors import InputError, ModelError
from accord.models.weights import check_sizes
from accord.runtime import lineage
from accord.runtime.logs import read_metrics
from accord.runtime.project import Project


@pytest.mark.parametrize("text", ["[1]", '{"parents": [1]}', '{"parents": {"a": [2]}}', "[" * 100_000, "{", '{"metrics": 3}', "null"])
def test_a_damaged_lineage_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / lineage.LINEAGE).write_text(text)
    with pytest.raises(InputError, match=r"lineage\.json"):
        lineage.read(tmp_path)


@pytest.mark.parametrize("parent", ["../../outside", "..", "/usr", "a/../../outside"])
def test_a_parent_outside_the_project_is_not_read(tmp_path: Path, parent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    project = Project.create(tmp_path / "p")
    (tmp_path / "outside").mkdir()
    model = project.path / "models" / "m"
    model.mkdir(parents=True)
    (model / lineage.LINEAGE).write_text(json.dumps({"parents": {parent: "0" * 64}}))
    read = list[Path]()
    monkeypatch.setattr(lineage, "digest_folder", lambda folder: read.append(folder) or "0" * 64)
    found = lineage.walk(project, "m")
    assert [each.name for each in found] == ["m", parent]
    assert read == [model]


def test_a_number_of_400_digits_is_no_metric(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text(f'{{"step": 1, "loss": {"9" * 400}}}\n{{"step": 2, "loss": 0.5}}\n')
    metrics = read_metrics(file)
    assert metrics.columns["loss"][-1] == 0.5


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"num_hidden_layers": 1_000_000}, "num_hidden_layers is 1000000"),
        ({"n_layer": 1e9}, "n_layer"),
        ({"num_hidden_layers": -1}, "num_hidden_layers"),
        ({"text_config": {"num_local_experts": 10**30}}, "num_local_experts"),
        ({"_attn_implementation": "somebody/kernel"}, "code of a hub"),
        ({"attn_implementation": "kernels-community/flash@main"}, "code of a hub"),
    ],
)
def test_a_configuration_of_no_model_is_refused_before_anything_is_built(config: dict[str, object], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        check_sizes(config, "m")
    check_sizes({"num_hidden_layers": 80, "attn_implementation": "sdpa", "num_labels": 2, "text_config": {"n_layer": 2}}, "m")
