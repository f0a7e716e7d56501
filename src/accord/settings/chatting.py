"""The settings of the chat and of the round that learns from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from accord.settings.ranges import check_numbers, require


@dataclass(frozen=True)
class ChatConfig:
    """`accord chat`: people talk to the project's models and say what they think of the answers."""

    seed: int = 0
    """Fixes the answers in the terminal; in the page every answer has a seed of its own, which is stored with it."""
    model: str = ""
    """Who answers as long as `accord switch` has said nothing; the newest of ppo, sft and base when empty."""
    temperature: float = 0.7
    """0 is greedy."""
    top_k: int = 0
    """Keep the k likeliest tokens; 0 keeps all."""
    top_p: float = 1.0
    """Keep the smallest set of tokens with this probability."""
    repetition_penalty: float = 1.0
    """Above 1 makes used tokens less likely; 1 is off."""
    max_tokens: int = 64
    """Length limit of an answer."""
    system: str = ""
    """System prompt of a conversation that is given none of its own."""
    two: float = 0.1
    """Share of the turns that get two answers of the same model, to choose from."""
    longest: int = 8_000
    """Most characters of a turn."""
    turns_per_minute: int = 20
    """Most turns that one person may say in a minute; 0 sets no limit."""
    held_out: float = 0.0
    """Share of the users whose reviewed reactions measure and do not train."""
    host: str = "127.0.0.1"
    """Address that the page listens on; any but this machine's own needs a secret, and https or `--insecure`."""
    port: int = 8500
    """Port that the page listens on; 0 takes a free one."""
    names: str = ""
    """Host names under which the page is reached, with commas; requests for another name are refused."""
    https: bool = False
    """The page is reached through https, by a proxy before it."""
    language: Literal["en", "zh_CN"] = "en"
    """Language of the page for a browser that asks for neither."""
    session_days: float = 14.0
    """How long a browser stays logged in."""

    def __post_init__(self) -> None:
        check_numbers(self, "chat")
        require(self.two <= 1, "chat", f"two is {self.two}; it is at most 1")
        require(self.held_out <= 1, "chat", f"held_out is {self.held_out}; it is at most 1")
        require(self.longest > 0, "chat", "longest is 0; it must be above 0")
        require(self.port < 65_536, "chat", f"port is {self.port}; 65535 at most")


@dataclass(frozen=True)
class RoundConfig:
    """`accord round`: what is new since the last model, and the stages again with it."""

    seed: int = 0
    """Fixes every random choice of the round."""
    k: int = 4
    """Responses a prompt in the labeling queue; what is missing is drawn from the model that answers."""
    overlap: int = 1
    """How many labelers do each queued task."""
    stages: str = ""
    """What `--run` runs, of sft, reward, ppo, dpo and kto; empty: sft when there are new demonstrations, then reward and ppo."""
    kinds: str = "person simulated user"
    """Kinds of labelers whose word the new models learn from."""
    share: float = 0.2
    """Share of the turns on which a trial shows both models."""
    alpha: float = 0.05
    """Chance that a trial calls one of two equal models better, however often one looks."""
    least: int = 20
    """Votes below which a trial decides nothing."""
    topics: int = 8
    """Most topics of new prompts that are listed."""

    def __post_init__(self) -> None:
        check_numbers(self, "round")
        require(2 <= self.k <= 9, "round", f"k is {self.k}; a ranking takes 2 to 9 responses")
        require(self.overlap >= 1, "round", f"overlap is {self.overlap}; 1 at least")
        require(0 < self.share <= 1, "round", f"share is {self.share}; above 0, at most 1")
        require(0 < self.alpha < 1, "round", f"alpha is {self.alpha}; between 0 and 1")
        unknown = set(self.stages.replace(",", " ").split()) - {"sft", "reward", "ppo", "dpo", "kto"}
        require(not unknown, "round", f"stages names {', '.join(sorted(unknown))}; known are sft, reward, ppo, dpo, kto")
