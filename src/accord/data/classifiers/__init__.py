"""Classifiers of texts: one interface, several kinds, each measured on labelled sets of our own (docs/classifiers.md)."""
