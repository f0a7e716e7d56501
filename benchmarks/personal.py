"""How much personal data is found, and how much of what is found is some: a generated and labeled set, English and Chinese.

The values are Faker's (names, addresses, numbers of its own lists, which the rules do not know), the sentences stand below in two
halves: the rules were mended while looking at the first, and never at the second. One text in three holds no
personal data but what resembles it.

    python benchmarks/personal.py --texts 4000 --out benchmarks/results/personal.json
"""

from __future__ import annotations

import argparse
import json
import random
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from faker import Faker

from accord.data.patterns import KINDS
from accord.data.personal import find

SEEN = {
    "en": [
        "My name is {name} and I live at {address}. Can you write a complaint to my landlord?",
        "Please draft an email to {email} asking for the invoice of last month.",
        "Hi, this is {name}. Call me at {phone} when the order is ready.",
        "Fill in the form: Name: {name}, SSN: {id}, Phone: {phone}.",
        "Charge my card {card} for the tickets and send the receipt to {email}.",
        "The server {ip} refuses connections. The log says api_key={secret} was rejected.",
        "Dear {name},\nwe shipped your parcel to {address}.\nRegards,\n{name}",
        "Summarise this note: Dr. {name} saw the patient at noon and asked to be reached at {phone}.",
        "I met {name} at the conference and we talked about boats.",
        "Translate into French: you can write to {email} or to {address}.",
        "Why does this fail?\nexport TOKEN={secret}\nping {ip}",
    ],
    "zh": [
        "我叫{name}，住在{address}，请帮我写一封投诉信。",
        "请把简历发到{email}，或者打电话{phone}联系我。",
        "联系人：{name}，手机号：{phone}，身份证号：{id}。",
        "帮我写一条短信，告诉{name}先生快递已经寄到{address}。",
        "我的银行卡号是{card}，为什么转账失败？",
        "服务器{ip}连不上，密码是{secret}，请帮我看看。",
        "患者{name}，身份证{id}，请总结病历。",
    ],
}
HELD_OUT = {
    "en": [
        "Write a birthday poem for my neighbour {name}, who can be reached under {phone}.",
        "Customer {name} ({email}) asks whether the refund went to card {card}.",
        "Extract the fields: {name}; {address}; {phone}; {email}",
        "Our contract is between {name} and {name}, resident at {address}.",
        "I lost my wallet. My social security number is {id} and my Visa was {card}. What do I do?",
        "Somebody from {ip} logs into my account. Should I tell {name}?",
        "Here is the config, find the bug:\nhost = {ip}\npassword: {secret}",
        '{name} wrote: "let us meet at {address} on Friday". Reply politely.',
        "Is +1 the right prefix for {phone}?",
        "Authorization: Bearer {secret}\nWhat does this header do?",
    ],
    "zh": [
        "收件人{name}，地址{address}，电话{phone}，请整理成表格。",
        "{name}老师您好，我想请假一天。请润色这句话。",
        "我是{name}，我的邮箱是{email}，能帮我写自我介绍吗？",
        "把下面的信息提取出来：{name}，{id}，{phone}，{address}。",
        "合同甲方为{name}，卡号{card}，开户行在上海。",
        "昨天我和{name}去吃饭了，请续写这个故事。",
        "访问{ip}时提示令牌错误，token={secret}，怎么解决？",
    ],
}
RESEMBLING = [
    "Order {digits16} of {date} has not arrived; the tracking number is {digits12}.",
    "Upgrade from version 10.2.{n}.1 to 11.0.0.{n} and run make test.",
    "What is {n} * {digits12} + {digits10}?",
    "Is ISBN 978-3-16-148410-0 a valid book number?",
    "Meet at 12:30:45 on {date}; the score was 3:2:1.",
    "New York and San Francisco are {n} miles from West Virginia by car.",
    "Write a story about a dragon called Smoke who lives under Baker Hill.",
    "The password is required to be long. What is a token in a language model?",
    "In {n} years the population of North Korea grew by {digits10} people.",
    "Happy Monday! Dear Customer Support, I'm Happy with the French Bread.",
    "How do I use @property and @staticmethod in Python 3.11.{n}?",
    "The Grand Canyon Park Service says that Spring Break ends in April.",
    "A man drives {n} miles on Route 66, then {n} more on Main Street.",
    "高兴的时候，王国里的人都会马上唱歌。今天是{date}。",
    "订单号{digits16}，快递单号{digits12}，请问什么时候到？",
    "这本书一共{n}页，第{n}章讲的是金融市场和石油价格。",
    "请把“方法论”和“白皮书”翻译成英文，字数不超过{n}。",
    "江山如此多娇，万里长城永不倒，请赏析。",
]


