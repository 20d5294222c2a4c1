"""The sections of the report page, one module an idea: each makes records of numbers, and no HTML."""
