"""One rule of evaluation, one module: a set with `rule: name` goes by the module of that name."""
