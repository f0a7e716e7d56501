"""Records that hang together, drawn by hypothesis, for what goes out of a project and comes in again."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from accord.records import Demonstration, Guideline, Labeler, Message, Prompt, Ranking, Rating, Response

words = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), min_size=1, max_size=12).filter(
    lambda text: text == text.strip() and "Human:" not in text
)
talks = st.tuples(words, st.lists(st.tuples(words, words), max_size=2)).map(
    lambda t: (*(m for a, b in t[1] for m in (Message("user", a), Message("assistant", b))), Message("user", t[0]))
)


@st.composite
def stores(draw: st.DrawFn) -> dict[str, Any]:
    """Records of every kind that hang together."""
    talk = draw(st.lists(talks, min_size=1, max_size=3, unique=True))
    prompts = [Prompt(f"p{n}", t, user=draw(words), split=draw(st.sampled_from(["train", "test"]))) for n, t in enumerate(talk)]
    people = [Labeler("ann", "person", "g"), Labeler("sim", "simulated", "h")]
    said = [[Response(f"r{p.id}{n}", p.id, f"{draw(words)}{n}", draw(words), (1, 2) * n) for n in range(3)] for p in prompts]
    ranks = [(1, *draw(st.permutations([1, 2, 3]))[:2]) for _ in prompts]
    rated = [(Rating(r[0].id, 5, ("hallucination",)),) for r in said]
    given = [
        Ranking(f"k{n}", p.id, "sim", tuple(a.id for a in said[n]), ranks[n], Guideline("evaluation", "v2"), "2026-01-01", rated[n])
        for n, p in enumerate(prompts)
    ]
    written = [Demonstration(f"d{p.id}", p, draw(words), "ann") for p in prompts]
    return {
        "labelers": people,
        "prompts": prompts,
        "demonstrations": written,
        "responses": [r for rs in said for r in rs],
        "rankings": given,
    }
