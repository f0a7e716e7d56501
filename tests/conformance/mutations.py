"""Which small change of the learning core would no test notice? Changes one expression of a copy at a time and runs its tests.

    python tests/conformance/mutations.py                     60 mutants, drawn with seed 0
    python tests/conformance/mutations.py 20 --seed 1 ppo kto    20 mutants of these files, drawn with seed 1

Mutants that no test noticed are printed at the end. Each is either a missing test or a change that changes nothing;
docs/conformance.md tells which. Tests that fail on the source as it is prove nothing: such a file of tests ends the run.
"""

from __future__ import annotations

import argparse
import ast
import copy
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from breaks import ROOT, copied, import_for_forks, processor, run

ALGORITHMS, CONFORMANCE = "tests/algorithms/test_", "tests/conformance/test_"
TESTS = {
    "algorithms/objectives.py": (f"{ALGORITHMS}objectives.py", f"{ALGORITHMS}preference_objectives.py", f"{CONFORMANCE}masks.py", f"{ALGORITHMS}padded_reference.py"),
    "algorithms/groupwise_objectives.py": (f"{ALGORITHMS}groupwise_objectives.py", f"{ALGORITHMS}grpo.py"),
    "algorithms/rollouts.py": (f"{ALGORITHMS}rollouts.py", f"{CONFORMANCE}masks.py", f"{CONFORMANCE}logprobs.py", f"{CONFORMANCE}rewards.py", f"{ALGORITHMS}padded_reference.py"),
    "algorithms/ppo.py": (f"{ALGORITHMS}padded_reference.py", f"{ALGORITHMS}ppo.py", f"{CONFORMANCE}rewards.py"),
    "algorithms/grpo.py": (f"{ALGORITHMS}grpo.py", f"{ALGORITHMS}groupwise_objectives.py", f"{ALGORITHMS}mixed_rewards.py"),
    "algorithms/dpo.py": (f"{ALGORITHMS}preferring.py", f"{ALGORITHMS}preference_objectives.py"),
    "algorithms/reward.py": (f"{ALGORITHMS}reward_pairs.py", f"{ALGORITHMS}padded_reference.py", f"{CONFORMANCE}rewards.py"),
    "algorithms/sft.py": (f"{CONFORMANCE}masks.py", f"{CONFORMANCE}rewards.py"),
    "algorithms/kto.py": (f"{ALGORITHMS}preferring.py", f"{ALGORITHMS}preference_objectives.py"),
    "algorithms/optim.py": (f"{ALGORITHMS}optim.py", f"{ALGORITHMS}padded_reference.py"),
    "models/policy.py": ("tests/models/test_forward.py",),
    "models/scalar.py": ("tests/models/test_forward.py", f"{CONFORMANCE}masks.py", f"{CONFORMANCE}rewards.py"),
    "models/packing.py": ("tests/models/test_forward.py", f"{CONFORMANCE}masks.py"),
    "models/elementwise.py": ("tests/models/test_forward.py",),
    "models/low_rank.py": ("tests/models/test_shared.py",),
    "models/cascade.py": ("tests/models/test_shared.py",),
    "models/attention.py": ("tests/models/test_forward.py", "tests/models/test_architectures.py"),
    "models/responses.py": (f"{ALGORITHMS}preferring.py",),
    "engine/local.py": ("tests/engine/test_local.py", "tests/engine/test_sampling.py"),
    "engine/cache.py": ("tests/engine/test_local.py",),
    "engine/sampling.py": ("tests/engine/test_sampling.py",),
    "data/token_rows.py": (f"{ALGORITHMS}token_rows.py", f"{CONFORMANCE}masks.py"),
}  # fmt: skip
"""The tests that have to notice, of each file: those that hold it, the quickest first. What a stopped run finds again is T40's, which
takes too long for every mutant: such a mutant is printed as one that nothing noticed."""
SECONDS = 150
"""A mutant that takes longer, such as a loop without an end, counts as noticed."""
SWAPPED: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.And: ast.Or, ast.Or: ast.And,
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
}  # fmt: skip
DROPPED = {"detach", "clamp", "masked_fill", "abs", "float", "clone"}
"""Methods whose call is left out."""
OTHER_NAME = {"min": "max", "max": "min", "minimum": "maximum", "maximum": "minimum", "zeros_like": "ones_like", "any": "all", "all": "any"}
IN_ANY_ORDER = {"zip", "isinstance", "getattr", "cast", "enumerate", "equal", "maximum", "minimum", "max", "min", "Sequence"}
"""Functions whose first two arguments are not swapped: nothing would change, or everything would fall over."""


@dataclass(frozen=True)
class Mutant:
    """One expression of a file, written otherwise."""

    file: str
    line: int
    start: int
    stop: int
    old: str
    new: str
    kind: str

    def of(self, text: str) -> str:
        """Return the file's text with this change."""
        data = text.encode()
        return (data[: self.start] + self.new.encode() + data[self.stop :]).decode()


def mutants(file: str) -> list[Mutant]:
    """Return every mutant of a file, in the order of its text."""
    text = (ROOT / "src" / "accord" / file).read_text("utf-8")
    begins = [0]
    for row in text.encode().splitlines(keepends=True):
        begins.append(begins[-1] + len(row))
    found = list[Mutant]()
    for node in computed(ast.parse(text)):
        start = begins[node.lineno - 1] + node.col_offset
        stop = begins[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)
        old = text.encode()[start:stop].decode()
        for kind, other in changed(node):
            new = ast.unparse(ast.fix_missing_locations(other))
            new = new if isinstance(other, ast.Subscript | ast.Call | ast.Constant | ast.Name) else f"({new})"
            found.append(Mutant(file, node.lineno, start, stop, old, new, kind))
    return sorted(found, key=lambda mutant: mutant.start)


