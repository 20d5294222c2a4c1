"""The settings of a dataset: one frozen model per block, one `Config` holding them.

Fields marked `Execution` change how or where the work is done; all others are *data*: they change what is
built, enter a stage's hash and make what was built before them stale. YAML only sets values; reading files
and the command line is `settings.py`.
"""

from eva_data.config.base import Execution, Settings
from eva_data.config.models import (
    AnyModel,
    ApiModel,
    Endpoint,
    Generation,
    Model,
    Prices,
    Serving,
    Solver,
    TableModel,
    TransformersModel,
    VllmModel,
)
from eva_data.config.rewards import (
    REWARD_BACKENDS,
    Answers,
    AnyReward,
    Classifier,
    Judge,
    LocalReward,
    OneReward,
    Pairwise,
    Reward,
    RewardServer,
    Several,
    Verifier,
)
from eva_data.config.scoring import PromptScorer
from eva_data.config.stages import (
    BenchmarkSet,
    Estimate,
    Evolve,
    EvolvingMethod,
    Metric,
    Mix,
    Pair,
    Publish,
    Review,
    Sample,
    Seeds,
    Share,
    Strategy,
    Train,
)
from eva_data.config.whole import Config

__all__ = [
    "REWARD_BACKENDS",
    "Answers",
    "AnyModel",
    "AnyReward",
    "ApiModel",
    "BenchmarkSet",
    "Classifier",
    "Config",
    "Endpoint",
    "Estimate",
    "Evolve",
    "EvolvingMethod",
    "Execution",
    "Generation",
    "Judge",
    "LocalReward",
    "Metric",
    "Mix",
    "Model",
    "OneReward",
    "Pair",
    "Pairwise",
    "Prices",
    "PromptScorer",
    "Publish",
    "Review",
    "Reward",
    "RewardServer",
    "Sample",
    "Seeds",
    "Serving",
    "Settings",
    "Several",
    "Share",
    "Solver",
    "Strategy",
    "TableModel",
    "Train",
    "TransformersModel",
    "Verifier",
    "VllmModel",
]
