"""Chat templates of the shapes that public models have, written anew: what stands around a turn, and what each does to its words."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

START, STOP = "<|im_start|>", "<|im_end|>"
GO = "{% if add_generation_prompt %}"
OVER = "{% endif %}"
RAISE_ROLES = (
    "{% for m in talk %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/...') }}{% endif %}{% endfor %}"
)
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
APART = (
    "{% if messages[0].role == 'system' %}{% set told = messages[0].content %}{% set talk = messages[1:] %}"
    "{% else %}{% set told = '' %}{% set talk = messages %}{% endif %}"
)
STAY = "{% set talk = messages %}"


@dataclass(frozen=True)
class Shape:
    """A template, the tokens it needs, and what it is known to do."""

    template: str
    end: str
    """The token that ends an answer."""
    special: tuple[str, ...] = ()
    eos: str = ""
    """The tokenizer's end of text, if it is another one."""
    bos: str = ""
    system: str = "turn"
    """turn: a turn of its own; first: put before the user's words by the template; ours: refused by the template or left out,
        so Accord puts
    it there; last: put before the last question."""
    grows: bool = True
    """Whether the prompt of the second question begins with the first question and its whole answer."""
    variables: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def source(self) -> str:
        """The template with the line ends that stand behind a tag, which transformers' environment would take out."""
        return re.sub(r"%}(\n+)", lambda found: "%}{{ '" + "\\n" * len(found[1]) + "' }}", self.template)


def turns(before: str, behind: str, generation: str, *, begin: str = "", content: str = "m.content") -> str:
    """A template that writes every turn alike."""
    loop = "{% for m in messages %}" + before + "{{ " + content + " }}" + behind + "{% endfor %}"
    return begin + loop + GO + generation + OVER


def roles(system: str, user: str, assistant: str, generation: str, *, begin: str = "", over: str = "messages") -> str:
    """A template with a text for each role, where @ stands for the content."""
    kinds = "{% if m.role == 'system' %}" + system + "{% elif m.role == 'user' %}" + user + "{% else %}" + assistant + "{% endif %}"
    loop = "{% for m in " + over + " %}" + kinds.replace("@", "{{ m.content }}") + "{% endfor %}"
    return begin + loop + GO + generation + OVER


def _chatml(**more: Any) -> str:
    return turns(START + "{{ m.role }}\n", STOP + "\n", START + "assistant\n", **more)


def _thinking(opens: str, *, keeps: str = "loop.last") -> str:
    """ChatML that drops the thoughts of earlier answers and may open or close a thought at the end of the prompt."""
    return (
        "{% for m in messages %}" + START + "{{ m.role }}\n{% set words = m.content %}"
        "{% if m.role == 'assistant' and '</think>' in words and not " + keeps + " %}"
        "{% set words = words.split('</think>')[-1].lstrip('\n') %}{% endif %}{{ words }}" + STOP + "\n{% endfor %}"
        + GO + START + "assistant\n" + opens + OVER
    )  # fmt: skip


TOOLS = "{% if tools %}" + START + "system\nTools:\n{% for t in tools %}{{ t | tojson }}\n{% endfor %}" + STOP + "\n{% endif %}"
HEAD = "<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
LLAMA3 = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
LLAMA3_GO = "<|start_header_id|>assistant<|end_header_id|>\n\n"
DATED = (
    "{{ bos_token }}{% if date_string is not defined %}{% if strftime_now is defined %}{% set date_string = strftime_now('%d %b %Y') %}"
    "{% else %}{% set date_string = '26 Jul 2024' %}{% endif %}{% endif %}"
)
LLAMA31 = (
    DATED + APART + "<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\nToday Date: "
    "{{ date_string }}\n\n"
    "{% if tools %}{% for t in tools %}{{ t | tojson(indent=4) }}\n\n{% endfor %}{% endif %}{{ told | trim }}<|eot_id|>"
    "{% for m in talk %}" + HEAD + "{{ m.content | trim }}<|eot_id|>{% endfor %}" + GO + LLAMA3_GO + OVER
)
LLAMA2 = (
    APART
    + RAISE_ROLES
    + "{% for m in talk %}{% if loop.first and told %}{% set words = '<<SYS>>\n' + told + '\n<</SYS>>\n\n' + m.content %}"
    "{% else %}{% set words = m.content %}{% endif %}{% if m.role == 'user' %}{{ bos_token + '[INST] ' + words | trim + ' [/INST]' }}"
    "{% else %}{{ ' ' + words | trim + ' ' + eos_token }}{% endif %}{% endfor %}"
)


