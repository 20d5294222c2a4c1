"""Models that complete conversations: Distilabel LLM classes that share a ledger."""
