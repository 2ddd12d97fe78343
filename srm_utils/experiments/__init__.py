"""What was measured, and how? Comparisons at equal cost, studies, checks of the models, benchmarks of speed."""
