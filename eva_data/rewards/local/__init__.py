"""Reward models that run on this machine."""
