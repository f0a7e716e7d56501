"""Rows of every format, made by hand in the form that the published sets have, with what must come of them."""

from __future__ import annotations

from typing import Any

from annotated_excerpts import ANNOTATED
from public_excerpts import PUBLIC

DIALOGUE = "\n\nHuman: Hello?\n\nAssistant: Hi.\n\nHuman: How do I bake bread?\n\nAssistant:"
ASK = [{"role": "user", "content": "Where is bread sold?"}]
PASSAGES = [["Market", "The market sells bread.", "It opens at seven."]]


def message(id: str, role: str, text: str, *replies: Any, rank: int | None = None, **rest: Any) -> dict[str, Any]:
    fields = {"message_id": id, "parent_id": None, "text": text, "role": role, "lang": "en", "review_count": 3, "review_result": True}
    return fields | {"deleted": False, "rank": rank, "synthetic": False, "model_name": None, "replies": list(replies)} | rest


TREE = message(
    "1",
    "prompter",
    "Where is bread sold?",
    message("2", "assistant", "At the market.", message("5", "prompter", "When?", message("6", "assistant", "At seven.")), rank=0),
    message("3", "assistant", "No idea.", rank=2),
    message("4", "assistant", "In shops.", rank=1),
    message("7", "assistant", "Spam", deleted=True, rank=3),
    message("8", "assistant", "Unseen", message("9", "prompter", "What?"), review_result=None),
)
FLAT = [
    {"message_id": id, "parent_id": parent, "message_tree_id": "1", "role": role, "text": text, "rank": rank, "deleted": False,
     "review_result": True, "synthetic": False, "user_id": "u1"}
    for id, parent, role, text, rank in (
        ("1", None, "prompter", "Where is bread sold?", None), ("2", "1", "assistant", "At the market.", 0),
        ("3", "1", "assistant", "No idea.", 1), ("4", "2", "prompter", "When?", None), ("5", "4", "assistant", "At seven.", None),
    )
]  # fmt: skip
FINE = {
    "question": "When does it open?",
    "passages": PASSAGES,
    "gold": "At seven.",
    **{f"prediction {n}": text for n, text in enumerate(["At seven, as said.", "At six.", "Late.", "Never."], 1)},
    "feedback": {
        "errors": [{"error type": "Irrelevant", "explanation": "", "start": 8, "end": 17}],
        "missing-info": [],
        "corrected-prediction": "At seven.",
    },
    "preference": [1, 1, 1, 0, 1, 1],
}
TASK = {
    "Definition": ["Name the opposite."],
    "Positive Examples": [],
    "Instances": [{"id": "t-1", "input": "hot", "output": ["cold", "icy"]}, {"id": "t-2", "input": "big", "output": ["small"]}],
}
RATED = [
    {"model": "a", "response": "Warm.", "overall_score": 8.0, "annotations": {}},
    {"model": "b", "response": "Cold.", "overall_score": 2.0, "annotations": {}},
    {"model": "c", "response": "Mild.", "overall_score": 8.0, "annotations": {}},
]
BENCH = {"question_id": 81, "category": "writing", "turns": ["Write a letter.", "Shorten it."]}
PROBE = {"context": "Ann and Bob met.", "question": "Who won?", "ans0": "Ann", "ans1": "Bob", "ans2": "Unknown", "label": 2}

LABELED = {
    "id": 7,
    "data": {"prompt": "Hi", "answer1": "Hello", "answer2": "Go"},
    "annotations": [
        {"id": 1, "completed_by": 1, "was_cancelled": False, "result": [
            {"type": "pairwise", "from_name": "pw", "to_name": "answer1,answer2", "value": {"selected": "left"}}]},
        {"id": 2, "completed_by": {"id": 2, "email": "bob@x"}, "result": [
            {"type": "rating", "from_name": "r1", "to_name": "answer1", "value": {"rating": 2}},
            {"type": "rating", "from_name": "r2", "to_name": "answer2", "value": {"rating": 4}}]},
        {"id": 3, "completed_by": 3, "was_cancelled": True, "result": []},
    ],
    "predictions": [],
}  # fmt: skip
WEB_MESSAGES = {
    "u": {"id": "u", "parentId": None, "childrenIds": ["a", "b"], "role": "user", "content": "Hi"},
    "a": {"id": "a", "parentId": "u", "childrenIds": [], "role": "assistant", "content": "Hello", "model": "big"},
    "b": {
        "id": "b",
        "parentId": "u",
        "childrenIds": [],
        "role": "assistant",
        "content": "Go",
        "model": "small",
        "annotation": {"rating": -1},
    },
}
WEB_CHAT = {
    "id": "c",
    "user_id": "ann",
    "title": "Hi",
    "chat": {"models": ["big"], "history": {"messages": WEB_MESSAGES, "currentId": "a"}},
}
SAID = {"rating": 1, "model_id": "big", "sibling_model_ids": ["small"], "reason": "accurate", "comment": "", "tags": ["t"]}
WEB_FEEDBACK = {
    "id": "f", "user_id": "ann", "version": 0, "type": "rating", "data": SAID | {"details": {"rating": 8}},
    "meta": {"arena": True, "chat_id": "c", "message_id": "a", "message_index": 1}, "snapshot": {"chat": WEB_CHAT},
    "created_at": 1760000000, "updated_at": 1760000000,
}  # fmt: skip


