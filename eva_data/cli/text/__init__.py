"""The texts and tables that the commands print."""
