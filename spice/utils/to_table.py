"""A dataset back as a tidy table."""

from typing import TYPE_CHECKING

import numpy as np

from spice.resources.dataset import DatasetRNN, check_is_dataset

if TYPE_CHECKING:
    import pandas as pd


def to_table(dataset: DatasetRNN) -> "pd.DataFrame":
    """Turn a dataset back into a tidy table, one row per trial.

    Parameters
    ----------
    dataset : DatasetRNN
        With the column names and labels of the table it came from; a dataset that came from none gets
        ``participant, session, trial, choice, reward`` (``reward_0``, ... where outcomes of options not
        chosen were observed) and its further columns by name.

    Returns
    -------
    pandas.DataFrame
        The rows of ``xs`` without padding and gaps, in order of session and trial. A target in ``ys`` that
        is not a row of ``xs`` (the choice after the last row of a simulated session) is left out.
    """
    import pandas as pd

    check_is_dataset(dataset, "to_table")
    columns = dataset.columns
    present = ~dataset.column("trial").isnan() if columns.has("trial") else dataset.observed
    session, row = (index.numpy() for index in present.nonzero(as_tuple=True))
    cells = dataset.xs.numpy()[session, row]
    one_hot, rewards = cells[:, columns.choice], cells[:, columns.reward]
    missing = np.isnan(one_hot).any(1)
    chosen = np.where(missing, 0, np.nan_to_num(one_hot).argmax(1))
    values = {
        "session": session,
        "trial": cells[:, columns.index("trial")].astype(int) if columns.has("trial") else row,
        "reward": _exact(rewards[np.arange(len(rewards)), chosen]),
    }
    values |= {f"reward_{a}": _exact(rewards[:, a]) for a in range(columns.n_actions)}
    for name in columns.names[2 * columns.n_actions :]:
        if name in dataset.labels or name in ("participant", "block", "experiment"):
            values[name] = _labelled(dataset, name, cells[:, columns.index(name)].astype(int))
        elif name != "trial":
            values[name] = _exact(cells[:, columns.index(name)])
    choices = _labelled(dataset, "choice", chosen)
    choices[missing] = np.nan
    values["choice"] = choices
    roles = dataset.table_columns or _default_roles(dataset)
    return pd.DataFrame({name: values[role] for role, name in roles.items()}).infer_objects()


def _default_roles(dataset: DatasetRNN) -> dict[str, str]:
    columns, rewards = dataset.columns, dataset.xs[..., dataset.columns.reward]
    several = bool(((dataset.xs[..., columns.choice] == 0) & ~rewards.isnan()).any())
    names = ["participant", "session", *(name for name in ("experiment", "block") if columns.has(name))]
    names += ["trial", "choice", *([f"reward_{a}" for a in range(columns.n_actions)] if several else ["reward"])]
    return {name: name for name in [*names, *columns.inputs, *columns.shown]}


def _labelled(dataset: DatasetRNN, name: str, codes: np.ndarray) -> np.ndarray:
    found, inverse = np.unique(codes, return_inverse=True)
    labels = np.empty(len(found), dtype=object)
    labels[:] = [dataset.label(name, int(code)) for code in found]
    return labels[inverse]


def _exact(values: np.ndarray) -> np.ndarray:
    """Float64 with the digits that the float32 was written with: 0.1, not 0.10000000149."""
    return values.astype(str).astype(float)
