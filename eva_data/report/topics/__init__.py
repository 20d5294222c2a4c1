"""The topics of prompts: embeddings without weights, clusters, novelty and diversity."""
