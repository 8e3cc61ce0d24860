"""Where pulled models live: Hugging Face's cache, so that every program on the machine shares them.

models--ORG--NAME/blobs/CHECKSUM               the bytes, once; without a name until all of a model is there
                  blobs/CHECKSUM.incomplete    those of a pull that was cut
                  snapshots/COMMIT/PATH        links to them, by name
                  refs/REVISION                the commit that a branch or a tag was when it was pulled
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from heron.errors import HubError
from heron.hub.choose import SAFETENSORS, Choice, choices, choose, select
from heron.hub.names import Name, parse


@dataclass(frozen=True)
class Cached:
    """A model on disk.

    snapshot    the folder with its files, or None for what an interrupted pull left
    choice      which files those are, in all revisions
    bytes       what they take, in all revisions
    last_used   seconds since the epoch
    """

    name: Name
    snapshot: Path | None
    choice: Choice
    bytes: int
    last_used: float

    @property
    def path(self) -> Path | None:
        """What is opened: a GGUF file or a folder."""
        return None if self.snapshot is None else self.snapshot / self.choice.entry


def folder(given: str | Path | None = None) -> Path:
    """The cache: the one given, or where ``HF_HUB_CACHE``, ``HF_HOME`` and ``XDG_CACHE_HOME`` say, as huggingface_hub reads them."""
    if given:
        return Path(os.path.expanduser(given))
    home = os.environ.get("HF_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    cache = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE") or os.path.join(home, "hub")
    return Path(os.path.expanduser(os.path.expandvars(cache)))


def repository_folder(cache: Path, repository: str) -> Path:
    """Where a repository's files are."""
    return cache / ("models--" + repository.replace("/", "--"))


def locks_folder(cache: Path, repository: str) -> Path:
    """Where the locks are that keep two programs from one download."""
    return cache / ".locks" / repository_folder(cache, repository).name


def find(name: Name, cache: Path, revision: str | None = None) -> Path | None:
    """The path of a model that is there, whole, and marked as used now; else None.

    Raises HubError where the name means several.
    """
    for snapshot in _snapshots(repository_folder(cache, name.repository), revision):
        paths = _paths(snapshot)
        if select(paths, name.quantization):
            choice = choose(paths, name.quantization, name.repository)
            for file in choice.files:
                _mark_used(snapshot / file)
            return snapshot / choice.entry
    return None


def named(text: str, cache: Path) -> Name | None:
    """What a name means, here too: as ``parse`` has it, or a repository without an organization that another program has fetched (gpt2)."""
    repository, _, quantization = text.partition(":")
    if re.fullmatch(r"[A-Za-z0-9][\w.-]*", repository, re.ASCII) and repository_folder(cache, repository).is_dir():
        return Name(repository, quantization or None)
    return parse(text)


def models(cache: Path) -> list[Cached]:
    """All models of the cache, by their names, and what interrupted pulls left."""
    found: list[Cached] = []
    for repository in sorted(cache.glob("models--*")):
        with suppress(FileNotFoundError):  # somebody deletes it right now
            found += _models(repository)
    return found


def matching(name: Name, cache: Path) -> list[Cached]:
    """What a name means in the cache: one model, or without a quantization all of the repository."""
    there = _models(repository_folder(cache, name.repository))
    if name.quantization is None:
        return there
    chosen = select([file for each in there for file in each.choice.files], name.quantization)
    return [each for each in there if each.snapshot and each.choice.entry in {choice.entry for choice in chosen}]


def delete(doomed: list[Cached], cache: Path) -> None:
    """Remove models, all revisions of them; bytes that other models share stay. Raises HubError for what may not be removed."""
    try:
        for repository in {each.name.repository for each in doomed}:
            folder, chosen = repository_folder(cache, repository), [each for each in doomed if each.name.repository == repository]
            if len(_models(folder)) <= len(chosen):
                shutil.rmtree(folder)
                shutil.rmtree(locks_folder(cache, repository), ignore_errors=True)
            else:
                _unlink(folder, chosen)
    except OSError as error:
        raise HubError(f"{error.filename or cache} cannot be removed: {error.strerror or error}") from None


