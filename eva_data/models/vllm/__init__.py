"""vLLM servers that are started for a build."""
