"""What prompts are about: the words in them as vectors, clusters of these, and the topic of every prompt."""
