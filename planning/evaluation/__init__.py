"""The one evaluator, pair lists, rows and tables."""
