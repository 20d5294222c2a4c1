"""The checks of `verify`: they compute again what follows from the tables of an iteration, and compare."""
