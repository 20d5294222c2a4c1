"""The parts of a dataset for readers: cards, numbers, examples and pictures."""
