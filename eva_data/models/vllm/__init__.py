"""Starts vLLM servers for a build."""
