"""The bundle in heron/page is that of the sources in web/: digest.mjs wrote down what it was built of, in this order."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WEB, PAGE = ROOT / "web", ROOT / "heron/page"
ALONE = ("index.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.ts", "digest.mjs")


def test_the_bundle_is_of_these_sources() -> None:
    found = [
        *ALONE,
        *(path.relative_to(WEB).as_posix() for name in ("public", "src") for path in (WEB / name).rglob("*") if path.is_file()),
    ]
    digest = hashlib.sha256()
    for name in sorted(found):
        digest.update(name.encode() + b"\0" + (WEB / name).read_bytes().replace(b"\r\n", b"\n") + b"\0")
    assert (PAGE / "sources.sha256").read_text().strip() == digest.hexdigest(), (
        "web/ has changed: run `make web`, and commit heron/page too"
    )


def test_the_lock_names_no_host() -> None:
    lock = json.loads((WEB / "package-lock.json").read_text())
    assert not [name for name, package in lock["packages"].items() if "resolved" in package]
    assert all("integrity" in package for name, package in lock["packages"].items() if name)


def test_it_is_small() -> None:
    scripts = [path.stat().st_size for path in (PAGE / "assets").glob("*.js")]
    assert sum(scripts) < 450_000 and max(scripts) < 350_000
