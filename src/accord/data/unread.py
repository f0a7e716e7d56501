"""What a format did not read of a row: the columns that carry a judgement must not be lost, and a typo is asked about.

A column that no format reads is listed for the user. One whose name says that it judges an answer, or that belongs to what was said
(``score``, ``rejected``, ``history``), stops the import until the user answers: keep it (``--keep-extra``), or leave it out (``--drop``).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, cast

from accord.data.rows import Row, empty, plain
from accord.errors import InputError

LABELS = frozenset(
    """accept accepted accuracy agreement annotation annotations annotator answer answers approve approved assessment bad best better
    candidate candidates choice choices choose chose chosen comparison completion completions continuation correct corrected correction
    correctness criteria criterion critique deleted dislike disliked dislikes downvote downvoted downvotes edited elo error errors
    evaluation expected explanation explanations factual factuality fail failed faithful faithfulness feedback feedbacks flag flagged
    flags fluency generated generation generations gold golden good grade grades ground groundtruth hallucinated hallucination
    hallucinations harm harmful harmless harmlessness hateful helpful helpfulness honesty hypothesis ignore ignored incorrect invalid
    judge judged judgement judgements judgment judgments justification kudos label labeled labelled labels like liked likes loser loss
    mark marks mask masked neg negative nsfw offensive output outputs pass passed pos positive predicted prediction predictions prefer
    preference preferences preferred qualities quality rank ranked ranking rankings ranks rate rated rating ratings reaction reference
    references refusal reject rejected relevance relevant replies reply response responses reward rewards right safe safer safety
    satisfaction score scored scores selected sentiment skip solution solutions spam star stars step steps summaries summary target
    targets thumb thumbs toxic toxicity translation translations truth truthful truthfulness unsafe upvote upvoted upvotes usefulness
    valid verdict verdicts verified vote voted votes weight weights win winner winners wins worse worst wrong""".split()  # noqa: SIM905
)
"""Words in the name of a column that usually carries a judgement, a known answer, or a text to be judged."""
SAID = frozenset(
    """assistant audio audios context conversation conversations cot dialog dialogue documents earlier function functions generator history
    image images input instruction instructions messages persona preamble prefix previous rationale rationales reasoning suffix system
    thinking thought thoughts tool tools turns utterance utterances video videos""".split()  # noqa: SIM905
)
"""Words in the name of a column that belongs to what was said, so that an answer makes no sense without it."""
LABELS_ZH = tuple(
    """分数 得分 评分 打分 标签 标注 答案 偏好 排名 排序 反馈 评价 评论 正确 错误 更好 更差 回答 回复 点赞 点踩 好评 差评 质量 满意 有害
    无害 毒性 安全 幻觉 理由 推理 思考 采纳 拒绝 系统 历史 上下文 图片 图像""".split()  # noqa: SIM905
)
COUNTS = frozenset(
    """at count counts date format id ids index lang language length license name names num number time timestamp token tokens type types
    url version""".split()  # noqa: SIM905
)
"""Last words of names that count or name something, such as ``answer_id``, and judge nothing."""
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_A-Za-z]+")
_ONE_OF_SEVERAL = re.compile(r"\d|[_ ]\w$")
"""Names such as ``answer1`` and ``score_A``, which are no misspellings of ``answer`` and ``score``."""
_PLACE = re.compile(r"\[\d+\]")


def name_of(path: str) -> str:
    """Return a path as a column's name: ``messages[0].weight`` is ``messages[].weight``."""
    return _PLACE.sub("[]", path).removeprefix("[].")


def carries_meaning(name: str) -> bool:
    """Return whether a column's name says that it judges something, or that it belongs to what was said."""
    last, words = re.split(r"\.(?=\w)", name)[-1], _words(name)
    if any(word in last for word in LABELS_ZH):
        return True
    if not words or words[-1] in COUNTS:
        return False
    return any(word in LABELS or word in SAID for word in words)


def _words(name: str) -> list[str]:
    """Return the words of the last part of a column's name."""
    return [word.lower() for word in _WORD.findall(re.split(r"\.(?=\w)", name)[-1])]


def meant_within(path: str, value: object) -> Iterator[str]:
    """Yield the columns within a value that nobody read whose names carry a meaning: ``metadata.score``, ``rounds[].rating``."""
    if _words(path)[-1:] and _words(path)[-1] in COUNTS:
        return
    if isinstance(value, list):
        for part in cast(list[Any], value):
            if isinstance(part, dict):
                yield from meant_within(f"{path}[]", cast(object, part))
    elif isinstance(value, dict):
        for key, item in cast(dict[str, Any], value).items():
            inner = f"{path}.{key}"
            if not empty(item):
                yield from (inner,) if carries_meaning(inner) else meant_within(inner, item)


