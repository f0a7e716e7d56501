"""The frame of the claims: finished demos in, rows {claim, source, theirs, ours, low, high, seeds, verdict} out.

Each script states a claim of a paper, measures it on every project that it is given (one seed each), and says whether it holds here.
A row's interval is Student's t over seeds: it speaks of training again with another seed, not of these very models, and is wide with
three of them. A verdict rests on the interval: "holds" and "fails" when it lies on one side of the claim's limit, else "undecided".
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal

from scipy.stats import t as student

from accord import AccordError, Project
from accord.runtime.files import write_atomic

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "claims.json"
PAGE = Path(__file__).parents[2] / "docs" / "claims.md"
SHARED = ("frame", "rewarders", "small")
"""Files of this folder that are no claim."""
OUYANG = "Ouyang et al. 2022"
Verdict = Literal["holds", "fails", "undecided"]
Rule = Callable[[float, float], Verdict]


@dataclass(frozen=True)
class Row:
    """One claim and what came of it here."""

    claim: str
    source: str
    theirs: float | str | None
    ours: float
    low: float
    high: float
    seeds: int
    verdict: Verdict
    script: str
    by_seed: list[float]
    note: str = ""


def above(limit: float) -> Rule:
    """The claim is that a figure is larger than ``limit``."""
    return lambda low, high: "holds" if low > limit else "fails" if high < limit else "undecided"


def below(limit: float) -> Rule:
    """The claim is that a figure is smaller than ``limit``."""
    return lambda low, high: "holds" if high < limit else "fails" if low > limit else "undecided"


def within(limit: float) -> Rule:
    """The claim is that a difference is no larger than ``limit`` either way."""
    return lambda low, high: "holds" if -limit < low and high < limit else "fails" if low > limit or high < -limit else "undecided"


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and 95% interval over seeds by Student's t; one seed has no interval but everything."""
    mean = fmean(values)
    if len(values) < 2:
        return mean, float("-inf"), float("inf")
    half = float(student.ppf(0.975, len(values) - 1)) * stdev(values) / len(values) ** 0.5
    return mean, mean - half, mean + half


def preferred(win_rate: Mapping[str, Sequence[float]], first: str, second: str) -> float:
    """How often the first is preferred to the second, by what `accord compare` found, whichever of the two it named first."""
    straight = win_rate.get(f"{first}_vs_{second}")
    return straight[0] if straight is not None else 1.0 - win_rate[f"{second}_vs_{first}"][0]


def row(claim: str, values: Sequence[float], rule: Rule, *, source: str, theirs: float | str | None = None, note: str = "") -> Row:
    """A row from one value a seed."""
    mean, low, high = interval(values)
    figures = [round(value, 4) for value in (mean, max(low, -1e9), min(high, 1e9))]
    script = Path(sys.argv[0]).name
    return Row(claim, source, theirs, *figures, len(values), rule(low, high), script, [round(value, 4) for value in values], note)


def projects() -> list[Project]:
    """The finished demos named on the command line."""
    parser = argparse.ArgumentParser(description=(sys.modules["__main__"].__doc__ or "").strip())
    parser.add_argument("projects", nargs="+", type=Path, help="finished demos, one a seed: accord demo --seed 0 --out demo-0 ...")
    return [Project.open(path) for path in parser.parse_args().projects]


def summary(project: Project) -> dict[str, Any]:
    """What the demo measured."""
    path = project.path / "summary.json"
    if not path.is_file():
        raise SystemExit(f"{path}: there is none; finish the demo first (accord demo --out {project.path.name})")
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def save(rows: Sequence[Row]) -> None:
    """Puts a script's rows in the place of its earlier ones, and the page of docs/ after them."""
    script = Path(sys.argv[0]).name
    kept = [each for each in read() if each["script"] != script]
    every = sorted([*kept, *map(asdict, rows)], key=lambda each: str(each["script"]))
    RESULTS.parent.mkdir(exist_ok=True)
    write_atomic(RESULTS, json.dumps(every, indent=1, ensure_ascii=False) + "\n")
    write_atomic(PAGE, page(PAGE.read_text("utf-8"), every))
    for each in rows:
        print(f"{each.verdict:9}  {each.ours:.3f} ({each.low:.3f} to {each.high:.3f}, {each.seeds} seeds)  {each.claim}")


def read() -> list[dict[str, Any]]:
    """All rows that were ever saved."""
    return json.loads(RESULTS.read_text("utf-8")) if RESULTS.is_file() else []


START, END = "<!-- rows -->", "<!-- end of rows -->"


def page(text: str, rows: Sequence[dict[str, Any]]) -> str:
    """docs/claims.md with the rows between its marks."""
    head = "| claim | source | theirs | ours | 95% interval | by seed | verdict | script |\n|---|---|---|---|---|---|---|---|"
    lines = [
        f"| {each['claim']}{' (' + each['note'] + ')' if each['note'] else ''} | {each['source']} | {_figure(each['theirs'])} | "
        f"{_figure(each['ours'])} | {_interval(each)} | {', '.join(map(_figure, each['by_seed']))} | "
        f"**{each['verdict']}** | `{each['script']}` |"
        for each in rows
    ]
    before, after = text.split(START)[0], text.split(END)[1]
    return f"{before}{START}\n{head}\n" + "".join(f"{line}\n" for line in lines) + f"{waiting(rows)}{END}{after}"


def waiting(rows: Sequence[dict[str, Any]]) -> str:
    """Says which scripts have no row in the table."""
    known = {*SHARED, *(Path(str(each["script"])).stem for each in rows)}
    missing = [path.name for path in sorted(Path(__file__).parent.glob("*.py")) if path.stem not in known]
    return f"\nNot run for this table yet: {', '.join(f'`{name}`' for name in missing)}.\n" if missing else ""


def _interval(each: dict[str, Any]) -> str:
    return f"{_figure(each['low'])} to {_figure(each['high'])}" if each["seeds"] > 1 else "none from one seed"


def _figure(value: float | str | None) -> str:
    if value is None:
        return "order only"
    return value if isinstance(value, str) else f"{value:.3f}".replace("-", "\N{MINUS SIGN}")


def run(measure: Callable[[Sequence[Project]], Sequence[Row]]) -> None:
    """Measures on the projects of the command line and saves; what is the user's to mend is said in one line."""
    try:
        save(measure(projects()))
    except AccordError as error:
        raise SystemExit(f"{Path(sys.argv[0]).name}: {error}") from error
