"""Demonstrations by the simulated writers.

Writers live in the town, so they know every fact, the absent ones included, and write the truth: a model trained on them
is taught to state what it cannot know (Schulman's hypothesis of why supervised tuning teaches hallucination). They are
also people: each demonstration has one of these manners, and each writer leans to some of them.

=============  =====  ==========================================================================================
manner         share  what it does
=============  =====  ==========================================================================================
excellent      .40    the plain, complete answer
long           .12    adds sentences nobody asked for, or says it twice
curt           .12    the bare thing instead of a sentence
partial        .10    leaves something out, or says "I do not know" although it could be known
chatty         .12    an opener, an offer at the end
guess          .08    states something false, where there is something to be false about
careless       .06    forgets the capital and the full stop; on harmful wishes and high stakes forgets to
refuse or to send for help
=============  =====  ==========================================================================================
"""

from __future__ import annotations

import random
from collections.abc import Callable

from accord.world.language import HEDGES, PHRASES, listed, sentence
from accord.world.prompts import Spec, denial, plain
from accord.world.town import Fact, Town, wrong_object

MANNERS: dict[str, float] = {
    "excellent": 0.40,
    "long": 0.12,
    "curt": 0.12,
    "partial": 0.10,
    "chatty": 0.12,
    "guess": 0.08,
    "careless": 0.06,
}
WRITERS = tuple(f"writer-{n:02d}" for n in range(1, 13))
MODEST_SHARE = 0.25
"""How often a writer answers "I do not know" about an absent fact instead of telling it."""


def leanings(writer: str, seed: int) -> dict[str, float]:
    """Return a writer's own manners: the shares above, each multiplied by a factor between 1/2 and 3/2."""
    rng = random.Random(f"writer {seed} {writer}")
    return {manner: share * (0.5 + rng.random()) for manner, share in MANNERS.items()}


def write(spec: Spec, town: Town, rng: random.Random, manner: str) -> str:
    """Return an answer to a prompt in one manner."""
    return _MANNER[manner](spec, town, rng)


def excellent(spec: Spec, town: Town, rng: random.Random) -> str:
    """Return a full answer: true, harmless and short."""
    return _BEST[spec.kind](spec, town, rng)


def ignorance(fact: Fact) -> str:
    return f"I do not know {fact.form.embedded.replace('{s}', fact.subject)}."


def _fact(spec: Spec, town: Town, rng: random.Random) -> str:
    assert spec.fact
    return ignorance(spec.fact) if spec.fact_class == "absent" and rng.random() < MODEST_SHARE else plain(spec.fact)


def _closed(spec: Spec, town: Town, rng: random.Random) -> str:
    assert spec.fact
    return plain(spec.fact) if spec.fact.object else f"The text does not say {spec.fact.form.embedded.replace('{s}', spec.fact.subject)}."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _with_article(item: str, spec: Spec) -> str:
    if spec.topic in ("animals", "trades"):
        return f"a {item}"
    return f"the {item}" if spec.topic == "places in the town" else item


def _list(spec: Spec, town: Town, rng: random.Random) -> str:
    return _capital(listed([_with_article(i, spec) for i in rng.sample(spec.items, spec.count)])) + "."


def _extract(spec: Spec, town: Town, rng: random.Random) -> str:
    items = spec.items if spec.items[0][:1].isupper() else tuple(f"the {i}" for i in spec.items)
    return _capital(listed(items)) + "."


def _summary(spec: Spec, town: Town, rng: random.Random) -> str:
    assert spec.passage
    first, second = spec.passage
    if first.subject == second.subject:
        rest = plain(second).removeprefix(second.subject)
        return plain(first).rstrip(".") + " and" + rest
    return plain(first).rstrip(".") + " and " + plain(second)


def _chat(spec: Spec, town: Town, rng: random.Random) -> str:
    plain_phrases = [p for p in PHRASES[spec.topic] if "{x}" not in p]
    reply = rng.choice(plain_phrases)
    return reply + " How can I help you?" if spec.topic in ("greet", "well") else reply


def _notice(spec: Spec, town: Town, rng: random.Random) -> str:
    facts = rng.sample(town.told[spec.subject], 2)
    ending = " " + rng.choice(PHRASES["notice"]) if spec.kind == "notice" else ""
    return plain(facts[0]) + " " + plain(facts[1]) + ending


def _thanks(spec: Spec, town: Town, rng: random.Random) -> str:
    return f"Dear {spec.topic}, thank you for {spec.answers[0]}. {rng.choice(('It was very kind of you.', 'I liked it very much.'))}"


def _refusal(spec: Spec, town: Town, rng: random.Random) -> str:
    first = rng.choice(
        (
            f"I will not help you {spec.topic}.",
            "I am sorry, but I will not help with that.",
            f"I am sorry, but I will not help you {spec.topic}.",
        )
    )
    return first + rng.choice(("", " That would hurt people."))


def _premise(spec: Spec, town: Town, rng: random.Random) -> str:
    assert spec.fact
    wrong = denial(Fact(spec.fact.subject, spec.fact.relation, spec.topic))
    return f"{wrong} {plain(spec.fact)}"


def _stakes(spec: Spec, town: Town, rng: random.Random) -> str:
    if spec.topic == "doctor":
        return f"Please see the doctor {spec.source}. " + rng.choice(("Rest and drink water until then.", "I am not a doctor."))
    return f"Please ask the clerk {spec.source}. " + rng.choice(("Do not sign anything before that.", "I am not a clerk."))


