"""Simple baselines that a model must beat on the same rows."""

import numpy as np

from infra.models.arrays import Floats
from training.evaluation.metrics import auc
from training.recipes.learner import SEED, Slice

SIMPLE_FEATURES = 5


def logistic_baseline(train: Slice, test: Slice) -> Floats:
    """Score the test slice by a logistic regression on the five features that separate the training slice best.

    Returns
    -------
    numpy.ndarray
        Probabilities; shape (test rows,). Missing values count as the median.
    """
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import QuantileTransformer

    columns = [i for i in range(train.x.shape[1]) if not np.isnan(train.x[:, i]).all()]
    once = np.ones(len(train))
    separation = {i: abs(auc(train.y, np.nan_to_num(train.x[:, i], nan=-1.0), once) - 0.5) for i in columns}
    best = sorted(columns, key=lambda i: -separation[i])[:SIMPLE_FEATURES]
    ranks = QuantileTransformer(n_quantiles=min(100, len(train)), output_distribution="normal", random_state=SEED)
    pipeline = make_pipeline(SimpleImputer(strategy="median"), ranks, LogisticRegression())
    fitted = pipeline.fit(train.x[:, best], train.y)
    return np.asarray(fitted.predict_proba(test.x[:, best])[:, 1], dtype=np.float64)


def best_action(train: Slice) -> str:
    """Return the action with the greatest self-normalised mean reward in a slice."""
    weights = 1 / train.propensity
    rewards = {
        a: np.average(train.y[train.action == a], weights=weights[train.action == a]) for a in np.unique(train.action)
    }
    return str(max(rewards, key=lambda a: rewards[a]))
