"""Detection of a text's language: by py3langid's model, or by script and the most common words without it.

Meant for tagging prompts; docs/classifiers.md gives the accuracy of both. A text with too few letters for a verdict is ``und``,
and so is one of which no language is likelier than all others together.
"""

from __future__ import annotations

import math
import re
import unicodedata
from functools import cache
from importlib.util import find_spec
from typing import Any

UNKNOWN = "und"
_LOOKED_AT = 600
"""Characters to look at; the beginning of a text shows its language."""
_SCRIPTS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("ja", re.compile("[\u3040-\u30ff]")),
    ("ko", re.compile("[\uac00-\ud7af\u1100-\u11ff]")),
    ("zh", re.compile("[\u4e00-\u9fff\u3400-\u4dbf]")),
    ("ru", re.compile("[\u0400-\u04ff]")),
    ("ar", re.compile("[\u0600-\u06ff]")),
    ("he", re.compile("[\u0590-\u05ff]")),
    ("el", re.compile("[\u0370-\u03ff]")),
    ("th", re.compile("[\u0e00-\u0e7f]")),
    ("hi", re.compile("[\u0900-\u097f]")),
)
_LATIN = re.compile(r"[a-zà-öø-ÿāăąćčďđęěğıłńňőœřśşšťůűźżž]+(?:['’][a-zà-ÿ]+)?")
_WEIGHT = {"zh": 3, "ja": 3, "ko": 3}
"""The number of Latin letters that one character of these scripts weighs as much as."""
_WORDS: dict[str, str] = {
    "en": "the of and to in is that it for was on are with as at be this have from or by not but what which "
    "how write a an i you your my me can "
    "do does why when who where please give list make explain describe would should will there their about into if between some more than "
    "following sentence story name create find best like need want help tell use good may go we he she they all "
    "any out up so only has had were was "
    "his her our its them then than too very just because over under after before new first people get got let "
    "us many much these those each",
    "es": "el la los las de que y en un una es por con para del se no lo como más pero sus al ya cómo qué "
    "escribe cuál dónde está son mi me puedes",
    "fr": "le la les de des et en un une est que pour dans qui du ce il au ne pas sur par avec je vous plus "
    "écris comment quel quelle sont mon c'est d'un",
    "de": "der die das und in zu den von mit ist auf für im ein eine nicht dem sich des auch es an werden "
    "aus wie was ich wir schreibe kannst warum mir über",
    "it": "il lo la i gli le di che e in un una è per con non del della sono come più ma si al scrivi perché quale cosa mi nel alla puoi",
    "pt": "o a os as de que e em um uma é por com para do da não se no na como mais mas ao dos escreva qual são meu você uma pode sobre",
    "nl": "de het een en van in is dat op te zijn met voor niet aan er ook als bij maar om uit wat hoe schrijf kun je mijn waarom deze",
    "pl": "i w na z do się nie to jest że jak o za po od co dla ale czy przez jego napisz proszę który jakie dlaczego mi są",
    "tr": "ve bir bu da de için ile ne mi çok gibi daha olan olarak nasıl yaz neden değil bana benim var kadar en",
    "sv": "och att det i en på är som för med av till den inte om har ett jag hur vad skriv kan varför mig eller från",
    "vi": "và của là có cho trong một những các được với không này người tôi bạn hãy viết như thế nào",
    "id": "dan yang di untuk dengan dari ini itu pada adalah tidak dalam akan ke apa bagaimana buat tulis saya anda bisa",
    "ro": "și de la în cu pe un o este care nu pentru din mai ce sunt scrie cum dar sau al",
    "cs": "a se na je že v to s z do o jak pro ale by za jako co napiš proč jsou které pod",
}
_COMMON: dict[str, list[str]] = {}
for _language, _list in _WORDS.items():
    for _word in _list.split():
        _COMMON.setdefault(_word, []).append(_language)


_LANGUAGES = (
    "af ar az be bg bn bs ca cs cy da de el en eo es et eu fa fi fr ga gl gu he hi hr hu hy id is it ja ka kk km kn ko ky la lo lt lv "
    "mk ml mn mr ms my nb ne nl nn no pa pl ps pt ro ru si sk sl sq sr sv sw ta te th tl tr uk ur uz vi zh"
)
"""Languages that a prompt is taken to be in. The model knows some twenty more, which short prompts are mistaken for."""
_LEAST_LETTERS = 2
_LEAST_SURE = 0.5
"""Probability of a verdict. Of words such as "Hi" and "ok" the model tells some language too, by a hair's breadth."""
_NORWEGIAN = {"nb": "no", "nn": "no"}


def language(text: str) -> str:
    """Return the ISO 639-1 code of a text's language, or ``und`` if it cannot be told."""
    start = unicodedata.normalize("NFC", text[:_LOOKED_AT])
    weight = sum(1 if mark.isascii() else 2 for mark in start if mark.isalpha())
    if weight < _LEAST_LETTERS:
        return UNKNOWN
    if not has_model():
        return by_words(text)
    ranked: list[tuple[str, float]] = _model().rank(start)
    code, most = ranked[0]
    if sum(math.exp(score - most) for _, score in ranked) > 1 / _LEAST_SURE:
        return UNKNOWN
    return _NORWEGIAN.get(code, code)


@cache
def has_model() -> bool:
    """Return whether py3langid is installed; an installation of before it became a dependency has rules alone."""
    return find_spec("py3langid") is not None


@cache
def _model() -> Any:
    """Return py3langid's model (BSD-3-Clause; naive Bayes over byte n-grams), limited to ``_LANGUAGES``."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # type: ignore[import-untyped]

    model: Any = LanguageIdentifier.from_model_file(MODEL_FILE)
    model.set_languages([code for code in _LANGUAGES.split() if code in {*map(str, model.labels)}])
    return model


def by_words(text: str) -> str:
    """Return the code of a text's language by its script, and for Latin scripts by its most common words."""
    start = unicodedata.normalize("NFC", text[:_LOOKED_AT]).lower()
    latin = _LATIN.findall(start)
    letters = sum(map(len, latin))
    if not start.isascii():
        for code, script in _SCRIPTS:
            count = len(script.findall(start))
            if count * _WEIGHT.get(code, 1) > letters or (code == "ja" and count and count * 8 > len(start)):
                return code
    return _by_words(latin) if latin else UNKNOWN


def _by_words(words: list[str]) -> str:
    """Return the language with the most common words in the text; a word of several languages counts in part for each."""
    scores: dict[str, float] = {}
    for word in words:
        codes = _COMMON.get(word, ())
        for code in codes:
            scores[code] = scores.get(code, 0.0) + 1 / len(codes)
    if not scores:
        return UNKNOWN
    best = max(scores, key=lambda code: (scores[code], code == "en"))
    return best if scores[best] >= 0.08 * len(words) else UNKNOWN