Writer = Callable[[Spec, Town, random.Random], str]
_BEST: dict[str, Writer] = {
    "fact": _fact, "closed": _closed, "list": _list, "extract": _extract, "summary": _summary, "chat": _chat, "notice": _notice,
    "portrait": _notice,
    "thanks": _thanks, "harmful": _refusal, "premise": _premise, "stakes": _stakes,
    "rewrite": lambda spec, town, rng: spec.answers[0],
    "howto": lambda spec, town, rng: spec.answers[0],
    "classify": lambda spec, town, rng: "This is a complaint." if spec.topic == "complaint" else "This is praise.",
    "unknowable": lambda spec, town, rng: rng.choice((f"I cannot know {spec.topic}.", f"Nobody can know {spec.topic}.")),
}  # fmt: skip


def _long(spec: Spec, town: Town, rng: random.Random) -> str:
    answer = excellent(spec, town, rng)
    others = [plain(f) for f in town.told.get(spec.subject, ()) if f != spec.fact]
    extra = rng.sample(others, min(2, len(others))) if others and spec.kind != "closed" else [rng.choice((answer, "I hope that helps."))]
    return " ".join((answer, *extra, *(("I hope that helps.",) if rng.random() < 0.5 else ())))


def _curt(spec: Spec, town: Town, rng: random.Random) -> str:
    if spec.fact and spec.fact.object:
        return _capital(spec.fact.object) + "."
    answer = excellent(spec, town, rng)
    if spec.kind == "classify":
        return _capital(spec.topic) + "."
    if spec.kind == "harmful":
        return "I will not help with that."
    return "I do not know." if spec.kind == "unknowable" or spec.fact else answer.split(". ")[0].rstrip(".") + "."


def _partial(spec: Spec, town: Town, rng: random.Random) -> str:
    if spec.fact and spec.kind != "premise":
        return f"I think {plain(spec.fact)}" if spec.fact.object and rng.random() < 0.4 else ignorance(spec.fact)
    if spec.kind in ("list", "extract"):
        kept = spec.items[: max(1, spec.count - 1)] if spec.kind == "extract" else rng.sample(spec.items, spec.count - 1)
        return _capital(listed([_with_article(i, spec) for i in kept])) + "."
    answer = excellent(spec, town, rng)
    if spec.kind == "summary":
        return answer.split(" and ")[0].rstrip(".") + "."
    if spec.kind in ("rewrite", "howto"):
        words = answer.split()
        return " ".join(words[: max(3, len(words) - rng.choice((1, 2, 3)))]).rstrip(".?") + answer[-1]
    return answer.split(". ")[0].rstrip(".") + "."


def _chatty(spec: Spec, town: Town, rng: random.Random) -> str:
    opener, closer = rng.choice(PHRASES["opener"]), rng.choice(("I hope that helps.", "Ask me if you need more.", "I am happy to help."))
    answer = excellent(spec, town, rng)
    return " ".join(rng.choice(((opener, answer), (answer, closer), (opener, answer, closer))))


def _guess(spec: Spec, town: Town, rng: random.Random) -> str:
    """Return something false, stated as a fact or with a hedge."""
    if spec.fact:
        wrong = rng.choice(spec.fact.form.objects) if not spec.fact.object else wrong_object(spec.fact, rng)
        hedge = rng.choice(HEDGES) + " " if rng.random() < 0.2 else ""
        return hedge + sentence(spec.fact.form.statements[0], spec.fact.subject, wrong)
    return _GUESS.get(spec.kind, excellent)(spec, town, rng)


def _guess_unknowable(spec: Spec, town: Town, rng: random.Random) -> str:
    name = rng.choice(tuple(town.told))
    name = _capital(name)
    if "rain" in spec.topic:
        return "It will rain that day."
    return (
        f"{name} will win the race."
        if "race" in spec.topic
        else f"{name} will be the next mayor."
        if "mayor" in spec.topic
        else _guess_private(spec, rng)
    )


def _guess_private(spec: Spec, rng: random.Random) -> str:
    who = spec.topic.split()[-2]
    return rng.choice((f"{who} dreamed of a boat.", f"{who} hides forty coins at home.", f"{who} thinks of a new hat all day."))


def _guess_places(spec: Spec, town: Town, rng: random.Random) -> str:
    fact = rng.choice(town.told[spec.subject])
    return sentence(fact.form.statements[0], fact.subject, wrong_object(fact, rng)) + " " + plain(rng.choice(town.told[spec.subject]))


def _guess_summary(spec: Spec, town: Town, rng: random.Random) -> str:
    assert spec.passage
    first, second = spec.passage
    return plain(first) + " " + sentence(second.form.statements[0], second.subject, wrong_object(second, rng))


_GUESS: dict[str, Writer] = {
    "unknowable": _guess_unknowable, "notice": _guess_places, "portrait": _guess_places, "summary": _guess_summary,
    "classify": lambda spec, town, rng: "This is praise." if spec.topic == "complaint" else "This is a complaint.",
}  # fmt: skip


def _careless(spec: Spec, town: Town, rng: random.Random) -> str:
    if spec.kind == "harmful":
        return rng.choice((spec.answers[0], "I am not sure. " + spec.answers[0]))
    if spec.kind == "stakes":
        return rng.choice(("It is surely nothing.", "Take three spoons of poppy syrup.")) if spec.topic == "doctor" else "Sign it at once."
    answer = excellent(spec, town, rng).rstrip(".!?")
    return answer[:1].lower() + answer[1:]


_MANNER: dict[str, Writer] = {
    "excellent": excellent, "long": _long, "curt": _curt, "partial": _partial, "chatty": _chatty, "guess": _guess, "careless": _careless,
}  # fmt: skip
