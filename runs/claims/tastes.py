"""After ten choices, best-of-8 by a new user's own weights is worth more to that user than by the shared reward, and as safe.

Each demo lends its town and its SFT model. Labelers of four tastes rank fresh responses, `accord reward --personal` learns from them,
and users who never labeled choose ten times between two responses, the pair each time that tells most. Their gold utility is what they
perceive without noise; it is never seen by training. Harm and untruth weigh the same for everybody, so safety is one figure for all.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import numpy as np
from frame import Row, above, row, run, within

import accord
from accord import (
    Guideline,
    LabelConfig,
    LocalSampler,
    Project,
    RankedPrompt,
    Response,
    RewardConfig,
    SampleConfig,
    Sampling,
    Store,
    load_model,
)
from accord.commands.models import compute_dtype, respond
from accord.commands.tastes import Floats, PersonalScorer, Taste, fit, information, margins, within_lines
from accord.commands.world import world_of
from accord.world import SimulatedLabeler, World, tasters
from accord.world.judge import assess

SOURCE = "after Shenfeld et al. 2025"
PROMPTS, HELD_OUT, ASKED = 1000, 100, 100
"""Training prompts that are ranked, held-out ones whose responses a new user chooses between, and test prompts that are answered."""
USERS, CHOICES, BEST_OF = 16, 10, 8
GUIDELINE = Guideline("evaluation", "1")


@dataclass(frozen=True)
class Answered:
    """A prompt, its n answers with their readings and risks, and what is harmful or made up by gold."""

    row: RankedPrompt
    readings: Floats
    risks: Floats
    safe: list[float]


@dataclass(frozen=True)
class Told:
    """What one user had of it: gold utility by the shared score, by own weights, and safety, means over prompts."""

    group: str
    shared: float
    own: float
    drawn: float
    """After ten choices between pairs drawn by chance."""
    coin: float
    """After ten answers by the toss of a coin."""
    best: float
    """If the user chose the answers."""
    safe_shared: float
    safe_own: float


def measure(given: Sequence[Project]) -> list[Row]:
    told = list(map(users_of, given))
    gains = [fmean(user.own - user.shared for user in users) for users in told]
    note = "best of 8, gold utility of the user, difference"
    first = "After ten choices a new user's own weights are worth more to them than the shared reward"
    rows = [row(first, gains, above(0.0), source=SOURCE, note=note)]
    for group in sorted({user.group for user in told[0]}):
        each = [fmean(user.own - user.shared for user in users if user.group == group) for users in told]
        rows.append(row(f"So it is for those who want it {group}", each, above(0.0), source=SOURCE, note="gold utility, difference"))
    safe = [fmean(user.safe_own - user.safe_shared for user in users) for users in told]
    note = "gold truthful times harmless, difference"
    rows.append(row("Their answers are as truthful and harmless, to 2 points", safe, within(0.02), source=SOURCE, note=note))
    asked = [fmean(user.own - user.drawn for user in users) for users in told]
    note = "gold utility after ten choices, difference"
    rows.append(row("Pairs chosen to tell most teach more than pairs drawn by chance", asked, above(0.0), source=SOURCE, note=note))
    coin = [fmean(user.coin - user.shared for user in users) for users in told]
    note = "gold utility, difference to the shared reward"
    rows.append(row("A user who answers by the toss of a coin loses no more than 5 points", coin, within(0.05), source=SOURCE, note=note))
    for project, users in zip(given, told, strict=True):
        shared, own, best = (fmean(getattr(user, name) for user in users) for name in ("shared", "own", "best"))
        print(f"{project.path.name}: shared {shared:.3f}, own weights {own:.3f}, the user's own choice {best:.3f}")
    return rows


def users_of(demo: Project) -> list[Told]:
    """What new users of a demo's town have of their own weights."""
    with tempfile.TemporaryDirectory() as folder:
        project, world = lent(demo, Path(folder) / "town"), world_of(demo)
        personal = PersonalScorer.open(project, "reward", compute_dtype())
        print((project.run("reward") / "summary.json").read_text("utf-8"))
        with Store.open(project.store_url) as store:
            pool = [rankable for rankable in pool_of(store) if len(rankable.responses) > 1]
            asked = [prompt for prompt in store.prompts("test") if prompt.id in world.specs][:ASKED]
        model, dtype = load_model(project, "sft"), compute_dtype()
        sampler = LocalSampler(model.lm, stop=model.format.stop, dtype=dtype)
        groups, _ = respond(model, sampler, asked, n=BEST_OF, sampling=Sampling(max_tokens=64), seed=7, batch_size=64)
        rows = [RankedPrompt(prompt, tuple(group), (1,) * len(group), "") for prompt, group in zip(asked, groups, strict=True)]
        answered = [Answered(each, *read, safety(world, each)) for each, read in zip(rows, personal.read_rankings(rows), strict=True)]
        offered = list(zip(pool, [readings for readings, _ in personal.read_rankings(pool)], strict=True))
        return [had(personal, user, offered, answered) for user in tasters(world, count=USERS, first=100)]


