"""One prompt is one prompt: what comes in again finds its prompt, its split, and its responses with their tokens."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import accord
from accord.commands.data.import_ import import_
from accord.commands.data.undo import undo
from accord.data.importers import read
from accord.errors import InputError
from accord.feedback.leaks import leaks
from accord.feedback.store import Store
from accord.records import Labeler, Message, Prompt, Response, split_of
from accord.runtime.project import Project

ASKED = {f"What is {n} and {n}?": f"user-{n}" for n in range(20)}
CUT = "The answer is, as everybody knows,"


@pytest.fixture
def project(tmp_path: Path, url: str) -> Project:
    return accord.create(tmp_path / "project", settings={"store": {"url": url}})


def lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def responses(prompt: Prompt) -> list[Response]:
    """As `accord sample` stores them: with tokens, all but one cut at the length limit; two of them say the same."""
    texts = [f"{len(prompt.messages)}, I think.", CUT, CUT, f"{prompt.messages[0].content} Well"]
    made = [Response(f"s-{prompt.id}-{n}", prompt.id, text, "sft", (n, n + 1), finished=n == 0) for n, text in enumerate(texts)]
    return sorted(made, key=lambda response: response.id)


def sampled(project: Project, folder: Path) -> list[Prompt]:
    """Prompts of users from a file, in every split, with responses sampled here."""
    import_(project, lines(folder / "prompts.jsonl", [{"prompt": text, "user": user} for text, user in ASKED.items()]), quiet=True)
    with accord.store(project) as store:
        prompts = list(store.prompts())
        for prompt in prompts:
            store.add_responses(responses(prompt))
    assert {prompt.split for prompt in prompts} == {"train", "validation", "test"}
    return prompts


def test_rankings_of_sampled_responses_meet_them(project: Project, tmp_path: Path) -> None:
    """F5: fourteen of fourteen prompts became others, half of them in other splits, and cut responses came back as finished."""
    before = sampled(project, tmp_path)
    rows = [
        {"prompt": prompt.messages[0].content + " ", "responses": [r.text for r in responses(prompt)], "ranks": [1, 2, 3, 4]}
        for prompt in before
    ]
    metrics = import_(project, lines(tmp_path / "rankings.jsonl", rows), quiet=True)
    assert (metrics["prompts"], metrics["responses"], metrics["rankings"]) == (0, 0, 20)
    assert metrics["already_there"] == {"prompts": 20, "responses": 80}
    with accord.store(project) as store:
        assert list(store.prompts()) == before
        assert {ranked.prompt.id: list(ranked.responses) for ranked in store.ranked_prompts()} == {p.id: responses(p) for p in before}
        assert {ranked.ranks for ranked in store.ranked_prompts()} == {(1, 2, 3, 4)}
    again = import_(project, lines(tmp_path / "rankings-again.jsonl", rows), quiet=True)
    assert again["already_there"]["rankings"] == 20
    assert sum(again[kind] for kind in ("prompts", "responses", "rankings")) == 0


@pytest.mark.parametrize("form", ["thumb", "pair", "named model", "another model", "demonstration"])
def test_every_kind_of_label_meets_them(project: Project, tmp_path: Path, form: str) -> None:
    prompt = next(prompt for prompt in sampled(project, tmp_path) if prompt.split == "validation")
    (text,) = [message.content for message in prompt.messages]
    one, other = "1, I think.", f"{text} Well"
    rows: dict[str, dict[str, Any]] = {
        "thumb": {"prompt": text, "completion": CUT, "label": True},
        "pair": {"prompt": text, "chosen": one, "rejected": other},
        "named model": {"prompt": text, "responses": [one, other], "ranks": [1, 2], "models": ["sft", "sft"]},
        "another model": {"prompt": text, "responses": [one, other], "ranks": [1, 2], "models": ["sft", "gpt"]},
        "demonstration": {"prompt": text, "response": "Two of them."},
    }
    import_(project, lines(tmp_path / "more.jsonl", [rows[form]]), quiet=True)
    with accord.store(project) as store:
        assert store.counts()["prompts"] == 20
        assert store.counts()["responses"] == 80 + (form == "another model")
        labeled = [*store.thumbs(), *store.demonstrations(), *store.ranked_prompts()]
        assert [record.prompt for record in labeled] == [prompt]


def test_of_users_who_asked_the_same_the_one_with_these_responses_is_meant(project: Project, tmp_path: Path) -> None:
    with accord.store(project) as store:
        for name in ("ann", "ben", "cleo"):
            prompt = Prompt(name, (Message("user", "Hi?"),), user=name)
            store.add(prompts=[prompt], responses=[Response(f"{name}{n}", name, f"{name} {n}", "sft", (n,)) for n in range(2)])
    rows = [{"prompt": "Hi?", "chosen": f"{name} 1", "rejected": f"{name} 0"} for name in ("ben", "cleo", "ann")]
    rows.append({"prompt": "Hi?", "chosen": "Hi.", "rejected": "ben 1"})
    import_(project, lines(tmp_path / "pairs.jsonl", rows), quiet=True)
    with accord.store(project) as store:
        found = [(ranked.prompt.id, [response.text for response in ranked.responses]) for ranked in store.ranked_prompts()]
        assert sorted(found) == [
            ("ann", ["ann 1", "ann 0"]),
            ("ben", ["Hi.", "ben 1"]),
            ("ben", ["ben 1", "ben 0"]),
            ("cleo", ["cleo 1", "cleo 0"]),
        ]
        assert store.counts()["responses"] == 7


def test_system_turns_and_users_tell_prompts_apart_and_names_of_files_do_not(project: Project, tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "Hi\r\nthere?"}]
    first = lines(
        tmp_path / "a.jsonl", [{"messages": turns, "use_case": "chat"}, {"messages": [{"role": "system", "content": "Be brief."}, *turns]}]
    )
    import_(project, first, quiet=True)
    second = lines(tmp_path / "b.jsonl", [{"prompt": " Hi\nthere?", "use_case": "other"}, {"prompt": "Hi there?"}])
    assert import_(project, second, quiet=True)["prompts"] == 1, "white space within a prompt is part of it"
    third = lines(tmp_path / "c.jsonl", [{"prompt": "Hi\nthere?", "user": "ann"}, {"prompt": "Hi\nthere?", "user": "ben"}])
    assert import_(project, third, quiet=True)["prompts"] == 1, "ann is who asked, ben asked once more"
    with accord.store(project) as store:
        found = sorted((prompt.source, prompt.user, len(prompt.messages)) for prompt in store.prompts())
    assert found == [("a.jsonl", "", 2), ("a.jsonl", "ann", 1), ("b.jsonl", "", 1), ("c.jsonl", "ben", 1)]


def test_extra_completes_a_prompt_and_what_contradicts_it_is_counted(project: Project, tmp_path: Path) -> None:
    import_(project, lines(tmp_path / "a.jsonl", [{"prompt": "2+2?", "extra": {"answer": "4"}}]), quiet=True)
    rows = [{"prompt": "2+2?", "extra": {"level": 1}}, {"prompt": "2+2?", "extra": {"answer": "5", "unit": "m"}}]
    metrics = import_(project, lines(tmp_path / "b.jsonl", rows), quiet=True)
    assert (metrics["prompts"], metrics["other_extra"]) == (0, 1)
    with accord.store(project) as store:
        assert [prompt.extra for prompt in store.prompts()] == [{"answer": "4", "level": 1, "unit": "m"}]


def test_a_demonstration_without_a_name_is_the_one_that_is_there(project: Project, tmp_path: Path) -> None:
    prompt = Prompt("p", (Message("user", "2+2?"),))
    with accord.store(project) as store:
        store.add(labelers=[Labeler("ann", "person")], demonstrations=[accord.Demonstration("d", prompt, "Four.", "ann")])
    rows = [
        {"prompt": "2+2?", "response": "Four. "},
        {"prompt": "2+2?", "response": "4", "labeler": "ben"},
        {"prompt": "2+2?", "response": "4"},
    ]
    metrics = import_(project, lines(tmp_path / "a.jsonl", rows), quiet=True)
    assert metrics["demonstrations"] == 1


def test_two_files_of_one_import_share_their_prompts(project: Project, tmp_path: Path) -> None:
    lines(tmp_path / "set" / "a.jsonl", [{"prompt": "Hi?", "chosen": "Hello.", "rejected": "No.", "labeler": "ann"}])
    lines(tmp_path / "set" / "b.jsonl", [{"prompt": "Hi?", "chosen": "Hello.", "rejected": "Go.", "labeler": "ben", "user": "u"}])
    metrics = import_(project, tmp_path / "set", quiet=True)
    assert (metrics["prompts"], metrics["rankings"]) == (1, 2)
    with accord.store(project) as store:
        assert [prompt.user for prompt in store.prompts()] == ["u"]


@pytest.mark.parametrize("by", ["folders", "files", "a column"])
def test_a_publishers_split_is_kept_when_wanted_and_told_when_not(project: Project, tmp_path: Path, by: str) -> None:
    """F5: ten rows of train and ten of test became 15 of train, 1 of validation and 4 of test."""
    for split in ("train", "valid", "test"):
        path = {"folders": f"{split}/part.jsonl", "files": f"{split}-00000-of-00001.jsonl", "a column": f"{split[:2]}.jsonl"}[by]
        rows = [{"prompt": f"{split} {n}?", **({"split": split} if by == "a column" else {})} for n in range(10)]
        lines(tmp_path / "training set" / path, rows)
    told = import_(project, tmp_path / "training set", quiet=True)
    assert told["publisher_splits"] == {"test": 10, "train": 10, "validation": 10}
    other = accord.create(tmp_path / "other")
    import_(other, tmp_path / "training set", split="keep", quiet=True)
    with accord.store(other) as store:
        found = {prompt.messages[0].content: prompt.split for prompt in store.prompts()}
    assert found == {text: {"v": "validation"}.get(text[0], text.split()[0]) for text in found}
    with pytest.raises(InputError, match="names no split to keep"):
        import_(other, lines(tmp_path / "plain.jsonl", [{"prompt": "?"}]), split="keep", quiet=True)
    assert import_(project, tmp_path / "training set", split="test", quiet=True)["other_split"] > 0, (
        "a prompt that is there keeps its split"
    )


def test_contamination_is_told_over_the_whole_store(project: Project, tmp_path: Path) -> None:
    import_(
        project,
        lines(tmp_path / "a.jsonl", [{"prompt": "Hi?", "user": "ann"}, {"prompt": "Yes?", "user": "ann"}]),
        split="train",
        quiet=True,
    )
    metrics = import_(project, lines(tmp_path / "b.jsonl", [{"prompt": "Hi?", "user": "ben"}]), split="test", quiet=True)
    assert metrics["contaminated"] == 1
    with accord.store(project) as store:
        ((leak),) = leaks(store)
        assert leak.splits == ("test", "train")
        assert [prompt.user for id in leak.prompts for prompt in store.prompts() if prompt.id == id] == ["ben", "ann"]


def test_ultrafeedback_binarized_is_imported_with_its_messages(project: Project, tmp_path: Path) -> None:
    """F4: the most used form of preferences has ``messages``, which end with the chosen answer, beside its prompt."""
    asked, chosen, rejected = ({"role": role, "content": text} for role, text in (("user", "2+2?"), ("assistant", "4"), ("assistant", "5")))
    row = {"prompt": "2+2?", "prompt_id": "0f", "chosen": [asked, chosen], "rejected": [asked, rejected], "messages": [asked, chosen]}
    import_(project, lines(tmp_path / "train_prefs.jsonl", [row | {"score_chosen": 8.0, "score_rejected": 3.0}]), quiet=True)
    with accord.store(project) as store:
        ((ranked),) = store.ranked_prompts()
    assert ranked.prompt.messages == (Message("user", "2+2?"),)
    assert (ranked.prompt.extra["score_chosen"], ranked.prompt.extra["score_rejected"]) == (8.0, 3.0)
    assert [response.text for response in ranked.responses] == ["4", "5"]


def test_the_records_of_a_store_keep_their_ids(store: Store) -> None:
    """Records that name their ids are what they are: only imports look for what is there."""
    turns = (Message("user", "Hi?"),)
    store.add_prompts([Prompt("a", turns, user="u"), Prompt("b", turns, user="u")])
    assert [prompt.id for prompt in store.prompts()] == ["a", "b"]


CHOICES = {"question": "What is 2 and 2?", "choices": ["3", "4"], "answer": 1}


def splits(project: Project) -> list[str]:
    with accord.store(project) as store:
        return [prompt.split for prompt in store.prompts()]


def shown_as(folder: Path) -> str:
    """The prompt that a row with choices becomes."""
    return read(lines(folder / "one.jsonl", [CHOICES])).prompts[0].messages[-1].content


def test_a_question_of_an_evaluation_set_leaves_training_and_an_undo_moves_it_back(project: Project, tmp_path: Path) -> None:
    text = shown_as(tmp_path)
    mix = [{"prompt": text, "response": "Four.", "user": "ben"}, {"prompt": text, "response": "4", "user": "ann"}]
    import_(project, lines(tmp_path / "mix.jsonl", mix), split="train", quiet=True)
    measured = [import_(project, lines(tmp_path / name, [CHOICES]), quiet=True) for name in ("mmlu.jsonl", "again.jsonl")]
    assert [one.get("held_out", 0) for one in measured] == [2, 0]
    assert splits(project) == ["test", "test"]
    undo(project, measured[0]["import"])
    assert splits(project) == ["test", "test"], "the second import holds them out too"
    undo(project, measured[1]["import"])
    assert splits(project) == ["train", "train"]


def test_training_rows_beside_the_questions_of_an_evaluation_set(project: Project, tmp_path: Path) -> None:
    """In one source, whichever comes first; and a split that somebody chose is not overruled, but told."""
    text = shown_as(tmp_path)
    lines(tmp_path / "set" / "a.jsonl", [{"prompt": text, "response": "Four.", "user": "u1"}])
    lines(tmp_path / "set" / "b.jsonl", [CHOICES])
    other = accord.create(tmp_path / "other")
    import_(other, tmp_path / "set" / "a.jsonl", split="train", quiet=True)
    assert import_(other, tmp_path / "set" / "b.jsonl", split="test", quiet=True)["other_split"] == 1
    assert splits(other) == ["train"]
    import_(project, tmp_path / "set", quiet=True)
    assert splits(project) == ["test"]


def test_a_prompt_follows_its_user_out_of_training_if_nothing_rests_on_it(project: Project, tmp_path: Path) -> None:
    user = next(f"u{n}" for n in range(100) if split_of(f"u{n}") == "test")
    texts = [text for n in range(100) if split_of(text := f"Say {n}.") == "train"][:2]
    import_(project, lines(tmp_path / "a.jsonl", [{"prompt": texts[0]}]), quiet=True)
    import_(project, lines(tmp_path / "said.jsonl", [{"prompt": texts[1], "response": "No."}]), quiet=True)
    told = import_(project, lines(tmp_path / "b.jsonl", [{"prompt": text, "user": user} for text in texts]), quiet=True)
    assert told["user_in_two_splits"] == 1
    with accord.store(project) as store:
        found = {prompt.messages[0].content: (prompt.user, prompt.split) for prompt in store.prompts()}
    assert found == {texts[0]: (user, "test"), texts[1]: (user, "train")}
    undo(project, told["import"])
    assert splits(project) == ["train", "train"]
