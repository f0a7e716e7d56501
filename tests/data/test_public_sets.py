"""Public sets keep what they say: strengths, criteria, labelers, times, answers, flags. Unusable rows are refused or counted."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any, cast

import pytest
from public_excerpts import (
    BEAVER,
    BEDROCK,
    BIG_BENCH,
    EDIT,
    EXAM,
    FEEDBACK,
    GEMINI,
    GEMINI_PAIR,
    HELPSTEER3,
    IFEVAL,
    MMLU,
    MOSS,
    NECTAR,
    NOVA,
    PAIR,
    PUBLIC,
    QUESTION,
    RLVR,
    SAFE,
    SHP,
    SUMMARIES,
    VERL,
    WEBGPT,
    WILDCHAT,
    battle,
    rated,
)

from accord.data.importers import Imported, read
from accord.data.registry import FORMATS, tell_unread
from accord.data.rows import Fault, Row
from accord.errors import InputError, UsageError
from accord.records import Thumb


def imported(folder: Path, *rows: Any, format: str = "auto") -> Imported:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return read(path, format)


def objects(found: Imported, kind: str) -> list[dict[str, Any]]:
    """The judgements or rows that the prompts of an import keep."""
    kept = list[dict[str, Any]]()
    for prompt in found.prompts:
        kept += [cast("dict[str, Any]", value) for key, value in prompt.extra.items() if key.startswith(f"{kind}-")]
    return kept


def judgement(found: Imported) -> dict[str, Any]:
    (one,) = objects(found, "judgement")
    return one


@pytest.mark.parametrize("format", PUBLIC)
def test_no_column_that_judges_is_left_unread(format: str) -> None:
    """Every column of the excerpts whose name says that it judges something is read by the set's own format."""
    kind, rows = FORMATS[format], [Row(dict(value), Path("x.jsonl"), n) for n, value in enumerate(PUBLIC[format][0], 1)]
    for row in kind.gather(iter(rows)):
        assert not isinstance(row, Fault)
        assert tell_unread(kind, row, kind.take(row)).stops == ()


def test_details_of_a_judgement_name_the_responses_by_their_texts(tmp_path: Path) -> None:
    said = judgement(imported(tmp_path, SHP))
    digest = hashlib.sha256(b"Bad luck.").hexdigest()[:16]
    assert said["responses"][0] == {"sha256": digest, "model": "people", "score": 3, "created_at_utc": 1, "c_root_id": "c1"}
    assert (said["score_ratio"], said["post_id"], said["seconds_difference"], said["upvote_ratio"]) == (10.0, "q1", 1.0, 0.97)


def test_two_judgements_of_one_prompt_are_both_kept(tmp_path: Path) -> None:
    found = imported(tmp_path, SHP, SHP | {"human_ref_B": "Try rye.", "score_B": 50})
    assert len(found.prompts) == 1
    assert {said["responses"][1]["score"] for said in objects(found, "judgement")} == {30, 50}


def test_seven_ranked_answers_with_their_models(tmp_path: Path) -> None:
    found = imported(tmp_path, NECTAR)
    assert [(person.id, person.kind) for person in found.labelers] == [("gpt-4", "model")]
    assert [response.model for response in found.responses] == ["a", "b", "c"]
    assert judgement(found)["source"] == ["town"]
    talk = NECTAR | {"prompt": "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Where?\n\nHuman: Bread, I mean.\n\nAssistant: "}
    (prompt,) = imported(tmp_path, talk).prompts
    turns = [("user", "Hi"), ("assistant", "Hello"), ("user", "Where?\n\nBread, I mean.")]
    assert [(message.role, message.content) for message in prompt.messages] == turns
    eleven = [{"answer": f"a{n}", "model": "m", "rank": n} for n in range(1, 12)]
    many = imported(tmp_path, NECTAR | {"answers": eleven})
    assert (many.rankings[0].ranks, many.metrics["left_out"]) == (tuple(range(1, 10)), {"answer beyond the ninth": 2})


