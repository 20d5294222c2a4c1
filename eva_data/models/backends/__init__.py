"""The ways to run a language model: one backend, one module of its name, with what `models.player.Backend` names."""