def computed(tree: ast.AST) -> Iterator[ast.expr]:
    """Yield the expressions that compute something: no annotations, decorators, docstrings, texts or errors."""
    for name, value in ast.iter_fields(tree):
        if name in ("annotation", "returns", "decorator_list", "type_params", "bases"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or isinstance(child, ast.Raise | ast.JoinedStr | ast.Import | ast.ImportFrom):
                continue
            if isinstance(child, ast.expr):
                yield child
            yield from computed(child)


def changed(node: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    """Yield what an expression could have been by mistake, with a name for the kind of mistake."""
    other = copy.deepcopy(node)
    match other:
        case ast.BinOp() if type(other.op) in SWAPPED:
            other.op = SWAPPED[type(other.op)]()  # pyright: ignore[reportAttributeAccessIssue]
            yield "operator", other
        case ast.BoolOp():
            other.op = SWAPPED[type(other.op)]()  # pyright: ignore[reportAttributeAccessIssue]
            yield "and, or", other
        case ast.Compare(ops=[op]) if type(op) in SWAPPED:
            other.ops = [SWAPPED[type(op)]()]  # pyright: ignore[reportAttributeAccessIssue]
            yield "comparison", other
        case ast.UnaryOp(op=ast.USub() | ast.Not() | ast.Invert()):
            yield "sign", other.operand
        case ast.Subscript(slice=ast.Slice() as part):
            yield from moved(other, part)
        case ast.Constant() if type(other.value) in (int, float):
            number: Any = other.value
            yield "constant", ast.Constant(2 * number or 1)
        case ast.Call(func=ast.Attribute(attr=name)) if name in DROPPED:
            yield f"no {name}", other.func.value  # pyright: ignore[reportAttributeAccessIssue]
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
            yield from called(other, name)
        case _:
            pass


def moved(other: ast.Subscript, part: ast.Slice) -> Iterator[tuple[str, ast.expr]]:
    """Yield the slice from one place later, or up to one place earlier."""
    for end, step in (("lower", 1), ("upper", -1)):
        bound: ast.expr | None = getattr(part, end)
        if bound is not None:
            shifted = copy.deepcopy(other)
            setattr(shifted.slice, end, ast.BinOp(bound, ast.Add() if step > 0 else ast.Sub(), ast.Constant(1)))
            yield "slice", shifted


def called(other: ast.Call, name: str) -> Iterator[tuple[str, ast.expr]]:
    """Yield the call with its first two arguments swapped, or of the opposite function."""
    if len(other.args) > 1 and name not in IN_ANY_ORDER:
        swapped = copy.deepcopy(other)
        swapped.args[:2] = reversed(swapped.args[:2])
        if ast.dump(swapped) != ast.dump(other):
            yield "arguments", swapped
    if name in OTHER_NAME:
        if isinstance(other.func, ast.Name):
            other.func.id = OTHER_NAME[name]
        elif isinstance(other.func, ast.Attribute):
            other.func.attr = OTHER_NAME[name]
        yield "opposite", other


def drawn(count: int, seed: int, wanted: Sequence[str]) -> list[Mutant]:
    """Return mutants drawn at random, of all files or of those whose path holds one of the words."""
    files = [file for file in TESTS if not wanted or any(word in file for word in wanted)]
    every = [mutant for file in files for mutant in mutants(file)]
    chosen = random.Random(seed).sample(every, min(count, len(every)))
    return sorted(chosen, key=lambda mutant: (list(TESTS).index(mutant.file), mutant.start))


def survives(mutant: Mutant, folder: Path) -> bool:
    """Whether every test of the mutant's file passes."""
    file = folder / "src" / "accord" / mutant.file
    text = file.read_text("utf-8")
    file.write_text(mutant.of(text), "utf-8")
    try:
        return run(folder, TESTS[mutant.file], seconds=SECONDS) == 0
    finally:
        file.write_text(text, "utf-8")


def main(count: int, seed: int, wanted: Sequence[str]) -> int:
    import_for_forks()
    alive, tried, whole = list[Mutant](), Counter[str](), set[str]()
    with tempfile.TemporaryDirectory() as name:
        folder = copied(Path(name))
        for mutant in drawn(count, seed, wanted):
            if mutant.file not in whole and run(folder, TESTS[mutant.file]) != 0:
                raise SystemExit(f"{mutant.file}: its tests fail on the source as it is: {' '.join(TESTS[mutant.file])}")
            whole.add(mutant.file)
            lives = survives(mutant, folder)
            tried[mutant.kind] += 1
            alive += [mutant] if lives else []
            shown = f"{mutant.file}:{mutant.line} {mutant.kind}: {mutant.old} -> {mutant.new}"
            print("SURVIVED" if lives else "noticed ", " ".join(shown.split()), flush=True)
    total = sum(tried.values())
    print(f"{total - len(alive)} of {total} mutants noticed ({dict(tried)}), seed {seed}, on {processor()}")
    return int(bool(alive))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int, nargs="?", default=60)
    parser.add_argument("files", nargs="*")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    sys.exit(main(asked.count, asked.seed, asked.files))
