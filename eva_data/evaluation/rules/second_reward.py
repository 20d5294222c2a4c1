"""A reward that trains nothing scores each answer by itself, beside the reward of the settings."""

from eva_data.evaluation.rule import JudgingRule

RULE = JudgingRule(kind="score", source="`evaluate.second_reward`, which trained nothing")
