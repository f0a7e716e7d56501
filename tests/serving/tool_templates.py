"""Chat templates of our own that write tools, calls and results as those of Qwen, Llama 3 and Mistral do, and one that has none."""

from __future__ import annotations

HERMES = (
    "{% if tools %}<|im_start|>system\n# Tools\n<tools>{% for tool in tools %}\n{{ tool | tojson }}{% endfor %}\n</tools>\n"
    'Answer with <tool_call>\n{"name": ..., "arguments": ...}\n</tool_call><|im_end|>\n{% endif %}'
    "{% for m in messages %}{% if m.role == 'tool' %}<|im_start|>user\n<tool_response>\n{{ m.content }}\n</tool_response><|im_end|>\n"
    "{% else %}<|im_start|>{{ m.role }}\n{{ m.content }}{% for call in m.tool_calls or [] %}\n<tool_call>\n"
    '{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}\n</tool_call>{% endfor %}<|im_end|>\n'
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA = (
    "{% if tools %}<|start|>system\nEnvironment: ipython\n{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}<|eot|>{% endif %}"
    "{% for m in messages %}{% if m.tool_calls %}<|start|>assistant\n{% for call in m.tool_calls %}"
    '{"name": "{{ call.function.name }}", "parameters": {{ call.function.arguments | tojson }}}{% endfor %}<|eot|>'
    "{% elif m.role == 'tool' %}<|start|>ipython\n{{ m.content | tojson }}<|eot|>"
    "{% else %}<|start|>{{ m.role }}\n{{ m.content }}<|eot|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
MISTRAL = (
    "{% if tools %}[AVAILABLE_TOOLS]{{ tools | tojson }}[/AVAILABLE_TOOLS]{% endif %}{% for m in messages %}"
    "{% if m.tool_calls %}[TOOL_CALLS][{% for call in m.tool_calls %}{% if call.id | length != 9 %}"
    "{{ raise_exception('Tool call IDs should be alphanumeric strings with length 9!') }}{% endif %}"
    '{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}, "id": "{{ call.id }}"}'
    "{% if not loop.last %}, {% endif %}{% endfor %}]</s>{% elif m.role == 'tool' %}[TOOL_RESULTS]{{ m.content }}[/TOOL_RESULTS]"
    "{% elif m.role == 'user' %}[INST]{{ m.content }}[/INST]{% else %}{{ m.content }}</s>{% endif %}{% endfor %}"
)
LATER_MISTRAL = (
    "{% if tools %}[AVAILABLE_TOOLS]{{ tools | tojson }}[/AVAILABLE_TOOLS]{% endif %}{% for m in messages %}"
    "{% if m.tool_calls %}{% for call in m.tool_calls %}[TOOL_CALLS]{{ call.function.name }}[ARGS]{{ call.function.arguments | tojson }}"
    "{% endfor %}</s>{% elif m.role == 'tool' %}[TOOL_RESULTS]{{ m.content }}[/TOOL_RESULTS]"
    "{% elif m.role == 'user' %}[INST]{{ m.content }}[/INST]{% else %}{{ m.content }}</s>{% endif %}{% endfor %}"
)
THINKS = HERMES.replace("<|im_start|>assistant\n{% endif %}", "<|im_start|>assistant\n<think>\n{% endif %}")
BRIEF = (
    "{% for tool in tools or [] %}{{ tool.function.name }} <tool_call>\n{% endfor %}{% for m in messages %}{{ m.content }}<|im_end|>"
    "{% endfor %}{% if add_generation_prompt %}A:{% endif %}"
)
"""Short, so that a test can teach a model to call."""
TEMPLATES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "hermes": (HERMES, "<|im_end|>", ("<|im_start|>",)),
    "llama": (LLAMA, "<|eot|>", ("<|start|>",)),
    "mistral": (MISTRAL, "</s>", ("[INST]", "[/INST]", "[TOOL_CALLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]")),
    "mistral-args": (LATER_MISTRAL, "</s>", ("[INST]", "[/INST]", "[TOOL_CALLS]", "[ARGS]")),
    "thinks": (THINKS, "<|im_end|>", ("<|im_start|>", "<think>", "</think>")),
    "thinks-in-words": (THINKS, "<|im_end|>", ("<|im_start|>",)),
}
"""By name: the template, its end of turn, and its further control tokens."""
