"""A world whose facts change after training: does feedback from the chat repair the model faster than new demonstrations?

Half of the facts that a model was taught get another object, and users go on asking. The same questions are used in four ways.
Written: somebody who knows the town as it is now answers each, and the model is fine-tuned on these answers. Thumbs: the model answers
each, users give a thumb, KTO. Choices: users choose between two answers, DPO. Corrections: users correct what is wrong; as in the chat,
a correction is a demonstration and a ranking above the answer: fine-tuning, then DPO. What is measured: the share of changed facts
that are told as they are now, asked in other words by other users.

Registered before the first run: the answer is "yes" for a kind of feedback if, with as many questions as there are demonstrations (four
to a fact), it repairs more than they do, with the whole interval over seeds above 0; for corrections also with one question to a fact.
A thumb costs less than an answer, so that thumbs are held against a quarter as many demonstrations too. Repairing is worth nothing if
it costs what did not change: corrections may lose 5 points there against demonstrations. Passes and batches are equal in all ways;
KTO's rate is that of DPO in the built-in world, whose own is made for ten times as many thumbs.

A first try (seed 0, 92 facts) was given up, since its model knew 4% of what it had been taught. After it the facts became fewer and
better taught, and the later training got twice the passes; what counts as yes stayed.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

import small
from frame import Row, above, below, row

from accord import (
    Demonstration,
    DpoConfig,
    KtoConfig,
    Labeler,
    Message,
    PretrainConfig,
    Project,
    Prompt,
    Ranking,
    Response,
    SftConfig,
    Store,
    Thumb,
    WorldConfig,
    add,
    config,
    create,
    dpo,
    kto,
    pretrain,
    sft,
)
from accord.feedback.guidelines import reference
from accord.world import HELD_OUT_GROUP, Fact, GoldJudge, SimulatedLabeler, Spec, Town, labelers
from accord.world.demonstrations import MANNERS, WRITERS, ignorance, write
from accord.world.language import sentence
from accord.world.prompts import FRAMES, about
from accord.world.town import build_town, wrong_object

SHAPE: dict[str, Any] = {"vocab_size": 500, "hidden_size": 64, "layers": 2, "heads": 2, "intermediate_size": 192}
KNOWN, TOLD, TOKENS = 40, 100, 200_000
"""The facts that the model is taught, how often the raw text tells each, and the tokens of pretraining."""
ASKED, HELD_OUT = 4, 3
"""Ways of asking for a fact that are learned from, and others that are measured."""
TAUGHT, PASSES, BATCH = 12, 6, 16
"""Passes of the first fine-tuning, of all that comes after the change, and their batches."""
RATE: dict[str, float] = {"lr": 1e-3, "muon_lr": 1e-3}
LIKED = 0.5
"""A perceived utility from which a user gives a thumb up, and leaves an answer uncorrected."""
IGNORANT = "do not know"
SOURCE = "after Ouyang et al. 2022, section 5.3"


@dataclass(frozen=True)
class Era:
    """The town at a time, as its judge and its people know it."""

    seed: int
    town: Town
    specs: dict[str, Spec]


@dataclass(frozen=True)
class Question:
    """A question about a fact, by its place among the town's."""

    prompt: Prompt
    fact: int


