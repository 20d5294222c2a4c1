"""From verdicts to rates: scores of prompts, length and style held equal, and what a rate compares with."""
