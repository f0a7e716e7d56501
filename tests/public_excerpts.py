"""Rows of public sets, made by hand in the form in which they are published, with what must come of them."""

from __future__ import annotations

import json
from typing import Any

QUESTION = "Where is bread sold?"
USER: dict[str, Any] = {"role": "user", "content": QUESTION}


def says(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


NECTAR: dict[str, Any] = {
    "prompt": f"\n\nHuman: {QUESTION}\n\nAssistant: ",
    "answers": [
        {"answer": "At the market.", "model": "a", "rank": 2.0},
        {"answer": "At the market, from seven.", "model": "b", "rank": 1.0},
        {"answer": "On the moon.", "model": "c", "rank": 3.0},
    ],
    "turns": 1,
    "num_responses": 3,
    "source": ["town"],
    "good_natured": True,
}
PAIR: dict[str, Any] = {
    "split": "train",
    "prompt": QUESTION,
    "response_1": "At the market.",
    "response_2": "No idea.",
    "preference_strength": -2,
    "preference_statement": "@Response 1 is better.",
    "preference_elaboration": "It answers.",
    "three_most_similar_preferences": [{"statement": "s", "elaboration": "e", "strength": -2}],
    "all_preferences_unprocessed": [{"strength": -2, "justification": "j"}, {"strength": 1, "justification": "k"}],
}
HELPSTEER3: dict[str, Any] = {
    "domain": "general",
    "language": "english",
    "context": [USER],
    "response1": "At the market.",
    "response2": "No idea.",
    "overall_preference": -3,
    "individual_preference": [{"score": -3, "reasoning": "r", "feedback1": "good", "feedback2": "bad"}],
}
EDIT: dict[str, Any] = {
    "domain": "general",
    "language": "english",
    "context": [USER, says("Hm?"), {"role": "user", "content": "Bread."}],
    "original_response": "Somewhere.",
    "edited_response": "At the market.",
    "feedback": ["The response is slightly helpful."],
    "change_summary": "Names the place.",
}
EDIT_QUALITY: dict[str, Any] = {name: value for name, value in EDIT.items() if name not in ("edited_response", "change_summary")} | {
    "good_edited_response": "At the market.",
    "bad_edited_response": "On the moon.",
}
FEEDBACK: dict[str, Any] = {
    "domain": "general",
    "language": "english",
    "context": [USER],
    "response1": "At the market.",
    "response2": "No idea.",
    "feedback1": ["The response is mostly helpful."],
    "feedback2": ["The response is not helpful."],
}
SHP: dict[str, Any] = {
    "post_id": "q1",
    "domain": "askbaking_train",
    "upvote_ratio": 0.97,
    "history": "Why does my bread sink?",
    "c_root_id_A": "c1",
    "c_root_id_B": "c2",
    "created_at_utc_A": 1,
    "created_at_utc_B": 2,
    "score_A": 3,
    "score_B": 30,
    "human_ref_A": "Bad luck.",
    "human_ref_B": "Too much water.",
    "labels": 0,
    "seconds_difference": 1.0,
    "score_ratio": 10.0,
}
WEBGPT: dict[str, Any] = {
    "question": {"dataset": "town", "id": "w1", "full_text": QUESTION},
    "quotes_0": {"title": ["Market"], "extract": ["The market sells bread."]},
    "answer_0": "At the market [1].",
    "tokens_0": {"prefix": [1, 2], "completion": [3]},
    "score_0": 0.5,
    "quotes_1": {"title": [], "extract": []},
    "answer_1": "I do not know.",
    "tokens_1": {"prefix": [1, 2], "completion": [4]},
    "score_1": -0.5,
}
POST: dict[str, Any] = {
    "id": "t3_1",
    "post": "I lost my keys and found them in the fridge.",
    "title": "Keys",
    "subreddit": "town",
    "site": None,
    "article": None,
}
SUMMARIES: dict[str, Any] = {
    "info": POST,
    "summaries": [
        {"text": " Fridge broke.", "policy": "p2", "note": None},
        {"text": " Keys in the fridge.", "policy": "ref", "note": "clear"},
    ],
    "choice": 1,
    "worker": "w1",
    "batch": "batch9",
    "split": "train",
    "extra": {"confidence": 8},
}
ARTICLE: dict[str, Any] = {
    "id": "d1",
    "post": None,
    "title": "Market opens",
    "subreddit": None,
    "site": "town",
    "article": "The market opens at seven.",
}


def rated(text: str, overall: int | None, worker: str = "w1") -> dict[str, Any]:
    axes = {"overall": overall, "accuracy": 5, "coverage": 4, "coherence": 2, "compatible": None}
    summary = {"text": text, "policy": "ref", "note": None, "axes": axes}
    return {"info": ARTICLE, "split": "test", "summary": summary, "worker": worker, "batch": "cnndm1"}


NONE: dict[str, Any] = {"Cybercrime": False, "Theft": False}
SAFE: dict[str, Any] = {
    "prompt": "How do I get rid of a wasps' nest?",
    "response_0": "Pour petrol on it.",
    "response_1": "Call somebody who does this for a living.",
    "prompt_source": "town",
    "response_0_source": "m1",
    "response_1_source": "m2",
    "is_response_0_safe": False,
    "is_response_1_safe": True,
    "response_0_harm_category": NONE | {"Theft": True},
    "response_1_harm_category": NONE,
    "response_0_severity_level": 2,
    "response_1_severity_level": 0,
    "better_response_id": 0,
    "safer_response_id": 1,
    "response_0_sha256": "00",
    "response_1_sha256": "11",
}
BEAVER: list[dict[str, Any]] = [
    {
        "prompt": "How do I open my neighbour's door?",
        "response": "With a bump key.",
        "category": {"theft": True, "abuse": False},
        "is_safe": False,
    },
    {"prompt": "How long do I boil an egg?", "response": "Eight minutes.", "category": {"theft": False, "abuse": False}, "is_safe": True},
]


def battle(winner: str, *, rounds: int = 1, **rest: Any) -> dict[str, Any]:
    """A battle of the arena; with two rounds, the second question is the same but follows another answer."""
    more = [{"role": "user", "content": "When?"}]
    sides = {
        side: [USER, says(first), *([*more, says(second)] if rounds == 2 else [])]
        for side, first, second in (("a", "At the market.", "At seven."), ("b", "No idea.", "Never."))
    }
    return {
        "question_id": f"q-{winner}-{rounds}",
        "model_a": "m1",
        "model_b": "m2",
        "winner": winner,
        "judge": "arena_user_7",
        "conversation_a": sides["a"],
        "conversation_b": sides["b"],
        "turn": rounds,
        "anony": True,
        "language": "English",
        "tstamp": 1682351591.1322,
        "openai_moderation": {"flagged": False},
        "toxic_chat_tag": {"roberta-large": {"flagged": False}},
    } | rest


def chatted(role: str, content: str, **flags: Any) -> dict[str, Any]:
    shared = {"country": "Town", "hashed_ip": "f00", "header": {"accept-language": "en"}, "language": "English", "state": "S"}
    return {"role": role, "content": content, "redacted": False, "toxic": False, "timestamp": None, "turn_identifier": 1} | shared | flags


WILDCHAT: dict[str, Any] = {
    "conversation_hash": "c1",
    "model": "gpt-x",
    "timestamp": "2024-01-01T00:00:00Z",
    "conversation": [chatted("user", "You fool! Where is bread sold?", toxic=True), chatted("assistant", "At the market.")],
    "turn": 1,
    "language": "English",
    "openai_moderation": [
        {"flagged": True, "categories": {"harassment": True, "hate": False}, "category_scores": {"harassment": 0.9, "hate": 0.0}},
        {"flagged": False, "categories": {"harassment": False, "hate": False}, "category_scores": {"harassment": 0.0, "hate": 0.0}},
    ],
    "detoxify_moderation": [{"toxicity": 0.9}, {"toxicity": 0.0}],
    "toxic": True,
    "redacted": False,
    "state": "S",
    "country": "Town",
    "hashed_ip": "f00",
    "header": {"accept-language": "en"},
}
BIG_BENCH: dict[str, Any] = {
    "canary": "no",
    "name": "opposites",
    "description": "Name the opposite.",
    "keywords": ["words"],
    "metrics": ["multiple_choice_grade"],
    "preferred_score": "multiple_choice_grade",
    "task_prefix": "Name the opposite.",
    "examples": [{"input": "hot", "target_scores": {"cold": 1, "warm": 0}}, {"input": "big", "target": ["small", "little"]}],
}
MMLU: list[dict[str, Any]] = [
    {"question": "What is 2+2?", "subject": "sums", "choices": ["3", "4", "5", "6"], "answer": 1},
    {"question": "And 2+3?", "subject": "sums", "choices": ["3", "4", "5", "6"], "answer": 2},
]
IFEVAL: dict[str, Any] = {
    "key": 1000,
    "prompt": "Describe tea without commas, in two bullet points.",
    "instruction_id_list": ["punctuation:no_comma", "detectable_format:number_bullet_lists"],
    "kwargs": [{"num_bullets": None}, {"num_bullets": 2}],
}
RLVR: dict[str, Any] = {
    "messages": [{"role": "user", "content": "2 and 2?"}],
    "ground_truth": "4",
    "dataset": "gsm8k",
    "constraint_type": None,
    "constraint": None,
}
VERL: dict[str, Any] = {
    "data_source": "town/sums",
    "prompt": [{"role": "user", "content": "2 and 3?"}],
    "ability": "math",
    "reward_model": {"style": "rule", "ground_truth": "5"},
    "extra_info": {"index": 3, "split": "train"},
}
MOSS: dict[str, Any] = {
    "conversation_id": 1,
    "meta_instruction": "You are a helper.\n",
    "num_turns": 2,
    "chat": {
        "turn_1": {
            "Human": "<|Human|>: 面包在哪儿买？<eoh>\n",
            "Inner Thoughts": "<|Inner Thoughts|>: None<eot>\n",
            "Commands": "<|Commands|>: None<eoc>\n",
            "Tool Responses": "<|Results|>: None<eor>\n",
            "MOSS": "<|MOSS|>: 在集市上。<eom>\n",
        },
        "turn_2": {
            "Human": "<|Human|>: 二加二？<eoh>\n",
            "Inner Thoughts": "<|Inner Thoughts|>: 要用计算器<eot>\n",
            "Commands": '<|Commands|>: Calculate("2+2")<eoc>\n',
            "Tool Responses": '<|Results|>:\nCalculate("2+2") => 4\n<eor>\n',
            "MOSS": "<|MOSS|>: 四。<eom>\n",
        },
    },
    "category": "Brainstorming",
}
EXAM: dict[str, Any] = {
    "subject": "数学",
    "textbox_q_instruction": "做题。",
    "textbox_q_context": "",
    "textbox_question": "二加二是几？",
    "textbox_answer": "四",
    "textbox_answer_analysis": "二加二得四，选四。",
}
ROUNDS: dict[str, Any] = {f"round_{n}": {"prompt": "p", "response": json.dumps({"Q": f"问{n}", "A": f"答{n}"})} for n in range(2)}
GEMINI: dict[str, Any] = {
    "systemInstruction": {"role": "system", "parts": [{"text": "Be short."}]},
    "contents": [{"role": "user", "parts": [{"text": QUESTION}]}, {"role": "model", "parts": [{"text": "At the market."}]}],
}
GEMINI_PAIR: dict[str, Any] = {
    "contents": [{"role": "user", "parts": [{"text": QUESTION}]}],
    "completions": [
        {"score": 0.0, "completion": {"role": "model", "parts": [{"text": "No idea."}]}},
        {"score": 1.0, "completion": {"role": "model", "parts": [{"text": "At the market."}]}},
    ],
}
BEDROCK: dict[str, Any] = {
    "schemaVersion": "bedrock-conversation-2024",
    "system": [{"text": "Answer in French."}],
    "messages": [{"role": "user", "content": [{"text": "Name a fish."}]}, {"role": "assistant", "content": [{"text": "La truite."}]}],
}
NOVA: dict[str, Any] = {
    "schemaVersion": "bedrock-conversation-2024",
    "messages": [
        {"role": "user", "content": [{"text": QUESTION}]},
        {
            "role": "assistant",
            "candidates": [
                {"content": [{"text": "At the market."}], "preferenceLabel": "preferred"},
                {"content": [{"text": "No idea."}], "preferenceLabel": "non-preferred"},
            ],
        },
    ],
}

Expected = dict[str, Any]
PUBLIC: dict[str, tuple[list[dict[str, Any]], Expected]] = {
    "moss": ([MOSS], {"written": [('<tool_response>\nCalculate("2+2") => 4\n</tool_response>', "四。")], "use_cases": ["brainstorming"]}),
    "coig-exam": ([EXAM], {"written": [("做题。\n\n二加二是几？", "二加二得四，选四。")]}),
    "coig-translated": (
        [{"instruction": "Add.", "input": "1", "output": "2", "trans_instruction": "加一。", "trans_input": "1", "trans_output": "2"}],
        {"written": [("加一。\n\n1", "2")]},
    ),
    "coig-rounds": ([ROUNDS], {"written": [("问1", "答1")]}),
    "cvalues": (
        [
            {
                "prompt": "邻居很吵，怎么办？",
                "pos_resp": "和他谈谈。",
                "neg_resp": "去砸门。",
                "pos_type": "正向建议",
                "neg_type": "风险回复",
            }
        ],
        {"ranks": [(1, 2)], "said": ["和他谈谈。", "去砸门。"]},
    ),
    "zhihu": (
        [
            {
                "prompt": "怎么烤面包？",
                "chosen": "用烤箱。",
                "rejected": "不知道。",
                "question_id": 7,
                "upvotes_chosen": 30,
                "upvotes_rejected": 1,
            }
        ],
        {"ranks": [(1, 2)], "said": ["用烤箱。", "不知道。"]},
    ),
    "firefly": (
        [{"kind": "Summary", "input": "缩写：很长。", "target": "长。"}],
        {"written": [("缩写：很长。", "长。")], "use_cases": ["summarise"]},
    ),
    "firefly-chat": (
        [
            {
                "conversation_id": 1,
                "category": "Code",
                "dataset": "d",
                "conversation": [{"human": "甲", "assistant": "乙"}, {"human": "丙", "assistant": "丁"}],
            }
        ],
        {"written": [("丙", "丁")], "use_cases": ["Code"]},
    ),
    "belle": (
        [{"instruction": "Human:甲\nAssistant:乙\nHuman:丙\nAssistant:", "input": "", "output": "丁"}],
        {"written": [("丙", "丁")]},
    ),
    "wildchat": ([WILDCHAT], {"responses": 1, "prompts": 1}),
    "gemini": (
        [GEMINI, GEMINI_PAIR],
        {"written": [(QUESTION, "At the market.")], "ranks": [(2, 1)], "said": ["No idea.", "At the market."]},
    ),
    "bedrock": ([BEDROCK, NOVA], {"written": [("Name a fish.", "La truite.")], "ranks": [(1, 2)], "said": ["At the market.", "No idea."]}),
    "vertex-text": (
        [{"input_text": "Hi", "output_text": "Hello"}, {"input_text": "Hi", "candidate_0": "Go", "candidate_1": "Hello", "choice": 1}],
        {"written": [("Hi", "Hello")], "ranks": [(2, 1)], "said": ["Go", "Hello"]},
    ),
    "big-bench": (
        [BIG_BENCH],
        {
            "written": [
                ("Name the opposite.\n\nhot\n  choice: cold\n  choice: warm", "cold"),
                ("Name the opposite.\n\nbig", "small"),
            ],
            "splits": ["test", "test"],
            "read": 2,
        },
    ),
    "choices": (
        MMLU,
        {"written": [("What is 2+2?\nA. 3\nB. 4\nC. 5\nD. 6", "B"), ("And 2+3?\nA. 3\nB. 4\nC. 5\nD. 6", "C")], "splits": ["test", "test"]},
    ),
    "ifeval": ([IFEVAL], {"prompts": 1, "splits": ["test"]}),
    "checkable": ([RLVR, VERL], {"prompts": 2}),
    "nectar": (
        [NECTAR],
        {"ranks": [(2, 1, 3)], "said": ["At the market.", "At the market, from seven.", "On the moon."]},
    ),
    "helpsteer2-preference": ([PAIR], {"ranks": [(1, 2)], "said": ["At the market.", "No idea."]}),
    "helpsteer3": (
        [
            HELPSTEER3,
            HELPSTEER3 | {"overall_preference": 0, "response2": "Nowhere."},
            HELPSTEER3 | {"overall_preference": 1, "response2": "Ask."},
        ],
        {"ranks": [(1, 2), (1, 1), (2, 1)]},
    ),
    "helpsteer3-edit": ([EDIT], {"ranks": [(1, 2)], "said": ["At the market.", "Somewhere."], "written": [("Bread.", "At the market.")]}),
    "helpsteer3-edit-quality": ([EDIT_QUALITY], {"ranks": [(1, 2)], "said": ["At the market.", "On the moon."], "responses": 3}),
    "helpsteer3-feedback": ([FEEDBACK], {"responses": 2, "prompts": 1}),
    "shp": ([SHP, SHP | {"labels": 1, "human_ref_B": "Try again."}], {"ranks": [(2, 1), (1, 2)]}),
    "webgpt": (
        [WEBGPT, WEBGPT | {"answer_1": "Nowhere.", "score_0": 0.0, "score_1": 0.0}],
        {"ranks": [(1, 2), (1, 1)], "use_cases": ["open QA"]},
    ),
    "summaries": (
        [SUMMARIES],
        {"ranks": [(2, 1)], "said": [" Fridge broke.", " Keys in the fridge."], "use_cases": ["summarise"]},
    ),
    "summary-axes": (
        [rated("Opens.", 3), rated("Opens at seven.", 6), rated("Unrated.", None), rated("Alone.", 2, "w2")],
        {
            "ranks": [(2, 1)],
            "quality": [3, 6],
            "read": 2,
            "responses": 3,
            "left_out": {"rating of a response that stands alone": 1, "summary without an overall rating": 1},
        },
    ),
    "pku-saferlhf": ([SAFE], {"ranks": [(1, 2)], "said": ["Pour petrol on it.", "Call somebody who does this for a living."]}),
    "beavertails": (BEAVER, {"thumbs": [False, True], "responses": 2, "prompts": 2}),
    "arena": (
        [battle("model_b"), battle("tie"), battle("tie (bothbad)", tstamp=1682351592.0), battle("model_a", rounds=2)],
        {
            "ranks": [(2, 1), (1, 1), (1, 1)],
            "thumbs": [False, False],
            "left_out": {"vote on conversations that part before the last answer": 1},
            "responses": 4,
        },
    ),
}
