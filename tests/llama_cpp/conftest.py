"""llama.cpp itself as the reader of our files: collected only where it can be imported, which is a folder of its own (.ci/llama)."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("xllamacpp") else ["test_*.py"]
