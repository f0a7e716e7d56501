"""The command line: one command a stage. Flags come from accord.settings, accord.toml stands between them and the defaults.

Heavy imports stay inside the commands, so that `accord --help` answers at once.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import cyclopts
from cyclopts import App, Parameter

import accord
from accord.errors import AccordError, UsageError
from accord.settings import EvaluateConfig, LabelConfig, PpoConfig, PretrainConfig, RewardConfig, SampleConfig, SftConfig, WorldConfig

if TYPE_CHECKING:
    from accord.runtime.runs import Run

app = App(
    name="accord",
    version=accord.__version__,
    help="Language models learn what your people prefer: raw text to a policy, with labels, proof and a chat in between.",
    help_epilogue="The whole loop on the built-in world: accord demo",
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)

Flat = Parameter(name="*")
ProjectPath = Annotated[Path, Parameter(help="The project's folder.")]
Name = Annotated[str, Parameter(help="Name of the run, and of the model it saves.")]
Resume = Annotated[bool, Parameter(help="Go on with a run that was stopped.", negative="")]
AsJson = Annotated[bool, Parameter(name="--json", help="Print one JSON object instead of a table.", negative="")]
Precision = Annotated[
    Literal["auto", "float32", "bfloat16", "float16"], Parameter(name="--dtype", help="Precision of matrix products; weights stay float32.")
]


def _project_settings(_: App, commands: tuple[str, ...], arguments: cyclopts.ArgumentCollection) -> None:
    """Puts the project's accord.toml under the flags that were not given."""
    given = next((a for a in arguments if a.name == "--project" and a.tokens), None)
    if given is None or not commands or commands[-1] == "init" or not Path(given.tokens[0].value, "accord.toml").is_file():
        return
    from accord.runtime.project import Project

    settings = Project.open(given.tokens[0].value).settings
    stage: Mapping[str, Any] = {"seed": settings.get("project", {}).get("seed", 0), **settings.get(commands[-1], {})}
    for argument in arguments:
        key = argument.name.removeprefix("--").replace("-", "_")
        if key in stage and not argument.tokens:
            argument.append(cyclopts.Token(keyword=argument.name, value=str(stage[key]), source="accord.toml"))


app.config = (_project_settings,)


def _say(title: str, figures: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(figures, ensure_ascii=False))
        return
    from accord.runtime.progress import table

    table(title, ["figure", "value"], [(key, value) for key, value in figures.items() if not isinstance(value, dict)])


def _report(stage: str, name: str, run: Run, as_json: bool) -> None:
    _say(f"{stage}: {name}", run.summary, as_json)


@app.command
def init(
    path: Annotated[Path, Parameter(help="Folder of the new project.")],
    *,
    world: Annotated[
        bool, Parameter(help="Put the built-in world into it: raw text, prompts, demonstrations, labelers.", negative="")
    ] = False,
    json: AsJson = False,
    config: Annotated[WorldConfig, Flat] = WorldConfig(),
) -> None:
    """Makes a new project, empty or with the built-in world in it.

    Example: accord init my-town --world --seed 1
    """
    if world:
        from accord.stages.starting import new_world

        project, counts = new_world(path, config)
    else:
        from accord.runtime.project import Project

        project, counts = Project.create(path), dict[str, int]()
    _say(f"project {project.path.name}", {"folder": str(path), **counts}, json)


@app.command(name="import")
def import_(
    project: ProjectPath,
    file: Annotated[Path, Parameter(help="A file or folder of prompts, demonstrations, comparisons or raw text.")],
    *,
    format: Annotated[str, Parameter(help="What it holds; auto looks.")] = "auto",
    limit: Annotated[int | None, Parameter(help="Read at most so many rows.")] = None,
    json: AsJson = False,
) -> None:
    """Reads prompts, demonstrations, comparisons or raw text into the project; all of a file, or nothing.

    Example: accord import my-project harmless-base-test.jsonl.gz --format hh-rlhf --limit 500
    """
    from accord.runtime.project import Project
    from accord.stages.starting import import_file

    _say(f"imported {file.name}", import_file(Project.open(project), file, format=format, limit=limit), json)


