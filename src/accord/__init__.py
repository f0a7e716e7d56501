"""Accord: language models learn what your people prefer."""

__version__ = "0.1.0"
