"""Keeps every finished model call and every reward exactly once, with its costs, in one SQLite file.

The key of a call is everything that determines its answer: the model's fingerprint, engine settings, messages, sampling
parameters, seed, salt and sample index. It is never a URL, a path or a time. A result is committed before it is used,
so a run that is killed at any point repeats nothing that it has finished.

`file` opens the file and explains its errors, `records` holds finished calls with their `texts` packed, and `keeper`,
`claims` and `owners` hold the calls that a job has under way, where other processes can see them. `segments` copies a
ledger and merges others into it, and `shrinking` makes it smaller.
"""

from eva_data.ledger.claims import Claims
from eva_data.ledger.file import VERSION
from eva_data.ledger.keeper import Keeper
from eva_data.ledger.records import Bill, Ledger, Score, call_key, derived_seed

__all__ = ["VERSION", "Bill", "Claims", "Keeper", "Ledger", "Score", "call_key", "derived_seed"]
