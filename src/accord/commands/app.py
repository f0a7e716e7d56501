"""The command line: the app over the table of commands, accord.toml under the flags, exit codes, and how results are printed.

A command is a plain function that returns its result: a Run, or a mapping of metrics. Python callers use it as it is. Printing is
done here: ``--json`` prints the result as one JSON object, a command's own ``@shows`` function prints tables, and without one
every metric becomes a line.
"""

from __future__ import annotations

import inspect
import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, TypeVar, cast

import cyclopts
from cyclopts import App, Group, Parameter

from accord.commands import COMMANDS, GROUPS, TOGETHER, language
from accord.commands.front_page import ABOUT, COMPLETION, EPILOGUE
from accord.errors import AccordError, UsageError
from accord.runtime import packages, ranks
from accord.runtime.device import choose_device, out_of_memory
from accord.runtime.version import __version__

if TYPE_CHECKING:
    from accord.runtime.project import Project
    from accord.runtime.runs import Run

    ProjectPath = Path | str | Project
else:
    ProjectPath = Annotated[Path, Parameter(help="The project's folder.")]

Returned = TypeVar("Returned")
JSON = "--json"
NAMES = frozenset(command.name for command in COMMANDS)
Flat = Parameter(name="*")
Name = Annotated[str, Parameter(help="Name of the run, and of the model it saves.")]
RunName = Annotated[str, Parameter(help="Name of this run.")]
Again = Annotated[bool, Parameter(help="Replace a finished run of this name.", negative="")]
FindLr = Annotated[bool, Parameter(help="Try rising learning rates for a minute and suggest one, without a run or a model.", negative="")]
Sft = Annotated[str, Parameter(help="The SFT model: where the policy starts and what the KL penalty holds it to.")]
Reward = Annotated[str, Parameter(help="The reward model.")]
Why = Annotated[str, Parameter(help="The reason, for the audit log.")]
Insecure = Annotated[bool, Parameter(help="Serve other machines without https.", negative="")]
Precision = Annotated[
    Literal["auto", "float32", "bfloat16", "float16"], Parameter(name="--dtype", help="Precision of matrix products; weights stay float32.")
]

Device = Annotated[
    str,
    Parameter(
        name="--device", help="Where to compute: cpu, cuda, cuda:1, xpu or mps; auto takes ACCORD_DEVICE, else a GPU when there is one."
    ),
]


@dataclass(frozen=True)
class Compute:
    """How a model is computed with, where nothing is trained."""

    dtype: Precision = "auto"
    device: Device = "auto"


@dataclass(frozen=True)
class RunFlags(Compute):
    """The flags of every training command, beside its settings."""

    resume: Annotated[bool, Parameter(help="Continue a run that was stopped.", negative="")] = False
    processes: Annotated[int, Parameter(help="Processes that train together (torchrun), on GPUs each with its own; 0: as started.")] = 0
    process_timeout: Annotated[float, Parameter(help="Longest wait in seconds for another process before the run stops.")] = ranks.WAIT

    def start(self) -> None:
        """Choose the device, and meet the other processes if there are any.

        Raises:
            UsageError: there is no such device, or another number of processes was started.
            RunError: the other processes do not come.
        """
        if self.processes < 0 or self.process_timeout <= 0:
            raise UsageError("--processes and --process-timeout are numbers above 0")
        if self.processes not in (0, ranks.world()):
            hint = f"from Python, start your program with torchrun --nproc-per-node {self.processes}"
            raise UsageError(f"{self.processes} processes are asked for, and {ranks.world()} started", where="--processes", hint=hint)
        ranks.start(choose_device(self.device), self.process_timeout)


ComputeFlags = Annotated[Compute, Flat]
TrainFlags = Annotated[RunFlags, Flat]


def shows(show: Callable[[Any], None], *, failed: Callable[[Any], bool] | None = None) -> Callable[[Returned], Returned]:
    """Name the function that prints a command's result in the terminal.

    Args:
        failed: tells from the result whether the exit code is 1.
    """

    def mark(command: Returned) -> Returned:
        vars(command)["show"], vars(command)["failed"] = show, failed
        return command

    return mark


