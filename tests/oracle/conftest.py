"""The peer's numbers: collected only where TRL can be imported, which is an environment of its own (docs/dpo.md says how to run it)."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("trl") else ["test_*.py"]
