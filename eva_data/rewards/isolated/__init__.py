"""Runs code that a model wrote, in a sandboxed process, and says which tests its functions pass."""