def near(name: str, known: Iterable[str], present: Collection[str] = ()) -> str:
    """Return the known field that a name seems to be a misspelling of; empty if there is none, or if the row has that field too."""
    folded, found = _folded(name), list[tuple[int, str]]()
    if folded in LABELS or folded in SAID:
        return "" if name == folded else next((word for word in known if word == folded and word not in present), "")
    for word in sorted(known):
        if word == name:
            return ""
        if word in present:
            continue
        if folded == _folded(word):
            found.append((0, word))
        elif not _ONE_OF_SEVERAL.search(name) and (distance := _distance(folded, _folded(word))) <= _allowed(word, folded):
            found.append((distance, word))
    return min(found)[1] if found else ""


def _allowed(word: str, name: str) -> int:
    """Return how many letters may differ: none in a short word, in one of five two swapped ones (``store`` is not ``score``)."""
    if len(word) < 6:
        return int(len(word) == 5 and sorted(word) == sorted(name))
    return 2 if len(word) >= 8 else 1


def _folded(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).lower()


def _distance(one: str, other: str) -> int:
    """Return how many letters are missing, added, changed or swapped with their neighbour, at most; 9 when it is many."""
    if abs(len(one) - len(other)) > 2 or one[:1] != other[:1]:
        return 9
    before, last = list[int](), list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        row = [i]
        for j, against in enumerate(other, 1):
            best = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (letter != against))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == against:
                best = min(best, before[j - 2] + 1)
            row.append(best)
        before, last = last, row
    return last[-1]


def refusal(row: Row, format: str, stops: Collection[str], known: Collection[str]) -> InputError | None:
    """Return the error for the fields of a row that carry a meaning, or seem misspelt, and that its format did not read.

    Args:
        stops: names of the row's unread columns that carry a meaning.
        known: fields that formats read.
    """
    names = [name.partition(" (")[0] for name in dict.fromkeys(stops)]
    misspelt = {name: meant for name in names if "." not in name and (meant := near(name, known, row.value))}
    if not names:
        return None
    where = f'{row.where}, field "{names[0]}"'
    drops = " ".join(f"--drop {name!r}" if " " in name else f"--drop {name}" for name in names)
    if misspelt:
        maps = " ".join(f"--map {meant}={name}" for name, meant in misspelt.items())
        what = "; ".join(f"{name!r} is not read: is it meant as {meant!r}?" for name, meant in misspelt.items())
        return InputError(what, where=where, hint=f"if so, {maps}; if not, --keep-extra keeps it with the prompt and {drops} leaves it out")
    listed = ", ".join(names)
    what = (
        f"the format {format} does not read {listed}, and such a column usually carries a judgement, an answer or a part of what was said"
    )
    hint = f"name what it means by --map FIELD={names[0]} or --format, keep it with the prompt by --keep-extra, or leave it out by {drops}"
    return InputError(what, where=where, hint=hint)


def without(row: dict[str, Any], names: Collection[str]) -> tuple[dict[str, Any], set[str]]:
    """Return a row without the columns of these names, and the names that it had; ``messages[].weight`` is a field of every message."""
    found = set[str]()
    return _left(row, "", frozenset(names), found), found


def _left(value: Mapping[str, Any], inside: str, names: frozenset[str], found: set[str]) -> dict[str, Any]:
    left = dict[str, Any]()
    for key, item in value.items():
        name = f"{inside}{key}"
        if name in names:
            found.add(name)
        elif isinstance(item, dict) and any(n.startswith(f"{name}.") for n in names):
            left[key] = _left(cast(dict[str, Any], item), f"{name}.", names, found)
        elif isinstance(item, list) and any(n.startswith(f"{name}[].") for n in names):
            parts = cast(list[Any], item)
            left[key] = [
                _left(cast(dict[str, Any], part), f"{name}[].", names, found) if isinstance(part, dict) else part for part in parts
            ]
        else:
            left[key] = item
    return left


def value_at(row: Mapping[str, Any], path: str) -> Any:
    """Return the value of a path such as ``messages[0].weight``, as JSON can hold it."""
    value: Any = row
    rest = path
    while rest:
        if isinstance(value, dict):
            key = max((k for k in cast(dict[str, Any], value) if rest == k or rest.startswith((f"{k}.", f"{k}["))), key=len, default="")
            if not key:
                return None
            value, rest = value[key], rest[len(key) :].removeprefix(".")
        elif isinstance(value, list) and (place := re.match(r"\[(\d+)\]\.?", rest)):
            value, rest = value[int(place[1])], rest[place.end() :]
        else:
            return None
    return plain(value)
