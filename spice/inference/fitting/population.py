"""Populations: what people's parameters are centred on, by regressors and groups, and how far they spread."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from spice.errors import DataError, did_you_mean, first_of, join_problems
from spice.inference.fitting.summary import number
from spice.inference.fitting.uncertainty import Errors, standardised
from spice.resources.arguments import in_words

if TYPE_CHECKING:
    import pandas as pd

INTERCEPT = "intercept"
ALIKE = 1e-9  # share of a column that others do not explain, below which it tells nothing of its own


@dataclass(frozen=True)
class Design:
    """Regressors on population means, as numbers.

    Attributes
    ----------
    names : tuple of str
        Columns: ``"intercept"``, numeric regressors by name, ``"group[patient]"`` for a level of a categorical one.
    matrix : np.ndarray, shape (n_people, n_columns)
        Their values; 1 for the intercept, 1 or 0 for levels.
    """

    names: tuple[str, ...]
    matrix: np.ndarray


def design_matrix(regressors: "pd.DataFrame | None", labels: Sequence[Any]) -> Design:
    """Numbers of regressors, person by person.

    Parameters
    ----------
    regressors : pd.DataFrame or None
        Indexed by participant label. Numeric columns are taken as they are (centre them for an intercept that is the
        mean person's); text, categories and booleans are dummy-coded against their first level: that of the
        categories, else in sorted order. People who are not in the data are left out.
    labels : sequence
        Participants, in the order of rows.

    Returns
    -------
    Design
        With an intercept as the first column.

    Raises
    ------
    DataError
        Listing all of: people without a row or with several, values that are missing or infinite, columns that are
        constant or follow from others.
    """
    ones = np.ones((len(labels), 1))
    if regressors is None:
        return Design((INTERCEPT,), ones)
    if not hasattr(regressors, "columns"):
        raise DataError(f"regressors must be a DataFrame indexed by participant label, not {in_words(regressors)}.")
    _check_people(regressors, labels)
    table = regressors.loc[list(labels)]
    names, columns, problems = [INTERCEPT], [ones[:, 0]], []
    for name in table.columns:
        column = table[name]
        missing = [label for label, empty in zip(labels, column.isna(), strict=True) if empty]
        if missing:
            problems.append(f"{name!r} is missing for {_listed(missing)}; fill it in, or leave these people out.")
            continue
        for term, values in _coded(str(name), column):
            names.append(term)
            columns.append(values)
            if not np.isfinite(values).all():
                problems.append(f"{term!r} is infinite for {_listed(np.array(labels, object)[~np.isfinite(values)])}.")
    if not problems:
        problems = _redundant(names, np.column_stack(columns))
    if problems:
        raise DataError(join_problems("The regressors cannot be used", problems))
    return Design(tuple(names), np.column_stack(columns))


def _check_people(regressors: "pd.DataFrame", labels: Sequence[Any]) -> None:
    problems = []
    twice = regressors.index[regressors.index.duplicated()].unique()
    if len(twice):
        problems.append(f"several rows for {_listed(twice)}; keep one per person.")
    absent = [label for label in labels if label not in regressors.index]
    if absent:
        hint = did_you_mean(str(absent[0]), [str(entry) for entry in regressors.index if entry not in labels])
        problems.append(f"no row for {_listed(absent)}{hint}; index the table by participant label.")
    if problems:
        raise DataError(join_problems("The regressors cannot be used", problems))


def _coded(name: str, column: "pd.Series") -> list[tuple[str, np.ndarray]]:
    """A numeric column as it is; another one as indicators of its levels but the first."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return [(name, column.to_numpy(dtype=float))]
    if isinstance(column.dtype, pd.CategoricalDtype):
        present = set(column)
        levels = [level for level in column.cat.categories if level in present]
    else:
        levels = sorted(column.unique(), key=lambda level: (str(type(level)), level))
    if len(levels) == 1:
        return [(name, np.ones(len(column)))]  # constant: reported as such
    return [(f"{name}[{level}]", (column == level).to_numpy(dtype=float)) for level in levels[1:]]


def _redundant(names: Sequence[str], matrix: np.ndarray) -> list[str]:
    """One problem for each column that is constant or that those before it explain."""
    problems, free = [], [0]
    standard = standardised(matrix)[0]
    for k in range(1, len(names)):
        if np.ptp(matrix[:, k]) == 0:
            problems.append(f"{names[k]!r} is the same for everybody; leave it out.")
            continue
        before, column = standard[:, free], standard[:, k]
        rest = column - before @ np.linalg.lstsq(before, column, rcond=None)[0]
        if (rest**2).sum() <= ALIKE**2 * (column**2).sum():
            others = ", ".join(repr(names[j]) for j in free[1:])
            problems.append(f"{names[k]!r} follows from {others}; leave it out.")
        else:
            free.append(k)
    return problems


def _listed(labels: Any) -> str:
    labels = list(labels)
    return ("participants " if len(labels) > 1 else "participant ") + first_of(labels)


@dataclass(frozen=True)
class Population:
    """Where people's parameters are centred and how they spread, on the scale on which they are normal.

    Attributes
    ----------
    mean, mean_se : pd.Series by parameter
        The mean person's parameters, at the average regressors of people with data, and their standard errors.
    sd, sd_se : pd.Series by parameter
        Standard deviations around what the regressors predict, and their standard errors.
    covariance, correlation : pd.DataFrame, parameter x parameter
        Of people, around what the regressors predict.
    coefficients, coefficients_se : pd.DataFrame, regressor x parameter
        Intercepts and effects of regressors on the means, and their standard errors.
    typical : pd.Series by parameter
        Natural-scale value of the mean: that of the median person.
    """

    mean: "pd.Series"
    mean_se: "pd.Series"
    sd: "pd.Series"
    sd_se: "pd.Series"
    covariance: "pd.DataFrame"
    correlation: "pd.DataFrame"
    coefficients: "pd.DataFrame"
    coefficients_se: "pd.DataFrame"
    typical: "pd.Series"

    @classmethod
    def of(cls, scale: Any, design: Design, coefficients: np.ndarray, covariance: np.ndarray, se: Errors) -> Self:
        """Name numbers.

        Parameters
        ----------
        scale : Scale
            Of the parameters.
        design : Design
            Regressors of the people of whom there are data.
        coefficients : np.ndarray, shape (n_columns, n_parameters)
            Their effects on the means.
        covariance : np.ndarray, shape (n_parameters, n_parameters)
            Of people.
        se : Errors
            Standard errors.
        """
        import pandas as pd

        names, sd = list(scale.names), np.sqrt(np.diag(covariance))
        mean = design.matrix.mean(0) @ coefficients

        def series(values: np.ndarray) -> pd.Series:
            return pd.Series(values, index=names)

        def table(values: np.ndarray, index: Sequence[str]) -> pd.DataFrame:
            return pd.DataFrame(values, index=list(index), columns=names)

        return cls(
            mean=series(mean),
            mean_se=series(se.mean),
            sd=series(sd),
            sd_se=series(se.sd),
            covariance=table(covariance, names),
            correlation=table(covariance / np.outer(sd, sd), names),
            coefficients=table(coefficients, design.names),
            coefficients_se=table(se.coefficients, design.names),
            typical=series(scale.natural(mean[None])[0]),
        )

    def summary(self) -> str:
        """Means, spreads and effects of regressors with standard errors, as text."""
        table = self.mean.to_frame("mean")
        table["se"], table["sd"], table["sd_se"], table["typical"] = self.mean_se, self.sd, self.sd_se, self.typical
        lines = [
            "population (unconstrained scale; typical on the natural scale)",
            table.apply(lambda column: column.map(number)).to_string(),
        ]
        if len(self.sd) > 1:
            lines += ["correlations of people", self.correlation.round(2).to_string()]
        for name in self.coefficients.index[1:]:
            effect, se = self.coefficients.loc[name], self.coefficients_se.loc[name]
            entries = ", ".join(f"{p} {effect[p]:+.3f} (se {se[p]:.3f})" for p in effect.index)
            lines.append(f"effect of {name}: {entries}")
        return "\n".join(lines)
