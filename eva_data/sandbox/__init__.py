"""A small verifiable world and a small real model: what `eva-data` plays with where no config is given."""
