"""Talking to the models, and what comes of it: the page, the terminal, the next round, the switch to a new model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from cyclopts import Parameter

from accord.cli.app import AsJson, Flat, Precision, ProjectPath, app, say
from accord.errors import UsageError
from accord.settings import ChatConfig, RoundConfig


@app.command
def chat(
    project: ProjectPath,
    *,
    terminal: Annotated[bool, Parameter(help="Talk in the terminal; nothing is stored.", negative="")] = False,
    upstream: Annotated[str, Parameter(help="Address of an OpenAI-compatible server (up to /v1) whose models answer instead.")] = "",
    insecure: Annotated[bool, Parameter(help="Serve others without https.", negative="")] = False,
    config: Annotated[ChatConfig, Flat] = ChatConfig(),
) -> None:
    """Opens the chat page on the project's models, or talks in the terminal.

    Example: accord chat demo --model sft
    """
    from accord.runtime.project import Project
    from accord.stages import talking

    opened = Project.open(project)
    if terminal and upstream:
        raise UsageError("the terminal talks to the project's own models", where="--upstream", hint="leave out --terminal")
    if terminal:
        talking.in_terminal(opened, config)
    else:
        talking.on_a_page(opened, config, upstream=upstream, insecure=insecure)


@app.command(name="round")
def round_(
    project: ProjectPath,
    *,
    queue: Annotated[bool, Parameter(help="Real prompts of the chat become labeling tasks.", negative="")] = False,
    run: Annotated[bool, Parameter(help="Run the stages again with what is new.", negative="")] = False,
    trial: Annotated[str, Parameter(help="Compare this model blindly with the one that answers, on live turns.")] = "",
    end_trial: Annotated[bool, Parameter(help="End the trial that runs.", negative="")] = False,
    base: Annotated[str, Parameter(help="Base model of a new SFT model.")] = "base",
    reward: Annotated[str, Parameter(help="Reward model that says where it is unsure; the newest when not given, none asks nobody.")] = "",
    json: AsJson = False,
    dtype: Precision = "auto",
    config: Annotated[RoundConfig, Flat] = RoundConfig(),
) -> None:
    """Shows what users said since the last model; queues it for labelers, learns from it, or tries a new model on them.

    Example: accord round my-town --trial ppo-2
    """
    from accord.runtime.project import Project
    from accord.stages import rounds, trials

    opened = Project.open(project)
    if sum((queue, run, bool(trial), end_trial)) > 1:
        raise UsageError("one of --queue, --run, --trial and --end-trial at a time", where="accord round")
    asked = reward or rounds.newest(opened, "reward")
    asked = asked if asked in opened.models() else ""
    if trial:
        _show("trial", trials.begin(opened, trial, config), json)
    elif end_trial:
        _show("trial", trials.end(opened, config), json)
    elif queue:
        chat = ChatConfig(**opened.settings.get("chat", {}))
        _show("round: queue", rounds.queue_round(opened, config, chat, reward=asked, dtype=dtype), json)
    elif run:
        _show("round: run", rounds.run_round(opened, config, base=base, dtype=dtype), json)
    else:
        _show("round", rounds.whats_new(opened, config, reward=asked, dtype=dtype), json)


@app.command
def switch(
    project: ProjectPath,
    *,
    to: Annotated[str, Parameter(help="The model that answers from the next turn on.")] = "",
    back: Annotated[bool, Parameter(help="The model that answered before.", negative="")] = False,
    anyway: Annotated[bool, Parameter(help="Though its trial has not found it better.", negative="")] = False,
    why: Annotated[str, Parameter(help="The reason, for the audit.")] = "",
    json: AsJson = False,
) -> None:
    """Changes which model the chat's users meet, or shows which did when. A running page follows at its next turn.

    Example: accord switch my-town --to ppo-2
    """
    from accord.runtime.project import Project
    from accord.stages import trials

    opened = Project.open(project)
    if bool(to) == back:
        if to:
            raise UsageError("--to or --back, not both", where="accord switch")
        _show("switches", trials.history(opened), json)
    elif back:
        _show("switch", trials.back(opened, why=why), json)
    else:
        config = RoundConfig(**opened.settings.get("round", {}))
        _show("switch", trials.switch(opened, to, anyway=anyway, why=why, config=config), json)


def _show(title: str, figures: Mapping[str, Any], as_json: bool) -> None:
    """Figures in figures become a line each; lists of rows become a line a row."""
    if as_json:
        say(title, figures, True)
        return
    lines: dict[str, Any] = {}
    for key, value in figures.items():
        if isinstance(value, dict):
            lines |= {f"{key}: {name}": _words(part) for name, part in value.items()}
        elif key == "switches":
            lines |= {f"{row['number']}. {row['at'][:16]}": f"{row['model']}@{row['digest']}  {row['why']}" for row in value}
        else:
            lines[key] = _words(value)
    say(title, lines, False)


def _words(value: Any) -> str:
    match value:
        case [float(share), float(low), float(high)]:
            return f"{share:.2f} ({low:.2f} to {high:.2f})"
        case _:
            pass
    if isinstance(value, dict):
        return ", ".join(f"{name} {part}" for name, part in value.items()) or "none"
    return "–" if value is None else str(value)
