"""The packages that Accord imports and that can be missing: which command brings each.

``pip install accord-rlhf`` brings all that the main work needs. Extras bring what is large or rare, and other packages are the user's own
choice: what trains beside Accord, or shows its metrics.
"""

from __future__ import annotations

from collections.abc import Mapping

BROUGHT_BY: Mapping[str, str] = {
    "accelerate": "gguf",
    "authlib": "sso",
    "better_profanity": "safety",
    "gguf": "gguf",
    "inspect_ai": "inspect",
    "joserfc": "sso",
    "lm_eval": "lm-eval",
    "psycopg": "postgres",
    "tensorboard": "trackers",
}
"""The extra of pyproject.toml that brings a package, by the name that it is imported by."""
APART: Mapping[str, str] = {
    "gymnasium": "gymnasium",
    "mlflow": "mlflow-skinny",
    "openenv": "openenv-core",
    "soundfile": "soundfile",
    "trackio": "trackio",
    "verifiers": "verifiers",
    "wandb": "wandb",
}
"""Packages that no extra brings, and the names that they are installed by."""


def install(package: str) -> str:
    """Return the command that installs a missing package.

    pip looks at the dependencies of what is installed already, so that the command without an extra completes an incomplete installation.

    Args:
        package: the name that it is imported by; a module inside it does as well.
    """
    name = package.partition(".")[0]
    if name in APART:
        return f"pip install {APART[name]}"
    extra = BROUGHT_BY.get(name)
    return f"pip install 'accord-rlhf[{extra}]'" if extra else "pip install accord-rlhf"
