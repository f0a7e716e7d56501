"""What came in: which prompts stay, what is personal, who is forgotten, dialogues out of raw text, what a set is like."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, cast

from cyclopts import Parameter

from accord.cli.app import AsJson, Flat, ProjectPath, app, say
from accord.errors import UsageError
from accord.settings import InspectConfig, PromptsConfig

Why = Annotated[str, Parameter(help="The reason, for the audit.")]
KindOfData = Literal["secret", "email", "id", "card", "ip", "phone", "address", "name"]


@app.command
def prompts(
    project: ProjectPath,
    *,
    against: Annotated[tuple[Path, ...], Parameter(help="Evaluation sets that no prompt may come from.", negative="")] = (),
    dry_run: Annotated[bool, Parameter(help="Count, and change nothing.", negative="")] = False,
    json: AsJson = False,
    config: Annotated[PromptsConfig, Flat] = PromptsConfig(),
) -> None:
    """Leaves out duplicates, what is too long or too short, users' surplus and what stands in evaluation sets; tags the rest.

    Example: accord prompts my-project --against gsm8k/test.jsonl --per-user 200
    """
    from accord.runtime.project import Project
    from accord.stages.curating import prompts_stage

    _say("prompts", prompts_stage(Project.open(project), config, against=against, dry_run=dry_run), json)


@app.command
def provenance(
    project: ProjectPath,
    *,
    source: Annotated[str, Parameter(help="Of prompts from here alone, e.g. a file's name.")] = "",
    user: Annotated[str, Parameter(help="Of this user's prompts alone.")] = "",
    kind: Annotated[Literal["plain", "few-shot", "user-based"] | None, Parameter(help="Which of the kinds that labelers write.")] = None,
    consent: Annotated[Literal["unknown", "given", "refused", "public"] | None, Parameter(help="Whether they may be used.")] = None,
    terms: Annotated[str, Parameter(help="The licence, or the version of the text that was agreed to.")] = "",
    why: Why = "",
    json: AsJson = False,
) -> None:
    """Counts prompts by origin, kind, language, use case and consent; with --kind or --consent sets those of a source or a user.

    Example: accord provenance my-project --source prompts.jsonl --consent public --terms "CC BY 4.0"
    """
    from accord.runtime.project import Project
    from accord.stages.curating import mark_stage

    opened = Project.open(project)
    _say("provenance", mark_stage(opened, source=source, user=user, kind=kind, consent=consent, terms=terms, why=why), json)


@app.command
def redact(
    path: Annotated[Path, Parameter(help="A project, or a file of rows or text.")],
    *,
    mode: Annotated[
        Literal["review", "replace", "drop"], Parameter(help="Only report, put [EMAIL_1] in its place, or leave the row out.")
    ] = "review",
    kinds: Annotated[tuple[KindOfData, ...], Parameter(help="What to look for; everything when not given.", negative="")] = (),
    out: Annotated[
        Path | None, Parameter(help="The file without personal data; with --mode review the findings, a JSON line each.")
    ] = None,
    why: Why = "",
    json: AsJson = False,
) -> None:
    """Finds names, addresses, numbers and keys in a project or a file, in English and Chinese, and takes them out.

    Example: accord redact prompts.jsonl --mode replace --out clean.jsonl
    """
    from accord.data.patterns import KINDS
    from accord.runtime.project import FILE, Project
    from accord.stages.redacting import redact_file, redact_project

    if (path / FILE).is_file():
        figures = redact_project(Project.open(path), mode, kinds or KINDS, out=out, why=why)
    else:
        figures = redact_file(path, mode, kinds or KINDS, out=out)
    _say(f"personal data in {path.name}", figures, json)


@app.command
def forget(
    project: ProjectPath,
    *,
    user: Annotated[str, Parameter(help="Who, as the prompts name them, or as the chat does.")],
    keep_copies: Annotated[bool, Parameter(help="Leave the rows in runs as they are.", negative="")] = False,
    why: Why = "",
    json: AsJson = False,
) -> None:
    """Empties what a person asked and said, and says which models learned from it. There is no way back.

    Example: accord forget my-project --user user-042 --why "asked for it"
    """
    from accord.runtime.project import Project
    from accord.stages.redacting import forget_stage

    figures = forget_stage(Project.open(project), user, why=why, keep_copies=keep_copies)
    _say("forgotten", figures, json)
    if figures["models"] and not json:
        print("The weights of these models keep what they learned: train them anew from what is left, or remove them.")


@app.command
def dialogues(
    files: Annotated[list[Path], Parameter(help="Raw text, plain, .gz or .zst.")],
    *,
    out: Annotated[Path, Parameter(help="File of rows to write.")] = Path("dialogues.jsonl"),
    least: Annotated[int, Parameter(help="The fewest paragraphs of a dialogue.")] = 6,
    json: AsJson = False,
) -> None:
    """Takes conversations of two out of raw text, by Gopher's rule, into rows that `accord import` reads as demonstrations.

    Example: accord dialogues books/*.txt.gz --out dialogues.jsonl
    """
    from accord.stages.curating import dialogues_stage

    if not files:
        raise UsageError("no files are given", where="dialogues", hint="accord dialogues raw.txt")
    _say("dialogues", dialogues_stage(files, out=out, least=least, quiet=json), json)


@app.command
def inspect(
    project: ProjectPath,
    *,
    name: Annotated[str, Parameter(help="Name of the run that keeps the figures; the next inspect-NNN when not given.")] = "",
    json: AsJson = False,
    config: Annotated[InspectConfig, Flat] = InspectConfig(),
) -> None:
    """Shows what prompts, demonstrations and responses are like, and which records look wrong.

    Example: accord inspect my-project --json
    """
    from accord.runtime.project import Project
    from accord.stages.curating import inspect_stage

    figures = inspect_stage(Project.open(project), config, name=name)
    if json:
        say("inspect", figures, True)
        return
    _profiles({kind: figures.pop(kind) for kind in ("prompts", "demonstrations", "responses")})
    _say("what looks wrong", figures, False)


def _profiles(profiles: dict[str, dict[str, Any]]) -> None:
    """A column a kind of text."""
    from accord.runtime.progress import table

    held = {kind: dict(_flat(profile)) for kind, profile in profiles.items() if profile["texts"]}
    wanted = ("texts", "words: p5", "words: p50", "words: p95", "words: mean", "exact duplicates", "near duplicates")
    figures = dict.fromkeys((*wanted, "toxic", "refusals", "personal", "empty"), 0)
    languages = {key: 0 for profile in held.values() for key, share in profile.items() if key.startswith("languages") and share >= 0.01}
    rows = [(key, *(str(profile.get(key, 0)) for profile in held.values())) for key in (*figures, *languages)]
    table("what the project holds (shares of the texts)", ["figure", *held], rows)


def _say(title: str, figures: dict[str, Any], as_json: bool) -> None:
    """Nested counts as rows of one table: ``dropped: near duplicate``."""
    say(title, figures if as_json else dict(_flat(figures)), as_json)


def _flat(figures: dict[str, Any], before: str = "") -> list[tuple[str, Any]]:
    flat: list[tuple[str, Any]] = []
    for key, value in figures.items():
        if isinstance(value, dict):
            flat += _flat(cast("dict[str, Any]", value), f"{before}{key}: ")
        elif isinstance(value, list):
            items = cast("list[object]", value)
            flat.append((f"{before}{key}", ", ".join(map(str, items)) if all(isinstance(item, str) for item in items) else len(items)))
        else:
            flat.append((f"{before}{key.replace('_', ' ')}", value))
    return flat