def test_strengths_reasons_and_annotators_of_helpsteer(tmp_path: Path) -> None:
    said = judgement(imported(tmp_path, PAIR))
    assert (said["strength"], said["split"]) == (-2, "train")
    assert [one["strength"] for one in said["all_preferences_unprocessed"]] == [-2, 1]
    said = judgement(imported(tmp_path, HELPSTEER3))
    assert (said["strength"], said["domain"], said["language"]) == (-3, "general", "english")
    assert said["annotators"] == HELPSTEER3["individual_preference"]
    said = judgement(imported(tmp_path, EDIT))
    assert (said["change_summary"], said["feedback"]) == (EDIT["change_summary"], EDIT["feedback"])
    said = judgement(imported(tmp_path, FEEDBACK))
    assert [response["feedback"] for response in said["responses"]] == [FEEDBACK["feedback1"], FEEDBACK["feedback2"]]


def test_five_ratings_of_helpsteer_and_a_second_criterion(tmp_path: Path) -> None:
    ratings = ({"helpfulness": 3, "correctness": 1, "coherence": 4, "complexity": 2, "verbosity": 0}, {"helpfulness": 1, "correctness": 4})
    rows = [{"prompt": "Why?", "response": text} | each for text, each in zip(("So.", "No."), ratings, strict=True)]
    found = imported(tmp_path, *rows)
    assert found.rankings[0].ranks == (1, 2)
    assert [{name: said[name] for name in each} for said, each in zip(judgement(found)["responses"], ratings, strict=True)] == [*ratings]
    by_correctness = read(tmp_path / "rows.jsonl", columns={"helpfulness": "correctness"})
    assert by_correctness.rankings[0].ranks == (2, 1)


def test_turns_in_the_prompts_of_helpsteer_and_lists_of_ratings(tmp_path: Path) -> None:
    prompt = "Hi\n<extra_id_1>Assistant\nHello\n<extra_id_1>User\nWhere?"
    rows = [{"prompt": prompt, "response": text, "helpfulness": given} for text, given in (("Here.", [4, 3]), ("Hm.", [4, 4]))]
    found = imported(tmp_path, *rows)
    assert [(m.role, m.content) for m in found.prompts[0].messages] == [("user", "Hi"), ("assistant", "Hello"), ("user", "Where?")]
    assert found.rankings[0].ranks == (2, 1)
    with pytest.raises(InputError, match=r'field "prompt": two turns of User follow one another'):
        imported(tmp_path, {"prompt": "Hi\n<extra_id_1>User\nWhere?", "response": "Here.", "helpfulness": 4})


def test_quotes_and_scores_stand_beside_their_answers(tmp_path: Path) -> None:
    said = judgement(imported(tmp_path, WEBGPT))
    assert [response["score"] for response in said["responses"]] == [0.5, -0.5]
    assert said["responses"][0]["quotes"] == WEBGPT["quotes_0"]
    assert "quotes" not in said["responses"][1]
    assert (said["dataset"], said["id"]) == ("town", "w1")


def test_summaries_are_judged_by_their_workers(tmp_path: Path) -> None:
    found = imported(tmp_path, SUMMARIES)
    assert (found.rankings[0].labeler, found.rankings[0].ranks) == ("w1", (2, 1))
    assert [response.model for response in found.responses] == ["p2", "ref"]
    said = judgement(found)
    assert (said["confidence"], said["batch"], said["split"], said["id"]) == (8, "batch9", "train", "t3_1")
    assert said["responses"][1]["note"] == "clear"
    shown = "SUBREDDIT: r/town\nTITLE: Keys\nPOST: I lost my keys and found them in the fridge.\nTL;DR:"
    assert found.prompts[0].messages[0].content == shown
    assert set(found.prompts[0].extra) == {key for key in found.prompts[0].extra if key.startswith("judgement-")}
    found = imported(tmp_path, rated("Opens.", 3), rated("Opens at seven.", 6))
    assert judgement(found)["responses"][1] | {"sha256": ""} == {
        "sha256": "", "model": "ref", "overall": 6, "accuracy": 5, "coverage": 4, "coherence": 2,
    }  # fmt: skip
    assert found.prompts[0].messages[0].content == "Title: Market opens\n\nArticle: The market opens at seven.\n\nTL;DR:"


