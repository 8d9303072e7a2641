"""Names of the columns of ``xs``: the one place that knows what stands where."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from spice.errors import ConfigError
from spice.resources.arguments import in_words

META_COLUMNS = ("trial", "block", "experiment", "participant")
NEXT = "next_"


@dataclass(frozen=True)
class Columns:
    """What each column of ``xs`` holds.

    Attributes
    ----------
    n_actions : int
        Number of options; the first ``n_actions`` columns are the one-hot choice, the next
        ``n_actions`` the reward of each option.
    names : tuple of str
        One name per column.
    """

    n_actions: int
    names: tuple[str, ...]

    @classmethod
    def make(cls, n_actions: int, n_features: int, columns: Sequence[str] | None = None) -> "Columns":
        """Name the columns of an array that is ``n_features`` wide.

        Parameters
        ----------
        n_actions : int
            Number of options.
        n_features : int
            Width of ``xs``.
        columns : sequence of str, optional
            Names of all columns, or only of those after choices and rewards. May be left out
            when ``n_features == 2 * n_actions + 1``: then the last one is the participant.

        Raises
        ------
        ConfigError
            If names are missing, repeated, or do not fit the width.
        """
        head = [f"choice_{a}" for a in range(n_actions)] + [f"reward_{a}" for a in range(n_actions)]
        if columns is None:
            if n_features != len(head) + 1:
                raise ConfigError(
                    f"xs has {n_features} columns, but {n_actions} actions need 2 * {n_actions} + 1 = {len(head) + 1} "
                    "(one-hot choice, reward per action, participant). If there are further columns, name them: "
                    "DatasetRNN(xs, ys, columns=[..., 'block', 'experiment', 'participant'])."
                )
            columns = ["participant"]
        if isinstance(columns, str) or not isinstance(columns, Iterable):
            raise ConfigError(f"columns must be a list of names, e.g. ['participant'], not {in_words(columns)}.")
        tail = [str(name) for name in columns]
        if len(tail) == n_features:
            _check_order(tail, n_actions)
            tail = tail[len(head) :]
        if len(head) + len(tail) != n_features:
            raise ConfigError(
                f"columns names {len(tail)} columns after the choices and rewards of {n_actions} actions, but xs has "
                f"{n_features - len(head)} of them. Name every column of xs, or every one after the first {len(head)}."
            )
        names = tuple(head + tail)
        unfit = [name for name in tail if name in ("choice", "reward") or "^" in name or name.split() != [name]]
        if unfit:
            raise ConfigError(
                f"{', '.join(map(repr, unfit))} cannot name a column: 'choice' and 'reward' have columns already, "
                "and a name "
                "with spaces or '^' could not be told from a product or power in an equation; rename it, e.g. with '_'."
            )
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ConfigError(f"columns names {', '.join(map(repr, repeated))} more than once; give each its own name.")
        if "participant" not in names:
            raise ConfigError("columns has no 'participant'; name the column that holds the participant's number.")
        return cls(n_actions, names)

    def index(self, name: str) -> int:
        """Position of a column.

        Raises
        ------
        ConfigError
            If there is no such column.
        """
        if name not in self.names:
            raise ConfigError(f"there is no column {name!r}; the columns are {', '.join(self.names)}.")
        return self.names.index(name)

    def has(self, name: str) -> bool:
        """Whether there is a column of that name."""
        return name in self.names

    @property
    def choice(self) -> slice:
        """Columns of the one-hot choice."""
        return slice(0, self.n_actions)

    @property
    def reward(self) -> slice:
        """Columns of the reward of each option."""
        return slice(self.n_actions, 2 * self.n_actions)

    @property
    def participant(self) -> int:
        """Column of the participant's number."""
        return self.names.index("participant")

    @cached_property
    def shown(self) -> tuple[str, ...]:
        """Inputs shown before the choice: those that have a ``next_`` partner."""
        return tuple(name for name in self._further if NEXT + name in self.names)

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Inputs seen with the outcome."""
        paired = {NEXT + name for name in self.shown} | set(self.shown)
        return tuple(name for name in self._further if name not in paired)

    @cached_property
    def all_inputs(self) -> tuple[str, ...]:
        """Inputs, shown inputs, then the shown inputs of the coming trial."""
        return self.inputs + self.shown + tuple(NEXT + name for name in self.shown)

    @property
    def _further(self) -> tuple[str, ...]:
        return tuple(name for name in self.names[2 * self.n_actions :] if name not in META_COLUMNS)


def _check_order(names: list[str], n_actions: int) -> None:
    """Names of all columns must agree that choices come first, then rewards."""
    halves = (("choice", "reward", names[:n_actions]), ("reward", "choice", names[n_actions : 2 * n_actions]))
    for role, other, part in halves:
        wrong = [name for name in part if name in META_COLUMNS or other in name.lower()]
        if wrong:
            raise ConfigError(
                f"columns names {wrong[0]!r} where the {role} of an action must stand: xs holds {n_actions} "
                "one-hot choice "
                f"columns, then {n_actions} reward columns, then the others."
            )