def _node(id: str, parent: str | None, role: str, text: str) -> dict[str, Any]:
    message = {"id": id, "author": {"role": role}, "content": {"content_type": "text", "parts": [text]}, "metadata": {"model_slug": "m"}}
    return {"id": id, "parent": parent, "children": [], "message": message if role else None}


CHATGPT = {
    "title": "Hi", "create_time": 1.0, "update_time": 2.0, "current_node": "3", "conversation_id": "x", "conversation_origin": None,
    "mapping": {"0": _node("0", None, "", ""), "s": _node("s", "0", "system", ""), "1": _node("1", "s", "user", "Hi"),
                "2": _node("2", "1", "assistant", "Hello"), "3": _node("3", "1", "assistant", "Good day")},
}  # fmt: skip
TRACE_OF = {
    "id": "t", "name": "chat", "userId": "ann", "sessionId": "s", "output": {"content": "Hello"},
    "input": [{"role": "user", "content": "Hi"}],
    "scores": [{"id": "1", "name": "user-feedback", "value": 0, "dataType": "BOOLEAN", "stringValue": "False", "source": "API"},
               {"id": "2", "name": "quality", "value": 0.7, "dataType": "NUMERIC", "source": "EVAL"}],
    "observations": [], "htmlPath": "/x",
}  # fmt: skip

