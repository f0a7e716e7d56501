"""The settings of what people use: the server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from accord.settings.ranges import check_numbers, require


@dataclass(frozen=True)
class ServeConfig:
    """`accord serve`: an OpenAI-compatible server over the project's models, or in front of another server."""

    host: str = "127.0.0.1"
    """Address that the server listens on; any but this machine's own needs API keys, and https or `--insecure`."""
    port: int = 8000
    """Port that the server listens on; 0 takes a free one."""
    names: str = ""
    """Host names under which the server is reached, with commas; requests for another name are refused."""
    https: bool = False
    """The server is reached through https, by a proxy before it."""
    places: int = 256
    """Requests of one model that run together."""
    waiting: int = 256
    """Requests of one model that wait for a place; further ones are refused with 429."""
    seconds: float = 300.0
    """How long a request may take, waiting included."""
    remembered: int = 32_768
    """Prompt tokens of each model whose keys and values are kept for the next turn of a conversation."""
    threads: int = 1
    """Threads of a matrix product: more than one pays from some 100M parameters on."""
    requests_per_minute: int = 0
    """What a key may ask that has no limit of its own; 0 sets none."""
    tokens_per_minute: int = 0
    """Prompt and answer tokens of a key that has no limit of its own; 0 sets none."""
    best_of: int = 1
    """Answers drawn for each that is given; the reward model picks. Streams then come in one piece."""
    best_of_seconds: float = 2.0
    """When the drawing for `best_of` ends: what is finished by then is picked from."""
    reward: str = "reward"
    """The reward model that picks."""
    input_filter: Literal["off", "report", "refuse"] = "off"
    """What happens when a prompt asks for harm or carries an injection: nothing, a count in the metrics, or a polite refusal."""
    output_filter: Literal["off", "report", "refuse"] = "off"
    """What happens when an answer holds harm or personal data that the prompt did not have: nothing, a count, or it is withheld."""
    unsure_below: float = 0.0
    """Answers whose tokens have a lower mean probability than this become "I don't know"; 0 lets all pass."""
    system: str = ""
    """System prompt from the library (docs/serving.md), for conversations that bring none."""
    shots: int = 0
    """Demonstrations of the store that stand before a conversation as examples, the most similar ones."""
    reasoning: Literal["off", "fold", "show"] = "off"
    """Asks for a chain of thought; `fold` gives the final answer alone and puts the reasoning beside it."""

    def __post_init__(self) -> None:
        check_numbers(self, "serve")
        require(self.port < 65_536, "serve", f"port is {self.port}; 65535 at most")
        require(self.places > 0, "serve", "places is 0; one request must have room")
        require(self.threads > 0, "serve", "threads is 0; it must be above 0")
        require(self.best_of > 0, "serve", "best_of is 0; 1 draws the answer alone")
        require(self.seconds > 0, "serve", "seconds is 0; it must be above 0")
        require(self.unsure_below < 1, "serve", f"unsure_below is {self.unsure_below}; it is a probability below 1")
