"""The tables of a dataset: their columns, the ids and draws of their rows, and the readers of foreign tables."""
