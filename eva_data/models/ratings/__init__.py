"""Ratings that a model gives: how they are asked for, and how its replies are read."""
