"""Run as a process of its own: opens vision-language folders with plain transformers, and prints what any other tool gets from them.

It reads JSON: ``folders``, and ``rows`` of a ``picture`` (a file), a ``question`` and ``answers``.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

LONGEST = 8


@torch.no_grad()
def spoken(folder: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Greedy answers, and for each given answer the sum of its tokens' log-probabilities and their mean loss by transformers' labels."""
    model, processor = AutoModelForImageTextToText.from_pretrained(folder).float().eval(), AutoProcessor.from_pretrained(folder)
    sums: list[list[float]] = []
    losses: list[list[float]] = []
    drawn: list[str] = []
    for row in rows:
        picture = Image.open(row["picture"]).convert("RGB")
        asked = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": row["question"]}]}]
        prompt = processor.apply_chat_template(asked, add_generation_prompt=True)
        begun = processor(text=prompt, images=picture, return_tensors="pt", add_special_tokens=False)
        behind = begun["input_ids"].shape[1]
        model.generation_config.max_length = None
        out = model.generate(**begun, max_new_tokens=LONGEST, do_sample=False)
        drawn.append(processor.tokenizer.decode(out[0, behind:], skip_special_tokens=True).strip())
        sums.append([])
        losses.append([])
        for answer in row["answers"]:
            whole = processor.apply_chat_template([*asked, {"role": "assistant", "content": answer}])
            given = processor(text=whole, images=picture, return_tensors="pt", add_special_tokens=False)
            labels = given["input_ids"].clone()
            labels[:, :behind] = -100
            found = model(**given, labels=labels)
            after = found.logits[0, behind - 1 : -1].log_softmax(-1)
            sums[-1].append(float(after.gather(1, given["input_ids"][0, behind:, None]).sum()))
            losses[-1].append(float(found.loss))
    return {"sums": sums, "losses": losses, "drawn": drawn}


def main() -> None:
    asked = json.load(sys.stdin)
    found = {folder: spoken(folder, asked["rows"]) for folder in asked["folders"]}
    assert not [name for name in sys.modules if name.split(".")[0] == "accord"]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
