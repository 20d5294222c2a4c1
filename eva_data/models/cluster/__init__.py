"""Computes a job's batches here or by actors of a Ray cluster. The job and its ledger stay where they are."""
