"""What a user is told of a compacted encoder. How long anything takes is no test."""

from bench.speedup.compact import ALL_IN_ONE_CALL, FOLDED, IN_ONE_CALL, PLAIN, Gain, lines
from bench.speedup.turns import Ratio


def _ratio(median: float) -> Ratio:
    return Ratio(median=median, low=median, high=median)


def test_what_a_kernel_gains_is_not_owed_to_zeros() -> None:
    times = {IN_ONE_CALL: 8.0, PLAIN: 3.0, FOLDED: 1.5, ALL_IN_ONE_CALL: 4.0}
    speeds = {1: {form: _ratio(median) for form, median in times.items()}}
    said = lines(Gain(off=0.0, masked_macs=4000, macs=1000, speeds=speeds, noise={1: _ratio(1.0)}))
    assert said[0].startswith("1,000 MACs an image, 4.00 times fewer than ")
    assert said[2:6] == [
        f"  8.00 (8.00 to 8.00): {IN_ONE_CALL}; 2.00 times the same call with zeros left in, 0.50 of the MACs",
        f"  3.00 (3.00 to 3.00): {PLAIN}; 2.00 times the same folded convolutions with zeros left in, 0.50 of the MACs",
        f"  1.50 (1.50 to 1.50): {FOLDED}",
        f"  4.00 (4.00 to 4.00): {ALL_IN_ONE_CALL}",
    ]
    assert "2.00 of the MACs" not in "\n".join(said)
