"""The creator step of eva: chains of rewrites that start at sampled prompts, and their elimination.

`start_chains` gives the chains that the generating step drives, in a process in which polars must not run.
`eliminate` then compares their rows with all other prompts.
"""

from eva_data.evolve.chain import evolve_chain, start_chains
from eva_data.evolve.elimination.contamination import ReferenceSet, read_reference_set
from eva_data.evolve.elimination.eliminate import eliminate
from eva_data.evolve.methods import METHODS, build_method, user_strategy
from eva_data.evolve.rules import Limits
from eva_data.evolve.strategy import Method, Strategy
from eva_data.tables.ids import prompt_id_of

__all__ = [
    "METHODS",
    "Limits",
    "Method",
    "ReferenceSet",
    "Strategy",
    "build_method",
    "eliminate",
    "evolve_chain",
    "prompt_id_of",
    "read_reference_set",
    "start_chains",
    "user_strategy",
]
