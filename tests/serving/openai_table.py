"""The table of docs/openai.md: what OpenAI's own clients get from `accord serve`, asked of a real process.

    python tests/serving/openai_table.py      writes the table anew

The JavaScript client is where .ci/openai-js puts it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from idioms import IDIOMS, outcomes  # noqa: E402

PAGE = ROOT / "docs" / "openai.md"
CLIENT = ROOT / ".bench" / "openai-js"
BEGIN, END = "| idiom | Python | JavaScript |\n|---|---|---|\n", "\n\n<!-- end of the table -->"


@contextmanager
def served(folder: Path) -> Generator[str]:
    """Serves a project with a tiny random model whose template has tools, and yields the address."""
    from joined import foreign
    from tiny import llama
    from tool_templates import HERMES

    from accord.models.folders import save_model

    subprocess.run([sys.executable, "-m", "accord", "init", str(folder)], check=True, capture_output=True, timeout=120)
    tokenizer = foreign(HERMES, "<|im_end|>", ("<|im_start|>",))
    model = llama(vocab=len(tokenizer), std=0.1)
    model.config.max_position_embeddings = 1024
    save_model(folder / "models" / "tiny", model, tokenizer)
    command = [sys.executable, "-m", "accord", "serve", str(folder), "--port", "0", "--no-keys"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True)
    try:
        assert process.stdout
        for line in process.stdout:
            if found := re.search(r"http://\S+/v1", line):
                yield found[0]
                return
        raise AssertionError("accord serve ended without an address")
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)
        if process.stdout:
            process.stdout.close()


def in_javascript(url: str) -> dict[str, str] | None:
    """What came of each idiom in JavaScript; None where node or the client is not there."""
    node = shutil.which("node")
    if node is None or not (CLIENT / "node_modules" / "openai").is_dir():
        return None
    done = subprocess.run([node, str(HERE / "idioms.mjs"), url, str(CLIENT)], check=True, capture_output=True, text=True, timeout=120)
    return dict(zip(IDIOMS, json.loads(done.stdout), strict=True))


def told() -> dict[str, tuple[str, str]]:
    """The table as it stands in the page."""
    table = PAGE.read_text("utf-8").partition(BEGIN)[2].partition(END)[0]
    rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in table.splitlines()]
    return {idiom: (python, javascript) for idiom, python, javascript in rows}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, served(Path(folder) / "p") as url:
        python, javascript = outcomes(url), in_javascript(url)
    if javascript is None:
        sys.exit("node or OpenAI's JavaScript client is missing: bash .ci/openai-js")
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    rows = "\n".join(f"| {idiom} | {python[idiom]} | {javascript[idiom]} |" for idiom in IDIOMS)
    PAGE.write_text(f"{before}{BEGIN}{rows}{END}{rest.partition(END)[2]}", "utf-8")


if __name__ == "__main__":
    main()
