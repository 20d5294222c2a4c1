"""Human review in Argilla: pairs go out in blind order, people's verdicts come back as a revision of the iteration."""
