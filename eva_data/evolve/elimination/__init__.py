"""Eliminates evolutions that repeat other prompts or benchmarks."""
