"""The tables of a dataset: their columns, the ids and draws of their rows, and how they are read."""
