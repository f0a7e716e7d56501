"""A Hugging Face folder as a classifier: any model for sequence classification, opened offline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from accord.data.classifiers.interface import LABELS, NONE, Task, Text, Verdict, words_of
from accord.errors import ModelError

BATCH = 16
_HARMLESS = frozenset({"none", "safe", "benign", "normal", "neutral", "ok", "legit", "non-toxic", "nontoxic", "not toxic", "label_0"})
_PEOPLE = frozenset({"human", "human-written", "person", "people", "real"})
"""Names that such models give to a text in which they find nothing, and that those for machine-written text give to people's."""


class FolderClassifier:
    """A folder's model. Its labels are those of the task, or one that says that nothing was found; any other counts as found.

    Raises:
        ModelError: the folder holds no such model, or the labels do not fit the task.
    """

    def __init__(self, task: Task, folder: Path) -> None:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer  # loads torch, which rules do not need

        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            opened: Any = AutoModelForSequenceClassification.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, use_safetensors=True
            )
        except (OSError, ValueError) as error:
            what = f"it holds no model for text classification: {error}"
            raise ModelError(what, where=str(folder), hint="give a folder with config.json, weights and a tokenizer") from error
        self.task: Task = task
        self._model: Any = opened.eval()
        config: Any = opened.config
        names: dict[int, str] = cast("dict[int, str]", config.id2label)
        self._labels: list[str] = [self.label_of(task, names[number], folder) for number in sorted(names)]

    def __call__(self, texts: Sequence[Text]) -> list[Verdict]:
        """Return the likeliest label of each text."""
        import torch

        words, verdicts = [words_of(text) for text in texts], list[Verdict]()
        for start in range(0, len(words), BATCH):
            batch = self._tokenizer(words[start : start + BATCH], padding=True, truncation=True, return_tensors="pt")
            with torch.inference_mode():
                rows: list[list[float]] = self._model(**batch).logits.softmax(-1).tolist()
            for row in rows:
                of_label: dict[str, float] = {}
                for label, chance in zip(self._labels, row, strict=True):
                    of_label[label] = of_label.get(label, 0.0) + float(chance)
                best = max(of_label, key=lambda label: of_label[label])
                verdicts.append(Verdict(best, of_label[best]))
        return verdicts

    @staticmethod
    def label_of(task: Task, name: str, folder: Path) -> str:
        """Return the task's label for a model's.

        Raises:
            ModelError: it means none of them.
        """
        known, lower = LABELS[task], name.lower().replace("_", "-")
        if not known or lower in known:
            return lower
        if NONE in known and name.lower() in (_HARMLESS | _PEOPLE if task == "written" else _HARMLESS):
            return NONE
        if NONE in known and len(known) == 2:
            return known[0]
        what = f"its label {name!r} is none of the task {task}: {', '.join(known)}"
        raise ModelError(what, where=str(folder), hint="rename the labels in id2label of its config.json")
