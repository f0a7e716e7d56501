"""The settings of what people use: the chat, the server, and the round that learns from them."""

from __future__ import annotations

from typing import Annotated, Literal

from accord.settings.methods import PREFERENCE
from accord.settings.mixins import Decoding, Seed, Settings, section
from accord.settings.ranges import Count, Natural, NonNegative, Port, Positive, Range, RankedResponses, Share

ROUND_STAGES = ("sft", "reward", "ppo", *PREFERENCE)
"""The stages that `accord round --run` can run."""


@section
class ChatConfig(Seed, Decoding):
    """`accord chat`: people talk to the project's models and say what they think of the answers."""

    seed: Natural = 0
    """Fixes the answers in the terminal; in the page every answer has a seed of its own, which is stored with it."""
    model: str = ""
    """Who answers as long as `accord switch` has said nothing; the newest of ppo, sft and base when empty."""
    temperature: NonNegative = 0.7
    repetition_penalty: Positive = 1.0
    """Above 1 makes used tokens less likely; 1 is off."""
    max_tokens: Count = 64
    """Length limit of an answer."""
    system: str = ""
    """System prompt of a conversation that is given none of its own."""
    two: Share = 0.1
    """Share of the turns that get two answers of the same model, to choose from."""
    longest: Count = 8_000
    """Most characters of a turn."""
    turns_per_minute: Natural = 20
    """Most turns that one person may say in a minute; 0 sets no limit."""
    held_out: Share = 0.0
    """Share of the users whose reviewed reactions measure and do not train."""
    host: str = "127.0.0.1"
    """Address that the page listens on; any but this machine's own needs a secret, and https or `--insecure`."""
    port: Port = 8500
    """Port that the page listens on; 0 takes a free one."""
    names: str = ""
    """Host names under which the page is reached, with commas; requests for another name are refused."""
    https: bool = False
    """The page is reached through https, by a proxy before it."""
    language: Literal["en", "zh_CN"] = "en"
    """Language of the page for a browser that asks for neither."""
    session_days: Positive = 14.0
    """How long a browser stays logged in."""


@section
class ServeConfig(Settings):
    """`accord serve`: an OpenAI-compatible server over the project's models, or in front of another server."""

    host: str = "127.0.0.1"
    """Address that the server listens on; any but this machine's own needs API keys, and https or `--insecure`."""
    port: Port = 8000
    """Port that the server listens on; 0 takes a free one."""
    names: str = ""
    """Host names under which the server is reached, with commas; requests for another name are refused."""
    https: bool = False
    """The server is reached through https, by a proxy before it."""
    places: Annotated[int, Range(least=1, why="one request must have room")] = 256
    """Requests of one model that run together."""
    waiting: Natural = 256
    """Requests of one model that wait for a place; further ones are refused with 429."""
    seconds: Positive = 300.0
    """How long a request may take, waiting included."""
    remembered: Natural = 32_768
    """Prompt tokens of each model whose keys and values are kept for the next turn of a conversation."""
    threads: Count = 1
    """Threads of a matrix product: more than one pays from some 100M parameters on."""
    requests_per_minute: Natural = 0
    """What a key may ask that has no limit of its own; 0 sets none."""
    tokens_per_minute: Natural = 0
    """Prompt and answer tokens of a key that has no limit of its own; 0 sets none."""
    best_of: Count = 1
    """Answers drawn for each that is given; the reward model picks. Streams then come in one piece."""
    best_of_seconds: NonNegative = 2.0
    """When the drawing for `best_of` ends: what is finished by then is picked from."""
    reward: str = "reward"
    """The reward model that picks."""
    input_filter: Literal["off", "report", "refuse"] = "off"
    """What happens when a prompt asks for harm or carries an injection: nothing, a count in the metrics, or a polite refusal."""
    output_filter: Literal["off", "report", "refuse"] = "off"
    """What happens when an answer holds harm or personal data that the prompt did not have: nothing, a count, or it is withheld."""
    guards: str = ""
    """Guards of other packages that the filters ask too, with commas (docs/plugins.md)."""
    unsure_below: Annotated[float, Range(least=0, below=1, why="it is a probability below 1")] = 0.0
    """Answers whose tokens have a lower mean probability than this become "I don't know"; 0 lets all pass."""
    system: str = ""
    """System prompt from the library (docs/serve.md), for conversations that bring none."""
    shots: Natural = 0
    """Demonstrations of the store that stand before a conversation as examples, the most similar ones."""
    reasoning: Literal["off", "fold", "show"] = "off"
    """Asks for a chain of thought; `fold` gives the final answer alone and puts the reasoning beside it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        asked = not self.guards or self.input_filter != "off" or self.output_filter != "off"
        self.require(asked, f"guards is {self.guards!r}, but input_filter and output_filter are off, so that nobody asks them")


@section
class RoundConfig(Seed):
    """`accord round`: what is new since the last model, and the stages again with it."""

    seed: Natural = 0
    """Fixes every random choice of the round."""
    k: RankedResponses = 4
    """Responses a prompt in the labeling queue; what is missing is drawn from the model that answers."""
    overlap: Annotated[int, Range(least=1)] = 1
    """How many labelers do each queued task."""
    stages: str = ""
    """What `--run` runs, of sft, reward, ppo, dpo and kto; empty: sft when there are new demonstrations, then reward and ppo."""
    kinds: str = "person simulated user"
    """Kinds of labelers whose word the new models learn from."""
    share: Annotated[float, Range(above=0, most=1, why="above 0, at most 1")] = 0.2
    """Share of the turns on which a trial shows both models."""
    alpha: Annotated[float, Range(above=0, below=1, why="between 0 and 1")] = 0.05
    """Chance that a trial calls one of two equal models better, however often one looks."""
    least: Natural = 20
    """Votes below which a trial decides nothing."""
    topics: Natural = 8
    """Most topics of new prompts that are listed."""

    def __post_init__(self) -> None:
        super().__post_init__()
        unknown = sorted(set(self.stages.replace(",", " ").split()) - {*ROUND_STAGES})
        self.require(not unknown, f"stages names {', '.join(unknown)}; known are {', '.join(ROUND_STAGES)}")
