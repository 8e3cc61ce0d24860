"""A model from the hub into the cache: only what is missing, checked as it comes, and in place when it is whole."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from heron.errors import HubError
from heron.hub import cache as disk
from heron.hub import remote
from heron.hub.choose import choose
from heron.hub.names import Name
from heron.hub.remote import RemoteFile

#: Bytes that stay free on the disk beside what is pulled.
SPARE = 64 << 20


class Watch:
    """What hears of a pull as it goes on; this one keeps still."""

    def say(self, text: str) -> None:
        """Something that a user should know now."""

    def start(self, files: int, bytes: int) -> None:
        """So many files, of so many bytes together, are not here yet."""

    def begin(self, name: str, size: int) -> None:
        """One of them comes next."""

    def advance(self, bytes: int) -> None:
        """So many more bytes are here; fewer than none where a server began it anew."""


def locate(name: str, cache: str | Path | None = None, watch: Watch | None = None) -> Path | None:
    """The path of the model that is called so, pulled if it is not in the cache; None for what is no name of a model.

    Raises HubError.
    """
    folder = disk.folder(cache)
    parsed = disk.named(name, folder)
    if parsed is None:
        return None
    return disk.find(parsed, folder) or pull(parsed, cache=folder, watch=watch)


def pull(name: Name, revision: str | None = None, cache: str | Path | None = None, watch: Watch | None = None) -> Path:
    """Bring a model into the cache, if it is not there already; its path: a GGUF file or a folder.

    ``revision`` is a branch, a tag or a commit. What a cut leaves is taken up by the next pull. Of two pulls at once one downloads, and
    the other waits. Raises HubError.
    """
    folder, watch = disk.folder(cache), watch or Watch()
    if remote.offline():
        if found := disk.find(name, folder, revision):
            return found
        at, why = f" at revision {revision}" if revision else "", "HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE forbids to pull it"
        raise HubError(f"{name}{at} is not in the cache ({folder}), and {why}; `heron list` shows what is there")
    commit, files = remote.listing(name.repository, revision, watch.say)
    choice = choose(files, name.quantization, name.repository)
    wanted = [files[path] for path in choice.files]
    repository = disk.repository_folder(folder, name.repository)
    if str(folder).startswith("~"):
        raise HubError(f"there is no home directory here, so that {folder} is nowhere; name a folder for models with HF_HOME")
    try:
        (repository / "blobs").mkdir(parents=True, exist_ok=True)
        missing = [file for file in {file.checksum: file for file in wanted}.values() if not _whole(repository / "blobs", file)]
        _check_space(repository, missing)
        if missing:
            watch.start(len(missing), sum(file.size for file in missing))
        for file in missing:
            _fetch(file, name.repository, commit, folder, watch)
        for file in wanted:
            _link(repository / "blobs" / file.checksum, repository / "snapshots" / commit / file.path)
        _write_reference(repository / "refs" / (revision or "main"), commit)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise HubError(f"the disk with {folder} is full; free some of it and pull again, which goes on where this stopped") from None
        raise HubError(f"{error.filename or folder} cannot be written: {error.strerror}; name another cache with HF_HOME") from None
    found = disk.find(name, folder, commit)
    if found is None:
        raise HubError(f"{name}: its files went away as they were pulled; is another program cleaning {folder}?")
    return found


def _whole(blobs: Path, file: RemoteFile) -> bool:
    """Whether its bytes are here; some may be lost of those that a power cut found unwritten."""
    blob = blobs / file.checksum
    return blob.exists() and blob.stat().st_size == file.size


def _check_space(repository: Path, missing: Iterable[RemoteFile]) -> None:
    """Raises HubError where the disk has no room for what is missing."""
    need = sum(file.size - _size(_partial(repository / "blobs" / file.checksum)) for file in missing)
    free = shutil.disk_usage(repository).free
    if need and need + SPARE > free:
        raise HubError(
            f"{need / 2**30:.2f} GiB are to be pulled, and {free / 2**30:.2f} GiB are free at {repository.parent}; "
            "free some, or name another cache with HF_HOME"
        )


def _fetch(file: RemoteFile, repository: str, commit: str, cache: Path, watch: Watch) -> None:
    """One file's bytes into their place, under the lock that huggingface_hub takes for them too. Raises HubError, OSError."""
    from filelock import Timeout
    from huggingface_hub.utils import WeakFileLock

    blob = disk.repository_folder(cache, repository) / "blobs" / file.checksum
    locks = disk.locks_folder(cache, repository)
    locks.mkdir(parents=True, exist_ok=True)
    waited = False
    while not _whole(blob.parent, file):
        try:
            with WeakFileLock(locks / f"{file.checksum}.lock", timeout=1.0):
                if not _whole(blob.parent, file):
                    _download(file, repository, commit, blob, watch)
                    return
        except Timeout:
            if not waited:
                watch.say(f"another program is pulling {file.path}; waiting for it")
            waited = True
    watch.advance(file.size)


