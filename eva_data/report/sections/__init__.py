"""The sections of the report page, one module an idea. A section makes records of numbers, and no HTML."""
