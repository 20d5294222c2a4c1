"""How far training moves a solver: log-probabilities of responses, measured in another process."""