def test_better_and_safer_are_two_criteria(tmp_path: Path) -> None:
    found = imported(tmp_path, SAFE)
    assert (found.rankings[0].ranks, found.rankings[0].labeler) == ((1, 2), "imported")
    assert [response.model for response in found.responses] == ["m1", "m2"]
    said = judgement(found)
    first, second = said["responses"]
    assert (said["criterion"], said["prompt_source"]) == ("better", "town")
    assert (first["safe"], first["harm"], first["severity_level"], first["better"], first["safer"]) == (False, ["Theft"], 2, True, False)
    assert (second["safe"], second["harm"], second["severity_level"], second["better"], second["safer"]) == (True, [], 0, False, True)
    found = imported(tmp_path, SAFE, format="pku-safer")
    assert (found.rankings[0].ranks, [person.group for person in found.labelers]) == ((2, 1), ["imported (safer)"])


def test_unsafe_responses_are_never_demonstrations(tmp_path: Path) -> None:
    found = imported(tmp_path, *BEAVER)
    assert (found.demonstrations, [other.up for other in found.others if isinstance(other, Thumb)]) == ([], [False, True])
    assert [said["responses"][0]["harm"] for said in objects(found, "judgement")] == [["theft"], []]


def test_battles_of_the_arena(tmp_path: Path) -> None:
    found = imported(tmp_path, battle("tie (bothbad)"))
    assert (found.rankings[0].ranks, found.rankings[0].labeler, found.rankings[0].at) == (
        (1, 1),
        "arena_user_7",
        "2023-04-24T15:53:11+00:00",
    )
    assert [(other.up, other.labeler) for other in found.others if isinstance(other, Thumb)] == [(False, "arena_user_7")] * 2
    assert (judgement(found)["vote"], judgement(found)["language"]) == ("tie (bothbad)", "English")
    both = imported(tmp_path, battle("model_a", rounds=2))
    assert (len(both.rankings), len(both.prompts), len(both.responses)) == (0, 2, 2)
    assert {(said["vote"], said["judge"]) for said in objects(both, "judgement")} == {("model_a", "arena_user_7")}
    first_turn = battle("model_a", rounds=2, turn=1)
    assert imported(tmp_path, first_turn).rankings[0].ranks == (1, 2)
    with pytest.raises(InputError, match=r'field "winner": \'neither\' is none of model_a'):
        imported(tmp_path, battle("neither"))


def test_flags_and_users_of_a_log(tmp_path: Path) -> None:
    found = imported(tmp_path, WILDCHAT)
    (prompt,) = found.prompts
    assert (prompt.user, found.responses[0].model, found.demonstrations) == ("f00", "gpt-x", [])
    (row,) = objects(found, "row")
    assert (row["language"], row["toxic"], row["conversation_hash"]) == ("English", True, "c1")
    assert row["flags"] == [{"turn": 0, "toxic": True, "moderation": ["harassment"], "detoxify": {"toxicity": 0.9}}]
    asked = WILDCHAT | {"conversation": WILDCHAT["conversation"][:1]}
    assert imported(tmp_path, asked).metrics["kept"] == 1


def test_answers_choices_and_constraints_stay_with_the_prompt(tmp_path: Path) -> None:
    first, second = imported(tmp_path, BIG_BENCH).prompts
    assert first.extra == {"answer": "cold", "choices": ["cold", "warm"], "scores": {"cold": 1.0, "warm": 0.0}, "name": "opposites"}
    assert second.extra["answer"] == ["small", "little"]
    found = imported(tmp_path, *MMLU)
    assert [(prompt.extra["answer"], prompt.extra["subject"]) for prompt in found.prompts] == [("B", "sums"), ("C", "sums")]
    (prompt,) = imported(tmp_path, IFEVAL).prompts
    assert prompt.extra == {"key": 1000, "instruction_id_list": IFEVAL["instruction_id_list"], "kwargs": [{}, {"num_bullets": 2}]}
    rlvr, verl = imported(tmp_path, RLVR, VERL).prompts
    assert rlvr.extra == {"answer": "4", "ground_truth": "4", "dataset": "gsm8k"}
    assert (verl.extra["answer"], verl.extra["reward_model"]) == ("5", {"ground_truth": "5", "style": "rule"})
    assert (verl.extra["data_source"], verl.extra["extra_info"]) == ("town/sums", {"index": 3, "split": "train"})


