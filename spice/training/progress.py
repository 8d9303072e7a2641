"""Progress of a fit: a bar on a terminal, nothing in a log."""

from tqdm import tqdm

from spice.training.result import Epoch


class Progress:
    """A bar over epochs; a callback like any other.

    Parameters
    ----------
    total : int
        Number of epochs at most.
    done : int, default 0
        Epochs of an earlier run that this one goes on with.
    shown : bool, default True
        Whether to show it; even then it appears on a terminal only.
    """

    def __init__(self, total: int, done: int = 0, shown: bool = True):
        # disable=None: tqdm itself stays silent where the output is no terminal
        hidden = None if shown else True
        self._bar = tqdm(total=total, initial=done, desc="network", unit="epoch", disable=hidden, leave=False)

    def __call__(self, epoch: Epoch) -> None:
        """One more epoch."""
        self._bar.set_postfix_str(f"loss {epoch.loss:.4f} nats per trial", refresh=False)
        self._bar.update()

    def close(self) -> None:
        """Remove the bar."""
        self._bar.close()