Expected = dict[str, Any]
FORMATS: dict[str, tuple[list[dict[str, Any]], Expected]] = {
    "hh-rlhf": (
        [{"chosen": f"{DIALOGUE} With flour.", "rejected": f"{DIALOGUE} No."}],
        {"ranks": [(1, 2)], "said": ["With flour.", "No."]},
    ),
    "trl-preference": (
        [
            {"prompt": "Where?", "chosen": "Here.", "rejected": "There."},
            {"prompt": ASK, "chosen": [{"role": "assistant", "content": "Yes."}], "rejected": [{"role": "assistant", "content": "No."}]},
            {"chosen": [*ASK, {"role": "assistant", "content": "A."}], "rejected": [*ASK, {"role": "assistant", "content": "B."}]},
        ],
        {"ranks": [(1, 2)] * 3, "said": ["Here.", "There.", "Yes.", "No.", "A.", "B."]},
    ),
    "alpaca": ([{"instruction": "Add.", "input": "1 and 2", "output": "3"}], {"written": [("Add.\n\n1 and 2", "3")]}),
    "dolly": (
        [{"instruction": "Who?", "context": "Ann.", "response": "Ann", "category": "closed_qa"}],
        {"written": [("Who?\n\nAnn.", "Ann")], "use_cases": ["closed QA"]},
    ),
    "sharegpt": (
        [{"id": "x", "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}],
        {"written": [("Hi", "Hello")]},
    ),
    "messages": (
        [{"messages": [*ASK, {"role": "assistant", "content": [{"type": "text", "text": "Here."}]}]}, {"messages": ASK}],
        {"written": [("Where is bread sold?", "Here.")], "prompts": 0},
    ),
    "openassistant": (
        [{"message_tree_id": "1", "tree_state": "ready_for_export", "prompt": TREE}],
        {
            "ranks": [(1, 2, 3)],
            "said": ["At the market.", "In shops.", "No idea."],
            "written": [("When?", "At seven.")],
            "left_out": {"deleted message": 1, "message that review did not accept": 1},
        },
    ),
    "openassistant-flat": (FLAT, {"ranks": [(1, 2)], "said": ["At the market.", "No idea."], "written": [("When?", "At seven.")]}),
    "self-instruct": (
        [{"id": "u", "motivation_app": "Mail", "instruction": "Shorten.", "instances": [{"input": "A text.", "output": "Text."}]}],
        {"prompts": 1},
    ),
    "natural-instructions": (
        [TASK],
        {"written": [("Name the opposite.\n\nhot", "cold"), ("Name the opposite.\n\nbig", "small")], "read": 2},
    ),
    "gsm8k": ([{"question": "2 and 2?", "answer": "2+2=<<2+2=4>>4\n#### 4"}], {"written": [("2 and 2?", "2+2=<<2+2=4>>4\n#### 4")]}),
    "fine-grained": (
        [FINE],
        {
            "ranks": [(1, 2, 2, 3)],
            "written": [("The market sells bread. It opens at seven.\n\nWhen does it open?", "At seven.")],
            "spans": [(8, 17, "Irrelevant")],
        },
    ),
    "ultrafeedback": ([{"instruction": "How is it?", "completions": RATED}], {"ranks": [(1, 2, 1)], "quality": [6, 2, 6]}),
    "vlfeedback": (
        [
            {
                "prompt": "Where is it?",
                "models": ["a", "b"],
                "completions": [
                    {"annotations": {"Helpfulness": {"Rating": r}, "Visual Faithfulness": {"Rating": "3"}}, "model": m, "response": m}
                    for r, m in (("5", "a"), ("1", "b"))
                ],
            }
        ],
        {"ranks": [(1, 2)], "quality": [6, 3]},
    ),
    "helpsteer": (
        [{"prompt": "Why?", "response": r, "helpfulness": h, "correctness": 4} for r, h in (("So.", 3), ("No.", 0))]
        + [{"prompt": "Who?", "response": "Ann.", "helpfulness": 4, "correctness": 4}],
        {"ranks": [(1, 2)], "quality": [6, 1], "read": 2, "responses": 3},
    ),
    "trl-kto": (
        [{"prompt": "Hi", "completion": "Hello", "label": True}, {"prompt": "Hi", "completion": "Go", "label": False}],
        {"thumbs": [True, False]},
    ),
    "label-studio": ([LABELED], {"ranks": [(1, 2), (2, 1)], "said": ["Hello", "Go"] * 2, "left_out": {"skipped annotation": 1}}),
    "label-studio-min": (
        [
            {
                "id": 7,
                "prompt": "Hi",
                "answer1": "Hello",
                "answer2": "Go",
                "pw": "right",
                "annotator": 1,
                "annotation_id": 1,
                "lead_time": 3.1,
            }
        ],
        {"ranks": [(2, 1)], "said": ["Hello", "Go"]},
    ),
    "open-webui-feedback": ([WEB_FEEDBACK], {"thumbs": [True], "ranks": [(1, 2)], "said": ["Hello", "Go"]}),
    "open-webui-chats": ([WEB_CHAT], {"thumbs": [False], "responses": 2}),
    "chatgpt": ([CHATGPT], {"responses": 2, "prompts": 1}),
    "langfuse": ([TRACE_OF], {"thumbs": [False], "responses": 1}),
    "ms-swift": (
        [
            {"messages": [*ASK, {"role": "assistant", "content": "Here."}], "rejected_response": "There."},
            {
                "messages": [*ASK, {"role": "assistant", "content": "At seven."}],
                "rejected_messages": [{"role": "assistant", "content": "No."}],
            },
        ],
        {"ranks": [(1, 2)] * 2, "said": ["Here.", "There.", "At seven.", "No."]},
    ),
    "scored": (
        [{"prompt": "Hi", "responses": ["Hello", "Go", "Hello!"], "scores": [0.5, -1, 0.5]}],
        {"ranks": [(1, 2, 1)], "said": ["Hello", "Go", "Hello!"]},
    ),
    "thumbs": (
        [
            {"messages": [*ASK, {"role": "assistant", "content": "Here."}], "label": False},
            {"prompt": "Hi", "response": "Hello", "feedback": "thumbs_up"},
            {"instruction": "Add.", "input": "1, 1", "output": "2", "kto_tag": True},
            {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Go"}], "rating": -1},
        ],
        {"thumbs": [False, True, True, False], "responses": 4},
    ),
    "outputs": ([{"instruction": "Add.", "output": "2", "generator": "small"}], {"responses": 1, "prompts": 1}),
    "trl-completion": ([{"prompt": "Hi", "completion": "Hello"}], {"written": [("Hi", "Hello")]}),
    "history": (
        [{"history": "Hi", "responses": "Hello"}, {"history": "User: Hi\nBot: Hm?\nUser: Well", "responses": '["So.", "Bye."]'}],
        {"written": [("Hi", "Hello")], "responses": 2},
    ),
    "mt-bench": ([BENCH], {"prompts": 1, "splits": ["test"]}),
    "bbq": ([PROBE], {"written": [("Ann and Bob met.\n\nWho won?\n(a) Ann\n(b) Bob\n(c) Unknown", "Unknown")], "splits": ["test"]}),
    "winogender": ([{"sentid": "x.txt", "sentence": "Ann told him."}], {"prompts": 1, "splits": ["test"]}),
}

FORMATS.update(ANNOTATED)
FORMATS.update(PUBLIC)