def _mistral(open: str, close: str, answer: str, *, last: bool = False) -> str:
    place = "loop.last" if last else "loop.first"
    return (
        APART + RAISE_ROLES + "{{ bos_token }}{% for m in talk %}{% if m.role == 'user' %}" + open
        + "{% if " + place + " and told %}{{ told + '\n\n' }}{% endif %}{{ m.content }}" + close
        + "{% else %}" + answer + "{{ eos_token }}{% endif %}{% endfor %}"
    )  # fmt: skip


def _gemma(head: str, end: str = "<end_of_turn>") -> str:
    role = "{% if m.role == 'assistant' %}model{% else %}{{ m.role }}{% endif %}"
    return (
        "{{ bos_token }}" + head + RAISE_ROLES + "{% for m in talk %}<start_of_turn>" + role + "\n"
        "{% if loop.first and told %}{{ told + '\n\n' }}{% endif %}{{ m.content | trim }}" + end + "\n{% endfor %}"
        + GO + "<start_of_turn>model\n" + OVER
    )  # fmt: skip


GEMMA = ("<start_of_turn>", "<end_of_turn>")
DEEPSEEK = ("<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<think>", "</think>")
R1 = (
    "{{ bos_token }}" + APART + "{{ told }}{% for m in talk %}{% if m.role == 'user' %}<｜User｜>{{ m.content }}{% else %}"
    "{% set words = m.content %}{% if '</think>' in words %}{% set words = words.split('</think>')[-1] %}{% endif %}"
    "<｜Assistant｜>{{ words }}{{ eos_token }}{% endif %}{% endfor %}" + GO + "<｜Assistant｜><think>\n" + OVER
)
V31 = (
    "{{ bos_token }}" + APART + "{{ told }}{% for m in talk %}{% if m.role == 'user' %}<｜User｜>{{ m.content }}{% else %}"
    "<｜Assistant｜></think>{{ m.content.split('</think>')[-1] }}{{ eos_token }}{% endif %}{% endfor %}"
    + GO + "<｜Assistant｜>{% if thinking %}<think>{% else %}</think>{% endif %}" + OVER
)  # fmt: skip
HARMONY = (
    "<|start|>system<|message|>You are a large language model.\nReasoning: {{ reasoning_effort | default('medium') }}\n\n"
    "# Valid channels: analysis, commentary, final.<|end|>"
    + APART
    + "{% if told %}<|start|>developer<|message|># Instructions\n\n{{ told }}"
    "<|end|>{% endif %}{% for m in talk %}{% if m.role == 'user' %}<|start|>user<|message|>{{ m.content }}<|end|>{% else %}"
    "{% if m.thinking is defined and loop.last %}<|start|>assistant<|channel|>analysis<|message|>{{ m.thinking }}<|end|>{% endif %}"
    "<|start|>assistant<|channel|>final<|message|>{{ m.content }}{% if loop.last %}<|return|>{% else %}<|end|>{% endif %}{% endif %}"
    "{% endfor %}" + GO + "<|start|>assistant" + OVER
)
CHANNEL_TOKENS = ("<|start|>", "<|channel|>", "<|message|>", "<|end|>")
PARTS = (
    "{% for m in messages %}" + START + "{{ m.role }}\n{% if m.content is string %}{{ m.content }}{% else %}{% for part in m.content %}"
    "{% if part.type == 'text' %}{{ part.text }}{% else %}<image>{% endif %}{% endfor %}{% endif %}" + STOP + "\n{% endfor %}"
    + GO + START + "assistant\n" + OVER
)  # fmt: skip
ONLY_PARTS = (
    "{% for m in messages %}{{ m.role | capitalize }}:{% for part in m.content %}{% if part.type == 'text' %} {{ part.text }}{% endif %}"
    "{% endfor %}<end_of_utterance>\n{% endfor %}" + GO + "Assistant:" + OVER
)
COHERE = (
    "<BOS_TOKEN>",
    "<|START_OF_TURN_TOKEN|>",
    "<|END_OF_TURN_TOKEN|>",
    "<|USER_TOKEN|>",
    "<|CHATBOT_TOKEN|>",
    "<|SYSTEM_TOKEN|>",
)
COHERE_ROLE = "{{ {'user': '<|USER_TOKEN|>', 'assistant': '<|CHATBOT_TOKEN|>', 'system': '<|SYSTEM_TOKEN|>'}[m.role] }}"
PIPES = ("<|system|>", "<|user|>", "<|assistant|>")
DEFAULT_SYSTEM = "{% if messages[0].role != 'system' %}" + START + "system\nYou are a helpful assistant." + STOP + "\n{% endif %}"
GENERATION = (
    "{% for m in messages %}" + START + "{{ m.role }}\n{% if m.role == 'assistant' %}{% generation %}{{ m.content }}" + STOP
    + "{% endgeneration %}{% else %}{{ m.content }}" + STOP + "{% endif %}\n{% endfor %}" + GO + START + "assistant\n" + OVER
)  # fmt: skip
MERGES_ROLES = (
    APART + "{% set ns = namespace(last='') %}{{ told }}{% for m in talk %}{% if m.role == ns.last %}\n{{ m.content }}{% else %}"
    "{% if ns.last == 'user' %}</u>{% endif %}{% if m.role == 'user' %}<u>{{ m.content }}{% else %}<a>{{ m.content }}</s>"
    "{% endif %}{% endif %}"
    "{% set ns.last = m.role %}{% endfor %}{% if ns.last == 'user' %}</u>{% endif %}" + GO + "<a>" + OVER
)
BETWEEN = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}{% if not loop.last or m.role == 'assistant' and false %}</s>{% endif %}"
    "{% endfor %}" + GO + "</s>assistant:" + OVER
)
QWEN3 = (
    "{% for m in messages %}" + START + "{{ m.role }}\n{% set words = m.content %}{% if m.role == 'assistant' %}"
    "{% set thought = '' %}{% if '</think>' in words %}{% set thought = words.split('</think>')[0].split('<think>')[-1].strip('\n') %}"
    "{% set words = words.split('</think>')[-1].lstrip('\n') %}{% endif %}"
    "{% if loop.last %}{{ '<think>\n' + thought.strip('\n') + '\n</think>\n\n' }}{% endif %}{% endif %}"
        "{{ words }}" + STOP + "\n{% endfor %}"
    + GO + START + "assistant\n{% if enable_thinking is defined and enable_thinking is false %}"
        "{{ '<think>\n\n</think>\n\n' }}{% endif %}" + OVER
)  # fmt: skip
THOUGHTS = ("<think>", "</think>")

