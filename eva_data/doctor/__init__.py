"""Looks at this machine, its keys and its servers before a build relies on them (`eva-data doctor`)."""
