"""The ways to score responses. Each backend is a module with the members of `rewards.Backend`."""
