"""Picture town: drawn scenes whose truth is known, questions about them, and answers that can be held to the truth.

A scene has up to three coloured shapes, each in a corner of its own. Who answers lists what is there: "a red circle at the top left and
a blue square at the bottom right." A statement is true when the scene has that very thing in that corner; any other is made up.

The writers of demonstrations are careless: in ``CARELESS`` of their answers they add something that is not there. Labelers look at the
picture and see most statements as they are, each of them with slips of ``SLIP`` and noise. Only the gold sees the truth itself.
"""

from __future__ import annotations

import io
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from accord.records import Demonstration, Guideline, Labeler, MediaFile, Prompt, Ranking, Response, Split, composed
from accord.settings import WorldConfig
from accord.world.simulated_labelers import ranks_of

COLOURS: Mapping[str, tuple[int, int, int]] = {
    "red": (220, 40, 40),
    "green": (30, 160, 60),
    "blue": (40, 70, 220),
    "yellow": (240, 200, 30),
}
SHAPES = ("circle", "square", "triangle")
CORNERS: Mapping[str, tuple[int, int]] = {"top left": (0, 0), "top right": (1, 0), "bottom left": (0, 1), "bottom right": (1, 1)}
SIDE = 32
"""Of a picture, in pixels."""
QUESTION = "What is in the picture?"
NOTHING = "nothing."
WRITER = "picture-writer"
CARELESS = 0.4
"""Share of the demonstrations that add what is not there."""
SLIP = 0.08
"""How often a labeler takes a true statement for false, or a false one for true."""
NOISE = 0.1
_SAID = re.compile(r"an? (?P<colour>\w+) (?P<shape>\w+) at the (?P<corner>\w+ \w+)")


@dataclass(frozen=True, order=True)
class Thing:
    """A coloured shape in a corner of a scene."""

    corner: str
    colour: str
    shape: str

    @property
    def said(self) -> str:
        """The statement that it is there."""
        return f"a {self.colour} {self.shape} at the {self.corner}"


