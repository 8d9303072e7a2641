"""What ``fit_speed.py`` makes of its measurements: rows of its table, targets reached or missed, the file."""

import json
import math
import statistics
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KINDS = ("equations", "networks")
NLL_TOLERANCE = 1e-4  # nats per trial, on the training data
EXPONENT = 1.1  # "near 1 or below"


@dataclass(frozen=True)
class Work:
    """A fit that both packages do.

    Attributes
    ----------
    title, model, config : str
        What it is called, and the names in ``spice.precoded``, the same in both packages.
    data : dict
        What to simulate; see ``fit_speed_jobs.simulate``.
    epochs : int
        Of both at most; SPICE stops when it has converged.
    target : float
        Ratio wanted in steady state.
    cold_target, predictions_target : float, optional
        Ratios wanted of a cold process, and of the equations' predictions for the training data. With the latter,
        predictions are timed.
    """

    title: str
    model: str
    config: str
    data: dict[str, Any]
    epochs: int
    target: float
    cold_target: float | None = None
    predictions_target: float | None = None


@dataclass
class Results:
    """What is known so far; written to the file after every step."""

    path: Path
    machine: dict[str, Any]
    settings: dict[str, Any]
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def put(self, key: str, rows: list[dict[str, Any]]) -> None:
        """Replace the rows of a key, and write the file.

        Parameters
        ----------
        key : str
            The section of the file, then what is measured.
        rows : list of dict
            Each with ``targets``; those of a quick run are dropped, since tiny works say nothing about them.
        """
        self.rows[key] = [row | {"targets": []} for row in rows] if self.settings["quick"] else rows
        self.write()

    def write(self) -> None:
        """Write the file, through another one beside it, so that it is always whole."""
        out: dict[str, Any] = {"machine": self.machine, "settings": self.settings, "comparison": [], "scaling": []}
        for name, entries in self.rows.items():
            out.setdefault(name.partition(" ")[0], []).extend(entries)
        out["targets"] = [{"work": row["work"], **target} for row, target in self.targets()]
        beside = self.path.with_name(self.path.name + ".part")
        beside.write_text(json.dumps(finite(out), indent=1, allow_nan=False) + "\n")
        beside.replace(self.path)

    def targets(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """All targets, each after its row."""
        return [(row, entry) for rows in self.rows.values() for row in rows for entry in row["targets"]]

    def print_targets(self) -> None:
        """Print which targets were reached and which were missed."""
        print("\ntargets" + (" (a quick run has none)" if self.settings["quick"] else ""))
        for row, entry in self.targets():
            print(
                f"  {'reached' if entry['met'] else 'MISSED '}  {row['work']}: {entry['what']}: {shown(entry['found'])}"
            )


# ---------------------------------------------------------------------- numbers


def finite(value: Any) -> Any:
    """The same without numbers that JSON does not know: None in their place."""
    if isinstance(value, dict):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def median(values: Iterable[float | None]) -> float | None:
    """Median of what is not None, or None."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def divide(numerator: float | None, denominator: float | None) -> float | None:
    """Quotient, or None where a part of it is missing."""
    return None if numerator is None or not denominator else numerator / denominator


def aim(what: str, found: float | None, limit: float, more: bool = False) -> dict[str, Any]:
    """A target: a figure of at most the limit, or with ``more`` at least; nothing found is a miss."""
    met = found is not None and (found >= limit if more else found <= limit)
    return {"what": what, "found": found, "limit": limit, "met": met}


def shown(value: float | None, digits: int = 3) -> str:
    """A number for the table."""
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.{digits}g}"


def count_warnings(fits: list[dict[str, Any]]) -> dict[str, int]:
    """Warnings of some fits, and how often each came."""
    return dict(Counter(text for record in fits for text in record["warnings"]))


def print_notes(row: dict[str, Any]) -> None:
    """Print what the project's fits warned of, and what the peer failed at or said."""
    for text, count in row.get("warnings", {}).items():
        print(f"    {count} x {text if len(text) < 160 else text[:160] + ' ...'}")
    for text in row.get("peer_errors", []):
        print(f"    peer: {text}")


# ---------------------------------------------------------------------- comparison


def compare_likelihoods(peer_runs: list[dict], runs: list[dict]) -> dict[str, dict[str, dict[str, Any]]]:
    """Negative log-likelihood per trial of both, by the equations and by the networks.

    Returns
    -------
    dict
        By kind and part (``train``, ``fresh``): ``nll`` and ``peer_nll``, each of the repeat in the middle; their
        ``difference`` (project's minus peer's) with its ``standard_error`` over sessions, paired; and all repeats.
    """
    return {
        kind: {
            part: _compare(
                [run[kind][part] for run in runs], [run[kind][part] for run in peer_runs if part in run.get(kind, {})]
            )
            for part in ("train", "fresh")
        }
        for kind in KINDS
    }


def _compare(mine: list[list[float]], others: list[list[float]]) -> dict[str, Any]:
    """Compare one likelihood; of each repeat one figure per session."""
    entry: dict[str, Any] = dict.fromkeys(("nll", "peer_nll", "difference", "standard_error"))
    entry["nll_all"], entry["peer_nll_all"] = ([statistics.fmean(run) for run in runs] for runs in (mine, others))
    middle = _middle(mine)
    entry["nll"] = statistics.fmean(middle)
    if others:
        peer_middle = _middle(others)
        gaps = [one - other for one, other in zip(middle, peer_middle, strict=True)]
        entry["peer_nll"], entry["difference"] = statistics.fmean(peer_middle), statistics.fmean(gaps)
        if all(map(math.isfinite, gaps)):
            entry["standard_error"] = statistics.stdev(gaps) / math.sqrt(len(gaps))
    return entry


def _middle(runs: list[list[float]]) -> list[float]:
    """The repeat with the median mean (of an even number the better one); one that is no number counts as the worst."""
    means = [statistics.fmean(run) for run in runs]
    order = sorted(range(len(runs)), key=lambda number: means[number] if math.isfinite(means[number]) else math.inf)
    return runs[order[(len(runs) - 1) // 2]]


def likelihood_targets(likelihoods: dict[str, dict]) -> list[dict[str, Any]]:
    """No worse than the peer, for equations and networks, on training data and fresh sessions."""
    targets = []
    for kind, parts in likelihoods.items():
        train, fresh = parts["train"], parts["fresh"]
        what = f"NLL of the {kind} on the training data minus the peer's"
        targets.append(aim(what, train["difference"], NLL_TOLERANCE))
        noise = 2 * (fresh["standard_error"] or 0.0)
        what = f"NLL of the {kind} on fresh sessions minus the peer's, at most two standard errors ({shown(noise)})"
        targets.append(aim(what, fresh["difference"], noise))
    return targets


def make_row(work: str, peer_seconds: list, seconds: list, likelihoods: dict, wanted: float | None) -> dict[str, Any]:
    """A line of the table: medians over the repeats of the peer's and the project's seconds, and their ratio."""
    ratio = divide(median(peer_seconds), median(seconds))
    return {
        "work": work,
        "peer_seconds": median(peer_seconds),
        "seconds": median(seconds),
        "ratio": ratio,
        "peer_nll": likelihoods["equations"]["train"]["peer_nll"],
        "nll": likelihoods["equations"]["train"]["nll"],
        "peer_seconds_all": peer_seconds,
        "seconds_all": seconds,
        "targets": [] if wanted is None else [aim(f"at least {wanted} x", ratio, wanted, more=True)],
    }


def comparison_rows(work: Work, peer_runs: list[dict], runs: list[dict], device: str) -> list[dict[str, Any]]:
    """The rows of one work: steady state, cold, and the equations' predictions where they were timed.

    Parameters
    ----------
    work : Work
        What was fitted.
    peer_runs, runs : list of dict
        The answers of the peer's and the project's processes, by event, of each repeat.
    device : str
        Of the project; the targets are for the CPU.

    Returns
    -------
    list of dict
    """
    place = "" if device == "cpu" else f" on {device}"
    wanted = (work.target, work.cold_target, work.predictions_target) if device == "cpu" else (None,) * 3
    likelihoods = compare_likelihoods(peer_runs, runs)
    peer_fits = [run.get("fitted", {}) for run in peer_runs]
    warm = [run["warm"]["fits"] or [run["fitted"]] for run in runs]
    steady = [median(record["seconds"] for record in records) for records in warm]
    rows = [
        make_row(work.title + place, [run.get("seconds") for run in peer_fits], steady, likelihoods, wanted[0]),
        make_row(
            f"{work.title}, cold process{place}",
            [run.get("since_start") for run in peer_fits],
            [run["fitted"]["since_start"] for run in runs],
            likelihoods,
            wanted[1],
        ),
    ]
    if wanted[1] is not None:
        rows[0]["targets"] += likelihood_targets(likelihoods)
    rows[0] |= _fit_details([run["fitted"] for run in runs], warm) | {
        "peer_cpu_seconds": median(run.get("cpu_seconds") for run in peer_fits),
        "peer_errors": sorted({a["error"] for run in peer_runs for a in run.values() if "error" in a}),
        "likelihoods": likelihoods,
        "load_averages": [
            [next(iter(run.values()))["load"] for run in pair] for pair in zip(peer_runs, runs, strict=True)
        ],
        "data": work.data,
    }
    if work.predictions_target is not None:
        rows.append(_predictions_row(peer_runs, runs, likelihoods, place, wanted[2]))
    return rows


def _fit_details(first: list[dict], warm: list[list[dict]]) -> dict[str, Any]:
    """How the project's fits went: medians over repeats of the medians of their warm fits, and counts over all."""
    names = ("network_seconds", "sindy_seconds", "cpu_seconds", "epochs")
    details = {name: median(median(record[name] for record in records) for records in warm) for name in names}
    converged = all(record["converged"] for records in warm for record in records)
    every = first + [record for records in warm for record in records if record not in first]
    return details | {
        "seconds_per_evaluation": median(record["network_seconds"] / record["epochs"] for record in every),
        "seconds_to_convergence": details["network_seconds"] if converged else None,
        "fits": len(every),
        "fits_converged": sum(record["converged"] for record in every),
        "warnings": count_warnings(every),
    }


def _predictions_row(
    peer_runs: list, runs: list, likelihoods: dict, place: str, wanted: float | None
) -> dict[str, Any]:
    """Predictions for all training sessions: the peer's agent, and the equations' half of the project's predict."""
    others = [run.get("predicted", {}) for run in peer_runs]
    mine = [run["predicted"] for run in runs]
    peer_seconds, seconds = [run.get("agent_seconds") for run in others], [run["seconds"] for run in mine]
    row = make_row(f"predictions by the tutorial's equations{place}", peer_seconds, seconds, likelihoods, wanted)
    by_agent = median(run["agent_seconds"] for run in mine)
    by_session = median(run.get("model_seconds") for run in others)
    return row | {
        "peer_predict": sorted({run["predict"] for run in others if "predict" in run}),
        "peer_seconds_by_session": by_session,
        "ratio_by_session": divide(by_session, row["seconds"]),
        "first_call_seconds": median(run["first_seconds"] for run in mine),
        "agent_seconds": by_agent,
        "agent_ratio": divide(row["peer_seconds"], by_agent),
    }


def print_header() -> None:
    """The head of the comparison's table."""
    print(f"\n{'':<54}{'peer s':>9}{'SPICE s':>9}{'ratio':>8}{'peer NLL':>10}{'NLL':>9}")


def print_rows(rows: list[dict[str, Any]]) -> None:
    """The lines of one work; below them the likelihoods, how the fits ended, and what went wrong."""
    for row in rows:
        print(
            f"{row['work']:<54}{shown(row['peer_seconds']):>9}{shown(row['seconds']):>9}{shown(row['ratio']):>8}"
            f"{shown(row['peer_nll'], 5):>10}{shown(row['nll'], 5):>9}"
        )
    for kind, parts in rows[0]["likelihoods"].items():
        text = "; ".join(
            f"{part} {shown(entry['peer_nll'], 6)}, {shown(entry['nll'], 6)}, difference "
            f"{shown(entry['difference'], 2)} (SE {shown(entry['standard_error'], 2)})"
            for part, entry in parts.items()
        )
        print(f"    NLL of the {kind}, peer and SPICE: {text}")
    fits, converged = rows[0]["fits"], rows[0]["fits_converged"]
    print(f"    SPICE: {shown(rows[0]['epochs'], 4)} evaluations, {converged} of {fits} fits converged")
    for row in rows:
        print_notes(row)
        if "agent_ratio" in row:
            print(
                f"    predictions, other ways: peer's predict: {'; '.join(row['peer_predict']) or '-'}; peer's model by"
            )
            print(
                f"    session {shown(row['peer_seconds_by_session'])} s; SPICE's agent {shown(row['agent_seconds'])} s"
            )


# ---------------------------------------------------------------------- growth


def scaling_case(size: int, answer: dict[str, Any]) -> dict[str, Any]:
    """Figures of one size: medians over its fits."""
    fits = answer["fits"]
    network = median(record["network_seconds"] for record in fits)
    return {
        "size": size,
        "seconds": median(record["network_seconds"] / record["epochs"] for record in fits),
        "fit_seconds": median(record["seconds"] for record in fits),
        "network_seconds": network,
        "sindy_seconds": median(record["sindy_seconds"] for record in fits),
        "epochs": fits[0]["epochs"],
        "seconds_to_convergence": network if all(record["converged"] for record in fits) else None,
        "fits": len(fits),
        "peak_mb": answer["peak_mb"],
        "peak_mb_absolute": answer["peak_mb_absolute"],
        "gpu_peak_mb": answer["gpu_peak_mb"],
        "load": answer["load"],
        "warnings": count_warnings(fits),
    }


def scaling_row(
    axis: str, model: str, device: str, data: dict[str, Any], cases: list[dict[str, Any]]
) -> dict[str, Any]:
    """The figures of an axis, one list entry per size, and how they grow."""
    columns = {name: [case[name] for case in cases] for name in cases[0] if name not in ("size", "warnings")}
    sizes = [case["size"] for case in cases]
    exponent = growth(sizes, columns["seconds"])
    fixed = {name: value for name, value in data.items() if name != axis}
    warned = [f"{axis} {case['size']}: {text}" for case in cases for text in case["warnings"]]
    targets = [aim("growth exponent of the seconds per evaluation", exponent, EXPONENT)]
    return {
        "work": f"scaling with {axis}",
        "axis": axis,
        "device": device,
        "model": model,
        "data": fixed,
        "sizes": sizes,
        **columns,
        "exponent": exponent,
        "exponent_last": growth(sizes[-2:], columns["seconds"][-2:]),
        "exponent_sindy": growth(sizes, columns["sindy_seconds"]),
        "warnings": dict.fromkeys(warned, 1),
        "targets": targets if device == "cpu" else [],
    }


def growth(sizes: list[int], seconds: list[float]) -> float | None:
    """Slope of log seconds over log size."""
    if len(sizes) < 2:
        return None
    return statistics.linear_regression([math.log(size) for size in sizes], [math.log(s) for s in seconds]).slope


def print_case(axis: str, case: dict[str, Any]) -> None:
    """A line of the scaling table."""
    to_convergence = case["seconds_to_convergence"]
    ended = "not converged" if to_convergence is None else shown(to_convergence)
    print(
        f"{axis:<14}{case['size']:>8}{case['seconds']:>10.4f}{case['epochs']:>7}{ended:>16}"
        f"{case['sindy_seconds']:>9.2f}{case['peak_mb']:>9.0f}",
        flush=True,
    )


def print_growth(row: dict[str, Any]) -> None:
    """What follows from the lines of an axis, and what the fits warned of."""
    exponents = (row["exponent"], row["exponent_last"], row["exponent_sindy"])
    print("{:<14}exponent {}, of the last step {}; of SINDy {}".format("", *map(shown, exponents)))
    print_notes(row)
