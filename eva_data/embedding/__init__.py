"""Turns texts into vectors whose cosine says how much two texts mean the same. Every vector is kept in the ledger."""
