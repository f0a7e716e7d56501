"""How good a model is: win rates, criteria, made-up answers, alignment tax, reward-model accuracy; each with its interval."""
