"""Models that complete conversations, as Distilabel LLM classes over one ledger."""
