"""The shapes in which people keep prompts and scored responses, as expressions over columns; one family a module."""
