"""Whatever runs on a node: pods and idle make its price, nothing is negative, unknown stays so."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from gpukit.finops.allocation import (
    Allocation,
    Mode,
    Node,
    PodUse,
    Sharing,
    allocate,
    split_cents,
)

D = Decimal
modes = st.sampled_from(get_args(Mode))
sharings = st.sampled_from(get_args(Sharing))
parts = st.fractions(0, 8, max_denominator=28)
prices = st.decimals("0.01", "300", places=4)
nodes = st.builds(Node, prices, st.integers(1, 8), st.integers(1, 192), st.integers(1, 2048))
hours = st.fractions(Fraction(1, 60), 24, max_denominator=60)
pods = st.lists(
    st.builds(
        PodUse, st.uuids().map(str), parts, st.fractions(0, 64, max_denominator=8),
        st.integers(0, 500), st.tuples(parts, parts, st.integers(0, 500)), st.none() | hours,
    ),
    max_size=6,
)  # fmt: skip
TINY = D("1e-9")


def totals(found: Allocation) -> list[D]:
    values = [share.total for share in found.shares]
    assert all(value is not None for value in values)
    return [value for value in values if value is not None]


@given(nodes, pods, modes, sharings, hours)
def test_pods_and_idle_make_the_node(
    node: Node, running: list[PodUse], mode: Mode, sharing: Sharing, window: Fraction
) -> None:
    found = allocate(node, running, mode=mode, sharing=sharing, hours=window)
    assert node.price is not None
    assert found.idle is not None
    assert found.total is not None
    paid = sum(totals(found), D(0))
    assert abs(paid + found.idle - found.total) < TINY
    assert abs(found.total - node.price * window.numerator / window.denominator) < TINY
    assert found.idle >= -TINY
    assert all(value >= 0 for value in totals(found))
    cents = split_cents([*totals(found), max(found.idle, D(0))], found.total)
    assert sum(cents, D(0)) == found.total.quantize(D("0.01"), rounding="ROUND_HALF_UP")
    assert all(value >= 0 for value in cents)


@given(nodes, pods, modes, sharings, hours)
def test_unknown_never_becomes_zero(
    node: Node, running: list[PodUse], mode: Mode, sharing: Sharing, window: Fraction
) -> None:
    found = allocate(replace(node, price=None), running, mode=mode, sharing=sharing, hours=window)
    assert (found.idle, found.total) == (None, None)
    assert all(
        (share.split, share.unused, share.total) == (None, None, None) for share in found.shares
    )


@given(nodes, pods, modes, sharings, parts, hours, hours)
def test_more_costs_more(
    node: Node, others: list[PodUse], mode: Mode, sharing: Sharing, part: Fraction,
    more: Fraction, window: Fraction,
) -> None:  # fmt: skip
    """A pod that takes more, or for longer, or on a dearer node, never pays less."""

    def paid(pod: PodUse, on: Node = node) -> D:
        found = allocate(on, [pod, *others], mode=mode, sharing=sharing, hours=window)
        return totals(found)[0]

    mine = PodUse("mine", part, 4, 16, hours=min(more, window) / 2)
    before = paid(mine)
    assert paid(replace(mine, gpus=part + Fraction(1, 7))) >= before - TINY
    assert paid(replace(mine, hours=window)) >= before - TINY
    assert node.price is not None
    assert paid(mine, replace(node, price=node.price * 2)) >= before - TINY


@given(nodes, pods, modes, hours, hours)
def test_two_windows_are_one(
    node: Node, running: list[PodUse], mode: Mode, first: Fraction, second: Fraction
) -> None:
    always = [replace(pod, hours=None) for pod in running]
    one, two, both = (
        allocate(node, always, mode=mode, hours=length)
        for length in (first, second, first + second)
    )
    for a, b, c in zip(totals(one), totals(two), totals(both), strict=True):
        assert abs(a + b - c) < TINY
