"""Patterns of personal data: one rule per form, with a checksum or another validity check where the form has one.

The numbers are checked as their issuers define them: cards by Luhn (ISO/IEC 7812), mainland resident ids (身份证) by ISO 7064 MOD 11-2 with
their province and date, IBAN by MOD 97-10. IP addresses and phone numbers must be ones that can exist.

No pattern has an unbounded repeat, so that the cost of a search grows with the length of the text alone.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Literal

Kind = Literal["secret", "email", "id", "card", "ip", "phone", "address", "name"]
KINDS: tuple[Kind, ...] = ("secret", "email", "id", "card", "ip", "phone", "address", "name")
"""Kinds of personal data; where two overlap, the earlier kind wins."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule for one form of personal data. The pattern's group ``it`` is the datum; without it, the whole match is."""

    kind: Kind
    name: str
    pattern: re.Pattern[str]
    valid: Callable[[str], bool] = bool
    needs: str = ""
    """A text must contain one of these characters for the rule to be tried; empty tries it always. Only for speed."""
    unless: re.Pattern[str] | None = None
    """A pattern that, in the few words before a match, shows that it is something else."""


def luhn(number: str) -> bool:
    """Return whether the last digit of a card number is the check digit of the others (ISO/IEC 7812-1, Annex B)."""
    digits = [int(mark) for mark in reversed(number) if mark.isdigit()]
    doubled = [digit if place % 2 == 0 else digit * 2 - 9 * (digit > 4) for place, digit in enumerate(digits)]
    return len(digits) > 1 and sum(doubled) % 10 == 0


def resident_id(number: str) -> bool:
    """Return whether 18 characters are a mainland resident id: province, existing date, and check character (GB 11643-1999)."""
    if not (number[:17].isdecimal() and number.isascii() and len(number) == 18 and number[:2] in _PROVINCE_CODES):
        return False
    weighted = sum(int(digit) * pow(2, 17 - place, 11) for place, digit in enumerate(number[:17]))
    return "10X98765432"[weighted % 11] == number[17].upper() and _is_date(number[6:14])


def iban(account: str) -> bool:
    """Return whether an account number's check digits are right (ISO 13616, MOD 97-10)."""
    bare = re.sub(r"\s", "", account)
    moved = bare[4:] + bare[:4]
    return 15 <= len(bare) <= 34 and int("".join(str(int(mark, 36)) for mark in moved)) % 97 == 1


def bank_card(number: str) -> bool:
    """Return whether digits can be a card number: an issuer's prefix, a valid length, and the check digit."""
    digits = re.sub(r"\D", "", number)
    return bool(_ISSUERS.match(digits)) and len(set(digits)) > 1 and luhn(digits)


def address_of_host(text: str) -> bool:
    """Return whether a text is an IP address that can identify somebody: not loopback, unspecified, multicast or broadcast."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return False
    return not (found.is_loopback or found.is_unspecified or found.is_multicast or text.startswith(("255.", "0.")))


def phone(text: str) -> bool:
    """Return whether a numbering plan has a phone number: its country's, or without country code that of GB, US, AU or IN."""
    import phonenumbers

    for region in [None] if text.lstrip().startswith("+") else ["GB", "US", "AU", "IN"]:
        try:
            number = phonenumbers.parse(text, region)
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_valid_number(number) or (region is None and phonenumbers.is_possible_number(number)):
            return True
    return False


def _is_date(digits: str) -> bool:
    try:
        return 1850 <= date(int(digits[:4]), int(digits[4:6]), int(digits[6:])).year <= 2100
    except ValueError:
        return False


def _secret_like(value: str) -> bool:
    """Return whether a text looks like a password or key: it has a digit or a mark, more than three different characters, and is no URL."""
    mixed = any(mark.isdigit() or mark in "!@#$%^&*_+=~/" for mark in value)
    return mixed and len(set(value)) > 3 and not value.startswith(("http://", "https://", "<", "[", "{", "$"))


def _has_digits(value: str) -> bool:
    return sum(mark.isdigit() for mark in value) >= 5


_PROVINCE_CODES = {"11", "12", "13", "14", "15", "21", "22", "23", "31", "32", "33", "34", "35", "36", "37", "41", "42", "43", "44", "45",
                   "46", "50", "51", "52", "53", "54", "61", "62", "63", "64", "65", "71", "81", "82", "83"}  # fmt: skip