@dataclass(frozen=True)
class Labeled:
    """A text and the spans in it that are personal data."""

    text: str
    spans: tuple[tuple[str, int, int], ...]
    half: str
    language: str


def generate(texts: int, seed: int) -> list[Labeled]:
    """Labeled texts of both languages and halves, a third of them without personal data."""
    rng = random.Random(seed)
    fakers = {"en": Faker(["en_US", "en_GB"]), "zh": Faker("zh_CN")}
    for faker in fakers.values():
        faker.seed_instance(seed)
    made: list[Labeled] = []
    for number in range(texts):
        half, templates = (("seen", SEEN), ("held out", HELD_OUT))[number % 2]
        if number % 3 == 2:
            text = re.sub(r"\{(\w+)\}", lambda m: resembling(m[1], rng), rng.choice(RESEMBLING))
            made.append(Labeled(text, (), half, "zh" if re.search("[\u4e00-\u9fff]", text) else "en"))
            continue
        language = rng.choice(["en", "zh"])
        made.append(fill(rng.choice(templates[language]), fakers[language], half, language, rng))
    return made


def fill(template: str, faker: Faker, half: str, language: str, rng: random.Random) -> Labeled:
    text, spans, rest = "", list[tuple[str, int, int]](), 0
    for match in re.finditer(r"\{(\w+)\}", template):
        text += template[rest : match.start()]
        value = VALUES[match[1]](faker, language, rng)
        spans.append((match[1], len(text), len(text) + len(value)))
        text, rest = text + value, match.end()
    return Labeled(text + template[rest:], tuple(spans), half, language)


def resembling(what: str, rng: random.Random) -> str:
    if what.startswith("digits"):
        return "".join(rng.choices("123456789", k=1) + rng.choices("0123456789", k=int(what[6:]) - 1))
    return f"{rng.randint(2000, 2026)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}" if what == "date" else str(rng.randint(2, 99))


def address(faker: Faker, language: str, _: random.Random) -> str:
    return faker.address().replace("\n", ", ") if language == "en" else re.sub(r" \d{6}$", "", faker.address())


def phone(faker: Faker, language: str, rng: random.Random) -> str:
    if language == "zh":
        number = faker.phone_number()
        return rng.choice([number, f"{number[:3]}-{number[3:7]}-{number[7:]}", f"+86 {number}"])
    area, office, line = rng.randint(201, 989), rng.randint(200, 999), rng.randint(0, 9999)
    forms = [f"({area}) {office}-{line:04}", f"{area}-{office}-{line:04}", f"+1 {area} {office} {line:04}", f"{area}.{office}.{line:04}"]
    return rng.choice(
        [
            *forms,
            f"+44 20 7946 {line:04}",
            f"020 7946 {line:04}",
            f"07700 9{rng.randint(0, 99999):05}",
            f"+49 30 {rng.randint(1000000, 9999999)}",
        ]
    )


def secret(faker: Faker, _: str, rng: random.Random) -> str:
    marks = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    random_part: Callable[[int], str] = lambda n: "".join(rng.choices(marks, k=n))  # noqa: E731
    return rng.choice(
        [
            f"sk-{random_part(40)}",
            f"ghp_{random_part(36)}",
            f"AKIA{random_part(16).upper()}",
            f"{random_part(23)}7",
            f"eyJ{random_part(20)}.{random_part(30)}.{random_part(43)}",
        ]
    )


