"""Reward models that see: transformers' own head for sequence classification, over the body of a vision-language model.

transformers names such a class for Gemma 3 alone. For the others it is made here out of its parts, and known to its auto class from then
on. Any other tool opens the folder's body with ``AutoModel``, and ``score.weight`` beside it.
"""

from __future__ import annotations

from typing import Any, cast


def register_seeing(config: Any) -> None:
    """Let ``AutoModelForSequenceClassification`` open models of a vision-language configuration, if it does not yet."""
    from transformers import AutoModel, AutoModelForSequenceClassification
    from transformers.modeling_layers import GenericForSequenceClassification

    known: Any = cast("Any", AutoModelForSequenceClassification)
    if getattr(config, "vision_config", None) is None or type(config) in known._model_mapping:
        return
    body: Any = cast("Any", AutoModel)._model_mapping[type(config)]
    base = next(each for each in body.__mro__ if each.__name__.endswith("PreTrainedModel"))
    name = f"{body.__name__.removesuffix('Model')}ForSequenceClassification"
    made = type(name, (GenericForSequenceClassification, base), {"__module__": __name__, "config_class": type(config)})
    known.register(type(config), made, exist_ok=True)  # without it transformers keeps its own configurations to its own classes