_ISSUERS = re.compile(
    r"(?:4(?:\d{12}|\d{15}|\d{18})$|(?:5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720)\d{1,20}$(?<=^\d{16})|3[47]\d{13}$"
    r"|3(?:0[0-5]|[68]\d)\d{11,16}$"
    r"|(?:6011|65|64[4-9])\d{1,20}$(?<=^\d{16})|35(?:2[89]|[3-8]\d)\d{12}$|(?:62|60)\d{14,17}$|(?:50|5[678]|63|67)\d{11,17}$"
    r"|(?:1800|2131)\d{11}$)"
)
_PROVINCES = (
    "北京|天津|上海|重庆|河北|山西|辽宁|吉林|黑龙江|江苏|浙江|安徽|福建|江西|山东|河南|湖北|湖南|广东|海南"
    "|四川|贵州|云南|陕西|甘肃|青海|台湾|内蒙古|广西|西藏|宁夏|新疆|香港|澳门"
)
_STREETS = (
    "Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Place|Pl|Square|Sq|Terrace|Ter"
    "|Way|Parkway|Pkwy|Circle|Cir|Highway|Hwy"
    "|Trail|Trl|Close|Crescent|Cres|Grove|Gardens|Mews|Row|Walk|Wharf|Alley|Plaza|Pike|Path|Turnpike|Loop"
    "|Ridge|Heights|Park|Hill|Green|View|Run|Pass|Point|Expressway|Freeway|Valley|Village|Bridge|Estate"
    "|Harbor|Island|Manor|Meadow|Mountain|Viaduct"
)
_HAN = "[\u4e00-\u9fff]"
_UNIT = r"(?:,?\s(?:Apt|Apartment|Suite|Ste|Unit|Flat|Room|Floor|Fl)\.?\s?[\w-]{1,6}|,?\s#\s?[\w-]{1,6})"
_TOWN = r"(?:[,\n]\s?[A-Z][A-Za-z.'-]{1,40}(?:\s[A-Z][A-Za-z.'-]{1,40}){0,2})"
_ZIP = r"(?:,?\s(?:[A-Z]{2}|[A-Z][a-z]{1,40}(?:\s[A-Z][a-z]{1,40})?)?,?\s?\d{5}(?:-\d{4})?\b|,?\s[A-Z]{1,2}\d[A-Z\d]?\s\d[A-Z]{2}\b)"
_ROOM = (
    rf"(?:\s?(?:[A-Za-z\d]{{1,4}}|[一二三四五六七八九十]{{1,3}})\s?(?:号楼|栋|幢|座|单元|室|层|楼|号|户|房)"
    rf"|{_HAN}{{2,8}}?(?:小区|花园|公寓|大厦|广场|苑|家园|新村|社区|校区|中心))"
)
_CUED_ID = (
    r"(?i:\bssn|social security(?: number| no\.?)?|passport(?: number| no\.?)?|driver'?s? licen[cs]e(?: number"
    r"| no\.?)?|national id(?: number)?"
    r"|tax(?:payer)? id(?: number)?|身份证号?码?|护照号?码?|驾驶证号?码?|驾照号?码?|社保号?码?|居住证号?码?|军官证号?码?)"
)

