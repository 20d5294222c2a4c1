"""The default rule: each pair of answers in both orders, a verdict of better, worse or tie."""

from eva_data.comparing.question import TEMPLATE
from eva_data.comparing.verdict import IN_JSON, SCORES, VERDICT_FORMAT, read_verdict
from eva_data.evaluation.rule import JudgingRule

RULE = JudgingRule(
    kind="compare",
    source="eva-data: both orders, ties count one half, the majority of the judges",
    template=TEMPLATE + IN_JSON,
    read=read_verdict,
    scores=SCORES,
    guide={"response_format": VERDICT_FORMAT},
)
