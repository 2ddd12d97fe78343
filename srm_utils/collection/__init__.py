"""How notebooks are found, run and reported."""