@pytest.mark.parametrize(
    "row",
    [
        {"id": "x", "question": "2+2?", "choices": {"text": ["3", "4"], "label": ["1", "2"]}, "answerKey": "2"},
        {
            "question_id": 7,
            "question": "2+2?",
            "options": ["3", "4"],
            "answer": "B",
            "answer_index": 1,
            "cot_content": "A: so",
            "category": "sums",
        },
        {"id": 0, "question": "2+2?", "A": "3", "B": "4", "C": "5", "D": "6", "answer": "B", "explanation": ""},
        {"Question": "2+2?", "A": "3", "B": "4", "C": "5", "D": "6", "Answer": "b"},
        {"question": "2+2?", "choices": ["3", "4"], "answer": 1.0},
    ],
)
def test_forms_of_multiple_choice(tmp_path: Path, row: dict[str, Any]) -> None:
    found = imported(tmp_path, row)
    assert found.metrics["format"] == "choices"
    (written,) = found.demonstrations
    assert (written.text, written.prompt.split) == ("2" if "answerKey" in row else "B", "test")


def test_a_table_of_choices_is_not_taken_for_word_problems(tmp_path: Path) -> None:
    path = tmp_path / "mmlu.csv"
    path.write_text('question,subject,choices,answer\nWhat is 2+2?,sums,"[""3"", ""4""]",1\n', "utf-8")
    with pytest.raises(InputError, match=r'field "answer": \'1\' names none of the 2 choices'):
        read(path)
    worked = {"question": "2 and 2?", "answer": "2+2=4\n#### 4"}
    assert imported(tmp_path, worked).metrics["format"] == "gsm8k"


def test_thoughts_tools_and_the_system_turn_of_moss(tmp_path: Path) -> None:
    (written,) = imported(tmp_path, MOSS).demonstrations
    assert [(message.role, message.content) for message in written.prompt.messages] == [
        ("system", "You are a helper."),
        ("user", "面包在哪儿买？"),
        ("assistant", "在集市上。"),
        ("user", "二加二？"),
        ("assistant", '<think>\n要用计算器\n</think>\n\n<tool_call>\nCalculate("2+2")\n</tool_call>'),
        ("user", '<tool_response>\nCalculate("2+2") => 4\n</tool_response>'),
    ]
    assert written.text == "四。"


def test_chinese_sets_keep_upvotes_types_and_answers(tmp_path: Path) -> None:
    zhihu, cvalues = PUBLIC["zhihu"][0][0], PUBLIC["cvalues"][0][0]
    said = judgement(imported(tmp_path, zhihu))
    assert ([response["upvotes"] for response in said["responses"]], said["question_id"]) == ([30, 1], 7)
    assert [response["type"] for response in judgement(imported(tmp_path, cvalues))["responses"]] == ["正向建议", "风险回复"]
    found = imported(tmp_path, EXAM)
    assert found.prompts[0].extra["answer"] == "四"


def test_belle_keeps_its_turns(tmp_path: Path) -> None:
    (written,) = imported(tmp_path, *PUBLIC["belle"][0]).demonstrations
    assert [(message.role, message.content) for message in written.prompt.messages] == [("user", "甲"), ("assistant", "乙"), ("user", "丙")]
    plain = {"instruction": "Human: is a word.", "input": "", "output": "Yes."}
    assert imported(tmp_path, plain).metrics["format"] == "alpaca"


def test_rows_of_the_clouds(tmp_path: Path) -> None:
    (written,) = imported(tmp_path, GEMINI).demonstrations
    assert [message.role for message in written.prompt.messages] == ["system", "user"]
    assert judgement(imported(tmp_path, GEMINI_PAIR))["responses"][1]["score"] == 1.0
    (written,) = imported(tmp_path, BEDROCK).demonstrations
    assert (written.prompt.messages[0].role, written.prompt.messages[0].content) == ("system", "Answer in French.")
    without_version = {name: value for name, value in BEDROCK.items() if name != "schemaVersion"}
    assert imported(tmp_path, without_version).metrics["format"] == "bedrock"
    seen = {"contents": [{"role": "user", "parts": [{"fileData": {"fileUri": "gs://a.png"}}, {"text": "What is this?"}]}]}
    with pytest.raises(InputError, match=r'field "contents\[0\]\.parts\[0\]\.fileData": only text can be read, not fileData'):
        imported(tmp_path, seen)
    thought = {"role": "model", "parts": [{"text": "two and two", "thought": True}, {"text": "4"}]}
    (written,) = imported(tmp_path, {"contents": [{"role": "user", "parts": [{"text": "2+2?"}]}, thought]}).demonstrations
    assert written.text == "<think>\ntwo and two\n</think>\n\n4"


