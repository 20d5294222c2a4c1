"""Environments: libraries that pose tasks with known answers, score responses, and know how to make tasks harder.

The name of an environment is `library/dataset`. There is one module a library. Importing it loads nothing heavy.
"""
