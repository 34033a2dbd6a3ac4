"""Errors and correlation between two matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, overload

import numpy as np

from scdtl.metrics._matrices import check_axis, check_shapes, mean_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scdtl.metrics._matrices import Axis, FloatArray, Matrix


@overload
def mse(truth: Matrix, prediction: Matrix, axis: None = None) -> float: ...
@overload
def mse(truth: Matrix, prediction: Matrix, axis: Literal[0, 1]) -> FloatArray: ...
def mse(truth: Matrix, prediction: Matrix, axis: Axis = None) -> float | FloatArray:
    r"""Mean squared error, :math:`\langle (y - \hat y)^2 \rangle`.

    Parameters
    ----------
    truth, prediction
        Cells × genes, on the same scale.
    axis
        `None` for one number over all entries, 0 for one per gene, 1 for one per cell.

    Returns
    -------
    The error, or an array of them, in the square of the unit of the input.

    Examples
    --------
    >>> import numpy as np
    >>> import scdtl
    >>> truth, prediction = np.array([[1, 2], [3, 4]]), np.array([[1, 4], [3, 3]])
    >>> scdtl.metrics.mse(truth, prediction)
    1.25
    >>> scdtl.metrics.mse(truth, prediction, axis=0)
    array([0. , 2.5])
    """
    check_axis(axis)
    check_shapes(truth, prediction)
    return mean_of(lambda y, x: (y - x) ** 2, axis, truth, prediction)


@overload
def rmse(truth: Matrix, prediction: Matrix, axis: None = None) -> float: ...
@overload
def rmse(truth: Matrix, prediction: Matrix, axis: Literal[0, 1]) -> FloatArray: ...
def rmse(truth: Matrix, prediction: Matrix, axis: Axis = None) -> float | FloatArray:
    r"""Root mean squared error, :math:`\sqrt{\langle (y - \hat y)^2 \rangle}`.

    Parameters
    ----------
    truth, prediction
        Cells × genes, on the same scale.
    axis
        `None` for one number over all entries, 0 for one per gene, 1 for one per cell.

    Returns
    -------
    The error, or an array of them, in the unit of the input.

    Examples
    --------
    >>> import numpy as np
    >>> import scdtl
    >>> truth, prediction = np.array([[1, 2], [3, 4]]), np.array([[1, 4], [3, 2]])
    >>> round(scdtl.metrics.rmse(truth, prediction), 3)
    1.414
    >>> scdtl.metrics.rmse(truth, prediction, axis=0)
    array([0., 2.])
    """
    error = np.sqrt(mse(truth, prediction, axis))
    return float(error) if axis is None else error


@overload
def l1(truth: Matrix, prediction: Matrix, axis: None = None) -> float: ...
@overload
def l1(truth: Matrix, prediction: Matrix, axis: Literal[0, 1]) -> FloatArray: ...
def l1(truth: Matrix, prediction: Matrix, axis: Axis = None) -> float | FloatArray:
    r"""Mean absolute error, :math:`\langle |y - \hat y| \rangle`.

    Parameters
    ----------
    truth, prediction
        Cells × genes, on the same scale.
    axis
        `None` for one number over all entries, 0 for one per gene, 1 for one per cell.

    Returns
    -------
    The error, or an array of them, in the unit of the input.

    Examples
    --------
    >>> import numpy as np
    >>> import scdtl
    >>> truth, prediction = np.array([[1, 2], [3, 4]]), np.array([[1, 4], [3, 3]])
    >>> scdtl.metrics.l1(truth, prediction)
    0.75
    >>> scdtl.metrics.l1(truth, prediction, axis=1)
    array([1. , 0.5])
    """
    check_axis(axis)
    check_shapes(truth, prediction)
    return mean_of(lambda y, x: np.abs(y - x), axis, truth, prediction)


@overload
def pearson(truth: Matrix, prediction: Matrix, axis: None = None) -> float: ...
@overload
def pearson(truth: Matrix, prediction: Matrix, axis: Literal[0, 1]) -> FloatArray: ...
def pearson(truth: Matrix, prediction: Matrix, axis: Axis = None) -> float | FloatArray:
    r"""Pearson correlation.

    .. math:: r = \frac{\sum (y - \bar y)(\hat y - \bar{\hat y})}
                       {\sqrt{\sum (y - \bar y)^2 \sum (\hat y - \bar{\hat y})^2}}

    Parameters
    ----------
    truth, prediction
        Cells × genes.
    axis
        `None` for one number over all entries, 0 for one per gene (over cells), 1 for one per
        cell (over genes).

    Returns
    -------
    The correlation, or an array of them, between -1 and 1; NaN where either side is constant.

    Examples
    --------
    >>> import numpy as np
    >>> import scdtl
    >>> truth, prediction = np.array([[1, 2, 3], [3, 2, 1]]), np.array([[2, 4, 6], [1, 2, 3]])
    >>> scdtl.metrics.pearson(truth, prediction, axis=1).round(2)
    array([ 1., -1.])
    """
    check_axis(axis)
    check_shapes(truth, prediction)
    y_variance, y_constant = _variance(truth, axis)
    x_variance, x_constant = _variance(prediction, axis)
    scale = np.sqrt(y_variance) * np.sqrt(x_variance)
    with np.errstate(divide="ignore", invalid="ignore"):
        r = np.clip(_covariance(truth, prediction, axis) / scale, -1, 1)
    r = np.where(y_constant | x_constant, np.nan, r)
    return float(r) if axis is None else r


def _variance(matrix: Matrix, axis: Axis) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Variance along an axis, and where it is nothing but rounding of a constant."""
    variance = np.asarray(_covariance(matrix, matrix, axis))
    average = np.asarray(mean_of(lambda y: y, axis, matrix))
    return variance, np.sqrt(variance) <= 1e-13 * np.abs(average)


def _covariance(truth: Matrix, prediction: Matrix, axis: Axis) -> FloatArray | float:
    """Mean product of the deviations from the means along an axis, in two passes."""
    means = []
    for matrix in (truth, prediction):
        average = np.asarray(mean_of(lambda y: y, axis, matrix))
        means.append(np.broadcast_to(average[:, None] if axis == 1 else average, truth.shape))
    return mean_of(
        lambda y, x, mean_y, mean_x: (y - mean_y) * (x - mean_x), axis, truth, prediction, *means
    )
