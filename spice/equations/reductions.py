"""Source of functions of all options: sums, maxima and softmax, with their derivatives."""

from collections.abc import Callable, Mapping
from itertools import combinations_with_replacement

from spice.equations.kernel_text import INDENT
from spice.equations.parsing import MaxActions, SumActions
from spice.equations.sensitivities import Derivatives, Over


def reduce_lines(
    over: Over,
    quantities: Mapping[str, Derivatives],
    offsets: Callable[[str], list[int]],
    n_actions: int,
    offered: str,
    constants: dict[str, str],
) -> list[str]:
    """Compute a function of all options from its argument's values, which lie in ``x``.

    Parameters
    ----------
    over : Over
        The function.
    quantities : mapping of str to Derivatives
        Which derivatives there are of its argument and its result.
    offsets : callable
        From a quantity's name to where its value and its derivatives begin in ``x``.
    n_actions : int
        Number of options.
    offered : str
        Array that says which options are on offer, for softmax.
    constants : dict of str to str
        Arrays that the source defines at its head, by what they are; softmax adds its own.
    """
    inner, own = over.name + ".in", over.name
    loop = f"for option in range({n_actions}):"
    if over.kind is SumActions:
        lines = [f"x[{to}] = 0.0" for to in offsets(own)]
        body = [f"x[{to}] += x[{a} + option]" for to, a in zip(offsets(own), offsets(inner), strict=True)]
        return [*lines, loop, *(INDENT + line for line in body)]
    if over.kind is MaxActions:
        value = offsets(inner)[0]
        lines = ["best = 0", loop, f"{INDENT}if x[{value} + option] > x[{value} + best]:", f"{INDENT * 2}best = option"]
        return lines + [f"x[{to}] = x[{a} + best]" for to, a in zip(offsets(own), offsets(inner), strict=True)]
    firsts = list(quantities[inner].first)
    places = {pair: k for k, pair in enumerate(quantities[inner].second)}
    pairs = combinations_with_replacement(firsts, 2) if quantities[own].second else ()
    curved = [places.get(pair, -1) for pair in pairs]
    constant = f"np.array({curved}, dtype=np.int64)" if curved else "np.empty(0, dtype=np.int64)"
    begin = (offsets(inner)[0], offsets(own)[0], n_actions, len(firsts))
    name = constants.setdefault(constant, f"CURVED_{len(constants)}")
    return [f"softmax(x, {', '.join(map(str, begin))}, {name}, {offered})"]