BAD: list[tuple[str, dict[str, Any], str]] = [
    (
        "nectar",
        NECTAR | {"answers": [{"answer": "a", "rank": 0}, {"answer": "b", "rank": 1}]},
        'field "answers": ranks are whole numbers from 1',
    ),
    (
        "nectar",
        NECTAR | {"answers": [{"answer": "a", "rank": 1.5}, {"answer": "b", "rank": 1}]},
        r'field "answers\[0\].rank": not a whole number',
    ),
    ("nectar", NECTAR | {"prompt": "\n\nHuman: Hi\n\nAssistant: Hello"}, "must end with the user's turn"),
    ("helpsteer2-preference", PAIR | {"preference_strength": -100}, "-100 is not within -3 to 3"),
    ("helpsteer2-preference", PAIR | {"response_2": None}, 'field "response_2": missing'),
    ("helpsteer3", HELPSTEER3 | {"overall_preference": "much better"}, 'field "overall_preference": not a number'),
    ("helpsteer3", HELPSTEER3 | {"context": [{"role": "assistant", "content": "Hm"}]}, "roles out of order"),
    ("helpsteer3", HELPSTEER3 | {"individual_preference": "none"}, 'field "individual_preference": not a list'),
    ("helpsteer3-edit", EDIT | {"edited_response": 7}, 'field "edited_response": not a string'),
    ("shp", SHP | {"labels": 2}, 'field "labels": 2 is neither 1'),
    ("shp", SHP | {"human_ref_A": None}, 'field "human_ref_A": missing'),
    ("webgpt", WEBGPT | {"score_0": 7}, 'field "score_0": the scores'),
    ("webgpt", WEBGPT | {"question": {"id": "x"}}, r'field "question\.full_text": missing'),
    ("summaries", SUMMARIES | {"choice": 2}, 'field "choice": 2 of 2 summaries'),
    ("summaries", SUMMARIES | {"summaries": SUMMARIES["summaries"][:1]}, 'field "choice": 1 of 1 summaries'),
    ("summaries", SUMMARIES | {"info": {"id": "x", "title": "t"}}, r'field "info\.post": missing'),
    ("summary-axes", rated("Opens.", 9), r"9 is not in 1\.\.7"),
    ("pku-saferlhf", SAFE | {"better_response_id": -1}, 'field "better_response_id": -1 is neither 0 nor 1'),
    ("pku-saferlhf", SAFE | {"is_response_0_safe": "perhaps"}, 'field "is_response_0_safe": neither true nor false'),
    ("beavertails", BEAVER[0] | {"is_safe": None}, 'field "is_safe": missing'),
    (
        "arena",
        battle("model_a") | {"conversation_b": [{"role": "user", "content": "Hi"}]},
        'field "conversation_b": a conversation must end',
    ),
    ("arena", battle("model_a") | {"tstamp": 1e300}, 'field "tstamp": not a time'),
    ("wildchat", WILDCHAT | {"conversation": []}, 'field "conversation": a conversation without a user turn'),
    ("big-bench", {"examples": [{"input": "hot", "target_scores": {"cold": "yes"}}]}, r'target_scores\.cold": not a number'),
    ("choices", MMLU[0] | {"answer": 7}, "field \"answer\": '7' names none of the 4 choices"),
    ("choices", MMLU[0] | {"choices": ["4"]}, 'field "choices": a question needs two choices or more'),
    ("ifeval", IFEVAL | {"kwargs": [{}]}, 'field "kwargs": 2 instructions but 1 sets of arguments'),
    ("ifeval", IFEVAL | {"instruction_id_list": "punctuation:no_comma"}, 'field "instruction_id_list": not a list'),
    ("checkable", RLVR | {"messages": [*RLVR["messages"], {"role": "assistant", "content": "4"}]}, "must end with the user's turn"),
    ("moss", MOSS | {"chat": {}}, 'field "chat": no turns'),
    ("moss", MOSS | {"chat": {"turn_1": {"Human": "<|Human|>: Hi<eoh>"}}}, r'field "chat\.turn_1\.MOSS": missing'),
    ("coig-exam", EXAM | {"textbox_question": None}, 'field "textbox_question": missing'),
    ("coig-rounds", {"round_0": {"response": "{broken"}}, r'field "round_0\.response": broken JSON'),
    ("cvalues", PUBLIC["cvalues"][0][0] | {"neg_resp": None}, 'field "neg_resp": missing'),
    ("belle", {"instruction": "Human:a\nAssistant:b", "output": "c"}, "that end with a question"),
    (
        "firefly-chat",
        {"conversation": [{"human": "a", "assistant": "b"}, {"human": "c"}]},
        r'field "conversation\[1\]\.assistant": missing',
    ),
    ("gemini", GEMINI | {"contents": [{"role": "model", "parts": [{"text": "Hi"}]}]}, "roles out of order"),
    ("gemini", GEMINI_PAIR | {"completions": [{"completion": {"parts": [{"text": "a"}]}}] * 2}, r'completions\[0\]\.score": missing'),
    ("bedrock", BEDROCK | {"messages": [{"role": "user", "content": [{"image": {"format": "png"}}]}]}, "only text can be read, not image"),
    (
        "bedrock",
        NOVA
        | {"messages": [NOVA["messages"][0], {"role": "assistant", "candidates": [{"content": [{"text": "a"}], "preferenceLabel": "x"}]}]},
        "'x' is neither preferred nor non-preferred",
    ),
    ("vertex-text", {"input_text": "Hi", "candidate_0": "a", "candidate_1": "b", "choice": 3}, 'field "choice": 3 is neither 0 nor 1'),
]


