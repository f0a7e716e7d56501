"""Old names, kept until stages/conduct.py has moved; read ``accord.data.refusal`` and ``accord.data.toxicity`` instead."""

from accord.data.refusal import admits_ignorance as says_unknown
from accord.data.refusal import refuses
from accord.data.toxicity import lexicon, toxic_words

__all__ = ["lexicon", "refuses", "says_unknown", "toxic_words"]
