"""What `verify` computes again from the tables of an iteration, and compares."""
