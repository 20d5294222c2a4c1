"""Human review without an Argilla server: a page on this machine, and files for Label Studio."""
