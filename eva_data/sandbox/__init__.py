"""A small verifiable world and a small real model, with which `eva-data` plays if there is no config."""