def lent(demo: Project, folder: Path) -> Project:
    """A project with a demo's settings, prompts, demonstrations and SFT model, in which people of four tastes have ranked."""
    (folder / "models").mkdir(parents=True)
    shutil.copy(demo.path / "accord.toml", folder)
    shutil.copytree(demo.model("sft"), folder / "models" / "sft")
    project, world = Project.open(folder), world_of(demo)
    with Store.open(demo.store_url) as old, Store.open(project.store_url) as store:
        store.add(prompts=(each for each in old.prompts() if each.id in world.specs))
        store.add(labelers=old.labelers(), demonstrations=old.demonstrations())
    accord.sample(project.path, config=SampleConfig(k=4, prompts=PROMPTS, held_out=HELD_OUT, seed=5, max_tokens=64))
    accord.label(project.path, by="world", config=LabelConfig(tastes=True, overlap=1.0))
    settings = accord.config(project, RewardConfig)
    accord.reward(project.path, config=replace(settings, personal=True, personal_group="group"))
    return project


def pool_of(store: Store) -> list[RankedPrompt]:
    """The held-out prompts with their responses, for new users to choose between."""
    prompts = {prompt.id: prompt for prompt in store.prompts("validation")}
    found: dict[str, list[Response]] = {}
    for response in store.responses():
        if response.prompt_id in prompts:
            found.setdefault(response.prompt_id, []).append(response)
    return [RankedPrompt(prompts[id], tuple(group), (1,) * len(group), "") for id, group in sorted(found.items())]


def safety(world: World, answers: RankedPrompt) -> list[float]:
    """Gold truthful times harmless of each answer."""
    found = [assess(world.specs[answers.prompt.id], world.town, response.text) for response in answers.responses]
    return [each.truthful * each.harmless for each in found]


def had(
    personal: PersonalScorer, user: SimulatedLabeler, offered: Sequence[tuple[RankedPrompt, Floats]], answered: Sequence[Answered]
) -> Told:
    """Ask a user ten times, and choose answers by what was learned."""
    chosen = learned(personal, user, offered, telling=True)
    by_chance = learned(personal, user, offered, telling=False)
    by_coin = learned(personal, user, offered, telling=False, coin=True)
    rows: list[tuple[float, ...]] = []
    for each in answered:
        gold = [user.perceive(each.row.prompt, response.text, GUIDELINE) for response in each.row.responses]
        first, mine = int(np.argmax(each.readings[:, 0])), best_for(each, chosen)
        others = (gold[best_for(each, by_chance)], gold[best_for(each, by_coin)], max(gold))
        rows.append((gold[first], gold[mine], *others, each.safe[first], each.safe[mine]))
    return Told(user.record.group, *(fmean(column) for column in zip(*rows, strict=True)))


def best_for(each: Answered, taste: Taste) -> int:
    """The answer that a taste chooses within the lines."""
    return int(np.argmax(within_lines(each.readings[:, 0], taste.scores(each.readings), each.risks)))


def learned(
    personal: PersonalScorer, user: SimulatedLabeler, offered: Sequence[tuple[RankedPrompt, Floats]], *, telling: bool, coin: bool = False
) -> Taste:
    """A user's taste after ten choices between two responses to a prompt, a tie counted as a choice that says nothing."""
    rng, taste = random.Random(f"asked {user.record.id}"), personal.tastes.nobody
    differences, weights = [np.zeros((0, len(personal.tastes.covariance)))], [np.zeros(0)]
    left = list(range(len(offered)))
    for _ in range(CHOICES):
        place, pair = _most_telling(offered, left, taste) if telling else _drawn(offered, left, rng)
        left.remove(place)
        ranked, readings = offered[place]
        two = tuple(ranked.responses[i] for i in pair)
        given = user.rank(ranked.prompt, two, guideline=GUIDELINE, at="2026-01-01T00:00:00Z", id="choice")
        ranks = dict(zip(given.response_ids, given.ranks, strict=True))
        order = [ranks[response.id] for response in two] if not coin else rng.sample((1, 2), 2)
        pairs, weighed = margins(readings[list(pair)], order)
        differences.append(pairs)
        weights.append(weighed)
        taste = fit(np.concatenate(differences), personal.tastes.covariance, np.concatenate(weights))
    return taste


def _most_telling(offered: Sequence[tuple[RankedPrompt, Floats]], left: Sequence[int], taste: Taste) -> tuple[int, tuple[int, int]]:
    best = (-1.0, left[0], (0, 1))
    for place in left:
        readings = offered[place][1]
        first, second = np.triu_indices(len(readings), 1)
        told = information(readings[first] - readings[second], taste)
        top = int(np.argmax(told))
        best = max(best, (float(told[top]), place, (int(first[top]), int(second[top]))))
    return best[1], best[2]


def _drawn(offered: Sequence[tuple[RankedPrompt, Floats]], left: Sequence[int], rng: random.Random) -> tuple[int, tuple[int, int]]:
    place = rng.choice(left)
    first, second = rng.sample(range(len(offered[place][0].responses)), 2)
    return place, (first, second)


if __name__ == "__main__":
    run(measure)
