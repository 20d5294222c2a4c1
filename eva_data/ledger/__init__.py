"""Every finished model call and every reward, exactly once, and what it took, in one SQLite file.

A call is known by what determines its answer: the model's fingerprint, engine settings, messages, sampling
parameters, seed, salt and sample index; never by a URL, a path or a time. What a call returned is committed
before anyone uses it, so that a run that is killed at any point repeats nothing it has finished.

`file` opens the file and says what is wrong with it, `records` holds what is finished, and `keeper` what a job
has under way, which other processes can see.
"""

from eva_data.ledger.file import VERSION
from eva_data.ledger.keeper import Keeper
from eva_data.ledger.records import Bill, Ledger, Score, call_key, derived_seed

__all__ = ["VERSION", "Bill", "Keeper", "Ledger", "Score", "call_key", "derived_seed"]
