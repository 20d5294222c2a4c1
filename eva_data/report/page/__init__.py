"""The kit of every HTML page: one template, one style, charts, and one place where text of others becomes harmless."""
