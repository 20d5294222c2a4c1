"""The page of whole lineages: trees of prompts, and filters that need no script."""