SHAPES: dict[str, Shape] = {
    "chatml": Shape(_chatml(), STOP, (START,)),
    "chatml on a base": Shape(_chatml(), STOP, (START, STOP), eos="<|endoftext|>"),
    "chatml, default system": Shape(DEFAULT_SYSTEM + _chatml(), STOP, (START,)),
    "chatml, generation tags": Shape(GENERATION, STOP, (START,)),
    "chatml, trimmed": Shape(_chatml(content="m.content | trim"), STOP, (START,)),
    "chatml with bos": Shape(_chatml(begin="{{ bos_token }}"), STOP, (START,), bos="<s>"),
    "qwen2.5": Shape(TOOLS + DEFAULT_SYSTEM + _chatml(), STOP, (START,)),
    "qwen2.5 with tools": Shape(TOOLS + _chatml(), STOP, (START,), variables={"tools": [{"name": "look_up", "type": "function"}]}),
    "qwen3": Shape(QWEN3, STOP, (START, *THOUGHTS), grows=False),
    "qwen3 without thinking": Shape(QWEN3, STOP, (START, *THOUGHTS), grows=False, variables={"enable_thinking": False}),
    "qwq": Shape(_thinking("<think>\n"), STOP, (START, *THOUGHTS), grows=False),
    "qwq, thoughts as words": Shape(_thinking("<think>\n"), STOP, (START,), grows=False),
    "smollm2": Shape(
        "{% for m in messages %}{% if loop.first and m.role != 'system' %}" + START + "system\nYou are SmolLM." + STOP + "\n{% endif %}"
        + START + "{{ m.role }}\n{{ m.content }}" + STOP + "\n{% endfor %}" + GO + START + "assistant\n" + OVER, STOP, (START,)),
    "smollm3": Shape(
        START + "system\n## Metadata\n\nKnowledge Cutoff: June 2025\nToday: {{ strftime_now('%d %B %Y') }}\nReasoning: "
        "{% if enable_thinking | default(true) %}/think{% else %}/no_think"
        "{% endif %}\n\n## Instructions\n\n" + APART + "{{ told }}" + STOP
        + "\n{% for m in talk %}" + START + "{{ m.role }}\n{{ m.content }}" + STOP + "\n{% endfor %}" + GO + START + "assistant\n" + OVER,
        STOP, (START, *THOUGHTS)),
    "smollm3 without thinking": Shape(
        _chatml().replace(OVER, "{% if not enable_thinking | default(true) %}<think>\n\n</think>\n"
        "{% endif %}" + OVER), STOP, (START, *THOUGHTS),
        variables={"enable_thinking": False}, grows=False),
    "deepseek v3.1": Shape(V31, "<｜end▁of▁sentence｜>", DEEPSEEK[1:], bos=DEEPSEEK[0], variables={"thinking": False}),
    "deepseek v3.1 thinking": Shape(
        V31, "<｜end▁of▁sentence｜>", DEEPSEEK[1:], bos=DEEPSEEK[0], variables={"thinking": True}, grows=False),
    "glm-4.5": Shape(
        "[gMASK]<sop>{% for m in messages %}<|{{ m.role }}|>\n{% if m.role == 'assistant' %}<think></think>\n"
        "{{ m.content.split('</think>')[-1] }}"
        "{% else %}{{ m.content }}{% endif %}{% endfor %}" + GO + "<|assistant|>"
        "{% if enable_thinking is defined and not enable_thinking %}"
        "\n<think></think>{% endif %}" + OVER, "<|endoftext|>", ("[gMASK]", "<sop>", *PIPES, *THOUGHTS), grows=False),
    "hermes tools": Shape(
        TOOLS.replace("Tools:", "You call functions. <tools>") + _chatml(begin="{{ bos_token }}"), STOP, (START,),
        bos="<|begin_of_text|>"),
    "yi": Shape(_chatml(), STOP, (START, "<|startoftext|>"), eos="<|endoftext|>"),
    "internlm2": Shape(_chatml(begin="{{ bos_token }}"), STOP, (START,), eos="</s>", bos="<s>"),
    "dbrx": Shape(
        DEFAULT_SYSTEM + turns("{% if not loop.first %}\n{% endif %}" + START + "{{ m.role }}\n", STOP, "\n" + START + "assistant\n"),
        STOP, (START,), eos="<|endoftext|>"),
    "orca": Shape(_chatml(), STOP, (START,), eos="</s>", bos="<s>"),
    "minicpm": Shape(
        roles("@", "<用户>@", "<AI>@</s>", "<AI>", begin="{{ bos_token }}"), "</s>", bos="<s>"),
    "minicpm3": Shape(_chatml(), STOP, (START,), eos="</s>"),
    "lfm2": Shape(_chatml(begin="{{ bos_token }}", content="m.content"), STOP, (START,), bos="<|startoftext|>"),
    "jamba": Shape(
        "{{ bos_token }}" + roles("<|bom|><|system|> @<|eom|>", "<|bom|><|user|> @<|eom|>", "<|bom|><|assistant|> @<|eom|>",
        "<|bom|><|assistant|>"), "<|eom|>", ("<|bom|>", *PIPES), eos="<|endoftext|>", bos="<|startoftext|>"),
    "llama 2": Shape(LLAMA2, "</s>", bos="<s>", system="first"),
    "llama 3": Shape(
        "{% for m in messages %}"
        "{% set words = '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + m.content | trim + '<|eot_id|>' %}"
        "{% if loop.first %}{% set words = bos_token + words %}{% endif %}{{ words }}"
        "{% endfor %}" + GO + LLAMA3_GO + OVER, "<|eot_id|>", LLAMA3[1:], eos="<|end_of_text|>", bos=LLAMA3[0]),
    "llama 3.1": Shape(LLAMA31, "<|eot_id|>", LLAMA3[1:-1], bos=LLAMA3[0], variables={"date_string": "26 Jul 2024"}),
    "llama 3.1 with tools": Shape(LLAMA31, "<|eot_id|>", LLAMA3[1:-1], bos=LLAMA3[0],
        variables={"date_string": "1 Jan 2025", "tools": [{"name": "look_up"}]}),
    "nemotron": Shape(
        turns("<extra_id_1>{{ m.role | capitalize }}\n", "\n", "<extra_id_1>Assistant\n", begin="<extra_id_0>System\n\n"), "</s>",
        ("<extra_id_0>", "<extra_id_1>"), grows=False),
    "mistral v1": Shape(_mistral(" [INST] ", " [/INST]", " {{ m.content }}"), "</s>", bos="<s>", system="first"),
    "mistral v3": Shape(_mistral("[INST] ", "[/INST]", " {{ m.content | trim }}", last=True), "</s>", ("[INST]", "[/INST]"), bos="<s>",
        system="last", grows=False),
    "mistral tekken": Shape(_mistral("[INST]", "[/INST]", "{{ m.content }}", last=True), "</s>", ("[INST]", "[/INST]"), bos="<s>",
        system="last", grows=False),
    "mistral v7": Shape(
        "{{ bos_token }}" + roles("[SYSTEM_PROMPT]@[/SYSTEM_PROMPT]", "[INST]@[/INST]", "@</s>", ""), "</s>",
        ("[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"), bos="<s>"),
    "zephyr": Shape(
        "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content + eos_token }}\n"
        "{% if loop.last and add_generation_prompt %}<|assistant|>\n"
        "{% endif %}{% endfor %}", "</s>", bos="<s>"),
    "tulu": Shape(
        "{{ bos_token }}" + roles("<|system|>\n@\n", "<|user|>\n@\n", "<|assistant|>\n@{% if not loop.last %}</s>\n"
        "{% else %}</s>{% endif %}",
        "<|assistant|>\n"), "</s>", bos="<s>"),
    "olmo": Shape(
        "{{ bos_token }}" + roles("<|system|>\n@\n", "<|user|>\n@\n", "<|assistant|>\n@{{ eos_token }}"
        "{% if not loop.last %}\n{% endif %}",
        "<|assistant|>\n"), "<|endoftext|>", bos="|||IP_ADDRESS|||"),
    "gemma": Shape(_gemma(NO_SYSTEM + STAY), "<end_of_turn>", GEMMA, eos="<eos>", bos="<bos>", system="ours"),
    "gemma 2": Shape(_gemma(NO_SYSTEM + STAY), "<end_of_turn>", GEMMA, eos="<eos>", bos="<bos>", system="ours"),
    "gemma 3": Shape(_gemma(APART), "<end_of_turn>", GEMMA, eos="<eos>", bos="<bos>", system="first"),
    "phi-3": Shape(
        roles("<|system|>\n@<|end|>\n", "<|user|>\n@<|end|>\n", "<|assistant|>\n@<|end|>\n", "<|assistant|>\n"), "<|end|>",
        (*PIPES, "<|end|>"),
        eos="<|endoftext|>", bos="<s>"),
    "phi-3, end of text at the end": Shape(
        roles("<|system|>\n@<|end|>\n", "<|user|>\n@<|end|>\n", "<|assistant|>\n@<|end|>\n", "<|assistant|>\n")
        .replace(GO, "{% if not add_generation_prompt %}{{ eos_token }}{% endif %}" + GO), "<|end|>", (*PIPES, "<|end|>"),
        eos="<|endoftext|>", bos="<s>", grows=False),
    "phi-4": Shape(
        turns(START + "{{ m.role }}<|im_sep|>", STOP, START + "assistant<|im_sep|>"), STOP, (START, "<|im_sep|>", STOP),
        eos="<|endoftext|>"),
    "deepseek v2": Shape(
        roles("@\n\n", "User: @\n\n", "Assistant: @{{ eos_token }}", "Assistant:", begin="{{ bos_token }}"), "<｜end▁of▁sentence｜>",
        bos=DEEPSEEK[0]),
    "deepseek v3": Shape(
        roles("", "<｜User｜>@", "<｜Assistant｜>@"
        "{{ eos_token }}", "<｜Assistant｜>", begin="{{ bos_token }}" + APART + "{{ told }}", over="talk"),
        "<｜end▁of▁sentence｜>", DEEPSEEK[1:3], bos=DEEPSEEK[0]),
    "deepseek r1": Shape(R1, "<｜end▁of▁sentence｜>", DEEPSEEK[1:], bos=DEEPSEEK[0], grows=False),
    "vicuna": Shape(
        roles("", "USER: @ ", "ASSISTANT: @{{ eos_token }}", "ASSISTANT:", begin="{{ bos_token }}" + APART +
        "{% if told %}{{ told }}{% else %}A chat between a user and an assistant.{% endif %} ", over="talk"), "</s>", bos="<s>"),
    "alpaca": Shape(
        roles("@\n\n", "### Instruction:\n@\n\n", "### Response:\n@{{ eos_token }}\n\n", "### Response:\n"), "</s>", bos="<s>"),
    "openchat": Shape(
        "{{ bos_token }}{% for m in messages %}GPT4 Correct {{ m.role.title() }}: {{ m.content }}<|end_of_turn|>{% endfor %}"
        + GO + "GPT4 Correct Assistant:" + OVER, "<|end_of_turn|>", ("<|end_of_turn|>",), eos="</s>", bos="<s>"),
    "starling": Shape(
        "{{ bos_token }}{% for m in messages %}GPT4 Correct {{ m.role | title }}: {{ m.content }}<|end_of_turn|>{% endfor %}"
        + GO + "GPT4 Correct Assistant:" + OVER, "<|end_of_turn|>", ("<sep>",), bos="<s>"),
    "falcon": Shape(
        "{% for m in messages %}{% if not loop.first %}\n{% endif %}{{ m.role | capitalize }}: {{ m.content }}"
        "{% if m.role == 'assistant' %}"
        "{{ eos_token }}{% endif %}{% endfor %}" + GO + "\nAssistant:" + OVER, "<|endoftext|>"),
    "command-r": Shape(
        turns("<|START_OF_TURN_TOKEN|>" + COHERE_ROLE, "<|END_OF_TURN_TOKEN|>", "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
        begin="{{ bos_token }}", content="m.content.strip()"), COHERE[2], (COHERE[1], *COHERE[3:]), bos=COHERE[0]),
    "aya": Shape(
        "{{ bos_token }}" + STAY + RAISE_ROLES.replace("in talk", "in (messages if messages[0].role != 'system' else messages[1:])")
        + turns("<|START_OF_TURN_TOKEN|>" + COHERE_ROLE, "<|END_OF_TURN_TOKEN|>", "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>"),
        COHERE[2], (COHERE[1], *COHERE[3:]), bos=COHERE[0]),
    "granite 3": Shape(
        "{% if messages[0].role != 'system' %}<|start_of_role|>system<|end_of_role|>Knowledge Cutoff Date: April 2024.\nToday's Date: "
        "{{ strftime_now('%B %d, %Y') }}.<|end_of_text|>\n{% endif %}"
        + turns("<|start_of_role|>{{ m.role }}<|end_of_role|>", "<|end_of_text|>\n", "<|start_of_role|>assistant<|end_of_role|>"),
        "<|end_of_text|>", ("<|start_of_role|>", "<|end_of_role|>")),
    "glm-4": Shape(
        "[gMASK]<sop>" + turns("<|{{ m.role }}|>\n", "", "<|assistant|>\n"), "<|endoftext|>", ("[gMASK]", "<sop>", *PIPES),
        grows=False),
    "exaone": Shape(
        "{% for m in messages %}{% if loop.first and m.role != 'system' %}[|system|][|endofturn|]\n{% endif %}[|"
        "{{ m.role }}|]{{ m.content }}"
        "{% if m.role == 'user' %}\n{% else %}[|endofturn|]{% if not loop.last %}\n{% endif %}{% endif %}{% endfor %}"
        + GO + "[|assistant|]" + OVER, "[|endofturn|]", ("[|system|]", "[|user|]", "[|assistant|]"), bos="[BOS]"),
    "baichuan": Shape(
        roles("@", "<reserved_106>@", "<reserved_107>@</s>", "<reserved_107>"), "</s>", ("<reserved_106>", "<reserved_107>"), bos="<s>"),
    "solar": Shape(
        roles("### System:\n@\n\n", "### User:\n@\n\n", "### Assistant:\n@{{ eos_token }}\n\n", "### Assistant:\n"), "</s>", bos="<s>"),
    "stablelm": Shape(
        turns("<|{{ m.role }}|>\n", "<|endoftext|>\n", "<|assistant|>\n"), "<|endoftext|>"),
    "starchat": Shape(
        turns("<|{{ m.role }}|>\n", "<|end|>\n", "<|assistant|>\n"), "<|end|>", (*PIPES, "<|end|>"), eos="<|endoftext|>"),
    "gpt-oss": Shape(HARMONY, "<|return|>", CHANNEL_TOKENS, grows=False),
    "parts or words": Shape(PARTS, STOP, (START,)),
    "parts only": Shape(ONLY_PARTS, "<end_of_utterance>", ("<end_of_utterance>",), eos="</s>", bos="<s>"),
    "system left out": Shape(
        "{% for m in messages if m.role != 'system' %}" + START + "{{ m.role }}\n{{ m.content }}" + STOP + "\n{% endfor %}"
        + GO + START + "assistant\n" + OVER, STOP, (START,), system="ours"),
    "merges turns of a role": Shape(MERGES_ROLES, "</s>", ("<u>", "</u>", "<a>")),
    "ends only between turns": Shape(BETWEEN, "</s>"),
    "plain words": Shape(
        roles("@\n\n", "Human: @\n\n", "Assistant: @{{ eos_token }}\n\n", "Assistant:"), "<|endoftext|>"),
    "prompt ends with a space": Shape(
        roles("@\n", "Q: @\n", "A: @{{ eos_token }}\n", "A: "), "</s>", bos="<s>"),
}  # fmt: skip
