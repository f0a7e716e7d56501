"""Made-up answers: the share of responses that state something untrue as a fact.

Asked on prompts about facts that the raw text never contained, where the only truthful answer is "I do not
know". InstructGPT reports the closed-domain counterpart of this metric as its hallucination rate (Ouyang et al.
2022, section 4.2).
"""

from __future__ import annotations

from collections.abc import Sequence

from accord.evaluation.statistics import Interval, interval
from accord.evaluation.winrate import judge_all
from accord.protocols import Judge
from accord.records import Judgement, Prompt


def made_up_rate(judge: Judge, prompts: Sequence[Prompt], responses: Sequence[str], *, resamples: int = 2000, seed: int = 0) -> Interval:
    """Return the share of responses in which the judge finds something made up. The caller chooses the prompts.

    Raises:
        InputError: no prompts, or not one response per prompt.
    """
    return made_up_share([[word] for word in judge_all(judge, prompts, responses)], resamples=resamples, seed=seed)


def made_up_share(groups: Sequence[Sequence[Judgement]], *, resamples: int = 2000, seed: int = 0) -> Interval:
    """Return ``made_up_rate`` from existing judgements, one or more per prompt. The interval is over prompts."""
    shares = list[float]()
    for judgements in groups:
        shares.append(sum(judgement.made_up for judgement in judgements) / len(judgements))
    return interval(shares, resamples=resamples, seed=seed)
