"""Answers to evaluation sets in the files that the benchmarks' own tools read."""