@app.command
def pretrain(
    project: ProjectPath,
    *,
    name: Name = "base",
    resume: Resume = False,
    json: AsJson = False,
    dtype: Precision = "auto",
    config: Annotated[PretrainConfig, Flat] = PretrainConfig(),
) -> None:
    """Trains a tokenizer and a small decoder on the project's raw text.

    Example: accord pretrain my-town --tokens 1000000
    """
    from accord.runtime.project import Project
    from accord.stages.training import pretrain_stage

    _report("pretrain", name, pretrain_stage(Project.open(project), config, name=name, resume=resume, dtype=dtype), json)


@app.command
def sft(
    project: ProjectPath,
    *,
    base: Annotated[str, Parameter(help="Base model: a name, a folder or a hub name.")] = "base",
    name: Name = "sft",
    resume: Resume = False,
    json: AsJson = False,
    dtype: Precision = "auto",
    config: Annotated[SftConfig, Flat] = SftConfig(),
) -> None:
    """Fine-tunes a model on demonstrations, loss on response tokens only.

    Example: accord sft my-project --base HuggingFaceTB/SmolLM2-135M --lora-rank 16
    """
    from accord.runtime.project import Project
    from accord.stages.training import sft_stage

    _report("sft", name, sft_stage(Project.open(project), config, base=base, name=name, resume=resume, dtype=dtype), json)


@app.command
def sample(
    project: ProjectPath,
    *,
    model: Annotated[str, Parameter(help="Who answers.")] = "sft",
    name: Name = "sample",
    json: AsJson = False,
    dtype: Precision = "auto",
    config: Annotated[SampleConfig, Flat] = SampleConfig(),
) -> None:
    """Samples K responses a prompt for people to rank.

    Example: accord sample my-town --model sft --k 6
    """
    from accord.runtime.project import Project
    from accord.stages.asking import sample_stage

    _report("sample", name, sample_stage(Project.open(project), config, model=model, name=name, dtype=dtype), json)


@app.command
def label(
    project: ProjectPath,
    *,
    by: Annotated[Literal["world"], Parameter(help="Who ranks: the built-in world's simulated labelers.")] = "world",
    name: Name = "label",
    json: AsJson = False,
    config: Annotated[LabelConfig, Flat] = LabelConfig(),
) -> None:
    """Has the responses ranked that nobody has ranked yet.

    Example: accord label my-town --by world
    """
    from accord.runtime.project import Project
    from accord.stages.asking import label_stage

    _report(f"label by {by}", name, label_stage(Project.open(project), config, name=name), json)


@app.command
def reward(
    project: ProjectPath,
    *,
    sft: Annotated[str, Parameter(help="The SFT model it starts from.")] = "sft",
    name: Name = "reward",
    resume: Resume = False,
    json: AsJson = False,
    dtype: Precision = "auto",
    config: Annotated[RewardConfig, Flat] = RewardConfig(),
) -> None:
    """Trains a reward model on the rankings.

    Example: accord reward my-town --sft sft --held-out-group caring
    """
    from accord.runtime.project import Project
    from accord.stages.training import reward_stage

    _report("reward", name, reward_stage(Project.open(project), config, sft_model=sft, name=name, resume=resume, dtype=dtype), json)


@app.command
def ppo(
    project: ProjectPath,
    *,
    sft: Annotated[str, Parameter(help="The SFT model: where the policy starts and what the KL penalty holds it to.")] = "sft",
    reward: Annotated[str, Parameter(help="The reward model.")] = "reward",
    name: Name = "ppo",
    resume: Resume = False,
    json: AsJson = False,
    dtype: Precision = "auto",
    config: Annotated[PpoConfig, Flat] = PpoConfig(),
) -> None:
    """Improves the SFT model against the reward model under a KL penalty.

    Example: accord ppo my-town --steps 60 --kl-coef 0.05
    """
    from accord.runtime.project import Project
    from accord.stages.training import ppo_stage

    run = ppo_stage(Project.open(project), config, sft_model=sft, reward_model=reward, name=name, resume=resume, dtype=dtype)
    _report("ppo", name, run, json)


