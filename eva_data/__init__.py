"""Grow a training curriculum for language models by creator/solver self-play (eva, arXiv 2411.00062)."""

__version__ = "0.1.0"
