"""Runs the stages of an iteration in turn, from the prompts to the pairs."""
