"""Finds which prompts of an evaluated set repeat what a solver was trained on, and what that does to the figures."""
