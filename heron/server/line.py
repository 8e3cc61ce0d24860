"""The line for models: who stands in it, whose turn it is, and what has to be done for the others."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from heron.server.catalog import Entry
from heron.server.errors import ApiError
from heron.server.lease import Farewell, Lease
from heron.server.resident import Resident
from heron.server.room import FULL


class Line:
    """In the order in which they came."""

    def __init__(self) -> None:
        self._standing: list[Lease | Farewell] = []

    def __len__(self) -> int:
        return len(self._standing)

    @property
    def leases(self) -> list[Lease]:
        return [each for each in self._standing if isinstance(each, Lease)]

    def wants(self, entry: Entry) -> list[Lease]:
        """Who waits for a model."""
        return [lease for lease in self.leases if lease.entry == entry]

    def join(self, each: Lease | Farewell) -> None:
        self._standing.append(each)

    def leave(self, each: Lease | Farewell) -> None:
        """The second time nothing happens."""
        if each in self._standing:
            self._standing.remove(each)

    def fail(self, error: Exception) -> None:
        """Tell all of them."""
        for each in self._standing:
            each.fail(error)
        self._standing.clear()

    def refuse(self, entry: Entry, error: Exception) -> None:
        """Tell those who wait for a model why it cannot be had."""
        for lease in self.wants(entry):
            self.leave(lease)
            lease.fail(_cannot(entry, error))

    def pass_on(self, residents: Mapping[Entry, Resident], going: Collection[Entry], coming: Collection[Entry], now: float) -> None:
        """Let go whose turn it is: who asks for a model that is here, and whose order to unload one is carried out.

        Nobody gets a model that is ``going``, or that somebody before wants gone; no order is carried out while the model is ``coming``,
        or somebody before waits for it.
        """
        going, coming = set(going), set(coming)
        for each in tuple(self._standing):
            resident = residents.get(each.entry)
            if isinstance(each, Farewell):
                going.add(each.entry)
                if resident is None and each.entry not in coming:
                    self.leave(each)
                    each.settle()
            elif resident is None or each.entry in going:
                coming.add(each.entry)
            else:
                self.leave(each)
                each.grant(resident, now)

    def first(self, residents: Mapping[Entry, Resident]) -> Lease | Farewell | None:
        """The first for whom something can be done: the model that it waits for is not here, or the one that is to go is not used."""
        for each in self._standing:
            resident = residents.get(each.entry)
            if resident is None if isinstance(each, Lease) else resident is not None and not resident.leases:
                return each
        return None


def _cannot(entry: Entry, error: Exception) -> ApiError:
    """What those hear who waited. Where the files are is not theirs to know."""
    reason = str(error) or type(error).__name__
    for path in (entry.path.resolve(), entry.path):
        reason = reason.replace(str(path), entry.name)
    code = "out_of_memory" if isinstance(error, FULL) else "load_failed"
    message = f"the model {entry.name!r} cannot be loaded: {reason}"
    told = ApiError(503, message, code=code, headers={"x-should-retry": "false"})  # OpenAI's clients would, and have it loaded again
    told.__cause__ = error
    return told
