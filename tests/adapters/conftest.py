"""Adapters against the packages themselves, each collected only where its package can be imported: in an environment of its own
(`make environments`)."""

from __future__ import annotations

from importlib.util import find_spec

PACKAGES = ("gymnasium", "verifiers", "openenv", "lm_eval", "inspect_ai")
collect_ignore = [f"test_{name}.py" for name in PACKAGES if not find_spec(name)]
