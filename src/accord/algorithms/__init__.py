"""Learning algorithms: pure formulas in the objectives modules, and one readable file per algorithm."""
