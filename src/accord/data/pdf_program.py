"""The program that reads a PDF in the sandbox (``runtime/sandbox.py``): it imports pypdf alone, and nothing of ours.

Standard input holds the most pages, the most characters, and the file in base 64, a line each. The answer is one line of JSON: the text of
each page, or a key of ``attached.PROBLEMS``.
"""

from __future__ import annotations

import base64
import io
import json
import logging
import sys

from pypdf import PdfReader


def read(content: bytes, most_pages: int, most_characters: int) -> dict[str, object]:
    """Return the text of each page, or the problem."""
    reader = PdfReader(io.BytesIO(content))
    if reader.is_encrypted and not reader.decrypt(""):  # many files have no password for readers, only for those who would change them
        return {"problem": "encrypted"}
    if len(reader.pages) > most_pages:
        return {"problem": "many_pages"}
    pages, characters = list[str](), 0
    for page in reader.pages:
        pages.append(page.extract_text())
        characters += len(pages[-1])
        if characters > most_characters:
            return {"problem": "long"}
    return {"pages": pages}


def main() -> None:
    """Answer what standard input asks."""
    logging.disable(logging.CRITICAL)  # pypdf tells of each oddity in a file
    most_pages, most_characters, content = sys.stdin.read().split("\n", 2)
    try:
        said = read(base64.b64decode(content), int(most_pages), int(most_characters))
    except MemoryError:
        raise
    except Exception as error:  # a file that is not sound fails anywhere in pypdf
        said = {"problem": "encrypted" if type(error).__name__ in ("DependencyError", "FileNotDecryptedError") else "broken"}
    print(json.dumps(said))


if __name__ == "__main__":
    main()