VALUES: dict[str, Callable[[Faker, str, random.Random], str]] = {
    "name": lambda faker, _, __: f"{faker.first_name()} {faker.last_name()}" if _ == "en" else faker.name(),
    "email": lambda faker, _, __: faker.ascii_free_email(),
    "phone": phone,
    "address": address,
    "id": lambda faker, language, _: faker["en_US"].ssn() if language == "en" else faker.ssn(),
    "card": lambda faker, _, rng: spaced(faker.credit_card_number(), rng),
    "ip": lambda faker, _, rng: faker.ipv4_public() if rng.random() < 0.8 else faker.ipv6(),
    "secret": secret,
}


def spaced(number: str, rng: random.Random) -> str:
    return number if rng.random() < 0.5 or len(number) != 16 else " ".join(number[i : i + 4] for i in range(0, 16, 4))


def measure(texts: list[Labeled]) -> dict[str, dict[str, float]]:
    """Precision and recall by kind. A label is found when findings of its kind cover 80% of it, a finding right when half is labeled.

    ``hidden`` counts a label as found whatever kind it was taken for, which is what redaction needs.
    """
    counts: dict[str, Counter[str]] = {kind: Counter[str]() for kind in KINDS}
    for text in texts:
        found = find(text.text)
        for kind, start, end in text.spans:
            counts[kind]["labels"] += 1
            counts[kind]["found"] += covered(start, end, [(f.start, f.end) for f in found if f.kind == kind]) >= 0.8
            counts[kind]["hidden"] += covered(start, end, [(f.start, f.end) for f in found]) >= 0.8
        for finding in found:
            counts[finding.kind]["findings"] += 1
            counts[finding.kind]["right"] += covered(finding.start, finding.end, [(start, end) for _, start, end in text.spans]) >= 0.5
    counts["all"] = sum(counts.values(), Counter[str]())
    return {kind: rates(count) for kind, count in counts.items() if count["labels"]}


def covered(start: int, end: int, spans: list[tuple[int, int]]) -> float:
    return sum(max(0, min(end, e) - max(start, s)) for s, e in spans) / (end - start)


def rates(count: Counter[str]) -> dict[str, float]:
    shares = {
        "precision": count["right"] / max(count["findings"], 1),
        "recall": count["found"] / count["labels"],
        "hidden": count["hidden"] / count["labels"],
    }
    return {"labels": count["labels"], **{name: round(value, 3) for name, value in shares.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--show", type=int, default=0, help="Print so many mistakes of the first half, to mend the rules by.")
    asked = parser.parse_args()
    texts = generate(asked.texts, asked.seed)
    parts = {
        f"{half}, {language}": [t for t in texts if (t.half, t.language) == (half, language)]
        for half in ("seen", "held out")
        for language in ("en", "zh")
    }
    started = time.perf_counter()
    figures: dict[str, object] = {name: measure(part) for name, part in parts.items()}
    seconds = time.perf_counter() - started
    figures |= {"texts": len(texts), "seed": asked.seed, "texts_per_second": round(len(texts) / seconds)}
    for text in [t for t in texts if t.half == "seen"][: 40 * asked.show]:
        mistakes(text)
    written = json.dumps(figures, indent=1, ensure_ascii=False)
    print(written)
    if asked.out:
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        asked.out.write_text(written + "\n", "utf-8")


def mistakes(text: Labeled) -> None:
    found = find(text.text)
    missed = [(k, text.text[s:e]) for k, s, e in text.spans if covered(s, e, [(f.start, f.end) for f in found]) < 0.8]
    wrong = [(f.kind, f.rule, f.text) for f in found if covered(f.start, f.end, [(s, e) for _, s, e in text.spans]) < 0.5]
    if missed or wrong:
        print("missed", missed, "wrong", wrong)


if __name__ == "__main__":
    main()
