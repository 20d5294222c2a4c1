"""The reward of the settings scores each answer by itself."""

from eva_data.evaluation.rule import JudgingRule

RULE = JudgingRule(kind="score", source="the reward of the settings, which training saw")
