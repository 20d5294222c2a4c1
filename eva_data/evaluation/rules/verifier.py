"""Answers that a function can tell right from wrong: exact answers, IFEval's instructions, a test of the user's own."""

from eva_data.evaluation.rule import JudgingRule

RULE = JudgingRule(kind="verify", source="a function that scores each answer; right from `right` on")
