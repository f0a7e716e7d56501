"""Simulated labelers: lawful rankings, the stated agreement, groups that differ, biases that show."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import combinations
from statistics import mean

import pytest

from accord.records import RESPONSE_FLAGS, Guideline, Prompt, Ranking, Response
from accord.world import HELD_OUT_GROUP, TASTES, GoldJudge, SimulatedLabeler, World, labelers, tasters
from accord.world.demonstrations import MANNERS, write
from accord.world.simulated_labelers import GROUPS, ranks_of

TRAINING = Guideline("training", "1")
AT = "2026-01-01T00:00:00Z"
Task = tuple[Prompt, list[Response]]


@pytest.fixture(scope="session")
def tasks(world: World) -> list[Task]:
    """Six responses as an SFT model gives them: demonstrations of all manners, more guesses, some answers to another prompt."""
    rng = random.Random(5)
    made: list[Task] = []
    for prompt in world.prompts[:220]:
        spec = world.specs[prompt.id]
        peers = [s for s in world.specs.values() if s.kind == spec.kind]
        texts = [
            write(
                rng.choice(peers) if rng.random() < 0.12 else spec,
                world.town,
                rng,
                rng.choices(tuple(MANNERS), (40, 12, 12, 10, 12, 36, 6))[0],
            )
            for _ in range(6)
        ]
        made.append((prompt, [Response(f"{prompt.id}/{i}", prompt.id, text, "sft") for i, text in enumerate(texts)]))
    return made


def ask(labeler: SimulatedLabeler, task: Task) -> Ranking:
    return labeler.rank(*task, guideline=TRAINING, at=AT, id="r")


def order(ranking: Ranking) -> dict[str, int]:
    return dict(zip(ranking.response_ids, ranking.ranks, strict=True))


def agreement(first: list[SimulatedLabeler], second: list[SimulatedLabeler], tasks: list[Task]) -> float:
    rng, same = random.Random(1), list[bool]()
    for task in tasks:
        a = rng.choice(first)
        b = rng.choice([x for x in second if x.record.id != a.record.id])
        one, two = order(ask(a, task)), order(ask(b, task))
        text = {r.id: r.text for r in task[1]}
        same += [
            (one[x] < one[y]) == (two[x] < two[y])
            for x, y in combinations(one, 2)
            if one[x] != one[y] and two[x] != two[y] and text[x] != text[y]
        ]
    return mean(same)


def test_agreement_is_that_of_people(world: World, tasks: list[Task]) -> None:
    """72.6 +- 1.5% in Ouyang et al.; the demo accepts 68 to 78."""
    people = labelers(world)
    assert 0.68 <= agreement(people, people, tasks) <= 0.78


def test_without_noise_groups_still_differ(world: World, tasks: list[Task]) -> None:
    quiet = [replace(x, position_bias=0.0) for x in labelers(world, noise=0.0)]
    plain = [x for x in quiet if x.record.group == "plain"]
    held = [x for x in quiet if x.record.group == HELD_OUT_GROUP]
    assert agreement(plain, plain, tasks) == 1.0
    assert 0.7 < agreement(plain, held, tasks) < 0.99


def test_labelers_follow_the_truth_more_than_chance(world: World, gold: GoldJudge, tasks: list[Task]) -> None:
    right: list[bool] = []
    for labeler, (prompt, responses) in zip(labelers(world) * 11, tasks, strict=True):
        found = order(ask(labeler, (prompt, responses)))
        value = {r.id: gold.judge(prompt, r.text).utility for r in responses}
        right += [
            (found[x] < found[y]) == (value[x] > value[y])
            for x, y in combinations(found, 2)
            if found[x] != found[y] and value[x] != value[y]
        ]
    assert 0.75 < mean(right) < 0.95


def test_same_question_same_answer(world: World, tasks: list[Task]) -> None:
    prompt, responses = tasks[0]
    first, second = labelers(world)[:2]
    assert ask(first, tasks[0]) == ask(first, (prompt, responses[::-1]))
    assert {ask(first, t).response_ids[0][-1] for t in tasks[:30]} != {"0"}
    assert any(order(ask(first, t)) != order(ask(second, t)) for t in tasks[:20])


def test_ranks_tie_what_is_close() -> None:
    assert ranks_of([0.5, 0.9, 0.48, 0.1], 0.04) == (2, 1, 2, 3)
    assert ranks_of([0.1, 0.2, 0.3], 0.0) == (3, 2, 1)


def test_ties_occur_and_ratings_are_lawful(world: World, tasks: list[Task]) -> None:
    tied = 0
    for labeler, task in zip(labelers(world) * 11, tasks, strict=True):
        ranking = ask(labeler, task)
        tied += len(set(ranking.ranks)) < len(ranking.ranks)
        assert [r.response_id for r in ranking.ratings] == list(ranking.response_ids)
        assert all(1 <= r.quality <= 7 and set(r.flags) <= set(RESPONSE_FLAGS) for r in ranking.ratings)
    assert tied > 10


def test_flags_tell_harm_and_invention(world: World) -> None:
    person = labelers(world)[0]
    harm = next(p for p in world.prompts if world.specs[p.id].kind == "harmful")
    texts = [world.specs[harm.id].answers[0], "Ada lives on Glim Street."]
    flags: list[set[str]] = [set(), set()]
    for n in range(20):
        ranking = ask(person, (harm, [Response(f"{n}/{i}", harm.id, text, "m") for i, text in enumerate(texts)]))
        for rating in ranking.ratings:
            flags[int(rating.response_id[-1])] |= set(rating.flags)
    assert "encourages_harm" in flags[0]
    assert "hallucination" in flags[1]


def test_biases_show(world: World) -> None:
    prompt = next(p for p in world.prompts if world.specs[p.id].kind == "fact")
    by_group = {x.record.group: x for x in labelers(world)}
    plain, courteous = "I do not know.", "I do not know. I hope that helps."

    def gain(group: str) -> float:
        return by_group[group].perceive(prompt, courteous, TRAINING) - by_group[group].perceive(prompt, plain, TRAINING)

    assert gain("caring") > gain("brisk")
    first = replace(by_group["plain"], position_bias=0.1)
    assert first.perceive(prompt, plain, TRAINING, 0.0) - first.perceive(prompt, plain, TRAINING, 1.0) == pytest.approx(0.1)


def test_twenty_people_in_equal_groups(world: World) -> None:
    people = labelers(world)
    groups = [x.record.group for x in people]
    assert {g: groups.count(g) for g in GROUPS} == dict.fromkeys(GROUPS, 5)
    assert all(x.record.kind == "simulated" for x in people)
    assert HELD_OUT_GROUP in GROUPS


def test_labelers_of_different_tastes_want_different_answers_and_forgive_no_harm(world: World, tasks: list[Task]) -> None:
    """Own weights differ within a group too; a response that is neither truthful nor harmless is worth nothing to any of them."""
    people = tasters(world, count=8)
    assert [person.record.group for person in people[:4]] == list(TASTES)
    assert people[1].values != people[5].values
    assert {person.record.id for person in people}.isdisjoint(person.record.id for person in tasters(world, count=8, first=100))
    first_of = {person.record.group: person for person in people[:4]}
    best: dict[str, list[int]] = {name: [] for name in first_of}
    for prompt, responses in tasks[:120]:
        for name, person in first_of.items():
            felt = [person.perceive(prompt, response.text, TRAINING) for response in responses]
            best[name].append(len(responses[felt.index(max(felt))].text.split()))
    assert mean(best["brief"]) < mean(best["plain"]) - 1 < mean(best["thorough"]) - 3
    judge = GoldJudge(world)
    for prompt, responses in tasks[:120]:
        for response in responses:
            found = judge.judge(prompt, response.text)
            if found.truthful * found.harmless < 0.02:
                assert all(abs(person.perceive(prompt, response.text, TRAINING)) < 0.2 for person in people[:4])
