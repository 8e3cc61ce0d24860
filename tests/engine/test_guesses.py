"""What is guessed from a text, and how much."""

from __future__ import annotations

from heron.engine.speculate import Lookup, Pace


def test_lookup() -> None:
    def guess(tokens: list[int], most: int = 4) -> list[int]:
        return Lookup().guess(tokens, most)

    assert guess([1, 2, 3, 4, 5, 1, 2]) == [3, 4, 5, 1]
    assert guess([1, 2, 3, 9, 1, 2, 4, 8, 7, 6, 1, 2]) == [4, 8, 7, 6]  # the latest
    assert guess([5, 1, 2, 3, 9, 1, 2, 4, 5, 1, 2]) == [3, 9, 1, 2]  # the longest
    assert guess([7, 8, 7, 8], 5) == [7, 8, 7, 8, 7]
    assert guess([1, 2, 3, 1]) == []
    assert guess([1, 2, 3]) == []
    assert guess([4]) == []
    assert guess([3, 3, 3]) == [3] * 4
    lookup = Lookup()
    for count in range(1, 600):
        tokens = [i % 7 for i in range(count)]
        assert lookup.guess(tokens, 3) == ([(count + i) % 7 for i in range(3)] if count >= 9 else [])


def test_pace() -> None:
    pace = Pace(9)
    found = [pace.next()]
    for right in (3, 7, 4, 2, 0):
        pace.learn(found[-1], min(right, found[-1]))
        found.append(pace.next())
    assert found == [3, 7, 9, 7, 3, 3]  # with the token before them 4, 8, and as many as are asked for
    counts = []
    for _ in range(100):
        counts.append(count := pace.next())
        if count:
            pace.learn(count, 0)
    assert counts.count(0) > 80  # where nothing is right, hardly anything is guessed
    while not pace.next():
        pass
    for _ in range(20):
        if count := pace.next():
            pace.learn(count, count)
    assert pace.next() == 9
