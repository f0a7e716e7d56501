"""Settings of the chat, the server, and the rounds that learn from their users."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Any, Literal

from accord.settings.methods import PREFERENCE
from accord.settings.mixins import Decoding, Seed, Settings, section
from accord.settings.ranges import Count, Natural, NonNegative, Port, Positive, Range, RankedResponses, Share

ROUND_STAGES = ("sft", "reward", "ppo", *PREFERENCE)
"""The stages that `accord round --run` can run."""


@section
class ChatConfig(Seed, Decoding):
    """`accord chat`: users talk to the project's models and rate the responses."""

    seed: Natural = 0
    """Seed of the responses in the terminal; on the web page each response has its own seed, which is stored with it."""
    model: str = ""
    """The model that responds until `accord switch` deploys another; when empty, the newest policy by lineage."""
    temperature: NonNegative = 0.7
    repetition_penalty: Positive = 1.0
    """Above 1 makes tokens that were already used less likely; 1 is off."""
    system: str = ""
    """System prompt of conversations that have none of their own."""
    two: Share = 0.1
    """Share of the turns for which the model offers two responses to choose from."""
    longest: Count = 8_000
    """Longest message in characters."""
    documents: Natural = 8
    """Most documents that a user may add to a conversation, to be quoted in its answers; 0 takes none."""
    survey: bool = False
    """Asks users below each conversation how satisfied they are with it, 1 to 5."""
    pictures: Natural = 4
    """Most pictures that a user may add to a message, for models that read pictures; 0 takes none."""
    turns_per_minute: Natural = 20
    """Messages that one user may send per minute; 0 sets no limit."""
    tastes: bool = False
    """Users may switch on that answers are chosen by their own taste, among `[serve] best_of` by a reward model with tastes."""
    arena: bool = False
    """Opens the arena: people vote between two unnamed models of the project."""
    arena_models: str = ""
    """The models of the arena, separated by commas; empty takes all that can chat."""
    arena_draw: Literal["telling", "uniform"] = "telling"
    """How the two models are drawn: more often those whose comparison tells most, or all alike."""
    arena_per_hour: Natural = 60
    """Pairs that one person may ask for in an hour; 0 sets no limit."""
    held_out: Share = 0.0
    """Share of the users whose reviewed reactions are used for measurement, not for training."""
    host: str = "127.0.0.1"
    """Address that the page listens on; any other than this machine's own needs a secret, and https or `--insecure`."""
    port: Port = 8500
    """Port that the page listens on; 0 takes a free one."""
    names: str = ""
    """Host names of the page, separated by commas; requests for another name are refused."""
    https: bool = False
    """The page is served over https by a proxy in front of it."""
    workers: Count = 1
    """Server processes that share the address; with more than one, models answer in a further process of their own."""
    trusted_proxies: str = ""
    """Addresses or networks of proxies, separated by commas, whose `X-Forwarded-For` names the client; nobody's is believed by default."""
    access_log: bool = False
    """Logs a line per request on the standard error stream, without tokens."""
    language: Literal["en", "zh_CN"] = "en"
    """Language of the page for browsers that request neither English nor Chinese."""
    session_days: Positive = 14.0
    """Days that a browser stays signed in."""


