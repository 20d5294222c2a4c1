"""The ways to run a language model. Each backend is a module with the members of `models.player.Backend`."""
