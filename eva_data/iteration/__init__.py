"""One iteration: its stages in turn, from the prompts to the pairs."""
