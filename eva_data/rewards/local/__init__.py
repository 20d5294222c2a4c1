"""Runs reward models on this machine."""
