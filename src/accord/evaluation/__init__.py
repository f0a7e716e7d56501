"""Measures of a model: win rates, criteria, made-up answers, alignment tax, reward-model accuracy. Each has an interval."""
