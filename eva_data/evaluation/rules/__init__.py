"""The rules of evaluation, one module each. A set with `rule: name` uses the module of that name."""