@dataclass(frozen=True)
class Change:
    """A town before and after half of its common facts changed, and the questions about them."""

    seed: int

    @cached_property
    def before(self) -> Town:
        return build_town(self.seed)

    @cached_property
    def common(self) -> list[int]:
        told = [place for place, name in enumerate(self.before.classes) if name == "common"]
        return sorted(random.Random(f"known {self.seed}").sample(told, KNOWN))

    @cached_property
    def changed(self) -> frozenset[int]:
        return frozenset(random.Random(f"change {self.seed}").sample(self.common, len(self.common) // 2))

    @cached_property
    def after(self) -> Town:
        rng, facts = random.Random(f"objects {self.seed}"), list(self.before.facts)
        for place in sorted(self.changed):
            facts[place] = replace(facts[place], object=wrong_object(facts[place], rng))
        return Town(tuple(facts), self.before.classes)

    def questions(self, places: Iterable[int], first: int, most: int, split: Any) -> list[Question]:
        """The ways of asking for each fact, in an order of its own, from the first to the last one wanted; fact by fact in each way."""
        made = list[Question]()
        for way in range(first, first + most):
            for place in places:
                text = ways(self.before.facts[place], random.Random(f"ways {self.seed} {place}"))[way]
                id = f"change-{self.seed}-{place}-{way}"
                made.append(Question(Prompt(id, (Message("user", text),), "open_qa", f"{split}-{way}", split, "world"), place))
        return made

    def era(self, town: Town, questions: Sequence[Question]) -> Era:
        return Era(self.seed, town, {each.prompt.id: about(town.facts[each.fact], town) for each in questions})


@dataclass(frozen=True)
class Found:
    """Shares of the answers to questions that nothing was trained on."""

    right: float
    """Changed facts, told as they are now."""
    stale: float
    """Changed facts, told as they were."""
    admits: float
    """Changed facts, "I do not know"."""
    kept: float
    """Facts that did not change, told right."""


def ways(fact: Fact, rng: random.Random) -> list[str]:
    """The ways to ask for a fact's object, shuffled."""
    embedded = fact.form.embedded.replace("{s}", fact.subject)
    found = [each.replace("{s}", fact.subject) for each in fact.form.questions]
    found += [frame.replace("{e}", embedded) for frame in dict.fromkeys(FRAMES) if "{e}" in frame]
    rng.shuffle(found)
    return found


def raw_text(town: Town, places: Sequence[int], rng: random.Random) -> list[dict[str, str]]:
    """Documents that tell each fact equally often, in its different statements."""
    told = [town.facts[place] for place in places for _ in range(TOLD)]
    rng.shuffle(told)
    sentences = [sentence(rng.choice(fact.form.statements), fact.subject, fact.object) for fact in told]
    return [{"text": " ".join(sentences[at : at + 5])} for at in range(0, len(sentences), 5)]


def written(questions: Sequence[Question], era: Era, rng: random.Random) -> list[Demonstration]:
    """An answer to each question by somebody who knows the town at that time, in the manners of the world's writers."""
    made = list[Demonstration]()
    for each in questions:
        manner = rng.choices(tuple(MANNERS), tuple(MANNERS.values()))[0]
        text = write(era.specs[each.prompt.id], era.town, rng, manner)
        made.append(Demonstration(f"by-hand-{each.prompt.id}", each.prompt, text, rng.choice(WRITERS)))
    return made


def deployed(folder: Path, change: Change) -> Project:
    """The project with the model that is in use when the facts change: pretrained on them, and fine-tuned on questions about them."""
    path = folder / f"changing-{change.seed}"
    if (path / "accord.toml").exists():
        project = Project.open(path)
    else:
        project = create(path, world=WorldConfig(seed=change.seed, documents=150, prompts=20, demonstrations=0, users=10))
        rng = random.Random(f"text {change.seed}")
        add(project, raw_text(change.before, change.common, rng))
        asked = change.questions(change.common, 0, ASKED, "train")
        unknown = change.questions([place for place, name in enumerate(change.before.classes) if name == "absent"][:20], 0, 1, "train")
        shown = written(asked, change.era(change.before, asked), rng)
        for each in unknown:
            admission = ignorance(change.before.facts[each.fact])
            shown.append(Demonstration(f"by-hand-{each.prompt.id}", each.prompt, admission, WRITERS[0]))
        with Store.open(project.store_url) as store:
            store.add(labelers=[Labeler(writer, "simulated") for writer in WRITERS], demonstrations=shown)
    pretrain(project, config=PretrainConfig(seed=change.seed, tokens=TOKENS, **SHAPE), flags=small.FLAGS)
    fine_tune(project, change.seed, base="base", name="sft", passes=TAUGHT)
    return project


def fine_tune(project: Project, seed: int, *, base: str = "sft", name: str = "more", passes: int = PASSES) -> None:
    settings = config(project, SftConfig, seed=seed, epochs=passes, batch_size=BATCH, select="last", ptx_tokens=512)
    sft(project, base=base, name=name, flags=small.FLAGS, config=settings)


def compare_answers(project: Project, seed: int, *, start: str = "sft") -> None:
    dpo(project, sft=start, flags=small.FLAGS, config=config(project, DpoConfig, seed=seed, epochs=PASSES, batch_size=BATCH, **RATE))


class Chat:
    """Users who ask, and know the town as it is now."""

    def __init__(self, start: Project, change: Change) -> None:
        self.asked = change.questions(change.common, 0, ASKED, "train")
        self.era = change.era(change.after, self.asked)
        self.people = [each for each in labelers(self.era) if each.record.group != HELD_OUT_GROUP]
        self.said = small.responses(start, "sft", [each.prompt for each in self.asked], 2, change.seed)
        self.texts = written(self.asked, self.era, random.Random(f"now {change.seed}"))
        self.start, self.seed = start, change.seed

    def child(self, name: str, shown: Sequence[Demonstration] = ()) -> Project:
        made = small.child(self.start, name, shown, models=("base", "sft"))
        with Store.open(made.store_url) as store:
            store.add(prompts=[each.prompt for each in self.asked], labelers=[each.record for each in self.people])
        return made

    def user(self, place: int) -> SimulatedLabeler:
        return self.people[place % len(self.people)]

    def likes(self, place: int) -> bool:
        """Whether a question's user likes the answer, with a labeler's usual noise."""
        user, prompt = self.user(place), self.asked[place].prompt
        noise = random.Random(f"thumb {self.seed} {prompt.id}").gauss(0.0, user.noise)
        return user.perceive(prompt, self.said[place][0].text, reference("training")) + noise >= LIKED

    def by_demonstrations(self, most: int) -> Project:
        project = self.child(f"written-{most}", self.texts[:most])
        fine_tune(project, self.seed)
        return project

    def by_thumbs(self, most: int) -> Project:
        project = self.child(f"thumbs-{most}")
        given = list[Thumb]()
        for place in range(most):
            given.append(Thumb(self.asked[place].prompt, self.said[place][0], self.likes(place), self.user(place).record.id))
        with Store.open(project.store_url) as store:
            store.add(thumbs=given)
        settings = config(project, KtoConfig, seed=self.seed, thumbs="given", epochs=PASSES, batch_size=BATCH, **RATE)
        kto(project, flags=small.FLAGS, config=settings)
        return project

    def by_choices(self, most: int) -> Project:
        project = self.child(f"choices-{most}")
        small.ranked(project, [(each.prompt, said) for each, said in zip(self.asked, self.said, strict=True)][:most], self.people)
        compare_answers(project, self.seed)
        return project

    def by_corrections(self, most: int) -> Project:
        """What is wrong is written anew, and stands above what the model said."""
        wrong = [place for place in range(most) if not self.likes(place)]
        project = self.child(f"corrected-{most}", [self.texts[place] for place in wrong])
        fine_tune(project, self.seed)
        responses, rankings = list[Response](), list[Ranking]()
        for place in wrong:
            prompt, answer, user = self.asked[place].prompt, self.said[place][0], self.user(place).record.id
            better = Response(f"corrected-{prompt.id}", prompt.id, self.texts[place].text, user)
            if better.text == answer.text:
                continue
            responses += [better, answer]
            ids, at = (better.id, answer.id), "2026-01-01T00:00:00+00:00"
            rankings.append(Ranking(f"ranking-{prompt.id}", prompt.id, user, ids, (1, 2), reference("training"), at))
        with Store.open(project.store_url) as store:
            store.add(responses=responses, rankings=rankings)
        compare_answers(project, self.seed, start="more")
        return project


def tells(judge: GoldJudge, prompt: Prompt, text: str) -> bool:
    """Whether an answer tells the fact as the town is at the judge's time."""
    seen = judge.judge(prompt, text)
    return IGNORANT not in text and seen.helpful >= 0.3 and not seen.made_up


def found(project: Project, model: str, change: Change) -> Found:
    """What a model answers to questions in other words, of other users."""
    asked = change.questions(change.common, ASKED, HELD_OUT, "test")
    now, then = (GoldJudge(change.era(town, asked)) for town in (change.after, change.before))
    right, stale, admits, kept = list[bool](), list[bool](), list[bool](), list[bool]()
    said = small.responses(project, model, [each.prompt for each in asked], 2, change.seed)
    for each, answers in zip(asked, said, strict=True):
        for answer in answers:
            told, was_told = tells(now, each.prompt, answer.text), tells(then, each.prompt, answer.text)
            if each.fact in change.changed:
                right.append(told)
                stale.append(was_told)
                admits.append(IGNORANT in answer.text)
            else:
                kept.append(told)
    return Found(fmean(right), fmean(stale), fmean(admits), fmean(kept))


def measure(folder: Path, seed: int) -> Mapping[str, Found]:
    """What each way leaves of the old facts, by how many questions it had."""
    change = Change(seed)
    start = deployed(folder, change)
    chat, of = Chat(start, change), {"before": found(start, "sft", change)}
    once, often = len(change.common), ASKED * len(change.common)
    for most, name in ((once, "once"), (often, "often")):
        of[f"written {name}"] = found(chat.by_demonstrations(most), "more", change)
        of[f"corrected {name}"] = found(chat.by_corrections(most), "dpo", change)
    of["thumbs often"] = found(chat.by_thumbs(often), "kto", change)
    of["choices often"] = found(chat.by_choices(often), "dpo", change)
    for name, shares in of.items():
        print(f"seed {seed}  {name:16}  {shares}", flush=True)
    return of


def rows(each: Sequence[Mapping[str, Found]]) -> list[Row]:
    def ahead(one: str, other: str, figure: str = "right") -> list[float]:
        return [getattr(of[one], figure) - getattr(of[other], figure) for of in each]

    share, made = "share of changed facts told as they are now, difference", list[Row]()
    for name, first, second in (
        ("Thumbs repair more changed facts than as many new demonstrations", "thumbs often", "written often"),
        ("Choices between two answers repair more than as many new demonstrations", "choices often", "written often"),
        ("Corrections repair more than as many new demonstrations, four questions to a fact", "corrected often", "written often"),
        ("Corrections repair more than as many new demonstrations, one question to a fact", "corrected once", "written once"),
        ("Thumbs repair more than a quarter as many demonstrations", "thumbs often", "written once"),
        ("Thumbs raise the share of changed facts that are told as they are now", "thumbs often", "before"),
    ):
        made.append(row(name, ahead(first, second), above(0.0), source=SOURCE, note=share))
    stale, name = ahead("thumbs often", "before", "stale"), "Thumbs lower the share of changed facts that are told as they were"
    made.append(row(name, stale, below(0.0), source=SOURCE, note="difference"))
    kept, limit = ahead("corrected often", "written often", "kept"), "share of unchanged facts told right, difference"
    name = "Corrections cost what did not change no more than 5 points against demonstrations"
    made.append(row(name, kept, above(-0.05), source=SOURCE, note=limit))
    return made


if __name__ == "__main__":
    small.run(measure, rows, __doc__)
