"""What is asked of the hub, again where it is busy, and its refusals in words that help."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

from heron import __version__
from heron.errors import HubError

T = TypeVar("T")

#: Times that a request is made before it is given up: by default, and where nothing is known of the hub yet.
TRIES, FIRST_TRIES = 6, 3
#: The longest that the hub may ask to wait between two, in seconds.
PATIENCE = 300.0
#: Seconds without a byte after which a connection counts as lost.
TIMEOUT = 30.0
#: Bytes of a file that are asked of a connection at once: few enough that a slow one shows that it moves.
PIECE = 1 << 17
#: What passes by itself: a request that took too long, too many of them, a server in trouble.
_BUSY = {408, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository; its checksum is the SHA-256 of its bytes, or for small files git's own SHA-1 of them."""

    path: str
    size: int
    checksum: str


def endpoint() -> str:
    """The hub: ``HF_ENDPOINT``, or Hugging Face."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def offline() -> bool:
    """Whether ``HF_HUB_OFFLINE`` asks for no network, or ``TRANSFORMERS_OFFLINE``, as huggingface_hub reads them."""
    return (os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or "").upper() in ("1", "ON", "YES", "TRUE")


def listing(repository: str, revision: str | None, say: Callable[[str], None]) -> tuple[str, dict[str, RemoteFile]]:
    """(commit, path -> file) of a repository. Raises HubError."""
    url = f"{endpoint()}/api/models/{repository}/revision/{quote(revision or 'main', safe='')}?blobs=true"
    said = patiently(lambda: _object(url), repository, revision, say, FIRST_TRIES)
    files = {}
    for each in said.get("siblings") or ():
        path, size = str(each.get("rfilename")), each.get("size")
        checksum = str((each.get("lfs") or {}).get("sha256") or each.get("blobId"))
        if not _is_safe(path) or not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", checksum) or not isinstance(size, int):
            raise HubError(f"{repository}: what the hub says of its file {path!r:.200} makes no sense; report it there")
        files[path] = RemoteFile(path, size, checksum)
    if not re.fullmatch(r"[0-9a-f]{40}", str(said.get("sha"))):
        raise HubError(f"{repository}: {_host()} names no commit of it; is that a hub?")
    return str(said["sha"]), files


@contextmanager
def opened(repository: str, commit: str, path: str, start: int) -> Iterator[tuple[bool, Iterator[bytes]]]:
    """A file's bytes from ``start`` on, in pieces; and whether they do start there, since a server may send it all again."""
    from huggingface_hub import get_session
    from huggingface_hub.utils import hf_raise_for_status

    url = f"{endpoint()}/{repository}/resolve/{commit}/{quote(path)}"
    headers = _headers() | {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with get_session().stream("GET", url, headers=headers, timeout=TIMEOUT, follow_redirects=True) as response:
        hf_raise_for_status(response)
        yield response.status_code == 206, response.iter_bytes(PIECE)


def _object(url: str) -> dict[str, Any]:
    from huggingface_hub import get_session
    from huggingface_hub.utils import hf_raise_for_status

    response = get_session().get(url, headers=_headers(), timeout=TIMEOUT, follow_redirects=True)
    hf_raise_for_status(response)
    try:
        found = response.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise HubError(f"{_host()} does not answer as a hub does; check HF_ENDPOINT")
    return found


def _headers() -> dict[str, str]:
    """Who asks, and with which token; nothing of this machine."""
    from huggingface_hub import get_token

    token = get_token()
    return {"User-Agent": f"heron/{__version__}", **({"Authorization": f"Bearer {token}"} if token else {})}


def patiently(ask: Callable[[], T], repository: str, revision: str | None, say: Callable[[str], None], unreached: int = TRIES) -> T:
    """What ``ask`` gives, asked again after a while where the hub is busy, or out of reach (``unreached`` times). Raises HubError."""
    for attempt in range(1, TRIES + 1):
        try:
            return ask()
        except network_error() as error:
            response: Any = getattr(error, "response", None)
            status, wait = getattr(response, "status_code", None), 2.0 ** (attempt - 1)
            if status is not None:
                wait = max(wait, _retry_after(response.headers)) if status == 429 else wait
            if attempt == (TRIES if status else unreached) or wait > PATIENCE or (status is not None and status not in _BUSY):
                raise HubError(_explain(error, response, repository, revision, wait)) from None
            why = f"{_host()} cannot be reached ({error.__class__.__name__})" if status is None else f"{_host()} is busy (HTTP {status})"
            say(f"{why}; trying again in {wait:g} s")
            time.sleep(wait)
        except (ValueError, ImportError) as error:  # an address or a proxy that the HTTP library can do nothing with
            why = str(error).rstrip(".")
            raise HubError(f"{_host()} cannot be asked: {why}; check HF_ENDPOINT, and the proxy in HTTPS_PROXY or ALL_PROXY") from None
    raise AssertionError("the last attempt returns or raises")


def network_error() -> type[Exception]:
    """What a request that fails raises, in whichever HTTP library this version of huggingface_hub uses."""
    from huggingface_hub.errors import HfHubHTTPError

    return HfHubHTTPError.__bases__[0]


def _retry_after(headers: Mapping[str, Any]) -> float:
    """Seconds that the hub asks to wait: of Retry-After, or of the rate limit's ``t=``."""
    asked = headers.get("Retry-After", "")
    limit = re.search(r"\bt=(\d+)", headers.get("RateLimit", ""))
    return float(asked) if re.fullmatch(r"\d{1,6}", asked) else float(limit[1]) if limit else 0.0


def _explain(error: Exception, response: Any, repository: str, revision: str | None, wait: float) -> str:
    from huggingface_hub import get_token
    from huggingface_hub.errors import GatedRepoError, RevisionNotFoundError

    page, known, status = f"{endpoint()}/{repository}", get_token() is not None, getattr(response, "status_code", None)
    if status is None:
        reason = str(error) or error.__class__.__name__
        return f"{_host()} cannot be reached ({reason:.100}); check the connection, or HF_ENDPOINT; what was pulled runs without it"
    if isinstance(error, GatedRepoError) or status == 403:
        ask = "your token has no access to it yet" if known else f"then set HF_TOKEN to a token of {endpoint()}/settings/tokens"
        return f"{repository} is gated (HTTP {status}): ask for access at {page}; {ask}"
    if isinstance(error, RevisionNotFoundError):
        return f"{repository} has no revision {revision!r}; see {page}/tree/main for its branches and tags"
    if status == 401 and known and "credentials" in response.headers.get("X-Error-Message", "").lower():
        return f"{_host()} refuses your token (HTTP 401): HF_TOKEN, or what `hf auth login` stored, is mistyped or no longer valid"
    if status == 401:
        how = "HF_TOKEN's token cannot see it" if known else "set HF_TOKEN if it is private"
        return f"there is no model {repository} on {_host()}, or it is private (HTTP 401): check the name; {how}"
    if status == 404:
        return f"there is no model {repository} on {_host()} (HTTP 404): check the name at {page}"
    if status == 429:
        return f"{_host()} allows no more requests for now (HTTP 429): try again in {wait:.0f} s" + ("" if known else ", or set HF_TOKEN")
    return f"{_host()} answers HTTP {status} for {repository}; try again later"


def _host() -> str:
    return endpoint().partition("://")[2] or endpoint()


def _is_safe(path: str) -> bool:
    """Whether a file of that name stays in its folder, on every system."""
    return not re.search(r"[\\:\x00-\x1f]", path) and all(part not in ("", ".", "..") for part in path.split("/"))
