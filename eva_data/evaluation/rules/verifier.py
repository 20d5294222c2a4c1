"""A function decides if an answer is right: exact answers, IFEval's instructions, or a user's own test."""

from eva_data.evaluation.rule import JudgingRule

RULE = JudgingRule(kind="verify", source="a function that scores each answer; right from `right` on")
