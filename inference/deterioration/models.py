"""Regression models that predict the percentage of deterioration from features of wells.

All models implement one protocol; the calibration selects the best one. A model imports
scikit-learn when it is fitted, because most starts of the service fit no model.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from schemas.arrays import Float64Array, IndexArray, Int64Array

Predictor = Callable[[Float64Array], Float64Array]
"""Function from (N, F) features to (N,) percent."""

TREE_COUNT = 200
"""Number of randomised trees."""
MAX_WELLS_FOR_KERNEL = 240
"""Largest number of wells for the fit of kernel parameters; the final model uses all wells."""
PAIRS_PER_PLATE = 1500
"""Number of random pairs of wells per plate."""


class DeteriorationModel(Protocol):
    """Model that is trained on the measured deterioration of wells of several plates."""

    def fit(
        self, features: Float64Array, percent: Float64Array, plates: Int64Array, seed: int
    ) -> Predictor:
        """Train with a seed on features (n, F), percent (n,), plates (n,); return a predictor.

        The predictor is a function that returns percent (N,) from features (N, F).

        Parameters
        ----------
        features
            (n, F) finite features.
        percent
            (n,) measured deterioration in percent.
        plates
            (n,) number of the plate of each well.
        seed
            Seed of random draws.
        """
        ...


@dataclass(frozen=True)
class RidgeModel:
    """Ridge regression of standardised features, with strength selected by leave-one-out error."""

    strengths: tuple[float, ...] = tuple(np.logspace(-1, 4, 11).tolist())

    def fit(
        self, features: Float64Array, percent: Float64Array, plates: Int64Array, seed: int
    ) -> Predictor:
        """Train with a seed on features (n, F), percent (n,), plates (n,); return a predictor.

        See :meth:`DeteriorationModel.fit`.
        """
        from sklearn.linear_model import RidgeCV
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        del plates, seed
        model = make_pipeline(StandardScaler(), RidgeCV(self.strengths)).fit(features, percent)
        return lambda wells: np.asarray(model.predict(wells))


@dataclass(frozen=True)
class ExtraTreesModel:
    """Extremely randomised trees: Geurts, Ernst and Wehenkel, Mach. Learn. 63 (2006) 3."""

    def fit(
        self, features: Float64Array, percent: Float64Array, plates: Int64Array, seed: int
    ) -> Predictor:
        """Train with a seed on features (n, F), percent (n,), plates (n,); return a predictor.

        See :meth:`DeteriorationModel.fit`.
        """
        from sklearn.ensemble import ExtraTreesRegressor

        del plates
        model = ExtraTreesRegressor(
            TREE_COUNT, min_samples_leaf=2, max_features=0.5, random_state=seed
        ).fit(features, percent)
        return lambda wells: np.asarray(model.predict(wells))


@dataclass(frozen=True)
class BoostingModel:
    """Gradient boosting of small trees: Friedman, Ann. Stat. 29 (2001) 1189."""

    def fit(
        self, features: Float64Array, percent: Float64Array, plates: Int64Array, seed: int
    ) -> Predictor:
        """Train with a seed on features (n, F), percent (n,), plates (n,); return a predictor.

        See :meth:`DeteriorationModel.fit`.
        """
        from sklearn.ensemble import GradientBoostingRegressor

        del plates
        model = GradientBoostingRegressor(
            n_estimators=150,
            learning_rate=0.08,
            max_depth=3,
            subsample=0.7,
            max_features=0.5,
            random_state=seed,
        ).fit(features, percent)
        return lambda wells: np.asarray(model.predict(wells))


@dataclass(frozen=True)
class GaussianProcessModel:
    """Gaussian process with one length scale, on standardised features."""

    def fit(
        self, features: Float64Array, percent: Float64Array, plates: Int64Array, seed: int
    ) -> Predictor:
        """Train with a seed on features (n, F), percent (n,), plates (n,); return a predictor.

        See :meth:`DeteriorationModel.fit`.
        """
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
        from sklearn.preprocessing import StandardScaler

        del plates
        scaler = StandardScaler().fit(features)
        rows = scaler.transform(features)
        chosen = np.random.default_rng(seed).permutation(len(rows))[:MAX_WELLS_FOR_KERNEL]
        kernel = ConstantKernel(1.0, (1e-2, 1e3)) * RBF(5.0, (0.5, 100.0)) + WhiteKernel(
            0.1, (1e-3, 2.0)
        )
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", ConvergenceWarning
            )  # a parameter at the limit of its range is also a valid result
            fitted_kernel = (
                GaussianProcessRegressor(kernel, normalize_y=True)
                .fit(rows[chosen], percent[chosen])
                .kernel_
            )
        model = GaussianProcessRegressor(fitted_kernel, optimizer=None, normalize_y=True).fit(
            rows, percent
        )
        return lambda wells: np.asarray(model.predict(scaler.transform(wells)))


@dataclass(frozen=True)
class PairwiseModel:
    """Linear score that orders the wells of each plate, followed by an isotonic map to percent.

    Pairs of wells of one plate have the same scale error of the assay, so the order is more
    reliable than the values. The score is fitted with the loss of RankNet: Burges et al., ICML
    2005.
    """

    def fit(
        self, features: Float64Array, percent: Float64Array, plates: Int64Array, seed: int
    ) -> Predictor:
        """Train with a seed on features (n, F), percent (n,), plates (n,); return a predictor.

        See :meth:`DeteriorationModel.fit`.
        """
        from sklearn.isotonic import IsotonicRegression
        from sklearn.linear_model import LogisticRegression
        from sklearn.preprocessing import StandardScaler

        rng = np.random.default_rng(seed)
        scaler = StandardScaler().fit(features)
        rows = scaler.transform(features)
        first, second = np.concatenate(
            [
                _pairs_in_both_orders(np.flatnonzero(plates == plate), rng)
                for plate in np.unique(plates)
            ],
            axis=1,
        )
        gap = percent[first] - percent[second]
        differs = gap != 0
        model = LogisticRegression(C=0.1, fit_intercept=False, max_iter=500)
        model.fit(
            (rows[first] - rows[second])[differs],
            gap[differs] > 0,
            sample_weight=np.abs(gap[differs]),
        )
        weights = model.coef_[0]
        stretch = IsotonicRegression(out_of_bounds="clip").fit(rows @ weights, percent)
        return lambda wells: np.asarray(stretch.predict(scaler.transform(wells) @ weights))


def _pairs_in_both_orders(wells: IndexArray, rng: np.random.Generator) -> IndexArray:
    """Return (2, pairs) random pairs of wells, each in both orders to balance the classes."""
    one, other = rng.choice(wells, (2, PAIRS_PER_PLATE))
    return np.stack([np.concatenate([one, other]), np.concatenate([other, one])])


@dataclass(frozen=True)
class MeanModel:
    """Mean of several models; its error is smaller than that of most of them if plates are few."""

    models: tuple[DeteriorationModel, ...]

    def fit(
        self, features: Float64Array, percent: Float64Array, plates: Int64Array, seed: int
    ) -> Predictor:
        """Train with a seed on features (n, F), percent (n,), plates (n,); return a predictor.

        See :meth:`DeteriorationModel.fit`.
        """
        predictions = [model.fit(features, percent, plates, seed) for model in self.models]
        return lambda wells: np.asarray(
            np.mean([predict(wells) for predict in predictions], axis=0)
        )


SINGLE_MODELS: Mapping[str, DeteriorationModel] = {
    "ridge": RidgeModel(),
    "trees": ExtraTreesModel(),
    "boosting": BoostingModel(),
    "process": GaussianProcessModel(),
    "pairwise": PairwiseModel(),
}
"""Models that are trained separately."""
MEAN_OF_MODELS = "mean"
"""Name of the mean of all single models."""
MODELS: Mapping[str, DeteriorationModel] = {
    **SINGLE_MODELS,
    MEAN_OF_MODELS: MeanModel(tuple(SINGLE_MODELS.values())),
}
"""Models by the name in a calibration card."""
