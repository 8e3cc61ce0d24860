"""What a server can be asked for: models by their names, whether they are loaded or not."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from heron.errors import HeronError, HubError
from heron.graph.graph import Model
from heron.hub.cache import looking
from heron.hub.names import Name, parse
from heron.server.facts import Facts, Stamp, read_facts, stamp
from heron.server.logs import event

_log = logging.getLogger("heron.server")


@dataclass(frozen=True)
class Entry:
    """A model. ``names`` are what clients may call it, the first what answers call it; ``hub`` is its name there, if it has one.

    One that is ``pinned`` is loaded when the server starts, and never unloaded.
    """

    names: tuple[str, ...]
    path: Path
    hub: Name | None = None
    pinned: bool = False

    @property
    def name(self) -> str:
        return self.names[0]

    def means(self, wanted: Name) -> bool:
        """Whether that is this one's name on the hub, or its repository's."""
        if self.hub is None or self.hub.repository.lower() != wanted.repository.lower():
            return False
        return wanted.quantization is None or (self.hub.quantization or "").lower() == wanted.quantization.lower()


class Catalog:
    """``scan`` tells what there is now; ``scan`` is called again where somebody looks, or asks for what is not known.

    ``otherwise`` is what is meant by a name that nothing has. The first entry is what is meant where nothing is named.
    ``context`` tells how many tokens of a model's own context there is room for.
    """

    def __init__(self, scan: Callable[[], Iterable[Entry]], otherwise: Entry | None = None) -> None:
        self._scan, self.otherwise = scan, otherwise
        self.context: Callable[[Model], int] = lambda model: model.context_length
        self.entries: Sequence[Entry] = tuple(scan())
        self._read: dict[Path, tuple[Stamp, Facts | None]] = {}
        self._reading: dict[Path, threading.Lock] = {}
        self._scanning, self._scans = threading.Lock(), 0

    def rescan(self) -> None:
        """Look again. It takes some milliseconds: for a thread. Of all who come while somebody looks one looks once more."""
        asked = self._scans
        with self._scanning:
            if self._scans > asked:
                return
            self._scans += 1
            try:
                self.entries = tuple(self._scan())
            except OSError as error:  # what was there stays; files come and go while one looks
                event(_log, logging.WARNING, f"the models cannot be looked for: {error}")

    def find(self, name: str) -> Entry | None:
        """The model that is called so: by one of its names, or as the hub or an alias of it does, with or without a quantization."""
        for entry in self.entries:
            if name in entry.names:
                return entry
        try:
            wanted = parse(name)
        except HubError:
            return None
        return next((entry for entry in self.entries if wanted and entry.means(wanted)), None)

    def survey(self) -> None:
        """Read what is to be loaded on demand, so that what is broken stands in the log at once. For a thread."""
        for entry in self.entries:
            if not entry.pinned:
                self.facts(entry)

    def facts(self, entry: Entry) -> Facts | None:
        """What its files say, read once for as long as they stay as they are: for a thread.

        None, and a line in the log, where they cannot be read.
        """
        with self._reading.setdefault(entry.path, threading.Lock()):  # nobody is told of what another one has begun to read
            try:
                now = stamp(entry.path)
                before, known = self._read.get(entry.path, ((), None))
                if before != now:
                    self._read[entry.path] = now, None
                    with looking(entry.path):
                        self._read[entry.path] = now, (known := read_facts(entry.path, self.context))
                return known
            except (HeronError, OSError) as error:
                event(_log, logging.WARNING, f"the model {entry.name} cannot be served: {error}")
                return None
