"""Comparisons, thumbs and scores under the names that tools give them, with the whole conversation before the answer."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from accord import Project, import_
from accord.commands.data.export import export
from accord.data.importers import Imported, read
from accord.errors import InputError
from accord.feedback.export import values
from accord.feedback.store import Store
from accord.records import Thumb

HELLO = [{"role": "user", "content": "Name a fish."}]
EARLIER = [*HELLO, {"role": "assistant", "content": "Trout."}, {"role": "user", "content": "And a bird?"}]


def answer(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def wrote(folder: Path, *rows: Any, name: str = "rows.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def talk(found: Imported) -> list[str]:
    return [f"{message.role[0]}:{message.content}" for message in found.prompts[0].messages]


def order(found: Imported) -> list[str]:
    (ranking,) = found.rankings
    texts = {response.id: response.text for response in found.responses}
    ids = [id for _, id in sorted(zip(ranking.ranks, ranking.response_ids, strict=True))]
    return [texts[id] for id in ids]


ASKED = ["u:Name a fish."]
WHOLE = ["u:Name a fish.", "a:Trout.", "u:And a bird?"]
PAIRS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "openai": (
        {
            "input": {"messages": HELLO, "tools": [], "parallel_tool_calls": True},
            "preferred_output": answer("Owl."),
            "non_preferred_output": answer("Cow."),
        },
        ASKED,
    ),
    "openai with a system turn": (
        {
            "input": {"messages": [{"role": "system", "content": "Be kind."}, *HELLO]},
            "preferred_output": answer("Owl."),
            "non_preferred_output": answer("Cow."),
        },
        ["s:Be kind.", *ASKED],
    ),
    "a system column": ({"system": "Be kind.", "prompt": "Name a fish.", "chosen": "Owl.", "rejected": "Cow."}, ["s:Be kind.", *ASKED]),
    "a history column": (
        {"history": [["Name a fish.", "Trout."]], "question": "And a bird?", "chosen": "Owl.", "rejected": "Cow."},
        WHOLE,
    ),
    "whole conversations and the last question": (
        {"prompt": "And a bird?", "chosen": [*EARLIER, *answer("Owl.")], "rejected": [*EARLIER, *answer("Cow.")]},
        WHOLE,
    ),
    "answers of several turns": (
        {"prompt": HELLO, "chosen": [*EARLIER[1:], *answer("Owl.")], "rejected": [*EARLIER[1:], *answer("Cow.")]},
        WHOLE,
    ),
    "the marks of hh-rlhf in the prompt": (
        {
            "prompt": "\n\nHuman: Name a fish.\n\nAssistant: Trout.\n\nHuman: And a bird?\n\nAssistant:",
            "response": "Owl.",
            "chosen": "Owl.",
            "rejected": "Cow.",
        },
        WHOLE,
    ),
    "messages for fine-tuning beside the prompt": (
        {
            "prompt": "Name a fish.",
            "chosen": [*HELLO, *answer("Owl.")],
            "rejected": [*HELLO, *answer("Cow.")],
            "messages": [*HELLO, *answer("Owl.")],
        },
        ASKED,
    ),
    "messages as the prompt": ({"messages": HELLO, "chosen": answer("Owl.")[0], "rejected": answer("Cow.")[0]}, ASKED),
    "sharegpt": (
        {
            "conversations": [{"from": "human", "value": "Name a fish."}],
            "chosen": {"from": "gpt", "value": "Owl."},
            "rejected": {"from": "gpt", "value": "Cow."},
        },
        ASKED,
    ),
    "alpaca": ({"instruction": "Name a fish.", "input": "", "chosen": "Owl.", "rejected": "Cow."}, ASKED),
    "roles in capitals": (
        {
            "chosen": [{"role": "Human", "content": "Name a fish."}, {"role": "Assistant", "content": "Owl."}],
            "rejected": [*HELLO, *answer("Cow.")],
        },
        ASKED,
    ),
    "turns as JSON text": (
        {"prompt": json.dumps(HELLO), "chosen": json.dumps(answer("Owl.")), "rejected": json.dumps(answer("Cow."))},
        ASKED,
    ),
    "other names": ({"query": "Name a fish.", "response": "Owl.", "rejected_response": "Cow."}, ASKED),
    "in turbo-alignment": (
        {"context": HELLO, "answer_winning": {"role": "bot", "content": "Owl."}, "answer_losing": {"role": "bot", "content": "Cow."}},
        ASKED,
    ),
}


@pytest.mark.parametrize(("row", "asked"), PAIRS.values(), ids=PAIRS)
def test_the_better_answer_is_ranked_above_the_worse_after_the_whole_conversation(
    tmp_path: Path, row: dict[str, Any], asked: list[str]
) -> None:
    found = read(wrote(tmp_path, row))
    assert (talk(found), order(found)) == (asked, ["Owl.", "Cow."])
    assert not found.demonstrations
    assert not set(found.metrics.get("unread", {})) - {"input.parallel_tool_calls"}


def test_scores_models_and_tools_of_a_pair_stay_with_the_prompt(tmp_path: Path) -> None:
    row = {"prompt": "Name a fish.", "chosen": "Owl.", "rejected": "Cow.", "score_chosen": 8.0, "score_rejected": 3.0}
    found = read(wrote(tmp_path, row | {"chosen_model": "a", "rejected_model": "b"}))
    assert found.prompts[0].extra == {"score_chosen": 8.0, "score_rejected": 3.0}
    assert [response.model for response in found.responses] == ["a", "b"]
    tools = [{"type": "function", "function": {"name": "f"}}]
    openai = {"input": {"messages": HELLO, "tools": tools}, "preferred_output": answer("Owl."), "non_preferred_output": answer("Cow.")}
    assert read(wrote(tmp_path, openai)).prompts[0].extra == {"tools": tools}


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "a pair that answers another prompt": (
        {"prompt": "Who?", "chosen": [*HELLO, *answer("a")], "rejected": [*HELLO, *answer("b")]},
        "answers another prompt",
    ),
    "a pair without a prompt": ({"preferred_output": answer("a"), "non_preferred_output": answer("b")}, 'field "prompt": missing'),
    "another system turn": (
        {"system": "Be rude.", "messages": [{"role": "system", "content": "Be kind."}, *HELLO, *answer("a")]},
        "another system turn",
    ),
    "a history that is none": ({"history": "long ago", "instruction": "Go on.", "output": "No."}, "earlier rounds are pairs"),
    "fewer scores than answers": ({"prompt": "Hi", "responses": ["a", "b"], "scores": [1]}, "2 answers but 1 scores"),
    "a score that is none": ({"prompt": "Hi", "responses": ["a", "b"], "scores": [1, "good"]}, r"scores\.1\": not a number"),
}


@pytest.mark.parametrize(("row", "message"), BROKEN.values(), ids=BROKEN)
def test_what_contradicts_itself_is_refused(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(wrote(tmp_path, row))


@pytest.mark.parametrize(
    ("row", "asked"),
    [
        (
            {"instruction": "And a bird?", "input": "", "output": "Owl.", "system": "Be kind.", "history": [["Name a fish.", "Trout."]]},
            ["s:Be kind.", *WHOLE],
        ),
        ({"system": [{"text": "Be kind."}], "messages": [*HELLO, *answer("Owl.")]}, ["s:Be kind.", *ASKED]),
        ({"prompt": "And a bird?", "response": "Owl.", "history": [*HELLO, *answer("Trout.")]}, WHOLE),
        ({"prompt": "And a bird?", "response": "Owl.", "history": ["Name a fish.", "Trout."]}, WHOLE),
        ({"prompt": "And a bird?", "response": "Owl.", "history": '[["Name a fish.", "Trout."]]'}, WHOLE),
    ],
)
def test_what_was_said_before_a_demonstration_is_kept(tmp_path: Path, row: dict[str, Any], asked: list[str]) -> None:
    found = read(wrote(tmp_path, row))
    assert (talk(found), found.demonstrations[0].text) == (asked, "Owl.")
    assert "unread" not in found.metrics


def test_an_answer_that_is_not_to_be_learned_is_dropped(tmp_path: Path) -> None:
    def row(weight: Any, name: str = "weight") -> dict[str, Any]:
        return {"messages": [*HELLO, answer("No.")[0] | {name: 0}, EARLIER[-1], answer("Owl.")[0] | {name: weight}]}

    found = read(wrote(tmp_path, row(0), row(1), row(False, "train")))
    assert found.metrics["dropped"] == {"answer of weight 0, which is not to be learned": 2}
    assert [d.text for d in found.demonstrations] == ["Owl."]


@pytest.mark.parametrize("word", ["thumbs_up", "true", 1, "like", "👍", "赞", "desirable", "+1"])
def test_a_thumb_in_many_words(tmp_path: Path, word: Any) -> None:
    row = {"prompt": "Hi", "response": "Hello", "feedback": word, "labeler": "ann"}
    (thumb,) = (record for record in read(wrote(tmp_path, row)).others if isinstance(record, Thumb))
    assert (thumb.up, thumb.labeler) == (True, "ann")


def test_a_score_is_no_thumb_and_a_text_is_none(tmp_path: Path) -> None:
    for value in (5, 0.7, "It is too long."):
        with pytest.raises(InputError, match="does not read feedback"):
            read(wrote(tmp_path, {"prompt": "Hi", "response": "Hello", "feedback": value}))


def test_scores_order_the_answers_and_equal_ones_order_nothing(tmp_path: Path) -> None:
    many = {"prompt": "Count.", "completions": [str(n) for n in range(11)], "rewards": list(range(11))}
    found = read(wrote(tmp_path, many))
    assert order(found) == [str(n) for n in range(10, 1, -1)]
    assert found.metrics["left_out"] == {"answer beyond the nine best": 2}
    flat = read(wrote(tmp_path, {"prompt": "Hi", "responses": ["a", "b"], "scores": [1, 1]}))
    assert (len(flat.responses), flat.rankings) == (2, [])
    assert flat.metrics["left_out"] == {"equal scores, which order nothing": 1}


def test_ranks_that_a_data_frame_wrote(tmp_path: Path) -> None:
    assert read(wrote(tmp_path, {"prompt": "Hi", "responses": ["a", "b"], "ranks": [2.0, 1.0]})).rankings[0].ranks == (2, 1)
    with pytest.raises(InputError, match="ranks are whole numbers"):
        read(wrote(tmp_path, {"prompt": "Hi", "responses": ["a", "b"], "ranks": [1.5, 1.0]}))


def test_labels_of_steps_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not read completions, labels"):
        read(wrote(tmp_path, {"prompt": "2 + 3 * 2?", "completions": ["3 * 2 = 6.", "2 + 6 = 9."], "labels": [True, False]}))


def test_a_tab_separated_file_without_quoting(tmp_path: Path) -> None:
    path = tmp_path / "q.tsv"
    path.write_text('prompt\tresponse\nSay hi twice.\t"Hi" and "hi"\nSay "no".\t"No."\nAn inch?\t2.54 cm is 1"\n')
    assert [d.text for d in read(path).demonstrations] == ['"Hi" and "hi"', '"No."', '2.54 cm is 1"']
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter="\t").writerows([["prompt", "response"], ["Say\ttab.", 'a "b"\nc'], ["x", "y"]])
    assert [d.text for d in read(path).demonstrations] == ['a "b"\nc', "y"]
    path.write_text('"prompt"\t"response"\n"Hi"\t"Hello"\n')
    assert [d.text for d in read(path).demonstrations] == ["Hello"]


def test_our_own_thumbs_and_comparisons_come_back_as_they_were(tmp_path: Path) -> None:
    first, second = (Project.create(tmp_path / name) for name in ("p", "q"))
    rows = [{"prompt": "Hi", "completion": text, "label": up, "labeler": "ann"} for text, up in (("Hello", True), ("Go", False))]
    import_(first, wrote(tmp_path, *rows), quiet=True)
    export(first, what="thumbs", out=tmp_path / "out.jsonl")
    assert import_(second, tmp_path / "out.jsonl", quiet=True)["thumbs"] == 2
    with Store.open(first.store_url) as store, Store.open(second.store_url) as other:
        assert list(values(other, "thumbs")) == list(values(store, "thumbs"))
    export(first, what="thumbs", format="trl-kto", out=tmp_path / "out.csv")
    found = read(tmp_path / "out.csv")
    assert sorted((r.prompt.messages[0].content, r.response.text, r.up) for r in found.others if isinstance(r, Thumb)) == [
        ("Hi", "Go", False),
        ("Hi", "Hello", True),
    ]
    third = Project.create(tmp_path / "r")
    import_(third, wrote(tmp_path, {"prompt": "Hi", "responses": ["a", "b", "c"], "ranks": [1, 1, 2]}), quiet=True)
    export(third, what="comparisons", out=tmp_path / "pairs.jsonl")
    assert sorted(ranking.ranks for ranking in read(tmp_path / "pairs.jsonl").rankings) == [(1, 1), (1, 2), (1, 2)]
