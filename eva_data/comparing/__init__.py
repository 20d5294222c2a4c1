"""A model compares responses: the question, both orders, the reading of a verdict, a panel of judges."""
