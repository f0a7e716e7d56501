"""Does a model make things up? The share of responses that state as a fact what is not true.

Asked on prompts about facts that the raw text never contained, where the one truthful answer is to say that one does not know. InstructGPT
reports the closed-domain kin of this figure as its hallucination rate (Ouyang et al. 2022, section 4.2).
"""

from __future__ import annotations

from collections.abc import Sequence

from accord.evaluation.statistics import Interval, interval
from accord.evaluation.winrate import judge_all
from accord.protocols import Judge
from accord.records import Judgement, Prompt


def made_up_rate(judge: Judge, prompts: Sequence[Prompt], responses: Sequence[str], *, resamples: int = 2000, seed: int = 0) -> Interval:
    """The share of responses in which the judge finds something made up; the caller hands in the prompts that invite it.

    Raises:
        InputError: no prompts, or not one response a prompt.
    """
    return made_up_share([[word] for word in judge_all(judge, prompts, responses)], resamples=resamples, seed=seed)


def made_up_share(groups: Sequence[Sequence[Judgement]], *, resamples: int = 2000, seed: int = 0) -> Interval:
    """``made_up_rate`` on judgements that are there already, one or more a prompt; the interval is over prompts."""
    return interval([sum(word.made_up for word in words) / len(words) for words in groups], resamples=resamples, seed=seed)
