"""Signals of how much a prompt can teach that need more, or less, than the rewards of its responses."""
