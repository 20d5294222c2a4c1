"""A function decides whether an answer is right: exact answers, IFEval's instructions, or a test of the user's own."""

from eva_data.evaluation.rule import JudgingRule

RULE = JudgingRule(kind="verify", source="a function that scores each answer; right from `right` on")
