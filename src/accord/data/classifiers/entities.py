"""A Hugging Face folder for token classification as the classifier of personal data: a model that finds names and other entities.

A text is personal where the model finds an entity of a person, or the rules of ``accord.data.personal`` find something: such models
know names, and seldom keys, cards or numbers. Places, organisations, dates and amounts by themselves are not personal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from accord.data import personal
from accord.data.classifiers.interface import NONE, Text, Verdict, words_of
from accord.data.patterns import Kind
from accord.errors import ModelError

FOUND = "personal"
STRIDE = 32
"""Tokens that two windows of a long text share."""
_IMPERSONAL = frozenset(
    [
        *("o", "org", "orgs", "organization", "organisation", "corp", "company", "loc", "location", "gpe", "place", "city", "state"),
        *("county", "country", "geo", "misc", "norp", "fac", "facility", "product", "prod", "event", "eve", "work_of_art", "art"),
        *("law", "language", "lang", "date", "time", "percent", "money", "quantity", "ordinal", "cardinal", "num", "number"),
    ]
)
"""Entities that identify nobody by themselves, as CoNLL, OntoNotes and MSRA name them."""

_NAMED: tuple[tuple[Kind, tuple[str, ...]], ...] = (
    ("secret", ("password", "secret", "pin", "cvv", "key", "token")),
    ("email", ("email", "e_mail", "mail")),
    ("card", ("card", "iban", "account", "bic")),
    ("ip", ("ip", "ipv4", "ipv6", "mac")),
    ("phone", ("phone", "tel", "telephone", "telephonenum", "phonenumber", "fax", "mobile")),
    ("address", ("address", "street", "building", "buildingnum", "zip", "zipcode", "postcode")),
    ("id", ("id", "ssn", "passport", "passportnum", "license", "licence", "driverlicensenum", "idcardnum", "socialnum", "taxnum", "vin")),
)
"""Words in the names of entities of models made for personal data, by the kind that is put in their place."""


@dataclass(frozen=True, slots=True)
class Entity:
    """One entity: ``text[start:end]``."""

    label: str
    start: int
    end: int
    probability: float
    """The least of its tokens'."""


def holds_entities(folder: Path) -> bool:
    """Return whether a folder's model classifies tokens."""
    from transformers import AutoConfig  # loads torch, which rules do not need

    try:
        config: Any = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError):
        return False
    built = cast("list[str]", config.architectures or [])
    return any(name.endswith("ForTokenClassification") for name in built)


class EntityFolder:
    """A folder's model, and the rules beside it.

    Raises:
        ModelError: the folder holds no such model, no fast tokenizer, or a model without any entity of a person.
    """

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModelForTokenClassification, AutoTokenizer

        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            opened: Any = AutoModelForTokenClassification.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, use_safetensors=True
            )
        except (OSError, ValueError) as error:
            what = f"it holds no model for token classification: {error}"
            raise ModelError(what, where=str(folder), hint="give a folder with config.json, weights and a tokenizer") from error
        if not self._tokenizer.is_fast:
            what = "its tokenizer does not say where its tokens stand in the text"
            raise ModelError(what, where=str(folder), hint="save it with a fast tokenizer (tokenizer.json)")
        self._model: Any = opened.eval()
        config = cast("dict[str, Any]", opened.config.to_dict())
        names = cast("dict[int, str]", opened.config.id2label)
        self._labels: list[str] = [names[number] for number in sorted(names)]
        self._personal: list[int] = [place for place, name in enumerate(self._labels) if is_personal(name)]
        if not self._personal:
            what = f"none of its labels is an entity of a person: {', '.join(self._labels)}"
            raise ModelError(what, where=str(folder), hint="name them in id2label of its config.json, such as B-PER and I-PER")
        positions = int(config.get("max_position_embeddings") or 0)
        limits = [cast("int", self._tokenizer.model_max_length), positions - 2 if positions > STRIDE + 4 else 510]  # RoBERTa counts from 2
        self._window: int = min(limits)

    def __call__(self, texts: Sequence[Text]) -> list[Verdict]:
        """Return for each text whether it is personal."""
        verdicts: list[Verdict] = []
        for text in texts:
            entities, least = self._read(words_of(text))
            if personal.find(words_of(text)):
                verdicts.append(Verdict(FOUND, 1.0))
            elif entities:
                verdicts.append(Verdict(FOUND, max(entity.probability for entity in entities)))
            else:
                verdicts.append(Verdict(NONE, least))
        return verdicts

    def find(self, text: str) -> list[Entity]:
        """Return the entities of persons in a text, in order; all of it is read."""
        return self._read(text)[0]

    def findings(self, text: str) -> list[personal.Finding]:
        """Return these entities as what `accord redact` replaces."""
        found = list[personal.Finding]()
        for entity in self.find(text):
            words = text[entity.start : entity.end]
            start = entity.start + len(words) - len(words.lstrip())  # tokens of some models begin with the blank before the word
            kind, end = kind_of(entity.label), entity.start + len(words.rstrip())
            if start < end:
                found.append(personal.Finding(kind, start, end, text[start:end], f"model {entity.label}"))
        return found

    def _read(self, text: str) -> tuple[list[Entity], float]:
        """Return the entities of persons, and the least probability of a token that it belongs to none."""
        import torch

        rows = self._tokenizer(
            text,
            truncation=True,
            max_length=self._window,
            stride=min(STRIDE, self._window // 4),
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
            padding=True,
            return_tensors="pt",
        )
        rows.pop("overflow_to_sample_mapping", None)
        places: list[list[list[int]]] = rows.pop("offset_mapping").tolist()
        special: list[list[int]] = rows.pop("special_tokens_mask").tolist()
        with torch.inference_mode():
            chances: Any = self._model(**rows).logits.softmax(-1)
        found, least, read = list[Entity](), 1.0, 0
        for window, (spans, marks) in enumerate(zip(places, special, strict=True)):
            last = -1
            for token, ((start, end), mark) in enumerate(zip(spans, marks, strict=True)):
                if mark or end <= start or end <= read:  # a window repeats the end of the one before
                    last = -1 if mark else last
                    continue
                best = int(chances[window, token].argmax())
                least = min(least, 1 - float(chances[window, token, self._personal].sum()))
                if best in self._personal:
                    chance, name = float(chances[window, token, best]), entity_of(self._labels[best])
                    joins = (
                        last == token - 1 and found and found[-1].label == name and not self._labels[best].startswith(("B-", "S-", "U-"))
                    )
                    if joins:
                        before = found.pop()
                        start, chance = before.start, min(before.probability, chance)
                    found.append(Entity(name, start, end, chance))
                    last = token
            read = max((end for _, end in spans), default=read)
        return found, max(0.0, least)


def entity_of(label: str) -> str:
    """Return the entity that a label of a token names, without its mark of place (B-, I-, ...)."""
    return label[2:] if label[:2] in ("B-", "I-", "E-", "S-", "L-", "U-", "M-") else label


def kind_of(entity: str) -> Kind:
    """Return the kind of personal data that an entity of a person is: a name, if its name says nothing else."""
    words = set(entity.strip().lower().replace("-", "_").split("_"))
    words.add(entity.strip().lower().replace("-", "_"))
    for kind, known in _NAMED:
        if words & set(known):
            return kind
    return "name"


def is_personal(label: str) -> bool:
    """Return whether a label is an entity that identifies a person."""
    name = entity_of(label).strip().lower().replace("-", "_")
    return name not in _IMPERSONAL and not name.startswith("label_")
