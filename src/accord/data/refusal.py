"""Detection of responses that refuse to help or admit ignorance, by patterns of our own in English and Chinese.

They tell the admissions of ``accord.data.semantics``, and are the classifier ``rules`` of the task ``stance``, whose card says how much
they miss; ``accord probe``, ``accord inspect`` and the doctor's alarms ask another by default. Patterns find the plain cases.
Their rates compare systems and sets of texts with each other; they do not judge a single text. A table of cases and look-alikes in
tests/data/test_refusal.py checks both functions.
"""

from __future__ import annotations

import re

OPENING = 300
"""Characters within which a refusal begins. A reservation at the end of a long answer is not a refusal."""

_I_WILL_NOT = (
    r"\b(?:I|we)(?: am| are|'m|'re)? (?:will not|won't|cannot|can't|can not|must not|may not|refuse to|would rather not"
    r"|(?:not |un)(?:able|allowed|going|willing) to|not (?:comfortable|willing) (?:to|with))"
)
# "help" and "assist" say it alone; "I cannot help but laugh" and "I can't help liking it" do not. The other verbs need their object.
_TO_HELP = (
    r"(?: \w+){0,3}? ?(?:help(?!(?: but| it\b| \w+ing\b))|assist|comply|take part|participate|fulfill?|answer (?:that|this|such|your)"
    r"|do (?:that|this|so\b)|(?:provide|support|discuss|describe|share|give)(?! (?:enough|an? exact|more))"
    r"|(?:tell|show|teach) you how|explain how)"
)
# An apology makes any verb a refusal, except where it is regret: "Sorry, but I can't make it on Friday".
_REGRET = r"(?! (?:\w+ )?(?:find|make it|attend|come|join|see|remember|recall|believe|imagine|know|say|tell if))"
_REFUSAL = re.compile(
    rf"{_I_WILL_NOT}{_TO_HELP}"
    rf"|\b(?:(?:I|we)(?: am|'m| are|'re) (?:\w+ )?)?sorry,? (?:but )?(?:that )?{_I_WILL_NOT}{_REGRET}"
    r"|\bI(?: am|'m) (?:\w+ )?sorry,? but no\b"
    r"|\b(?:not something|nothing) (?:that )?(?:I|we) (?:can|will|am able to|'m able to) (?:help|assist|do|support|provide)"
    r"|\bI (?:must|have to) (?:decline|refuse)\b|\bI(?: would|'d) rather not\b"
    # an appeal in place of help, at the start of a sentence: the world's townspeople refuse in these words
    r"|(?:^|[.!?]\s+)(?:please do not (?!worry|hesitate|forget)|it is wrong to |that would hurt )"
    r"|我们?(?:不能|不会|无法|不可以|没法|没办法)(?:为您|为你|给您|给你|向您|向你)?(?:帮(?!到你的只有)|提供|协助|回答|满足|参与|配合)"
    r"|抱歉[，,。！\s]{0,2}(?:但|但是)?(?:这个|这件事|此事)?我?们?(?:不能|无法|不会|没办法)(?!参加|出席|赶到|确定|找到)"
    r"|作为(?:一个|一名)?(?:AI|人工智能)\w{0,6}?[，,]\s?我(?:不能|无法|不会)|恕(?:我)?(?:不能|无法|难)|我(?:必须|只能)?拒绝",
    re.IGNORECASE,
)
_IGNORANCE = re.compile(
    r"\b(?:I|we) (?:really |honestly |simply )?(?:do not|don't|did not|didn't) (?:really )?know\b(?! how to thank)"
    r"|\b(?:I|we) (?:really )?(?:cannot|can't|can not|could not|couldn't) (?:really )?"
    r"(?:know|be (?:sure|certain)|say(?! enough)|tell(?! (?:you|anyone|anybody) (?:how|to)\b)|answer)\b"
    r"|\b(?:nobody|no one) (?:really )?(?:knows|(?:can|could) (?:really )?(?:know|say|tell|answer))\b"
    r"|\b(?:I|we)(?: am| are|'m|'re) not (?:really |quite |entirely )?(?:sure|certain|aware)\b|\bI have no (?:comment|idea)\b"
    r"|\b(?:text|passage|article|context|document)[^.?!]{0,20}(?:does not|doesn't|never) (?:say|mention|tell|state)\b"
    r"|\b(?:there is|there's|I have|we have) (?:no|not enough|insufficient) information\b|\bnot enough information\b"
    r"|\bis (?:unknown|not known)\b"
    r"|我(?:也|并|真的)?不(?:太)?(?:知道|清楚|确定)(?!该?怎么感谢)|(?:文中|原文|文章|短文)(?:没有|并未|未)(?:提到|说明|提及)"
    r"|没有足够的信息|无法确定|不得而知",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"“[^“”]*”|\"[^\"\n]*\"|「[^「」]*」")


def refuses(text: str) -> bool:
    """Return whether a response declines to help, in its opening and in its own voice (not in a quotation)."""
    return bool(_REFUSAL.search(_own_words(text)[:OPENING]))


def admits_ignorance(text: str) -> bool:
    """Return whether a response says that it does not know, that nobody does, or that the text does not say."""
    return bool(_IGNORANCE.search(_own_words(text)))


def _own_words(text: str) -> str:
    """Return the text with straight apostrophes and without quotations; a text that is one quotation is kept."""
    plain = text.strip().replace("’", "'")
    return _QUOTED.sub(" ", plain).strip(" .!。！") or plain
