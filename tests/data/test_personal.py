"""Personal data of every kind is found and nothing that only looks like it; the modes do what they say; any text is safe to ask about."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.data.patterns import KINDS, bank_card, iban, luhn, resident_id
from accord.data.personal import find, redact, redact_all, redact_messages
from accord.records import Message

RESIDENT = "11010519491231002X"
"""The example that the standard itself gives."""
FOUND = [
    ("name", "My name is John Smith.", "John Smith"),
    ("name", "my name is john smith and", "john smith"),
    ("name", "Dr. Adaeze Okonkwo will see you", "Adaeze Okonkwo"),
    ("name", "I asked Barbara Stone about it", "Barbara Stone"),
    ("name", "我叫王小明，今年五岁。", "王小明"),
    ("name", "请转告欧阳娜娜女士", "欧阳娜娜"),
    ("email", "邮箱zhang.wei+x@mail.example.cn。", "zhang.wei+x@mail.example.cn"),
    ("email", "write to jo (at) example (dot) org", "jo (at) example (dot) org"),
    ("phone", "手机13812345678", "13812345678"),
    ("phone", "ring +86 138-1234-5678 now", "+86 138-1234-5678"),
    ("phone", "座机 010-62345678", "010-62345678"),
    ("phone", "Call (415) 263-0142.", "(415) 263-0142"),
    ("phone", "Call +44 20 7946 0018 today", "+44 20 7946 0018"),
    ("phone", "phone number is 4152630142", "4152630142"),
    ("address", "I live at 221 Baker Street, Springfield, IL 62704 now", "221 Baker Street, Springfield, IL 62704"),
    ("address", "PO Box 1234 is mine", "PO Box 1234"),
    ("address", "我住在北京市海淀区中关村大街27号3单元201室。", "北京市海淀区中关村大街27号3单元201室"),
    ("address", "寄到杭州市西湖区文三路100号", "杭州市西湖区文三路100号"),
    ("id", f"身份证{RESIDENT}", RESIDENT),
    ("id", "SSN 536-90-4399.", "536-90-4399"),
    ("id", "护照号：E12345678", "E12345678"),
    ("card", "card 4111 1111 1111 1111 please", "4111 1111 1111 1111"),
    ("card", "银行卡6222021234567890128", "6222021234567890128"),
    ("card", "IBAN DE89 3704 0044 0532 0130 00", "DE89 3704 0044 0532 0130 00"),
    ("ip", "ping 203.0.113.77 now", "203.0.113.77"),
    ("ip", "host 2001:db8::8a2e:370:7334 is up", "2001:db8::8a2e:370:7334"),
    ("secret", f"key sk-{'a1B2' * 8} leaked", f"sk-{'a1B2' * 8}"),
    ("secret", "password: hunter2!x", "hunter2!x"),
    ("secret", "密码是Tr0ub4dor&3", "Tr0ub4dor&3"),
    ("secret", "git clone https://bob:s3cr3t@example.org/x", "bob:s3cr3t"),
]
NOTHING = [
    "Order 4111111111111112 is late",
    f"number {RESIDENT[:-1]}1 fails its check",
    "version 10.2.33.1, and 127.0.0.1 is this machine",
    "at 12:30:45 we had 3:2:1",
    "The password is required.",
    "New York in April, Paris in May, Virginia in June",
    "Dear Customer Support, I'm Happy",
    "Rose Garden and Mark Down",
    "高兴的国王马上说：方法很多。",
    "He paid 1,234,567,890 dollars in 2024",
    "decorate with @property",
    "John bought 5 apples for $3",
]


@pytest.mark.parametrize(("kind", "text", "datum"), FOUND)
def test_a_datum_is_found_whole(kind: str, text: str, datum: str) -> None:
    assert (kind, datum) in [(finding.kind, finding.text) for finding in find(text)]


@pytest.mark.parametrize("text", NOTHING)
def test_what_only_looks_like_it_is_left(text: str) -> None:
    assert find(text) == []


@given(st.text(alphabet="0123456789", min_size=11, max_size=18), st.integers(0, 9))
def test_luhn_takes_one_check_digit_of_ten_and_sees_every_wrong_digit(digits: str, place: int) -> None:
    fitting = [number for check in range(10) if luhn(number := f"{digits}{check}")]
    assert len(fitting) == 1
    changed = fitting[0][:place] + str((int(fitting[0][place]) + 1) % 10) + fitting[0][place + 1 :]
    assert not luhn(changed)


def test_a_resident_id_needs_its_check_mark_its_date_and_its_province() -> None:
    assert resident_id(RESIDENT)
    assert resident_id(RESIDENT.lower())
    wrong = [*(f"{RESIDENT[:17]}{mark}" for mark in "0123456789"), f"99{RESIDENT[2:]}", f"{RESIDENT[:10]}1331002X"]
    assert not any(map(resident_id, wrong))


def test_accounts_and_cards_need_their_checks() -> None:
    assert iban("GB82 WEST 1234 5698 7654 32")
    assert not iban("GB82 WEST 1234 5698 7654 33")
    assert bank_card("5555 5555 5555 4444")
    assert not bank_card("0000 0000 0000 0000")
    assert not bank_card("1234 5678 9012 3452")


def test_one_datum_has_one_tag_in_a_whole_conversation() -> None:
    turns = (
        Message("user", "I'm Susan Clark, s@example.org. Tell bob@example.org."),
        Message("assistant", "Dear Susan Clark, I wrote to bob@example.org."),
    )
    clean, found = redact_messages(turns)
    assert [message.content for message in clean] == ["I'm [NAME_1], [EMAIL_1]. Tell [EMAIL_2].", "Dear [NAME_1], I wrote to [EMAIL_2]."]
    assert [message.role for message in clean] == ["user", "assistant"]
    assert len(found) == 5


def test_the_modes() -> None:
    text = "Mail jo@example.org about it"
    assert redact(text, "replace").text == "Mail [EMAIL_1] about it"
    dropped, reviewed = redact(text, "drop"), redact(text, "review")
    assert (dropped.kept, reviewed.kept, dropped.text, reviewed.text) == (False, True, text, text)
    assert reviewed.findings == dropped.findings != ()
    assert [each.kept for each in redact_all(["fine", text], "drop")] == [False, False]
    assert redact("fine", "drop").kept


def test_only_the_kinds_that_were_asked_for_are_looked_for() -> None:
    text = "I'm Susan Clark, s@example.org"
    assert [finding.kind for finding in find(text, {"email"})] == ["email"]


@given(st.text(max_size=300) | st.text(alphabet="0123456789 .:-+@()abAB号路市sk_", max_size=300))
def test_findings_are_slices_of_the_text_that_do_not_overlap_and_replacing_hides_them(text: str) -> None:
    found = find(text)
    assert all(text[f.start : f.end] == f.text and f.text and f.kind in KINDS for f in found)
    assert all(one.end <= other.start for one, other in pairwise(found))
    done = redact(text)
    ends = [(0, 0), *((f.start, f.end) for f in found), (len(text), len(text))]
    assert re.split(r"\[[A-Z]+_\d+\]", done.text) == [text[one[1] : other[0]] for one, other in pairwise(ends)]


def test_a_long_hostile_text_takes_no_long_time() -> None:
    rng = random.Random(0)
    for alphabet in ("a.@", "1 ", "1-", ":a1", "Ab c", "王小明 市", "路号1", "A1 ", "eyJ.", "://a:", "http at dot "):
        text = "".join(rng.choice(alphabet) for _ in range(20_000))
        for hostile in (text, alphabet * (20_000 // len(alphabet))):
            started = time.perf_counter()
            find(hostile)
            assert time.perf_counter() - started < 5, f"{alphabet!r}"


def test_it_comes_without_torch() -> None:
    script = "import sys, accord.data.personal as p; p.find('Call +44 20 7946 0018'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