@contextmanager
def looking(path: Path) -> Iterator[None]:
    """Read what a model is without its counting as used: afterwards the times of access are as they were."""
    before = [(file, file.stat()) for file in (path if path.is_dir() else path.parent).iterdir() if file.is_file()]
    try:
        yield
    finally:
        for file, stat in before:
            with suppress(OSError):
                os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def called(path: Path) -> str:
    """A model's name by its path: the file's, without what it is a part of, or the folder's; a snapshot's is its repository's."""
    if path.is_file():
        return re.sub(r"-\d{5}-of-\d{5}$", "", path.stem)
    folder = path.resolve()
    repository = folder.parent.parent.name
    return repository.rpartition("--")[2] if folder.parent.name == "snapshots" and repository.startswith("models--") else folder.name


def _unlink(folder: Path, doomed: list[Cached]) -> None:
    """Take models out of a repository that keeps others, with the bytes that nothing names any more; what a cut pull left too, if meant."""
    spared = {} if any(each.snapshot is None for each in doomed) else _nameless(folder)
    for snapshot in _snapshots(folder):
        for file in (file for each in doomed for file in each.choice.files):
            (snapshot / file).unlink(missing_ok=True)
    for blob in _nameless(folder).keys() - spared.keys():
        blob.unlink()


def _nameless(folder: Path) -> dict[Path, os.stat_result]:
    """The bytes in a repository that no snapshot names."""
    found = {}
    for blob in folder.glob("blobs/*"):
        with suppress(FileNotFoundError):  # a pull has just ended
            found[blob] = blob.stat()
    named = {path.stat().st_ino for path in folder.glob("snapshots/**/*") if path.is_file()}
    return {blob: stat for blob, stat in found.items() if stat.st_ino not in named}


def _models(folder: Path) -> list[Cached]:
    """The models of one repository, and what a cut pull left of it."""
    repository = folder.name.removeprefix("models--").replace("--", "/", 1)
    found: dict[str, list[tuple[Path, Choice]]] = {}
    for snapshot in _snapshots(folder):
        for choice in choices(_paths(snapshot)):
            found.setdefault(choice.entry, []).append((snapshot, choice))
    often = Counter(there[0][1].quantization for there in found.values())
    made = []
    for entry, there in found.items():
        quantization = there[0][1].quantization
        called = quantization if often[quantization] == 1 else entry.removesuffix(".gguf")
        if not entry:
            called = SAFETENSORS if len(found) > 1 else None
        made.append(_in_revisions(Name(repository, called), there))
    if cut := _nameless(folder).values():
        made.append(Cached(Name(repository), None, Choice((), ""), sum(stat.st_size for stat in cut), max(stat.st_mtime for stat in cut)))
    return made


def _in_revisions(name: Name, there: list[tuple[Path, Choice]]) -> Cached:
    """A model that is in some snapshots, the one to run first: its files in any of them, and their bytes, each counted once."""
    snapshot, choice = there[0]
    stats = {stat.st_ino: stat for at, each in there for stat in (at.joinpath(file).stat() for file in each.files)}.values()
    files = tuple(dict.fromkeys(file for _, each in there for file in each.files))
    size, used = sum(stat.st_size for stat in stats), max(stat.st_atime for stat in stats)
    return Cached(name, snapshot, Choice(files, choice.entry, choice.quantization), size, used)


def _snapshots(folder: Path, revision: str | None = None) -> list[Path]:
    """A repository's snapshots, or those of one revision: that of the branch "main" first, then the newest."""
    refs = folder / "refs"
    commits = {path.relative_to(refs).as_posix(): _text(path) for path in refs.rglob("*") if path.is_file()}
    there = sorted(
        (folder / "snapshots").glob("*"), key=lambda path: (path.name == commits.get("main"), path.stat().st_mtime), reverse=True
    )
    return [path for path in there if revision is None or path.name == commits.get(revision, revision)]


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace").strip()


def _paths(snapshot: Path) -> list[str]:
    """The files that a snapshot has, by their names in the repository; links whose bytes are gone count for nothing."""
    return [path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file()]


def _mark_used(file: Path) -> None:
    """Set the time of last access, which many systems keep loosely or not at all."""
    with suppress(OSError):  # in a cache that is only read
        os.utime(file, (time.time(), file.stat().st_mtime))