app = App(
    name="accord",
    version=__version__,
    help=ABOUT,
    help_epilogue=EPILOGUE,
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
_GROUPS = {room: Group(heading, sort_key=number) for number, (room, heading) in enumerate(GROUPS.items(), 1)}
for _number, _command in enumerate(COMMANDS):
    app.command(
        f"{_command.module}:{_command.file}",
        name=_command.name,
        help=_command.line,
        group=_GROUPS[_command.room],
        sort_key=_number,
    )


def _project_settings(_: App, commands: tuple[str, ...], arguments: cyclopts.ArgumentCollection) -> None:
    """Put the project's accord.toml under the flags that were not given."""
    given = next((a for a in arguments if a.name == "--project" and a.tokens), None)
    if given is None or not commands or commands[-1] == "init" or not Path(given.tokens[0].value, "accord.toml").is_file():
        return
    from accord.runtime.project import Project

    settings = Project.open(given.tokens[0].value).settings
    section: Mapping[str, Any] = {"seed": settings.get("project", {}).get("seed", 0), **settings.get(commands[-1], {})}
    for argument in arguments:
        key = argument.name.removeprefix("--").replace("-", "_")
        if key in section and not argument.tokens:
            argument.append(cyclopts.Token(keyword=argument.name, value=str(section[key]), source="accord.toml"))


app.config = (_project_settings,)
app.register_install_completion_command(help=COMPLETION)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command: exit code 0 for success, 1 for work that failed, 2 for bad usage, 75 for a run that was told to end and has saved,
    130 for Ctrl-C.

    Args:
        arguments: the words after `accord`; the process's own when None.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["help"]:
        words = [*words[1:], "--help"]
    _speak()
    try:
        _run(words)
        sys.stdout.flush()
        ranks.end()
    except AccordError as error:
        _fail(str(error), error.exit_code)
    except cyclopts.CycloptsError as error:
        _fail(f"{_misused(error)} ({_renamed(words) or _help_of(words)})", UsageError.exit_code)
    except BrokenPipeError:
        _unread()
    except ImportError as error:
        _fail(_missing_package(error, words), UsageError.exit_code)
    except (MemoryError, RuntimeError) as error:
        if (lost := ranks.explained(error)) is not None:
            _fail(str(lost), lost.exit_code)
        if not out_of_memory(error):
            raise
        hint = "close other programs, take fewer rows at once by --batch-size, or use a smaller model"
        _fail(f"out of memory ({hint})", AccordError.exit_code)
    except OSError as error:
        _fail(f"{error.filename or 'input or output'}: {error.strerror or error}", AccordError.exit_code)
    except KeyboardInterrupt:
        _fail("stopped; a training command continues from its last checkpoint with --resume", 130)


def _speak() -> None:
    """Print help in the language of the environment."""
    if language.chosen() == "en":
        app.help_formatter, app.help_epilogue = None, EPILOGUE
        return
    from accord.commands.help_panels import Formatter

    app.help_formatter, app.help_epilogue = Formatter(), language.said(EPILOGUE)


def _run(arguments: list[str]) -> None:
    as_json = JSON in arguments
    tokens = [token for token in arguments if token != JSON]
    if {"--help", "-h"}.intersection(tokens) and tokens[0] in NAMES:
        _describe(tokens[0])
    command, bound, _ = app.parse_args(tokens, print_error=False, exit_on_error=False)
    _several(command.__name__.rstrip("_"), bound.arguments.get("flags"), arguments)
    own = command.__module__.startswith("accord.commands.")
    if as_json and own and str(command.__annotations__.get("return")) == "None":
        raise UsageError("prints no metrics, so there is nothing to print as JSON", where=f"{command.__name__} {JSON}", hint=f"drop {JSON}")
    result = command(*bound.args, **bound.kwargs)
    if result is None or not own or not ranks.first():
        return
    printed(command, result, as_json=as_json)
    failed = getattr(command, "failed", None)
    if failed and failed(result):
        raise SystemExit(AccordError.exit_code)


def _several(name: str, flags: object, arguments: Sequence[str]) -> None:
    """Start the processes that are asked for, and end with their exit code; refuse several that a command knows nothing of.

    Raises:
        UsageError: the command is not one that processes run together.
    """
    asked = flags.processes if isinstance(flags, RunFlags) else 0
    if max(asked, ranks.world()) > 1 and name not in TOGETHER:
        what = f"{max(asked, ranks.world())} processes: each would do all of the work"
        raise UsageError(what, where=name, hint=f"start one; together train: {', '.join(sorted(TOGETHER))}")
    if asked > 1 and ranks.world() == 1:
        from accord.runtime.launch import launch

        raise SystemExit(launch(arguments, asked))


def _describe(name: str) -> None:
    """Give a command's help its whole docstring; in the list of commands it has one line."""
    command = app[name]
    if command.default_command is not None:
        text = inspect.getdoc(command.default_command) or ""
        summary = language.said(next(each.line for each in COMMANDS if each.name == name)) if language.chosen() == "zh" else ""
        command.help = (f"{summary}\n\n" if summary else "") + text.partition("\nRaises:")[0].rstrip()


def printed(command: Callable[..., Any], result: Any, *, as_json: bool) -> None:
    """Print a command's result as it asked to be shown."""
    metrics = getattr(result, "summary", result)
    if as_json:
        print(json.dumps(metrics, ensure_ascii=False))
    elif show := getattr(command, "show", None):
        show(result)
    elif isinstance(result, Mapping):
        table_of(command.__name__.rstrip("_"), cast("Mapping[str, Any]", metrics))
    else:
        print_metrics(result)


def print_metrics(run: Run) -> None:
    """Print the metrics of a finished run as a table."""
    table_of(f"{run.stage}: {run.folder.name}", run.summary)


def table_of(title: str, metrics: Mapping[str, Any]) -> None:
    """Print metrics as a table, a line each; see ``flat``."""
    from accord.runtime.progress import table

    table(title, ["metric", "value"], flat(metrics))


def flat(metrics: Mapping[str, Any], before: str = "") -> list[tuple[str, Any]]:
    """Return metrics within metrics as lines ``outer: inner``; three numbers are a value with its interval, long lists are counted.

    Keys stay as the pages of docs/ define them, and numbers are left to the table.
    """
    lines: list[tuple[str, Any]] = []
    for key, value in metrics.items():
        label = f"{before}{key}"
        match value:
            case Mapping():
                lines += flat(cast("Mapping[str, Any]", value), f"{label}: ")
            case [float(), float(), float()]:
                lines.append((label, interval_text(cast("list[float | None]", value))))
            case list():
                items = cast("list[object]", value)
                texts = all(isinstance(item, str) for item in items)
                lines.append((label, ", ".join(map(str, items)) if texts else len(items)))
            case None:
                lines.append((label, "–"))
            case _:
                lines.append((label, value))
    return lines


def interval_text(metric: Sequence[float | None], digits: int = 3) -> str:
    """A value with its interval, or that it is not defined."""
    mean, low, high = metric
    return "not defined" if mean is None else f"{mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _missing_package(error: ImportError, words: Sequence[str]) -> str:
    """Name the missing package and the command that brings it. An import of our own that fails is a fault of ours and is raised on."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ModuleNotFoundError):
        cause = cause.__cause__
    missing = (cause.name or "").partition(".")[0] if isinstance(cause, ModuleNotFoundError) else ""
    if not missing or missing == "accord":
        raise error
    command = words[0] if words and words[0] in NAMES else "accord"
    return f"{command}: the package {missing} is not installed ({packages.install(missing)})"


def _renamed(words: Sequence[str]) -> str:
    """Return the hint that a flag has another name now; empty when none of them has."""
    from accord.runtime.project import RENAMED

    for old, new in RENAMED.get(words[0] if words else "", {}).items():
        if any(word.partition("=")[0] == f"--{old}" for word in words):
            return f"--{old} is now called --{new}"
    return ""


def _misused(error: cyclopts.CycloptsError) -> str:
    """Return what is wrong with the words of a command line, in one line."""
    if isinstance(error, cyclopts.UnusedCliTokensError):
        return f"too many arguments, from {(error.unused_tokens or [''])[0]!r} on; a setting has its name before it, as in --model sft"
    return " ".join(str(error).split())


def _help_of(words: Sequence[str]) -> str:
    return f"accord {words[0]} --help" if words and words[0] in NAMES else "accord --help"


def _unread() -> NoReturn:
    """End in silence: whoever read the output is gone (`| head`). The signal stays ignored, for a server's clients go away as well."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(AccordError.exit_code)


def _in_colour(message: str) -> str:
    """Return an error, ``what (hint)``, as a terminal shows it: the way out on a line of its own. NO_COLOR leaves the colours out."""
    found = re.fullmatch(r"(.*?)(?: \((.*)\)|（(.*)）)?", message, re.DOTALL)
    assert found  # anything matches
    red, blue, bold, plain = ("",) * 4 if os.environ.get("NO_COLOR") else ("\033[1;31m", "\033[1;36m", "\033[1m", "\033[0m")
    tip = found[2] or found[3]
    return f"{red}error{plain}{bold}:{plain} {found[1]}" + (f"\n  {blue}tip:{plain} {tip}" if tip else "")


def _fail(message: str, code: int) -> NoReturn:
    """Print an error and leave; of several processes that fail the first one prints."""
    if ranks.speaks():
        as_is = language.chosen() == "en" or JSON in sys.argv
        said = message if as_is else language.error(message)
        print(_in_colour(said) if sys.stderr.isatty() else f"accord: {said}", file=sys.stderr, flush=True)
    ranks.stage(ranks.exit_stage(code))
    sys.exit(code)
