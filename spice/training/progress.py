"""Progress of a fit: a bar on a terminal, nothing in a log."""

from tqdm import tqdm


class Progress:
    """A bar over epochs.

    Parameters
    ----------
    total : int
        Number of epochs at most.
    shown : bool
        Whether to show it; even then it appears on a terminal only.
    """

    def __init__(self, total: int, shown: bool):
        # disable=None: tqdm itself stays silent where the output is no terminal
        self._bar = tqdm(total=total, desc="network", unit="epoch", disable=None if shown else True, leave=False)

    def update(self, loss: float) -> None:
        """One more epoch, with this loss."""
        self._bar.set_postfix_str(f"NLL {loss:.4f} per trial", refresh=False)
        self._bar.update()

    def close(self) -> None:
        """Remove the bar."""
        self._bar.close()
