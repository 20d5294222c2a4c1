"""Asks a model for ratings and reads its replies."""
