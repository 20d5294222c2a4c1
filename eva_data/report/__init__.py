"""What a person reads of a dataset: cards, numbers, examples and pictures."""
