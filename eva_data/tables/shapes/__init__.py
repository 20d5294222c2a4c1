"""The shapes in which people keep prompts and scored responses, one family a module, as expressions over columns."""
