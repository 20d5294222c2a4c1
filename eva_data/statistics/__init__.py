"""Intervals, tests and sizes: numbers in, numbers out."""
