"""Comparisons of responses by a model: the question, both orders, the parser of a verdict, a panel of judges."""
