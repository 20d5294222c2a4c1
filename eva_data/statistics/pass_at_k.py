"""pass@k, without bias."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def pass_at_k(samples: NDArray[np.int64], right: NDArray[np.int64], k: int) -> float:
    """The mean over prompts of the probability that k of a prompt's samples, drawn by lot, hold a right one.

    Source: Chen et al. 2021, "Evaluating Large Language Models Trained on Code", arXiv 2107.03374: for n samples of
    which c are right, 1 - C(n - c, k) / C(n, k). Every prompt needs at least k samples.
    """
    import numpy as np
    from scipy.special import gammaln

    def log_choose(n: NDArray[np.int64]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = gammaln(n + 1) - gammaln(k + 1) - gammaln(np.maximum(n - k, 0) + 1)
        return found

    wrong = samples - right
    missed = np.where(wrong < k, 0.0, np.exp(log_choose(wrong) - log_choose(samples)))
    return float((1 - missed).mean())
