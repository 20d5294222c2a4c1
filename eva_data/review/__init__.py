"""Human review in Argilla: pairs go out in blind order, and verdicts come back as a revision of the iteration."""