@section
class ServeConfig(Settings):
    """`accord serve`: an OpenAI-compatible server for the project's models, or a proxy in front of another server."""

    host: str = "127.0.0.1"
    """Address that the server listens on; any other than this machine's own needs API keys, and https or `--insecure`."""
    port: Port = 8000
    """Port that the server listens on; 0 takes a free one."""
    names: str = ""
    """Host names of the server, separated by commas; requests for another name are refused."""
    https: bool = False
    """The server is behind a proxy that provides https."""
    slots: Annotated[int, Range(least=1, why="one request must have room")] = 256
    """Requests per model that run concurrently."""
    waiting: Natural = 256
    """Requests per model that wait in line; further ones are refused with status 429."""
    seconds: Positive = 300.0
    """Longest time in seconds that a request may take, including waiting."""
    adapters: str = ""
    """Adapters served side by side over their base's body, in one batch, as `NAME=FOLDER` separated by commas; a model of the project
    that kept its adapter (`--keep-adapter`) by its name alone. A request's `model` names the adapter that answers."""
    upstream_sees: bool = False
    """The models of the server behind `--upstream` read pictures: those of requests are passed on as data URLs, else refused."""
    transcribe: str = ""
    """Address (up to `/v1`) of the OpenAI-compatible server that turns recordings into text; empty transcribes nothing."""
    remembered: Natural = 32_768
    """Prompt tokens per model whose keys and values are cached for the next turn of a conversation."""
    threads: Count = 1
    """Threads per matrix product; more than one pays off from about 100M parameters."""
    requests_per_minute: Natural = 0
    """Requests per minute of an API key without a limit of its own; 0 sets no limit."""
    tokens_per_minute: Natural = 0
    """Prompt and response tokens per minute of an API key without a limit of its own; 0 sets no limit."""
    keep_days: Positive = 30.0
    """Days for which the answers of API keys that opted in are stored; feedback starts them anew."""
    prompt_share: Annotated[float, Range(least=0, most=1, why="between 0 and 1")] = 0.1
    """Share of the requests that become prompts, of API keys that opted in to it."""
    prompts_per_user: Natural = 200
    """Most prompts that one end user gives in this way."""
    webhook_private: bool = False
    """Lets webhooks be at addresses that the internet cannot reach, and without TLS."""
    strict: bool = False
    """Refuses a request with a field that nobody reads; otherwise the header X-Accord-Ignored names such fields."""
    best_of: Count = 1
    """Responses sampled for each one returned; `reward` picks the best. Streams then arrive in one piece."""
    best_of_seconds: NonNegative = 2.0
    """Seconds after which sampling for `best_of` ends; the reward model picks among the responses finished by then."""
    reward: str = "reward"
    """What picks for `best_of`: a reward model, or a model of `accord ilql`, whose Q network says what each reply is worth."""
    input_filter: Literal["off", "report", "refuse"] = "off"
    """Reaction to a prompt that asks for harm or contains an injection: nothing, a count in the metrics, or a polite refusal."""
    output_filter: Literal["off", "report", "refuse"] = "off"
    """Reaction to a response with harm or personal data that the prompt did not contain: nothing, a count, or withholding it."""
    guards: str = ""
    """Guards of other packages that the filters also consult, separated by commas (docs/plugins.md)."""
    banned_words: str = ""
    """Words that are never drawn, separated by commas, each a single token of every model served; `id:17` is a token's number."""
    unsure_below: Annotated[float, Range(least=0, below=1, why="it is a probability below 1")] = 0.0
    """Responses whose mean token probability is below this become "I don't know"; 0 lets all pass."""
    agree_below: Annotated[float, Range(least=0, most=1)] = 0.0
    """Answers to questions that a smaller share of the model's other answers agrees with become "I don't know"; 0 lets all pass."""
    agree_run: str = ""
    """Run of `accord probe --measure knowledge` whose thresholds hold for its models, in place of `agree_below`."""
    agree_samples: Annotated[int, Range(least=1, why="one other answer at least")] = 10
    """Other answers that are drawn to each question, where one of these is set."""
    system: str = ""
    """System prompt from the library (docs/serve.md) for conversations that have none."""
    shots: Natural = 0
    """Number of demonstrations, the most similar ones, placed before a conversation as examples."""
    reasoning: Literal["off", "fold", "show"] = "off"
    """Asks for a chain of thought; `fold` returns only the final answer as content, with the reasoning in a separate field."""

    def __post_init__(self) -> None:
        super().__post_init__()
        asked = not self.guards or self.input_filter != "off" or self.output_filter != "off"
        self.require(asked, f"guards is {self.guards!r}, but input_filter and output_filter are off, so that nobody asks them")


@section
class OpenConfig(Settings):
    """`accord open`: everything about a project under one address: home, labeling, chat, review and report."""

    host: str = "127.0.0.1"
    """Address that the site listens on; any other than this machine's own needs a secret, and https or `--insecure`."""
    port: Port = 8400
    """Port that the site listens on; 0 takes a free one."""
    names: str = ""
    """Host names of the site, separated by commas; requests for another name are refused."""
    https: bool = False
    """The site is served over https by a proxy in front of it."""
    workers: Count = 1
    """Server processes that share the address; with more than one, models answer in a further process of their own."""
    trusted_proxies: str = ""
    """Addresses or networks of proxies, separated by commas, whose `X-Forwarded-For` names the client; nobody's is believed by default."""
    access_log: bool = False
    """Logs a line per request on the standard error stream, without tokens."""
    root_path: str = ""
    """Path under which the proxy serves the site, such as `/accord`; empty at the top of the host."""
    language: Literal["en", "zh_CN"] = "en"
    """Language of the site for browsers that request neither English nor Chinese."""
    session_days: Positive = 14.0
    """Days that a browser stays signed in."""
    upload_mb: Natural = 2_000
    """Largest file in megabytes that a lead may upload on the data page; 0 takes none."""


