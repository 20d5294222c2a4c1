"""Whether theta_t is better than theta_{t-1} and theta_0: answers, verdicts by published rules, and figures."""
