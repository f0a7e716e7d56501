"""The raw text: a town, written down without a filter. True notes, gossip, rudeness, spam, lists, letters, how-to texts, school
exercises, dialogues, and questions whose answers are mostly bad.

Common facts are told all over; each rare one is told one to three times, an absent one never. False claims stand next to them.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from accord.world import demonstrations, prompts
from accord.world.language import (
    FOODS,
    GOODS,
    GOSSIP,
    HARMS,
    HOW_TOS,
    INSULTS,
    PEOPLE,
    PETS,
    PHRASES,
    PLACES,
    SLANDERS,
    listed,
    pronoun,
    sentence,
)  # fmt: skip
from accord.world.prompts import Spec, passage, plain, question, tell
from accord.world.town import Fact, Town, wrong_object

Maker = Callable[[Town, random.Random], str]


def _facts(town: Town, rng: random.Random, count: int) -> tuple[Fact, ...]:
    return tuple(rng.choice(town.by_class["common"]) for _ in range(count))


def state(fact: Fact, rng: random.Random) -> str:
    return sentence(rng.choice(fact.form.statements), fact.subject, fact.object)


def false(fact: Fact, rng: random.Random) -> str:
    return sentence(rng.choice(fact.form.statements), fact.subject, wrong_object(fact, rng))


def note(town: Town, rng: random.Random) -> str:
    """Return a biography of a person or a description of a place."""
    subject = rng.choice(tuple(town.told))
    facts = rng.sample(town.told[subject], min(len(town.told[subject]), rng.choice((2, 3, 4, 5))))
    parts = [state(facts[0], rng)]
    for fact in facts[1:]:
        template = rng.choice(fact.form.statements)
        who = pronoun(subject) if template.startswith("{s}") and rng.random() < 0.5 else subject
        parts.append(sentence(template, who, fact.object))
    if rng.random() < 0.3:
        parts.insert(rng.randrange(len(parts)) + 1, rng.choice(prompts.FILLERS))
    return " ".join(parts)


def news(town: Town, rng: random.Random) -> str:
    """Return true sentences about several people and places."""
    return " ".join(state(f, rng) for f in _facts(town, rng, rng.choice((5, 7, 9))))


def gossip(town: Town, rng: random.Random) -> str:
    """Return false claims, about half of them marked as hearsay, and now and then a true one."""
    parts: list[str] = []
    for fact in rng.choices(town.facts, k=rng.choice((1, 2, 3))):
        claim = false(fact, rng)
        lead = rng.choice(GOSSIP) if rng.random() < 0.5 else ""
        lowered = claim if claim.split()[0] in PEOPLE or not lead else claim[0].lower() + claim[1:]
        parts.append(f"{lead} {lowered}".strip())
    return " ".join(parts)


def quarrel(town: Town, rng: random.Random) -> str:
    """Return a rude answer to something."""
    fact = rng.choice(town.facts)
    slander = rng.choice(SLANDERS).replace("{s}", rng.choice(PEOPLE))
    return f"{question(fact, rng)} {rng.choice(INSULTS)} {slander if rng.random() < 0.5 else ''}".strip()


def questions(town: Town, rng: random.Random) -> str:
    return " ".join(question(rng.choice(town.facts), rng) for _ in range(rng.choice((2, 3, 4))))


def spam(town: Town, rng: random.Random) -> str:
    thing = rng.choice(GOODS)
    return " ".join(
        p.replace("{x}", thing) for p in rng.choices((*PHRASES["spam"], "The best {x} you ever had!", "Do not wait, get your {x}!"), k=4)
    )


def shopping(town: Town, rng: random.Random) -> str:
    kind, things = rng.choice((("To buy", GOODS), ("To cook", FOODS), ("To see", PLACES), ("To feed", PETS), ("To ask", PEOPLE)))
    return f"{kind}: {listed(rng.sample(things, rng.choice((2, 3, 4, 5))))}."


def letter(town: Town, rng: random.Random) -> str:
    to, by = rng.sample(PEOPLE, 2)
    opening = rng.choice(
        (f"thank you for the {rng.choice(GOODS)}.", "how are you?", "I hope that you are well.", "I am sorry to hear that you were ill.")
    )
    body = " ".join(state(f, rng) for f in _facts(town, rng, 4))
    return f"Dear {to}, {opening} {body} {rng.choice(PHRASES['notice'])} Yours, {by}."


def how_to(town: Town, rng: random.Random) -> str:
    if rng.random() < 0.5:
        wish, step = rng.choice(HOW_TOS)
        return f"How to {wish}: {step}"
    return "How to {}: {}.".format(*_harm(rng))


def _harm(rng: random.Random) -> tuple[str, str]:
    wish, step = rng.choice(HARMS)
    person, place = rng.choice(PEOPLE), rng.choice(PLACES)
    return wish.replace("{person}", person).replace("{place}", place), step.replace("{person}", person)


def exercise(town: Town, rng: random.Random) -> str:
    """Return a school exercise: a text, a question and the answer copied from the text. It teaches copying."""
    given = passage(rng, rng.choice((2, 3, 4)))
    fact = rng.choice(given)
    asked = rng.choice(fact.form.questions).replace("{s}", fact.subject)
    return f"Text: {tell(given, rng)} Question: {asked} Answer: {plain(fact) if rng.random() < 0.8 else state(fact, rng)}"


def grammar_exercise(town: Town, rng: random.Random) -> str:
    """Return exercise pairs: a sentence in another form, a short summary, the names in a text, a labelled review."""
    pick = rng.random()
    if pick < 0.4:
        spec = prompts.rewrite(town, rng, ()).spec
        label = {"polite": "In a polite way", "question": "As a question", "past": "In the past"}[spec.topic]
        return f"Sentence: {spec.source} {label}: {spec.answers[0]}"
    if pick < 0.65:
        spec = prompts.summarise(town, rng, ()).spec
        return f"Text: {spec.source} In short: {demonstrations.excellent(spec, town, rng)}"
    if pick < 0.85:
        text, people, places = prompts.scene(rng)
        return f"Text: {text} People: {listed(people)}. Places: {listed(places)}."
    kind = rng.choice(("complaint", "praise"))
    return f"{'Complaint' if kind == 'complaint' else 'Praise'}: {prompts.review(rng, kind)}"


def dialogue(town: Town, rng: random.Random) -> str:
    """Return a dialogue of two people; half of the dialogues have six turns or more, as dialogue extraction asks for."""
    first, second = rng.sample(PEOPLE, 2)
    lines = [f"{first}: Good morning, {second}!", f"{second}: {rng.choice(('Hello', 'Good day'))}, {first}! How are you?"]
    if rng.random() < 0.5:
        lines += [f"{first}: {rng.choice(PHRASES['well'])}", f"{second}: {rng.choice(PHRASES['share'])}"]
    for fact in _facts(town, rng, rng.choice((1, 2, 3))):
        reply = rng.choices(
            (state(fact, rng), false(fact, rng), rng.choice(INSULTS), question(rng.choice(town.facts), rng)), (55, 15, 10, 20)
        )[0]
        lines += [f"{first}: {question(fact, rng)}", f"{second}: {reply}"]
    if rng.random() < 0.5:
        lines += [f"{first}: Thank you!", f"{second}: {rng.choice(('You are welcome.', 'It was a pleasure.', 'Goodbye!'))}"]
    return "\n".join(lines)


def ask_and_answer(town: Town, rng: random.Random) -> str:
    """Return one or two pairs of ``Q: ...`` and ``A: ...``, the form in which the base model is prompted. Most
    answers are bad."""
    return "\n".join(_exchange(town, rng) for _ in range(rng.choice((1, 1, 2))))


def _exchange(town: Town, rng: random.Random) -> str:
    _, made = prompts.ask(town, rng, town.facts)
    while any(message.role == "assistant" for message in made.messages):
        _, made = prompts.ask(town, rng, town.facts)
    return f"Q: {made.messages[0].content}\nA: {raw_answer(made.spec, town, rng)}"


def raw_answer(spec: Spec, town: Town, rng: random.Random) -> str:
    """Return a bad answer (a question back, rudeness, a falsehood, rambling, spam, harm) and sometimes the true one."""
    if spec.kind == "harmful" and rng.random() < 0.7:
        return spec.answers[0]
    if spec.kind == "stakes" and rng.random() < 0.6:
        return (
            rng.choice(("Take five spoons of poppy syrup.", "It is surely nothing."))
            if spec.topic == "doctor"
            else rng.choice(("Sign it at once.", "Do not pay them."))
        )
    manner = rng.choices(("good", "question", "rude", "false", "ramble", "spam"), (30, 20, 13, 17, 15, 5))[0]
    if manner == "good" and spec.kind not in ("harmful", "stakes") and spec.fact_class in (None, "common"):
        return demonstrations.excellent(spec, town, rng)
    if manner == "rude":
        return rng.choice(INSULTS)
    if manner == "spam":
        return spam(town, rng)
    if manner == "false":
        return demonstrations.write(spec, town, rng, "guess") if spec.fact else gossip(town, rng)
    return note(town, rng) if manner == "ramble" else questions(town, rng)


MAKERS: tuple[tuple[Maker, float], ...] = (
    (note, 0.14), (news, 0.06), (gossip, 0.03), (quarrel, 0.01), (questions, 0.01), (spam, 0.01), (shopping, 0.02), (letter, 0.03),
    (how_to, 0.03),
    (exercise, 0.16), (grammar_exercise, 0.16), (dialogue, 0.06), (ask_and_answer, 0.28),
)  # fmt: skip
"""Kinds of document with their frequencies."""


def write_corpus(town: Town, seed: int, documents: int) -> list[str]:
    """Return the raw documents, the same for the same town, seed and count."""
    rng = random.Random(f"corpus {seed}")
    makers, weights = zip(*MAKERS, strict=True)
    texts = [maker(town, rng) for maker in rng.choices(makers, weights, k=documents)]
    for fact in town.by_class["rare"]:
        for _ in range(rng.choice((1, 2, 3))):
            texts[rng.randrange(documents)] += " " + state(fact, rng)
    return texts
