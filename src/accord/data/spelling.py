"""The form in which a text is classified: one spelling for what looks alike to a reader.

People write round a filter with wide letters, letters of another alphabet, digits for letters, marks between the letters, and characters
that cannot be seen. ``plain`` undoes all of these, and lowers the case. Its result is for matching alone: nobody is shown it.
"""

from __future__ import annotations

import re
import unicodedata

_QUOTES = str.maketrans({"’": "'", "‘": "'", "ʼ": "'", "`": "'", "´": "'", "“": '"', "”": '"', "‐": "-", "‑": "-", "–": "-", "—": "-"})
_LOOK_ALIKES = str.maketrans("авеѕкмноրсԁтухіјԍһοανρτυκι", "abeskmhopcdtyxijghoavptuki")
"""Letters of the Cyrillic, Armenian and Greek alphabets that look like Latin ones."""
_DIGITS = str.maketrans({"0": "o", "1": "i", "3": "e", "4": "a", "5": "s", "7": "t", "8": "b", "@": "a", "$": "s", "!": "i", "|": "l"})
_SIMPLE = str.maketrans(
    "請說過這個為會來對時們後還沒給問題讓從麼樣應該開關發現實們無視記憶體係統話語詞訊息號碼帳戶電腦網絡絕護權隱殺傷槍藥詐騙竊盜壞經將與機認識應學習國際"
    "歲幾寫讀聽見幫處種點線圖書長間門東車買賣錢紅綠藍黃貓魚鳥馬鄰鬧罵醜廢滾媽爺孫師醫",
    "请说过这个为会来对时们后还没给问题让从么样应该开关发现实们无视记忆体系统话语词讯息号码账户电脑网络绝护权隐杀伤枪药诈骗窃盗坏经将与机认识应学习国际"
    "岁几写读听见帮处种点线图书长间门东车买卖钱红绿蓝黄猫鱼鸟马邻闹骂丑废滚妈爷孙师医",
)  # fmt: skip
"""Traditional characters that are frequent in orders and insults, in their simplified form."""
_HAN = "\u4e00-\u9fff"
_BETWEEN_HAN = re.compile(rf"(?<=[{_HAN}])[ .·•*_\-]{{1,2}}(?=[{_HAN}])")
_SPACED = re.compile(r"(?<![^\W_])[^\W_](?:[ .\-_*·•][^\W_]){2,200}(?![^\W_])")
_WORD_OF_MARKS = re.compile(r"[a-z0-9@$!|]{2,60}")
_DISGUISED = re.compile(r"[a-z][0134578@$!|]+[a-z]|^[0134578@$|]+[a-z]{2}|[a-z][013457@$|]{1,3}$|^[134]+[a-z][0134578@$|]")
_UNIT = re.compile(r"[0-9]+[a-z]{1,3}|[a-z]{1,3}[0-9]{1,4}|[a-z]+")
_BLANKS = re.compile(r"\s{2,50}")


def plain(text: str) -> str:
    """Return a text in lower case with one spelling for what looks alike."""
    lower = unicodedata.normalize("NFKC", text).translate(_QUOTES).lower()
    if not lower.isascii():
        lower = "".join(mark for mark in lower if unicodedata.category(mark) not in ("Cf", "Mn"))
        lower = " ".join(map(_latin, lower.split(" "))).translate(_SIMPLE)
        lower = _BETWEEN_HAN.sub("", lower)
    joined = _BLANKS.sub(" ", _SPACED.sub(_join, lower))
    return _WORD_OF_MARKS.sub(_letters, joined).strip()


def _latin(word: str) -> str:
    """Return a word that mixes Latin letters with look-alikes in Latin letters alone; a Russian word is kept."""
    return word.translate(_LOOK_ALIKES) if re.search("[a-z]", word) and not word.isascii() else word


def _join(match: re.Match[str]) -> str:
    found = match[0]
    letters = found[::2]
    return found if letters.isdigit() else letters


def _letters(match: re.Match[str]) -> str:
    """Return a word whose digits and marks stand for letters with those letters; numbers with a unit are kept."""
    word = match[0].rstrip("!")
    if word.isalpha() or not _DISGUISED.search(word) or _UNIT.fullmatch(word):
        return match[0]
    return word.translate(_DIGITS) + match[0][len(word) :]