RULES: tuple[Rule, ...] = (
    Rule(
        "secret",
        "private key",
        re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----(?:(?:[^-]|-(?!----)){0,8000}-----END [A-Z ]{0,30}PRIVATE KEY-----)?"),
        needs="-",
    ),
    Rule(
        "secret",
        "provider key",
        re.compile(
            r"(?<![A-Za-z0-9])(?:sk-(?:proj-|ant-|live-)?[A-Za-z0-9_-]{20,200}|(?:AKIA|ASIA)[A-Z0-9]{16}|gh[pousr]_[A-Za-z0-9]{30,255}"
            r"|github_pat_[A-Za-z0-9_]{22,255}|glpat-[A-Za-z0-9_-]{20,64}|xox[abprs]-[A-Za-z0-9-]{10,200}"
            r"|AIza[A-Za-z0-9_-]{35}|hf_[A-Za-z0-9]{30,64}"
            r"|npm_[A-Za-z0-9]{36}|pypi-[A-Za-z0-9_-]{40,255}|[rsp]k_(?:live|test)_[A-Za-z0-9]{16,128}"
            r"|SG\.[A-Za-z0-9_-]{16,64}\.[A-Za-z0-9_-]{16,64}"
            r"|LTAI[A-Za-z0-9]{12,30}|AKID[A-Za-z0-9]{16,48})(?![A-Za-z0-9])"
        ),
        needs="-_KIG.",
    ),
    Rule("secret", "token", re.compile(r"(?<![\w-])eyJ[\w-]{8,4000}\.[\w-]{8,4000}\.[\w-]{8,4000}"), needs="."),
    Rule("secret", "bearer", re.compile(r"(?i:\bbearer|\bbasic)\s(?P<it>[A-Za-z0-9._~+/-]{20,2000}={0,2})"), _secret_like, needs=" "),
    Rule(
        "secret",
        "password",
        re.compile(
            r"(?i:\b(?:password|passwd|passphrase|pwd|secret(?:[ _-]?key)?|api[ _-]?key|access[ _-]?(?:key|token)|auth[ _-]?token|token)\b"
            r"|密码|口令|密钥|令牌)[\"']?\s?(?i:is\s?:?|=|:|：|是|为)\s{0,20}[\"'`“]?(?P<it>[!-&(-+\--:<-_a-~]{6,200})"
        ),
        _secret_like,
        needs=":=：是为i",
    ),
    Rule("secret", "login in an address", re.compile(r"(?<=://)(?P<it>[^\s/:@]{1,100}:[^\s/@]{3,100})(?=@)"), needs="@"),
    Rule(
        "email",
        "address",
        re.compile(
            r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}"
            r"[A-Za-z0-9])?\.){1,6}[A-Za-z]{2,24}(?![A-Za-z0-9])"
        ),
        needs="@",
    ),
    Rule(
        "email",
        "spelt out",
        re.compile(
            r"(?<![\w.+-])(?i:[a-z0-9._+-]{2,64}\s?(?:\(at\)|\[at\]|\{at\}| at )\s?[a-z0-9-]{2,63}(?:\s?(?:\(dot\)"
            r"|\[dot\]|\{dot\}| dot )\s?[a-z]{2,24}){1,3})"
        ),
        needs="t",
    ),
    Rule("id", "resident id", re.compile(r"(?<![A-Za-z0-9])[1-9]\d{16}[\dXx](?![A-Za-z0-9])"), resident_id, needs="1234568"),
    Rule("id", "social security", re.compile(r"(?<![\d-])(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])"), needs="-"),
    Rule(
        "id",
        "national insurance",
        re.compile(r"\b(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z]{2}\s?\d{2}\s?\d{2}\s?\d{2}\s?[A-D]\b"),
        needs="ABCD",
    ),
    Rule(
        "id",
        "named",
        re.compile(rf"{_CUED_ID}\s?(?:[:：#]|is|是|为)?\s?(?P<it>[A-Za-z]{{0,3}}[\d-]{{6,20}}[A-Za-z\d]?)(?![A-Za-z0-9])"),
        _has_digits,
        needs="0123456789",
    ),
    Rule("card", "bank card", re.compile(r"(?<![\d.])\d(?:[ -]?\d){12,18}(?![\d])"), bank_card, needs="0123456789"),
    Rule(
        "card",
        "iban",
        re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?:\s?[A-Z0-9]{4}){2,7}(?:\s?[A-Z0-9]{1,3})?(?![A-Za-z0-9])"),
        iban,
        needs="0123456789",
    ),
    Rule(
        "ip",
        "version 4",
        re.compile(r"(?<![\w.])(?<![Vv]ersion )(?<!版本 )(?<!版本)(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)", re.ASCII),
        address_of_host,
        needs=".",
        unless=re.compile(r"(?i)version|release|upgrade|update|版本|升级"),
    ),
    Rule(
        "ip",
        "version 6",
        re.compile(r"(?<![\w:.])(?=[0-9A-Fa-f:]{0,40}\d)(?:[0-9A-Fa-f]{1,4}:|:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])", re.ASCII),
        address_of_host,
        needs=":",
    ),
    Rule(
        "phone", "mainland mobile", re.compile(r"(?<![\d.])(?:(?:\+|00)?86[ -]?)?1[3-9]\d(?:\d{8}|[ -]\d{4}[ -]\d{4})(?![\d])"), needs="1"
    ),
    Rule(
        "phone",
        "mainland landline",
        re.compile(r"(?<![\d-])(?:\(0\d{2,3}\)\s?|（0\d{2,3}）\s?|0(?:10|2\d|[3-9]\d{2})-)[2-8]\d{6,7}(?![\d-])"),
        needs="0",
    ),
    Rule(
        "phone",
        "north american",
        re.compile(
            r"(?<![\d.-])(?:(?:\+|00)?1[-. ]?)?(?:\([2-9]\d{2}\)\s?|[2-9]\d{2}[-. ])[2-9]\d{2}[-. ]\d{4}"
            r"(?:\s?(?:x|ext\.?)\s?\d{1,6})?(?![\d-])"
        ),
        needs="0123456789",
    ),
    Rule(
        "phone",
        "international",
        re.compile(r"(?<![\w+])\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d(?:[ .-]?\d){5,12}(?![\d])"),
        phone,
        needs="+",
    ),
    Rule("phone", "trunk prefix", re.compile(r"(?<![\d.-])(?:\(0\d{2,4}\)|0\d{2,4})[ -]?\d{3,4}[ -]?\d{3,4}(?![\d-])"), phone, needs="0"),
    Rule(
        "phone",
        "named",
        re.compile(
            r"(?i:\b(?:phone|tel|telephone|mobile|cell|whatsapp|call me (?:at|on)|text me (?:at|on)|reach me "
            r"(?:at|on))(?:\s?(?:number|no\.?))?"
            r"|电话号?码?|手机号?码?|联系方式|微信号?|座机)\s?(?:is|[:：#]|是|为)?\s?(?P<it>\+?\d(?:[ .-]?\d){6,13})(?![\d])"
        ),
        needs="0123456789",
    ),
    Rule(
        "address",
        "street",
        re.compile(
            rf"(?<![\w.,$-])\d{{1,6}}[A-Za-z]?(?:\s(?:N|S|E|W|North|South|East|West)\.?)?(?:\s[A-Z][a-z'’-]{{1,40}}){{1,3}}?\s"
            rf"(?:{_STREETS})s?\b\.?{_UNIT}?{_TOWN}{{0,2}}{_ZIP}?"
        ),
        needs="0123456789",
    ),
    Rule(
        "address",
        "posted",
        re.compile(
            rf"(?<![\w.,$-])(?:(?:Flat|Studio|Unit|Apartment|Apt\.?|Suite|Room)\s[\w-]{{1,5}},?\s)?(?:\d{{1,6}}"
            rf"[A-Za-z]?\s)?[A-Z][a-z'’-]{{1,40}}(?:\s[A-Z][a-z'’-]{{1,40}}){{0,3}}{_UNIT}?{_TOWN}{{1,2}}"
            r"(?:,?\s[A-Z]{2}\s\d{5}(?:-\d{4})?\b|,?\s[A-Z]{1,2}\d[A-Z\d]?\s\d[A-Z]{2}\b)"
        ),
        needs="0123456789",
    ),
    Rule("address", "box", re.compile(rf"\b(?:P\.?\s?O\.?\s?Box)\s\d{{1,6}}\b{_TOWN}?{_ZIP}?"), needs="B"),
    Rule(
        "address",
        "military or unit",
        re.compile(
            r"\b(?:USS|USNS|USNV|USCGC)\s[A-Z][a-z]{1,40}\n?,?\s?(?:FPO|APO|DPO)\s[A-Z]{2}\s\d{5}|\b(?:PSC|Unit)\s\d{3,5},?\s?Box\s\d{1,5}"
            r"(?:,?\s(?:DPO|APO|FPO)\s[A-Z]{2}\s\d{5})?"
        ),
        needs="BU",
    ),
    Rule(
        "address",
        "chinese",
        re.compile(
            rf"(?:(?:{_PROVINCES})(?:省|市|壮族自治区|回族自治区|维吾尔自治区|自治区|特别行政区)?)?(?:{_HAN}{{2,4}}?(?:市"
            rf"|自治州|地区|盟))?(?:{_HAN}{{1,5}}?(?:区|县|旗|市))?"
            rf"(?:{_HAN}{{1,5}}?(?:镇|乡|街道))?{_HAN}{{1,6}}?(?:路|街|大道|巷|胡同|弄|道|村)\s?[\d一二三四五六七八九十百]{{1,5}}\s?(?:号"
            rf"|弄|组){_ROOM}{{0,6}}"
        ),
        needs="号弄组",
    ),
    Rule(
        "address",
        "chinese, by building",
        re.compile(
            rf"(?:(?:{_PROVINCES})(?:省|市|自治区)?)?(?:{_HAN}{{2,4}}?市)?(?:{_HAN}{{1,5}}?(?:区|县))?{_HAN}{{2,8}}?(?:小区"
            rf"|花园|公寓|苑|家园|新村|街|路)"
            r"(?:\s?[A-Za-z\d]{1,4}\s?(?:号楼|栋|幢|座|单元|室|层|楼)){1,5}"
        ),
        needs="楼栋幢座室",
    ),
    Rule(
        "address",
        "chinese, by district",
        re.compile(rf"(?:{_PROVINCES})(?:省|市|自治区)?{_HAN}{{1,6}}(?:市|县|区){_HAN}{{1,6}}(?:街|路|区|县)[A-Za-z]?座?(?:\s?\d{{6}})?"),
        needs="省市县区",
    ),
)
"""Every rule but those for names, which are in names.py."""
