"""Train the shipped classifiers from the sentences of `src/accord/data/classifiers/sentences`, and write their weights.

    python benchmarks/train_classifiers.py                # all tasks, about a minute
    python benchmarks/train_classifiers.py --task harm

A multinomial logistic regression with an L2 penalty, by L-BFGS from zero: no random choice. A family of sentences made from one pattern
weighs as the square root of its size, and every label alike, but for claims, which have the most families. What is harmless for one task
is harmless for the others. The held-out sets are read by `accord classifiers` alone.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.optimize
import scipy.sparse
from safetensors.numpy import save_file

from accord.data.classifiers.interface import LABELS, NONE, Task
from accord.data.classifiers.linear import BUCKETS, concept_features, features
from accord.data.classifiers.small import WEIGHTS, own_words
from accord.data.spelling import plain

SENTENCES = WEIGHTS.parent / "sentences"
TRAINED: tuple[Task, ...] = ("stance", "harm", "injection", "toxicity")
PENALTY = 2e-5
STEPS = 70
CLAIMS = 0.8
"""Weight of the claims beside the other stances."""
THRESHOLDS = {"stance": 0.0, "harm": 0.5, "injection": 0.9, "toxicity": 0.5}
"""Probability from which something counts as found; for injections higher, as nearly all texts are ordinary."""


def sentences(task: str) -> list[dict[str, str]]:
    """Return the rows of a task's file."""
    return [json.loads(line) for line in (SENTENCES / f"{task}.jsonl").read_text("utf-8").splitlines()]


def rows_of(task: Task) -> list[dict[str, str]]:
    """Return a task's own sentences, and the harmless ones of the other tasks."""
    own = sentences(task)
    others = [row for other in TRAINED if other not in (task, "stance") for row in sentences(other)]
    match task:
        case "stance":
            return own + [row | {"label": "claim"} for row in sentences("toxicity") if row["label"] == NONE]
        case "injection":
            return own + [row | {"label": NONE} for row in [*sentences("harm"), *sentences("stance"), *others] if row not in own]
        case "toxicity":
            others += sentences("stance")
            harmless = [row for row in others if row["label"] in (NONE, *LABELS["stance"])]
            return own + [row | {"label": NONE} for row in harmless]
        case _:
            return own + [row for row in others if row["label"] == NONE]


def weights_of(rows: Sequence[dict[str, str]]) -> np.ndarray:
    """Return the weight of each row."""
    sizes = Counter(row["family"] for row in rows)
    weights = np.array([sizes[row["family"]] ** -0.5 for row in rows])
    labels = np.array([row["label"] for row in rows])
    for label in set(labels.tolist()):
        weights[labels == label] *= (CLAIMS if label == "claim" else 1.0) / weights[labels == label].sum()
    return weights / weights.sum()


def matrix_of(task: Task, texts: Sequence[str]) -> Any:
    """Return [texts, features], sparse."""
    rows, columns, values = list[int](), list[int](), list[float]()
    for number, text in enumerate(texts):
        places, there = features(task, plain(own_words(text) if task == "stance" else text))
        rows += [number] * len(places)
        columns += places.tolist()
        values += there.tolist()
    return scipy.sparse.csr_matrix((values, (rows, columns)), shape=(len(texts), BUCKETS + len(concept_features(task))))


def fitted(task: Task, steps: int = STEPS) -> tuple[np.ndarray, np.ndarray]:
    """Return [features, labels] weights and [labels] biases."""
    rows, labels = rows_of(task), LABELS[task]
    x, w = matrix_of(task, [row["text"] for row in rows]), weights_of(rows)[:, None]
    target = np.eye(len(labels))[[labels.index(row["label"]) for row in rows]]
    count, transposed = x.shape[1], x.T.tocsr()

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        of_features, bias = flat[: -len(labels)].reshape(count, len(labels)), flat[-len(labels) :]
        scores = x @ of_features + bias
        scores -= scores.max(1, keepdims=True)
        logs = scores - np.log(np.exp(scores).sum(1, keepdims=True))
        slope = (np.exp(logs) - target) * w
        value = -float((w * logs * target).sum()) + PENALTY * float((of_features**2).sum())
        return value, np.concatenate([(transposed @ slope + 2 * PENALTY * of_features).ravel(), slope.sum(0)])

    start = np.zeros((count + 1) * len(labels))
    found = scipy.optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": steps, "maxcor": 5}).x
    return found[: -len(labels)].reshape(count, len(labels)), found[-len(labels) :]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=TRAINED, action="append")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for task in arguments.task or TRAINED:
        weights, bias = fitted(task)
        found = {"weights": weights.astype(np.float16), "bias": bias.astype(np.float32)}
        save_file(found | {"threshold": np.array([THRESHOLDS[task]], dtype=np.float32)}, arguments.out / f"{task}.safetensors")
        print(f"{task}: {np.count_nonzero(found['weights'])} weights")


if __name__ == "__main__":
    main()
