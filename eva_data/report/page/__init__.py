"""The parts of every HTML page: a template, a style, charts, and the place where foreign text becomes harmless."""
