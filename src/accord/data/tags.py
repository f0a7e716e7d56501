"""Classification of prompts by rules: InstructGPT's use cases (Ouyang et al. 2022, Table 1), and few-shot or plain.

A rule is a guess. It applies only where no person gave a tag, and its tags are stored separately. docs/prompts.md gives its accuracy.
"""

from __future__ import annotations

import re

from accord.records import Message

_OPENING = 400
"""Number of characters at the beginning and the end of a prompt that the rules read: instructions stand there."""
_TRIGGERS: dict[str, frozenset[str]] = {
    case: frozenset(words.split())
    for case, words in (
        ("summarization", "summary summarize summarise summarization summarisation tl tldr facts points sentence sentences"),
        ("rewrite", "rewrite rephrase paraphrase reword translate correct fix proofread edit make put convert say simplify"),
        ("classification", "classify categorize categorise sentiment which true is say rate or"),
        ("extraction", "extract find pull identify list who which write"),
        ("closed_qa", "based according using given read here context passage text"),
        ("brainstorming", "brainstorm idea ideas list give name tell suggest suggestion suggestions think come"),
        ("generation", "write compose draft create generate continue design invent tell make develop"),
    )
}
"""English trigger words; a rule is tried only if one occurs, for speed. Non-ASCII text is tried on every rule."""
_ENGLISH = re.compile("[a-z]+")
_RULES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (case, re.compile(pattern, re.IGNORECASE))
    for case, pattern in (
        ("summarization", r"\bsummar(?:y|i[sz]e|i[sz]ation)\b|\btl;?dr\b|key (?:facts|points)|in (?:one|a few) sentences?\b"
         r"|总结|概括|摘要|归纳"),
        ("rewrite", r"\b(?:rewrite|rephrase|paraphrase|reword|translate|correct (?:the|this|my)|fix the grammar"
         r"|proofread|edit (?:the|this|my)"
         r"|make (?:it|this) (?:more|less|shorter)|convert (?:the|this|it)|(?:make|put|say) (?:this|it|that)\b.{0,30}(?:polite"
         r"|formal|past|future|tense|other words|shorter|simpler)|simplify)\b"
         r"|改写|润色|翻译|修改|重写"),
        ("classification", r"\b(?:classify|categori[sz]e|sentiment|which (?:category|class|label|genre)|true or false"
         r"|is (?:this|it|the following)"
         r"(?: \w+){0,4} (?:positive|negative|spam|a complaint|praise|true|sarcastic)|say whether|rate the)\b"
            r"|^\W*\w+(?: \w+)? or \w+(?: \w+)?\?"
         r"|分类"
         r"|情感|判断.{0,12}(?:是否|还是)"),
        ("extraction", r"\b(?:extract|find all|pull out|identify (?:the|all)|(?:list|write out|write down) (?:all )?the (?:names|entities"
         r"|dates|places|people) (?:in|from|mentioned)"
         r"|who is named|which (?:names|places|people) (?:are|stand))\b|提取|抽取|找出"),
        ("closed_qa", r"(?:based on|according to|using|given|read|here is) (?:the|this|a) (?:\w+ )?(?:text|passage"
         r"|article|paragraph|context|document|following)"
         r"|^\s*(?:context|passage|text|read this)\s?:|根据(?:上|下|以|这|文|材)|阅读"),
        ("brainstorming", r"\b(?:brainstorm|ideas?|list (?:\w+ )?(?:\d+|two|three|four|five|six|seven|eight|nine"
         r"|ten|some|several|a few|ways|things)"
         r"|(?:give|name|tell|suggest|think of|come up with)(?: me| us)? (?:\d+|two|three|four|five|six|seven|eight"
         r"|nine|ten|some|several|a few))\b"
         r"|suggest(?:ions)?\b|列(?:出|举)|想法|建议|点子|几个"),
        ("generation", r"\b(?:write|compose|draft|create|generate|continue|design|invent|tell me a (?:story|joke)"
         r"|make up|develop)\b|写|创作|生成|续写|编"),
        ("chat", r"^\s*(?:hi|hello|hey|good (?:morning|evening)|thanks|thank you|how are you|i(?:'m| am| feel| think"
         r"| like| have)\b)|^\s*(?:你好|谢谢|我(?:是|觉得|喜欢|想))"),
        ("open_qa", r"\?\s*$|？\s*$|^\s*(?:what|who|whom|whose|where|when|why|how|which|is|are|was|were|do|does"
         r"|did|can|could|should|would|will|has|have"
         r"|explain|describe|tell me|define|solve|calculate|compare|please tell me|i would like to know)\b|什么"
         r"|为何|为什么|怎么|如何|多少|谁|哪|吗|解释|介绍|计算"),
    )
)  # fmt: skip
_PAIR = re.compile(
    r"^[^\S\n]{0,40}(?:(?:example|示例|例)\s?\d*\s?[:：]?\s*)?(?:q|question|input|query|text|english|review|tweet|problem"
    r"|sentence|问题?|输入|题目)\s?\d*\s?[:：.].*\n"
    r"(?:.*\n){0,3}?\s{0,40}(?:a|answer|output|response|label|sentiment|french|category|solution|答案?|输出|分类)\s?\d*\s?[:：.]",
    re.IGNORECASE | re.MULTILINE,
)


def use_case(messages: tuple[Message, ...]) -> str:
    """Return InstructGPT's use case of a prompt, or ``other`` if no rule matches. A conversation of several turns is a chat."""
    if sum(message.role != "system" for message in messages) > 1:
        return "chat"
    text = messages[-1].content if messages else ""
    seen = text if len(text) <= 2 * _OPENING else f"{text[:_OPENING]}\n{text[-_OPENING:]}"
    words = frozenset(_ENGLISH.findall(seen.lower())) if seen.isascii() else None
    return next((case for case, rule in _RULES if _may(case, words) and rule.search(seen)), "other")


def _may(case: str, words: frozenset[str] | None) -> bool:
    return words is None or case not in _TRIGGERS or not words.isdisjoint(_TRIGGERS[case])


def is_few_shot(messages: tuple[Message, ...]) -> bool:
    """Return whether a prompt shows two or more pairs of query and answer before its question."""
    return bool(messages) and len(_PAIR.findall(messages[-1].content)) >= 2
