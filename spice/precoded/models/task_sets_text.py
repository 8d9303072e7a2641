"""How `spice.precoded.models.task_sets` reads: for what, as text, and as LaTeX."""

from spice.precoded.models.task_sets_step import BROKEN_SYMMETRY, START


def _forgotten(level: str) -> tuple[str, str, str]:
    q = rf"q^{{\mathrm{{{level}}}}}"
    text = f"q_{level} ← q_{level} + forget*({START} - q_{level})"
    return "everywhere", text, rf"{q} &\leftarrow {q} + \mathrm{{forget}}\,({START} - {q})"


_LEARNING = [
    _forgotten("low"),
    _forgotten("high"),
    (
        "chosen option, alien shown, each set",
        "q_low ← q_low + alpha*rho*(reward - q_low)",
        r"q^{\mathrm{low}} &\leftarrow q^{\mathrm{low}} + \alpha\,\rho\,(r - q^{\mathrm{low}})",
    ),
    (
        "season shown, each set",
        "q_high ← q_high + alpha_high*rho*(reward - q_high)",
        r"q^{\mathrm{high}} &\leftarrow q^{\mathrm{high}} + \alpha_{\mathrm{high}}\,\rho\,(r - q^{\mathrm{high}})",
    ),
    ("start", f"q_low = {START}   by set, alien", rf"q^{{\mathrm{{low}}}} &= {START}"),
    (
        "start",
        f"q_high = {START}, of the set with the season's number {START + BROKEN_SYMMETRY:g}   by season",
        rf"q^{{\mathrm{{high}}}} &= {START} + {BROKEN_SYMMETRY}\,[\mathrm{{set}} = \mathrm{{season}}]",
    ),
]
_GIVEN_SET = (
    "option, given the set",
    "p_act = softmax(beta*q_low) of the alien shown",
    r"p_{\mathrm{act}} &= \mathrm{softmax}(\beta\,q^{\mathrm{low}})",
)
_PROBABILITY = (
    "probability",
    "sum over sets of p_set*p_act",
    r"p &= \sum_{\mathrm{sets}} p_{\mathrm{set}}\,p_{\mathrm{act}}",
)
_USE = {
    "marginal": [
        (
            "each set",
            "p_set = softmax(beta_high*q_high) of the season shown",
            r"p_{\mathrm{set}} &= \mathrm{softmax}(\beta_{\mathrm{high}}\,q^{\mathrm{high}})",
        ),
        _GIVEN_SET,
        _PROBABILITY,
        (
            "each set, given the choice",
            "rho = p_set*p_act/probability",
            r"\rho &= p_{\mathrm{set}}\,p_{\mathrm{act}} / p",
        ),
    ],
    "argmax": [
        (
            "each set",
            "p_set = 1 of the set with the largest q_high of the season shown, else 0",
            r"p_{\mathrm{set}} &= [\mathrm{set} = \mathrm{argmax}\;q^{\mathrm{high}}]",
        ),
        _GIVEN_SET,
        _PROBABILITY,
        ("each set, given the choice", "rho = p_set", r"\rho &= p_{\mathrm{set}}"),
    ],
}


def written(rule: str) -> list[tuple[str, str, str]]:
    """The lines of the model with a rule, "marginal" or "argmax"."""
    return _USE[rule] + _LEARNING
