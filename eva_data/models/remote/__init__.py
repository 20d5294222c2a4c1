"""Models behind a server or a provider."""
