"""`accord explain` on trained models: its sums against the reward model's own scores, its sources against what was planted, and its
gradients against steps that transformers takes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from evaluated import Answered, Typed
from sqlalchemy import select

from accord.commands.evaluate.explain_sources import Source, in_use, learned
from accord.commands.models import TextScorer
from accord.feedback import chats, schema
from accord.feedback.store import Store
from accord.feedback.withdrawals import withdraw
from accord.records import Demonstration, Labeler, Message, Prompt, RankedPrompt, Response, Sampling
from accord.runtime.project import Project

EXACT = ("--dtype", "float32")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def sources(town: Path, kind: str) -> list[Source]:
    return [source for source in learned(Project.open(town), ["ppo", "reward"]) if source.kind == kind]


def ranked_response(town: Path) -> tuple[Prompt, Response]:
    source = next(source for source in sources(town, "rankings") if len(source.prompt.messages) == 1 and len(source.texts) > 2)
    return source.prompt, source.best


def test_the_parts_of_a_reward_add_up_to_it(answered: Answered, town: Path) -> None:
    prompt, response = ranked_response(town)
    found = answered("explain", town, response.id, *EXACT)
    scorer = TextScorer.open(Project.open(town), "reward", torch.float32)
    score = scorer.score_responses([prompt], [response])[0]
    reward = found["reward"]
    assert reward["score"] == pytest.approx(score, abs=1e-3)
    assert reward["start"] + sum(each["gain"] for each in reward["tokens"]) == pytest.approx(score, abs=0.01)
    assert reward["start"] + sum(each["gain"] for each in reward["sentences"]) == pytest.approx(score, abs=0.01)
    assert "".join(each["text"] for each in reward["tokens"]).strip().startswith(response.text[:5])
    others = {each["response"]: each for each in found["others"]}
    assert response.id not in others
    assert others
    with Store.open(Project.open(town).store_url) as store:
        rows = {row.id: row for row in store.responses(ids=list(others))}
    for id, each in others.items():
        own = scorer.score_responses([prompt], [rows[id]])[0]
        assert each["ahead"] == pytest.approx(score - own, abs=2e-3)
    assert [each["ahead"] for each in found["others"]] == sorted(each["ahead"] for each in found["others"])
    assert any(sum(each["labelers"].values()) for each in others.values())


def test_leaving_a_sentence_out_is_scored_without_it(answered: Answered, town: Path) -> None:
    given = ("--prompt", "Where does Ada live?", "--text", "Ada lives here. Ask her. She knows.", "--against", "Ada lives there.")
    found = answered("explain", town, *given, *EXACT)
    assert [each["text"] for each in found["reward"]["sentences"]] == ["Ada lives here.", "Ask her.", "She knows."]
    scorer = TextScorer.open(Project.open(town), "reward", torch.float32)
    asked = Prompt("q", (Message("user", "Where does Ada live?"),))
    whole, shorter = scorer.scores([asked] * 2, ["Ada lives here. Ask her. She knows.", "Ada lives here. She knows."])
    assert found["reward"]["sentences"][1]["left_out"] == pytest.approx(whole - shorter, abs=2e-3)
    assert [each["text"] for each in found["others"]] == ["Ada lives there."]


def test_a_mixture_is_taken_apart(answered: Answered, town: Path) -> None:
    _, response = ranked_response(town)
    found = answered("explain", town, response.id, "--rewards", "model=2, length=-0.1, eos>=0.5, exact=1", *EXACT)
    parts = {each["part"]: each for each in found["parts"]["parts"]}
    assert parts["model"]["score"] == pytest.approx(found["reward"]["score"], abs=2e-3)
    assert parts["length"]["score"] == len(found["reward"]["tokens"])
    assert parts["eos"]["at_least"] == 0.5
    assert parts["eos"]["gives"] is None
    assert parts["exact"]["score"] is None
    assert "known answer" in parts["exact"]["why_not"]
    assert found["parts"]["total"] == pytest.approx(2 * parts["model"]["score"] - 0.1 * parts["length"]["score"], abs=5e-3)


def test_the_rewards_of_the_scene_are_named(answered: Answered, town: Path) -> None:
    """A scene's own rewards take the place of the model's, and the prompt is scored as its scene asks it."""
    asked = ("--text", "No, that would hurt Ada.", *EXACT)
    with Store.open(Project.open(town).store_url) as store:
        store.add(prompts=[Prompt("c1", (Message("user", "Shall I hurt Ada?"),), "harmful")])
    before = answered("explain", town, "--prompt", "Shall I hurt Ada?", *asked)
    assert "scene" not in before
    with (town / "accord.toml").open("a") as file:
        file.write('\n[scenes.care]\nuse_cases = "harmful"\nrewards = "model=0.5, length=-1"\nsystem = "Do no harm."\n')
    found = answered("explain", town, "--prompt", "Shall I hurt Ada?", *asked)
    assert found["scene"] == "care"
    assert found["parts"]["rewards"] == "model=0.5, length=-1"
    assert found["parts"]["from"] == "the scene care of accord.toml"
    assert {each["part"]: each["weight"] for each in found["parts"]["parts"]} == {"model": 0.5, "length": -1.0}
    scorer = TextScorer.open(Project.open(town), "reward", torch.float32)
    turns = (Message("system", "Do no harm."), Message("user", "Shall I hurt Ada?"))
    assert found["reward"]["score"] == pytest.approx(scorer.score_conversations([turns], ["No, that would hurt Ada."])[0], abs=2e-3)
    own = answered("explain", town, "--prompt", "Shall I hurt Ada?", "--rewards", "length=-1", *asked)
    assert own["parts"]["from"] == "--rewards"


@pytest.mark.parametrize("by", ["states", "gradients", "words"])
def test_the_demonstration_that_says_this_is_found_first_and_one_nobody_learned_from_never(answered: Answered, town: Path, by: str) -> None:
    planted = next(each for each in sources(town, "demonstrations") if len(each.prompt.messages) == 1 and len(each.best.text) > 30)
    asked, said = planted.prompt.messages[0].content, planted.best.text
    with Store.open(Project.open(town).store_url) as store:
        twin = Prompt("twin", (Message("user", asked + " Please."),))
        store.add(prompts=[twin], labelers=[Labeler("late", "person")], demonstrations=[Demonstration("late", twin, said, "late")])
    found = answered("explain", town, "--prompt", asked, "--text", said, "--by", by, "--nearest", "3", "--among", "20", *EXACT)
    first, *others = [each for each in found["sources"]["records"] if each["kind"] == "demonstrations"]
    assert first["id"] == planted.id
    assert first[by] == pytest.approx(1.0, abs=1e-3)
    assert "late" not in {each["id"] for each in others}
    assert found["sources"]["searched"]["demonstrations"] == len(sources(town, "demonstrations"))


def test_a_ranking_is_found_by_the_response_that_it_placed(answered: Answered, town: Path) -> None:
    source = next(each for each in sources(town, "rankings") if len(each.prompt.messages) == 1 and len(set(each.places)) > 2)
    last = source.texts[source.places.index(max(source.places))]
    found = answered("explain", town, last.id, "--nearest", "1", *EXACT)
    near = next(each for each in found["sources"]["records"] if each["kind"] == "rankings")
    assert (near["id"], near["response"], near["rank"]) == (source.id, last.id, max(source.places))
    assert near["states"] == pytest.approx(1.0, abs=1e-3)


def test_only_what_was_learned_from_is_searched(town: Path) -> None:
    found = sources(town, "rankings")
    rows = [json.loads(line) for line in (town / "runs" / "reward" / "rankings.jsonl").read_text("utf-8").splitlines()]
    trained = [row for row in rows if row["prompt"]["split"] == "train" and row["group"] != "caring"]
    assert 0 < len(found) == len(trained) < len(rows)
    (town / "runs" / "reward" / "rankings.jsonl").write_text("")
    assert not sources(town, "rankings")


def test_what_was_withdrawn_since_is_not_shown(answered: Answered, town: Path) -> None:
    """A snapshot keeps what somebody took back; the explanation says that there was something, and shows none of it."""
    planted = next(each for each in sources(town, "demonstrations") if len(each.prompt.messages) == 1 and len(each.best.text) > 30)
    ranked = next(each for each in sources(town, "rankings") if each.prompt.id != planted.prompt.id)
    with Store.open(Project.open(town).store_url) as store, store.write() as connection:
        withdraw(connection, "demonstration", [(planted.id, "consent withdrawn")], by="x", now=NOW)
        k = schema.rankings
        theirs = connection.scalars(select(k.c.id).where(k.c.prompt_id == ranked.prompt.id, k.c.labeler == ranked.labeler))
        withdraw(connection, "ranking", [(id, "consent withdrawn") for id in theirs], by="x", now=NOW)
    asked = ("--prompt", planted.prompt.messages[0].content, "--text", planted.best.text)
    found = answered("explain", town, *asked, "--by", "words", "--nearest", "5", *EXACT)["sources"]
    assert planted.id not in {each["id"] for each in found["records"]}
    assert any("not shown: 2 records" in remark for remark in found["remarks"])
    with Store.open(Project.open(town).store_url) as store:
        left = in_use(store, sources(town, "rankings"))
    assert (ranked.id, ranked.labeler) not in {(each.id, each.labeler) for each in left}
    assert len(left) == len(sources(town, "rankings")) - 1


def scored(model: Any, ids: list[int]) -> torch.Tensor:
    return model(input_ids=torch.tensor([ids])).logits[0, 0]


def test_gradients_say_how_a_step_on_a_record_moves_the_score(answered: Answered, town: Path) -> None:
    """A step that transformers takes on each ranking changes the score in proportion to the cosine that is printed."""
    _, response = ranked_response(town)
    found = answered("explain", town, response.id, "--by", "gradients", "--nearest", "3", "--among", "6", *EXACT)
    near = [each for each in found["sources"]["records"] if each["kind"] == "rankings"]
    assert len(near) == 3
    project = Project.open(town)
    auto: Any = transformers.AutoModelForSequenceClassification
    model = auto.from_pretrained(project.model("reward"), dtype=torch.float32).eval()
    format = TextScorer.open(project, "reward", torch.float32).format
    prompt = next(source.prompt for source in sources(town, "rankings") if source.id == response.prompt_id)
    weights: list[torch.Tensor] = list(model.parameters())

    def row(asked: Prompt, said: Response) -> list[int]:
        return [*format.prompt(asked.messages), *format.tokens_of(asked, said)]

    def gradient(value: torch.Tensor) -> list[torch.Tensor]:
        return list(torch.autograd.grad(value, weights, allow_unused=True, materialize_grads=True))

    def norm(parts: list[torch.Tensor]) -> float:
        return float(torch.cat([part.flatten() for part in parts]).norm())

    own = row(prompt, response)
    length = norm(gradient(scored(model, own)))
    for each in near:
        source = next(one for one in sources(town, "rankings") if (one.id, one.labeler) == (each["id"], each["labeler"]))
        scores = [scored(model, row(source.prompt, text)) for text in source.texts]
        losses: list[torch.Tensor] = []
        for i, a in enumerate(source.places):
            losses += [-torch.nn.functional.logsigmoid(scores[i] - scores[j]) for j, b in enumerate(source.places) if a < b]
        step = gradient(-torch.stack(losses).mean())
        size, moved = 2e-3 / norm(step), list[float]()
        for sign in (1, -1):
            with torch.no_grad():
                for weight, part in zip(weights, step, strict=True):
                    weight += sign * size * part
                moved.append(float(scored(model, own)))
                for weight, part in zip(weights, step, strict=True):
                    weight -= sign * size * part
        cosine = (moved[0] - moved[1]) / (2 * 2e-3 * length)
        assert each["gradients"] == pytest.approx(cosine, abs=0.03)


def test_an_answer_of_the_chat_is_explained_without_personal_data(answered: Answered, town: Path) -> None:
    with Store.open(Project.open(town).store_url) as store:
        store.add(labelers=[Labeler("eve", "user")])
        asked = chats.begin(store, "eve", "Write to ada@example.org, please.", system="", key="k1", now=NOW)
        told: dict[str, Any] = {"model": "ppo", "digest": "", "sampling": Sampling(), "seed": 0, "finish": "stop", "now": NOW}
        turn = chats.answer(store, asked, "I wrote to ada@example.org. Good day!", id="t1", **told)
        chats.answer(store, asked, "I do not write letters.", id="t2", **told)
    found = answered("explain", town, turn.id, *EXACT)
    assert "example.org" not in json.dumps(found)
    assert [each["response"] for each in found["others"]] == ["t2"]
    assert found["model"] == "ppo"
    assert found["parts"]["from"] == "the rewards of ppo"


def test_without_a_reward_model_words_are_compared_and_that_is_said(answered: Answered, typed: Typed, tmp_path: Path) -> None:
    project = Project.create(tmp_path / "bare")
    with Store.open(project.store_url) as store:
        prompt = Prompt("p", (Message("user", "Which bread keeps?"),))
        store.add(
            prompts=[prompt], responses=[Response("r1", "p", "Rye keeps. Ask the baker.", "m"), Response("r2", "p", "Rye keeps.", "m")]
        )
    found = answered("explain", project.path, "r1")
    assert found["reward"] == {}
    assert [each["text"] for each in found["others"][0]["lacks"]] == ["Ask the baker."]
    assert "no reward model" in found["remarks"][0]
    code, out, _ = typed("explain", project.path, "r1")
    assert code == 0
    assert "Ask the baker." in out
    for words, said in (
        ((), "name one answer"),
        (("r1", "--prompt", "p", "--text", "t"), "name one answer"),
        (("none",), "no response and no answer of the chat"),
        (("r1", "--by", "states"), "need a reward model"),
        (("r1", "--reward", "other"), "no such model"),
    ):
        code, _, complaint = typed("explain", project.path, *words)
        assert code > 0, words
        assert said in complaint


def test_the_tables_say_what_was_found(typed: Typed, town: Path) -> None:
    _, response = ranked_response(town)
    code, out, _ = typed("explain", town, response.id, *EXACT)
    assert code == 0
    out = " ".join(out.split())
    for title in ("costs if left out", "strongest tokens", "parts of model", "nearest by states"):
        assert title in out


def test_a_ranked_record_is_what_its_snapshot_says() -> None:
    prompt = Prompt("p", (Message("user", "?"),))
    row = RankedPrompt(prompt, (Response("a", "p", "A", "m"), Response("b", "p", "B", "m")), (2, 1), "ann")
    source = Source("rankings", "p", "reward", row.prompt, row.responses, row.ranks, row.labeler)
    assert source.best.id == "b"
