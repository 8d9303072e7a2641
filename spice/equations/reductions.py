"""Source of functions of all options: sums, maxima and softmax, with their derivatives."""

from collections.abc import Callable, Mapping

from spice.equations.kernel_text import INDENT
from spice.equations.parsing import MaxActions, SumActions
from spice.equations.sensitivities import Derivatives, Over


def reduce_lines(
    over: Over,
    quantities: Mapping[str, Derivatives],
    offsets: Callable[[str], list[int]],
    n_actions: int,
    offered: str,
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
        Condition, on ``option``, that it is on offer; only softmax leaves out the others.
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
    return _softmax(quantities[inner], quantities[own], offsets(inner), offsets(own), loop, offered)


def _softmax(inner: Derivatives, own: Derivatives, read: list[int], write: list[int], loop: str, offered: str):
    """Softmax s of e: ds = s (e' - m), m the mean of e' under s; its second derivatives likewise."""
    e, s = read[0], write[0]
    e1 = dict(zip(inner.first, read[1:], strict=False))
    e2 = dict(zip(inner.second, read[1 + len(inner.first) :], strict=True))
    s1 = dict(zip(own.first, write[1:], strict=False))
    s2 = dict(zip(own.second, write[1 + len(own.first) :], strict=True))
    lines = ["top = -math.inf", loop, f"{INDENT}if {offered}:", f"{INDENT * 2}top = max(top, x[{e} + option])"]
    lines += ["weight = 0.0", loop]
    lines += [f"{INDENT}x[{s} + option] = math.exp(x[{e} + option] - top) if {offered} else 0.0"]
    lines += [f"{INDENT}weight += x[{s} + option]", loop, f"{INDENT}x[{s} + option] /= weight"]
    lines += [f"m{k} = 0.0" for k in e1] + [f"m{j}_{k} = 0.0" for j, k in s2]
    sums = [f"m{k} += x[{s} + option] * x[{a} + option]" for k, a in e1.items()]
    for j, k in s2:
        terms = [f"x[{e1[j]} + option] * x[{e1[k]} + option]"] if j in e1 and k in e1 else []
        terms += [f"x[{e2[j, k]} + option]"] if (j, k) in e2 else []
        sums.append(f"m{j}_{k} += x[{s} + option] * ({' + '.join(terms) or '0.0'})")
    lines += [loop, *(INDENT + line for line in sums)] if sums else []
    # the mean of e'' + e' e'', less the product of means: second derivatives of the logarithm of the sum
    lines += [f"m{j}_{k} -= m{j} * m{k}" for j, k in s2 if j in e1 and k in e1]
    results = [f"x[{s1[k]} + option] = x[{s} + option] * (x[{a} + option] - m{k})" for k, a in e1.items()]
    for (j, k), to in s2.items():
        terms = [f"(x[{e1[j]} + option] - m{j}) * (x[{e1[k]} + option] - m{k})"] if j in e1 and k in e1 else []
        terms += [f"x[{e2[j, k]} + option]"] if (j, k) in e2 else []
        results.append(f"x[{to} + option] = x[{s} + option] * ({' + '.join([*terms, ''])}-m{j}_{k})")
    return lines + ([loop, *(INDENT + line for line in results)] if results else [])
