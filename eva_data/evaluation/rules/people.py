"""The judges' own question about pairs that people reviewed, in both orders: how far judges and people agree."""

from eva_data.evaluation.rule import JudgingRule
from eva_data.evaluation.rules.own import RULE as OWN

RULE = JudgingRule(
    kind="agree",
    source="eva-data: the judges' majority in both orders against the verdict of the people",
    template=OWN.template,
    read=OWN.read,
    scores=OWN.scores,
    guide=OWN.guide,
)
