"""The solver step: TRL trains theta_t on the pairs, offline or while the prompts evolve."""
