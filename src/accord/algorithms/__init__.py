"""How a model learns: pure formulas in objectives, and one readable file an algorithm."""
