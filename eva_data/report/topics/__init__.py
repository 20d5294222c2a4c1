"""What prompts are about: embeddings that need no weights, clusters, and how new and how diverse prompts are."""
