"""Measures whether theta_t is better than theta_{t-1} and theta_0, by verdicts of published rules on their answers."""
