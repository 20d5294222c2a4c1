"""The creator step of eva: chains of rewrites that start at sampled prompts, and what is kept of them.

`start_chains` gives the chains that the generating step drives, in a process in which polars must not run;
`eliminate` judges their rows afterwards, against all other prompts.
"""

from eva_data.evolve.chain import evolve_chain, start_chains
from eva_data.evolve.contamination import ReferenceSet, read_reference_set
from eva_data.evolve.eliminate import eliminate
from eva_data.evolve.identity import prompt_id_of
from eva_data.evolve.methods import METHODS, build_method, user_strategy
from eva_data.evolve.rules import Limits
from eva_data.evolve.strategy import Method, Strategy

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
