"""Settings as a form shows them: each with its sentence, its kind and its range, read as the commands read them."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import pytest

from accord import settings
from accord.settings import DpoConfig, PpoConfig, RlooConfig, SftConfig
from accord.settings.fields import Field, Misread, fields_of, made, sentences

CONFIGS: list[type[Any]] = [kind for name, kind in vars(settings).items() if name.endswith("Config") and inspect.isclass(kind)]


@pytest.mark.parametrize("kind", CONFIGS, ids=lambda kind: kind.__name__)
def test_every_setting_has_a_sentence_and_a_kind_that_fits_its_default(kind: type[Any]) -> None:
    plain = {"whole": int, "number": float, "yes-no": bool, "choice": str, "text": str}
    for field in fields_of(kind):
        assert field.help, f"{kind.__name__}.{field.name} has no sentence"
        if not isinstance(field.default, dataclasses._MISSING_TYPE):  # pyright: ignore[reportPrivateUsage]
            assert type(field.default) is plain[field.kind]
            assert not field.choices or field.default in field.choices
            assert field.read(str(field.default)) == field.default


def test_a_sentence_is_that_of_the_class_which_says_it_last() -> None:
    assert sentences(RlooConfig)["group_size"] == "Responses per prompt, whose rewards are compared with each other."
    assert sentences(PpoConfig)["lr"].startswith("Policy learning rate")
    assert sentences(SftConfig)["lr"].startswith("Peak learning rate")


def named(name: str, kind: type[Any] = DpoConfig) -> Field:
    return next(field for field in fields_of(kind) if field.name == name)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("epochs", "x", "epochs is 'x', not a whole number"),
        ("epochs", "1.5", "epochs is '1.5', not a whole number"),
        ("epochs", "0", "epochs is 0; it must be above 0"),
        ("beta", "", "beta is '', not a number"),
        ("beta", "nan", "which is no number to work with"),
        ("loss", "sgmoid", "not one of sigmoid"),
        ("recompute", "perhaps", "not true or false"),
    ],
)
def test_what_is_no_value_is_named(name: str, text: str, said: str) -> None:
    with pytest.raises(Misread, match=said.replace("'", ".")):
        named(name).read(text)


def test_a_range_says_what_the_command_says() -> None:
    with pytest.raises(Misread) as misread:
        named("label_smoothing").read("0.7")
    _, problems = made(DpoConfig, {"label_smoothing": 0.7})
    assert problems == {"label_smoothing": str(misread.value)}


def test_a_rule_of_several_settings_stands_at_the_one_that_it_names_first() -> None:
    config, problems = made(DpoConfig, {"loss": "robust"})
    assert config is None
    assert problems == {"loss": "loss robust needs the share of wrong labels: label_smoothing is 0"}
    assert made(DpoConfig, {"beta": 0.2}) == (DpoConfig(beta=0.2), {})


@pytest.mark.parametrize(("name", "value", "word"), [("lora_rank", 8, "--lora-rank=8"), ("recompute", True, "--recompute")])
def test_a_value_is_one_word_of_a_command_line(name: str, value: object, word: str) -> None:
    assert named(name).given(value) == word
    assert named("recompute").given(False) == "--no-recompute"
