"""Does a model make things up? The share of responses that state as a fact what is not true.

Asked on prompts about facts that the raw text never contained, where the one truthful answer is to say that one does not know. InstructGPT
reports the closed-domain kin of this figure as its hallucination rate (Ouyang et al. 2022, section 4.2).
"""

from __future__ import annotations

from collections.abc import Sequence

from accord.evaluation.statistics import Interval, interval
from accord.records import Judgement


def made_up_share(groups: Sequence[Sequence[Judgement]], *, resamples: int = 2000, seed: int = 0) -> Interval:
    """Return the share of responses in which the judge found something made up; the interval is over prompts.

    Args:
        groups: judgements of each prompt, one or more. The caller chooses prompts that invite invention.
    """
    return interval([sum(word.made_up for word in words) / len(words) for words in groups], resamples=resamples, seed=seed)
