"""Tools: measure whether the imputation is right on the data at hand."""

from scdtl.tl._evaluate import evaluate
from scdtl.tl._evaluation import Evaluation

__all__ = ["Evaluation", "evaluate"]