@pytest.mark.parametrize(("format", "row", "said"), BAD)
def test_a_row_that_cannot_be_used_is_refused_with_its_field(tmp_path: Path, format: str, row: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        imported(tmp_path, row, format=format)
    good = PUBLIC[format][0]
    faults = list[Fault]()
    path = tmp_path / "mixed.jsonl"
    path.write_text("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in (*good, row)), "utf-8")
    found, alone = read(path, format, reject=faults.append), imported(tmp_path, *good, format=format)
    assert (len(faults), found.metrics["dropped"]["bad row"]) == (1, 1)
    assert (len(found.rankings), len(found.demonstrations), len(found.responses), len(found.prompts)) == (
        len(alone.rankings), len(alone.demonstrations), len(alone.responses), len(alone.prompts),
    )  # fmt: skip


DROPPED: list[tuple[str, dict[str, Any], str]] = [
    ("nectar", NECTAR | {"answers": NECTAR["answers"][:1]}, "fewer than two answers"),
    ("helpsteer3", HELPSTEER3 | {"response2": HELPSTEER3["response1"]}, "identical responses"),
    ("helpsteer3-feedback", FEEDBACK | {"response2": FEEDBACK["response1"]}, "identical responses"),
    ("shp", SHP | {"human_ref_B": " "}, "empty response"),
    ("summary-axes", rated("Unrated.", None), "summary without an overall rating"),
    ("beavertails", BEAVER[0] | {"prompt": ""}, "empty prompt"),
    ("choices", MMLU[0] | {"answer": -1}, "question without an answer"),
    ("checkable", RLVR | {"ground_truth": ""}, "row without a ground truth"),
    ("big-bench", {"examples": [{"input": "hot", "target": []}]}, "example without a target"),
    ("gemini", GEMINI_PAIR | {"completions": GEMINI_PAIR["completions"][:1]}, "fewer than two completions"),
]


@pytest.mark.parametrize(("format", "row", "reason"), DROPPED)
def test_a_sound_row_that_teaches_nothing_is_counted(tmp_path: Path, format: str, row: dict[str, Any], reason: str) -> None:
    found = imported(tmp_path, row, format=format)
    assert (found.metrics["dropped"], found.prompts, found.rankings, found.demonstrations) == ({reason: 1}, [], [], [])


def test_the_question_is_asked_once_whatever_the_set(tmp_path: Path) -> None:
    """The prompt of two sets is the same conversation, so that the store can find it again."""
    texts = {imported(tmp_path, row).prompts[0].messages for row in (NECTAR, WEBGPT, PAIR, HELPSTEER3, battle("tie"))}
    assert [message.content for messages in texts for message in messages] == [QUESTION]


def test_mmlus_own_files_have_no_line_of_names(tmp_path: Path) -> None:
    path = tmp_path / "sums_test.csv"
    path.write_text('What is 2+2?,3,4,5,6,B\n"Which, of these, is 4?","3","4","4",5,C\n', "utf-8")
    found = read(path)
    assert (found.metrics["format"], found.metrics["read"]) == ("choices", 2)
    said = [(written.prompt.messages[0].content, written.text) for written in found.demonstrations]
    assert said == [("What is 2+2?\nA. 3\nB. 4\nC. 5\nD. 6", "B"), ("Which, of these, is 4?\nA. 3\nB. 4\nC. 4\nD. 5", "C")]
    path.write_text("question,A,B,C,D,answer\nWhat is 2+2?,3,4,5,6,B\n", "utf-8")
    assert read(path).metrics["read"] == 1
    path.write_text("What is 2+2?,3,4,5,6,B\nbroken,3,4,B\n", "utf-8")
    with pytest.raises(InputError, match=r"sums_test.csv:2: 4 cells, but 6 columns"):
        read(path)


def test_siblings_of_oasst2_keep_their_labels_and_ranks(tmp_path: Path) -> None:
    def message(id: str, parent: str | None, role: str, text: str, rank: int | None = None, **rest: Any) -> dict[str, Any]:
        fields = {"message_id": id, "parent_id": parent, "message_tree_id": "1", "role": role, "text": text, "rank": rank, "lang": "en"}
        return fields | {"user_id": f"u{id}", "deleted": False, "review_result": True, "synthetic": False} | rest

    quality = {"name": ["spam", "quality"], "value": [0.0, 0.75], "count": [3, 2]}
    found = imported(
        tmp_path,
        message("1", None, "prompter", QUESTION),
        message("2", "1", "assistant", "At the market.", 1, labels=quality),
        message("3", "1", "assistant", "In shops.", 0, emojis={"name": ["+1"], "count": [2]}),
        message("4", "2", "prompter", "When?", 0),
        message("5", "2", "prompter", "Why?", 1),
        message("6", "4", "assistant", "At seven.", labels=quality),
    )
    assert found.metrics["format"] == "openassistant-flat"
    assert (found.rankings[0].ranks, found.metrics["left_out"]) == ((1, 2), {"rank of a user's turn": 2})
    ranked_, written = objects(found, "judgement")
    assert [response.get("labels") for response in ranked_["responses"]] == [None, quality]
    assert (ranked_["responses"][0]["emojis"], ranked_["lang"]) == ({"name": ["+1"], "count": [2]}, "en")
    assert (written["responses"][0]["labels"], [d.text for d in found.demonstrations]) == (quality, ["At seven."])


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl", "rows.json", "rows.csv.gz"])
def test_chinese_files_in_gb18030_are_read_when_asked_to(tmp_path: Path, name: str) -> None:
    row = {"prompt": "怎么烤面包？", "response": "用烤箱，烤四十分钟。"}
    text = "prompt,response\n怎么烤面包？,用烤箱，烤四十分钟。\n" if ".csv" in name else json.dumps(row, ensure_ascii=False)
    path, raw = tmp_path / name, text.encode("gb18030")
    path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    (written,) = read(path, encoding="gb18030").demonstrations
    assert (written.prompt.messages[0].content, written.text) == (row["prompt"], row["response"])
    with pytest.raises(InputError, match=r"UTF-8|utf-8"):
        read(path)


def test_an_encoding_is_asked_about_and_never_guessed(tmp_path: Path) -> None:
    chinese, french = tmp_path / "zh.csv", tmp_path / "fr.csv"
    chinese.write_bytes("prompt,response\n怎么烤面包？,用烤箱。\n".encode("gbk"))
    french.write_bytes("prompt,response\nO\u00f9 est le caf\u00e9 ?,L\u00e0.\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"zh\.csv:2: not UTF-8 \(byte 0xd4\)") as found:
        read(chinese)
    assert "--encoding gb18030" in found.value.hint
    with pytest.raises(InputError) as found:
        read(french)
    assert "gb18030" not in found.value.hint
    with pytest.raises(InputError, match=r"fr\.csv:\d: not GB18030"):
        read(french, encoding="gb18030")
    with pytest.raises(UsageError, match="'klingon' is no known encoding"):
        read(chinese, encoding="klingon")
