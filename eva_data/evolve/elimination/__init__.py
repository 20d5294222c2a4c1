"""What only a look at all prompts eliminates."""
