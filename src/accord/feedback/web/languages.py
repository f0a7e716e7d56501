"""English and Simplified Chinese: the message id is the English text, and locales/LANGUAGE.po has its translation (Babel)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Literal, get_args

from babel import negotiate_locale
from babel.messages.pofile import read_po

Language = Literal["en", "zh_CN"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
NAMES: dict[Language, str] = {"en": "English", "zh_CN": "简体中文"}


HERE = "accord.feedback.web"


@cache
def catalogue(language: Language, package: str = HERE) -> Mapping[str, str]:
    """Return a package's translations by English text; empty for English."""
    if language == "en":
        return {}
    with resources.files(package).joinpath("locales", f"{language}.po").open("rb") as file:
        return {str(message.id): str(message.string) for message in read_po(file, locale=language) if message.id and message.string}


def translate(language: Language, text: str, packages: Sequence[str] = (HERE,), /, **values: object) -> str:
    """Return the text in a language, with ``{name}`` placeholders filled in, from the first package whose catalogue has it."""
    found = next((known[text] for package in packages if text in (known := catalogue(language, package))), text)
    return found.format(**values) if values else found


def choose(asked: str | None, accepted: str | None, default: Language = "en") -> Language:
    """Return the language: a person's own choice first, then the browser's (Accept-Language), then the default."""
    if asked in LANGUAGES:
        return asked
    wanted = [part.split(";")[0].strip().replace("-", "_") for part in (accepted or "").split(",")]
    aliases = {"zh": "zh_CN", "zh_hans": "zh_CN", "zh_hans_cn": "zh_CN", "zh_sg": "zh_CN"}
    wanted = [aliases.get(tag.lower(), tag) for tag in wanted if tag]
    found = negotiate_locale(wanted, list(LANGUAGES), sep="_")
    return found if found in LANGUAGES else default


def html_language(language: Language) -> str:
    """Return the value of ``<html lang>``."""
    return "zh-Hans" if language == "zh_CN" else language


def guideline_language(language: Language) -> Literal["en", "zh"]:
    """Return the guidelines' name of a language."""
    return "zh" if language == "zh_CN" else "en"
