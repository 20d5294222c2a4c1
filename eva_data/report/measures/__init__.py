"""What was measured of prompts and solvers, as cards and pages show it: ratings, and evaluations theta by theta."""
