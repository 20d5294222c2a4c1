"""What lies beside the iterations, with records of its own: ratings of prompts, and which thetas were accepted."""