@app.command
def evaluate(
    project: ProjectPath,
    *,
    base: Annotated[str, Parameter(help="Base model.")] = "base",
    sft: Annotated[str, Parameter(help="SFT model.")] = "sft",
    reward: Annotated[str, Parameter(help="Reward model, for best-of-n.")] = "reward",
    policy: Annotated[tuple[str, ...], Parameter(help="Policies to compare, best first.", negative="")] = ("ppo",),
    name: Name = "evaluate",
    json: AsJson = False,
    dtype: Precision = "auto",
    config: Annotated[EvaluateConfig, Flat] = EvaluateConfig(),
) -> None:
    """Compares the models on held-out users' prompts by the world's gold judge and writes summary.json.

    Example: accord evaluate my-town --policy ppo --policy ppo-no-ptx
    """
    from accord.runtime.project import Project
    from accord.stages.evaluating import evaluate_stage

    opened = Project.open(project)
    evaluate_stage(opened, config, base=base, sft=sft, reward=reward, policies=policy, name=name, dtype=dtype)
    _summary(opened.path / "summary.json", json)


@app.command
def report(project: ProjectPath, *, json: AsJson = False) -> None:
    """Writes report.html: one page with the project's figures, curves and samples.

    Example: accord report my-town
    """
    from accord.report.page import write_report
    from accord.runtime.project import Project

    _say("report", {"report": str(write_report(Project.open(project).path))}, json)


@app.command
def chat(
    project: ProjectPath,
    *,
    model: Annotated[str, Parameter(help="Who answers; the newest of ppo, sft and base when not given.")] = "",
    temperature: Annotated[float, Parameter(help="0 is greedy.")] = 0.7,
    max_tokens: Annotated[int, Parameter(help="Length limit of an answer.")] = 64,
    seed: Annotated[int, Parameter(help="Fixes the answers.")] = 0,
) -> None:
    """Talks in the terminal to a model of the project. /model NAME changes it, /new forgets, /quit ends.

    Example: accord chat demo --model sft
    """
    from accord.runtime.project import Project
    from accord.serving.terminal import talk
    from accord.stages.opening import compute_dtype, load_model

    opened = Project.open(project)
    chosen = model or next((name for name in ("ppo", "sft", "base") if name in opened.models()), "base")
    talk(lambda name: load_model(opened, name), chosen, temperature=temperature, max_tokens=max_tokens, seed=seed, dtype=compute_dtype())


@app.command
def lineage(project: ProjectPath, model: Annotated[str, Parameter(help="A model of the project.")], *, json: AsJson = False) -> None:
    """Walks from a model back to the models and the feedback it came from.

    Example: accord lineage my-town ppo
    """
    from accord.runtime.lineage import walk
    from accord.runtime.progress import table
    from accord.runtime.project import Project

    ancestors = walk(Project.open(project), model)
    if json:
        _say("lineage", {"lineage": [dataclasses.asdict(ancestor) for ancestor in ancestors]}, True)
        return
    rows = [
        (
            "  " * a.depth + a.name,
            a.record.get("stage", ""),
            a.digest[:12],
            a.state,
            ", ".join(f"{k} {v[:12]}" for k, v in a.record.get("data", {}).items()),
        )
        for a in ancestors
    ]
    table(f"lineage of {model}", ["model", "made by", "digest", "weights", "learned from"], rows)