def _download(file: RemoteFile, repository: str, commit: str, blob: Path, watch: Watch) -> None:
    """From where an earlier pull was cut to the end, and checked. Raises HubError for other bytes than the hub's, which are not kept."""
    watch.begin(file.path, file.size)
    partial = _partial(blob)
    if _size(partial) > file.size:
        partial.unlink()
    with partial.open("ab") as out:
        coming = _Coming(file, out, watch)
        while coming.done < file.size:
            before = coming.done
            remote.patiently(lambda: coming.take(repository, commit), repository, commit, watch.say)
            if coming.done == before:
                raise HubError(f"{file.path} ends at byte {before} of {file.size} on the hub; report it there")
        out.flush()
        os.fsync(out.fileno())
    if coming.digest.hexdigest() != file.checksum:
        partial.unlink()
        raise HubError(
            f"{file.path} did not arrive as it is on the hub (checksum {coming.digest.hexdigest()[:12]}, not {file.checksum[:12]}); "
            "nothing of it was kept: pull again"
        )
    os.replace(partial, blob)


class _Coming:
    """A file as it comes: what is there, and its checksum so far."""

    def __init__(self, file: RemoteFile, out: Any, watch: Watch) -> None:
        self.file, self.out, self.watch = file, out, watch
        self._restart()
        with open(out.name, "rb") as there:
            while piece := there.read(1 << 20):
                self._count(piece)

    def take(self, repository: str, commit: str) -> None:
        """What is missing, as far as the connection holds; an error of the network where nothing came."""
        before = self.done
        try:
            self._take(repository, commit)
        except remote.network_error():
            if self.done <= before:
                raise
            self.watch.say(f"the connection was cut; going on with {self.file.path} from byte {self.done}")

    def _take(self, repository: str, commit: str) -> None:
        with remote.opened(repository, commit, self.file.path, self.done) as (continued, pieces):
            if self.done and not continued:  # the server knows no ranges: it begins anew
                self.watch.advance(-self.done)
                self.out.truncate(0)
                self._restart()
            for piece in pieces:
                self.out.write(piece)
                self._count(piece)
                if self.done > self.file.size:
                    return

    def _restart(self) -> None:
        self.done = 0
        if len(self.file.checksum) == 64:
            self.digest = hashlib.sha256()
        else:  # git's name of a blob
            self.digest = hashlib.sha1(b"blob %d\0" % self.file.size, usedforsecurity=False)

    def _count(self, piece: bytes) -> None:
        self.done += len(piece)
        self.digest.update(piece)
        self.watch.advance(len(piece))


def _partial(blob: Path) -> Path:
    return blob.with_name(blob.name + ".incomplete")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _link(blob: Path, name: Path) -> None:
    """The snapshot's name for the bytes."""
    if name.exists():
        return
    name.parent.mkdir(parents=True, exist_ok=True)
    name.unlink(missing_ok=True)  # a link whose bytes were gone
    try:
        name.symlink_to(os.path.relpath(blob, name.parent))
    except FileExistsError:  # another pull made it just now
        pass
    except OSError:  # Windows lets few users make them
        os.link(blob, name)


def _write_reference(path: Path, commit: str) -> None:
    if path.name != commit and not (path.is_file() and path.read_text(encoding="utf-8") == commit):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(commit, encoding="utf-8")
