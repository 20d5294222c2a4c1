"""Publishing to the Hugging Face Hub, and what comes back from it."""