@dataclass(frozen=True)
class Scene:
    """What a picture shows, and how it is drawn."""

    things: tuple[Thing, ...]
    background: int
    """Grey of the paper."""

    @property
    def caption(self) -> str:
        """The whole truth, corner by corner."""
        return caption(self.things)

    def draw(self) -> MediaFile:
        """Return the picture, the same bytes for the same scene."""
        from PIL import Image, ImageDraw

        image = Image.new("RGB", (SIDE, SIDE), (self.background,) * 3)
        pen, half = ImageDraw.Draw(image), SIDE // 2
        for thing in self.things:
            x, y = (half * at for at in CORNERS[thing.corner])
            box = (x + 3, y + 3, x + half - 4, y + half - 4)
            match thing.shape:
                case "circle":
                    pen.ellipse(box, fill=COLOURS[thing.colour])
                case "square":
                    pen.rectangle(box, fill=COLOURS[thing.colour])
                case _:
                    pen.polygon([(x + half // 2, y + 3), (x + half - 4, y + half - 4), (x + 3, y + half - 4)], fill=COLOURS[thing.colour])
        file = io.BytesIO()
        image.save(file, "PNG")
        return MediaFile("image", "image/png", file.getvalue(), SIDE, SIDE)


def caption(things: Sequence[Thing]) -> str:
    """Return an answer that lists these things."""
    order = list(CORNERS)
    said = [thing.said for thing in sorted(things, key=lambda thing: order.index(thing.corner))]
    return f"{' and '.join(said)}." if said else NOTHING


@dataclass(frozen=True)
class Look:
    """What an answer says of a scene: how many of its statements are true and how many are not, and what it leaves out."""

    true: int
    made_up: int
    left_out: int
    readable: bool
    """Whether it consists of statements alone."""


def look(scene: Scene, text: str) -> Look:
    """Hold an answer to the truth. A thing that is named twice counts once."""
    found = [Thing(each["corner"], each["colour"], each["shape"]) for each in _SAID.finditer(text)]
    rest = _SAID.sub("", text).replace(" and ", "").strip()
    said, there = set(found), set(scene.things)
    return Look(len(said & there), len(said - there), len(there - said), rest in (".", "") or text.strip() == NOTHING)


def gold(scene: Scene, text: str) -> float:
    """Return how good an answer is, from 0 to 1: the share of what is there that it names, half of it for each thing that it makes up."""
    seen = look(scene, text)
    if not seen.readable:
        return 0.0
    return seen.true / max(len(scene.things), 1) * 0.5**seen.made_up


@dataclass(frozen=True)
class PictureTown:
    """Scenes with questions, and what writers answered. Only the gold and the labelers know ``scenes``."""

    seed: int
    prompts: tuple[Prompt, ...]
    files: tuple[MediaFile, ...]
    demonstrations: tuple[Demonstration, ...]
    specs: Mapping[str, Scene]
    """The scene behind each prompt, by its id."""

    @classmethod
    def generate(cls, seed: int, config: WorldConfig) -> PictureTown:
        """Draw the town's pictures. The same seed and config give the same bytes."""
        rng = random.Random(f"picture town {seed}")
        prompts, files, specs = list[Prompt](), dict[str, MediaFile](), dict[str, Scene]()
        tenth = max(1, config.users // 10)
        for number in range(config.prompts):
            user = number % config.users
            split: Split = "test" if user < tenth else "validation" if user < 2 * tenth else "train"
            made = _scene(rng)
            file = made.draw()
            files[file.digest] = file
            message = composed("user", [file.named(), QUESTION])
            prompt = Prompt(f"picture-{seed}-{number:05d}", (message,), "picture", f"user-{user:03d}", split, "world")
            prompts.append(prompt)
            specs[prompt.id] = made
        said = tuple(_demonstrations(seed, config, prompts, specs))
        return cls(seed, tuple(prompts), tuple(files.values()), said, specs)


def _scene(rng: random.Random) -> Scene:
    corners = rng.sample(list(CORNERS), rng.choice((1, 2, 2, 3)))
    things = tuple(Thing(corner, rng.choice(list(COLOURS)), rng.choice(SHAPES)) for corner in corners)
    return Scene(things, rng.randrange(225, 256))


def _demonstrations(seed: int, config: WorldConfig, prompts: Sequence[Prompt], specs: Mapping[str, Scene]) -> Iterator[Demonstration]:
    """Yield what careless writers say of the training pictures: all that is there, and at times one thing more."""
    rng = random.Random(f"picture writers {seed}")
    for prompt in [prompt for prompt in prompts if prompt.split != "test"][: config.demonstrations]:
        things = list(specs[prompt.id].things)
        if rng.random() < CARELESS:
            free = [corner for corner in CORNERS if corner not in {thing.corner for thing in things}]
            things.append(Thing(rng.choice(free), rng.choice(list(COLOURS)), rng.choice(SHAPES)))
        yield Demonstration(f"{prompt.id}-said", prompt, caption(things), WRITER)


@dataclass(frozen=True)
class PictureLabeler:
    """A labeler who looks at the pictures, and at times does not look well."""

    record: Labeler
    town: PictureTown
    slip: float = SLIP
    noise: float = NOISE

    def rank(self, prompt: Prompt, responses: Sequence[Response], *, guideline: Guideline, at: str, id: str) -> Ranking:
        """Rank K responses by how well they seem to tell what the picture shows."""
        rng = random.Random(f"{self.town.seed} {self.record.id} {prompt.id} {' '.join(sorted(each.id for each in responses))}")
        shown = sorted(responses, key=lambda each: each.id)
        rng.shuffle(shown)
        scene = self.town.specs[prompt.id]
        perceived = [self._perceive(scene, each.text, rng) for each in shown]
        ranks = ranks_of(perceived, 0.02)
        return Ranking(id, prompt.id, self.record.id, tuple(each.id for each in shown), ranks, guideline, at)

    def _perceive(self, scene: Scene, text: str, rng: random.Random) -> float:
        seen = look(scene, text)
        slips = [rng.random() < self.slip for _ in range(seen.true + seen.made_up)]
        true = sum(not slip for slip in slips[: seen.true]) + sum(slips[seen.true :])
        made_up = seen.true + seen.made_up - true
        utility = min(true / max(len(scene.things), 1), 1.0) * 0.5**made_up if seen.readable else 0.0
        return utility + rng.gauss(0.0, self.noise)


def picture_labelers(town: PictureTown, count: int = 12) -> list[PictureLabeler]:
    """Return the town's labelers, in two groups that look alike."""
    groups = ("near", "far")
    return [PictureLabeler(Labeler(f"viewer-{number + 1:02d}", "simulated", groups[number % 2]), town) for number in range(count)]
