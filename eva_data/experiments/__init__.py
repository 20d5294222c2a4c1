"""Sweeps: the same game played by several arms and seeds, and what their differences show.

`design` reads a sweep file, `arms` plays an arm once per seed, `outcomes` reads the scores, `verdicts` compares arms,
and `written` makes the report. The seed is the unit of analysis: an arm is better if it is better over trainings, not
over prompts.
"""