@app.command
def config(project: ProjectPath, *, json: AsJson = False) -> None:
    """Prints the settings in force: accord.toml over the defaults, stage by stage.

    Example: accord config my-town
    """
    from accord.runtime.progress import table
    from accord.runtime.project import Project, sections

    settings = Project.open(project).settings
    force = {name: dataclasses.asdict(kind()) | settings.get(name, {}) for name, kind in sections().items()}
    if json:
        _say("config", force, True)
        return
    rows = [
        (f"{name}.{key}", value, "accord.toml" if key in settings.get(name, {}) else "")
        for name, part in force.items()
        for key, value in part.items()
    ]
    table("settings", ["setting", "value", "from"], [(key, str(value), source) for key, value, source in rows])


@app.command
def demo(
    *,
    seed: Annotated[int, Parameter(help="Another seed is another town, other labelers, other models.")] = 0,
    out: Annotated[Path, Parameter(help="Folder of the demo's project; must be new.")] = Path("demo"),
) -> None:
    """Runs the whole loop on the built-in world: raw text to a policy that people prefer, with proof.

    Example: accord demo --seed 3 --out demo-3
    """
    from accord.runtime.project import FILE

    if (out / FILE).exists() or (out.exists() and any(out.iterdir())):
        raise UsageError("exists and is not empty", where=str(out), hint="give another --out, or remove it")
    script = next(
        path for path in (Path(accord.__file__).parent / "demo.sh", Path(accord.__file__).parents[2] / "runs" / "demo.sh") if path.is_file()
    )
    environment = os.environ | {
        "SEED": str(seed),
        "OUT": str(out),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    os.execvpe("bash", ["bash", str(script)], environment)


def _summary(path: Path, as_json: bool) -> None:
    """The table that the demo ends with."""
    from accord.runtime.progress import table

    summary = json.loads(path.read_text("utf-8"))
    if as_json:
        print(json.dumps(summary, ensure_ascii=False))
        return
    percent: Callable[[list[float]], str] = lambda three: f"{three[0]:.0%}  ({three[1]:.0%} to {three[2]:.0%})"  # noqa: E731
    table(
        "who is preferred, by the gold judge (95% interval)",
        ["duel", "win rate"],
        [(k.replace("_", " "), percent(v)) for k, v in summary["win_rate"].items()],
    )
    criteria = summary["criteria"]
    names = list(next(iter(criteria.values())))
    table("criteria, 0 to 1", ["model", *names], [(model, *(f"{row[name]:.2f}" for name in names)) for model, row in criteria.items()])
    rows = [
        ("labelers agree", percent(summary["agreement"])),
        ("reward model against gold", percent(summary["reward_model"]["accuracy_gold"])),
    ]
    rows += [
        (f"reward model: {key.replace('_', ' ')}", f"{value:.0%}")
        for key, value in summary["reward_model"].items()
        if key != "accuracy_gold"
    ]
    rows += [(f"KL to SFT: {key}", f"{value:.1f} nats") for key, value in summary["kl"].items()]
    rows += [(f"alignment tax: {key}", f"{value:+.1%}") for key, value in summary["alignment_tax"].items()]
    rows += [(f"makes things up: {key}", percent(value)) for key, value in summary["hallucination"].items()]
    table("what it cost, and what it knows", ["figure", "value"], rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command: exit code 0 for success, 1 for work that failed, 2 for bad usage, 130 for Ctrl-C.

    Args:
        arguments: what stands after `accord`; the process's own when None.
    """
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        app(arguments, print_error=False, exit_on_error=False)
    except AccordError as error:
        _fail(str(error), error.exit_code)
    except cyclopts.CycloptsError as error:
        _fail(f"{' '.join(str(error).split())} (accord --help, or accord COMMAND --help)", UsageError.exit_code)
    except OSError as error:
        _fail(f"{error.filename or 'input or output'}: {error.strerror or error}", AccordError.exit_code)
    except KeyboardInterrupt:
        _fail("stopped; a training command goes on from its last checkpoint with --resume", 130)


def _fail(message: str, code: int) -> NoReturn:
    print(f"accord: {message}", file=sys.stderr)
    sys.exit(code)
