"""Publishes to the Hugging Face Hub, pulls from it, and verifies."""
