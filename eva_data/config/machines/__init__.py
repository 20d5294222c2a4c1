"""Blocks that say on which machines the work is done. Nothing in them changes what is built."""