@section
class SsoConfig(Settings):
    """Single sign-on by OpenID Connect, for the site and the chat. Its client secret is in ACCORD_SSO_SECRET."""

    issuer: str = ""
    """Address of the identity provider, as its `/.well-known/openid-configuration` names it; empty switches single sign-on off."""
    client_id: str = ""
    """The site's name at the provider."""
    title: str = "single sign-on"
    """How the sign-in page calls the provider."""
    scopes: str = "openid profile email"
    """What is asked for about a person; add the one with which your provider tells groups, such as `groups`."""
    groups_claim: str = "groups"
    """The claim with a person's groups."""
    roles: dict[str, Any] = field(default_factory=dict[str, Any])
    """The role of each group, as `{staff = "labeler", research = "lead"}`. Given any, only their members sign in, and a change of groups
    changes the role."""
    domains: str = ""
    """Domains of mail addresses that may sign in, separated by commas; the provider must have verified the address. Empty takes all."""
    create: bool = False
    """Makes an account at the first sign-in. Otherwise an invited person links theirs under "About you"."""
    role: Literal["labeler", "viewer", "user"] = "labeler"
    """The role of accounts made so, where `roles` is empty."""

    def __post_init__(self) -> None:
        super().__post_init__()
        known = ("lead", "labeler", "viewer", "user")
        wrong = [f"{group} = {role!r}" for group, role in self.roles.items() if role not in known]
        self.require(not wrong, f"roles has {', '.join(wrong)}; a role is one of {', '.join(known)}")
        self.require(not self.issuer or bool(self.client_id), "issuer is set and client_id is not")
        self.require("openid" in self.scopes.split(), f"scopes is {self.scopes!r}, without openid")
        self.require(not self.create or bool(self.roles or self.domains), "create without roles or domains lets everybody in")


@section
class WatchConfig(Seed):
    """`accord watch`: the model that answers, evaluated again on the same prompts and on fresh traffic."""

    seed: Natural = 0
    """Seed of the answers and the bootstrap."""
    every: NonNegative = 0.0
    """Seconds between two checks; 0 checks once."""
    prompts: Count = 100
    """Prompts of held-out users that are asked at every check."""
    fresh: Natural = 200
    """Newest prompts of users, from the chat and apps, that are looked at; 0 leaves them out."""
    margin: NonNegative = 0.0
    """Fall of the mean score that is tolerated: it declined when the whole interval of the change is below minus this."""
    temperature: NonNegative = 0.0
    """Sampling temperature; 0 is greedy, so that an unchanged model gives unchanged scores."""
    max_tokens: Count = 128
    """Length limit of an answer in tokens."""
    bootstrap: Count = 2000
    """Bootstrap resamples of the prompts for each interval."""


@section
class RoundConfig(Seed):
    """`accord round`: the new data since the last model, and the stages that train on it."""

    seed: Natural = 0
    """Seed of every random choice of the round."""
    k: RankedResponses = 4
    """Responses per prompt in the labeling queue; missing ones are sampled from the deployed model."""
    overlap: Annotated[int, Range(least=1)] = 1
    """Number of labelers for each queued task."""
    stages: str = ""
    """Stages that `--run` runs: any of sft, reward, ppo, dpo and kto. When empty: sft if there are new demonstrations, then reward and
    ppo."""
    kinds: str = "person simulated user"
    """Labeler kinds to learn from."""
    share: Annotated[float, Range(above=0, most=1, why="above 0, at most 1")] = 0.2
    """Share of the turns on which a trial shows responses of both models."""
    alpha: Annotated[float, Range(above=0, below=1, why="between 0 and 1")] = 0.05
    """Probability that a trial declares one of two equal models better, however often you check it."""
    least: Natural = 20
    """Fewest votes with which a trial decides."""
    topics: Natural = 8
    """Topics of new prompts to list, at most."""

    def __post_init__(self) -> None:
        super().__post_init__()
        unknown = sorted(set(self.stages.replace(",", " ").split()) - {*ROUND_STAGES})
        self.require(not unknown, f"stages names {', '.join(unknown)}; known are {', '.join(ROUND_STAGES)}")
