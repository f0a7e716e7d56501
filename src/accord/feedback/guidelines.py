"""What labelers are told: two guideline sets, each with a version that every answer given under it records.

``training`` puts helpfulness first, ``evaluation`` puts truthful and harmless first, as Ouyang et al. 2022 (section 3.4) changed
their instructions between the labels they trained on and the final comparisons. The wording is our own.
"""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import Literal, get_args

from accord.errors import UsageError
from accord.records import Guideline, GuidelineSet

Language = Literal["en", "zh"]


def load(set: GuidelineSet, language: Language = "en") -> str:
    """A guideline as Markdown, in English or Simplified Chinese.

    Raises:
        UsageError: there is no such set or language.
    """
    for what, name, known in (("set", set, get_args(GuidelineSet)), ("language", language, get_args(Language))):
        if name not in known:
            raise UsageError(f"no guideline {what} {name!r}", where="guidelines", hint=f"there are {' and '.join(known)}")
    return resources.files("accord.feedback").joinpath("guideline_texts", f"{set}.{language}.md").read_text("utf-8")


def reference(set: GuidelineSet) -> Guideline:
    """What an answer records: the set, and the first 12 hex digits of the SHA-256 of its English text.

    The translations follow the English text and share its version.

    Raises:
        UsageError: there is no such set.
    """
    return Guideline(set, hashlib.sha256(load(set).encode()).hexdigest()[:12])
