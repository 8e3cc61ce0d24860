"""Pulling: what arrives, and what is said and kept when it does not."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_hub import COMMIT, FakeHub
from fake_hub import hub as serving

import heron
from heron.errors import HubError
from heron.hub import cache as disk
from heron.hub import remote
from heron.hub.names import Name
from heron.hub.pull import Watch, locate, pull

ONE = {"tiny-Q8_0.gguf": b"q8" * 3000, "tiny-Q4_K_M.gguf": b"q4" * 2000, "README.md": b"hello", "mmproj-tiny-F16.gguf": b"eyes" * 1000}


class Heard(Watch):
    def __init__(self) -> None:
        self.said: list[str] = []
        self.sizes: list[int] = []
        self.done = 0

    def say(self, text: str) -> None:
        self.said.append(text)

    def start(self, files: int, bytes: int) -> None:
        self.sizes.append(bytes)

    def advance(self, bytes: int) -> None:
        self.done += bytes


@pytest.fixture
def name(hub: FakeHub) -> Name:
    hub.repositories["org/tiny-GGUF"] = dict(ONE)
    return Name("org/tiny-GGUF")


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "time", SimpleNamespace(sleep=lambda seconds: None))


def blobs(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.glob("models--*/blobs/*"))


def test_pull_puts_the_preferred_one_where_huggingface_hub_finds_it(hub: FakeHub, cache: Path, name: Name) -> None:
    heard = Heard()
    path = pull(name, watch=heard)
    assert path == cache / "models--org--tiny-GGUF" / "snapshots" / COMMIT / "tiny-Q4_K_M.gguf"
    assert path.read_bytes() == ONE["tiny-Q4_K_M.gguf"]
    assert [asked for asked, _ in hub.asked] == ["tiny-Q4_K_M.gguf"]
    assert heard.sizes == [4000] and heard.done == 4000 and hub.agents == {f"heron/{heron.__version__}"}
    from huggingface_hub import try_to_load_from_cache

    assert try_to_load_from_cache("org/tiny-GGUF", "tiny-Q4_K_M.gguf", cache_dir=cache) == str(path)
    heard = Heard()
    assert pull(name, watch=heard) == path and len(hub.asked) == 1 and not heard.sizes


def test_what_huggingface_hub_pulled_is_found_and_the_cache_is_where_it_says(hub: FakeHub, cache: Path, name: Name) -> None:
    code = "from huggingface_hub import constants, hf_hub_download\nprint(constants.HF_HUB_CACHE)\n"
    code += "print(hf_hub_download('org/tiny-GGUF', 'tiny-Q8_0.gguf'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    where, path = done.stdout.splitlines()
    assert where == str(disk.folder()) == str(cache)
    assert locate("org/tiny-GGUF:q8_0") == Path(path) and len(hub.asked) == 1


@pytest.mark.parametrize(
    "variables", [{"HF_HUB_CACHE": "/a/b"}, {"HF_HOME": "~/c"}, {"HF_HOME": "", "XDG_CACHE_HOME": "/d"}, {"HF_HOME": ""}]
)
def test_the_cache_is_where_huggingface_hub_has_it(hub: FakeHub, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for key, value in variables.items():
        monkeypatch.setenv(key, value) if value else monkeypatch.delenv(key)
    code = "from huggingface_hub import constants; print(constants.HF_HUB_CACHE)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == str(disk.folder())


@pytest.mark.parametrize("asked", ["q8_0", "Q8_0", "tiny-Q8_0", "tiny-q8_0.gguf"])
def test_a_quantization_by_its_name_in_any_case(hub: FakeHub, cache: Path, name: Name, asked: str) -> None:
    assert pull(Name(name.repository, asked)).read_bytes() == ONE["tiny-Q8_0.gguf"]


def test_a_quantization_that_is_not_there(hub: FakeHub, cache: Path, name: Name) -> None:
    with pytest.raises(HubError, match=r"no Q6_K; there is Q4_K_M, Q8_0$"):
        pull(Name(name.repository, "Q6_K"))
    assert not hub.asked and not blobs(cache)


def test_a_pull_that_is_cut_goes_on_at_once(hub: FakeHub, cache: Path, name: Name) -> None:
    """Within one pull: 30 MB of which the connection gives 25."""
    data = os.urandom(30_000_000)
    hub.repositories["org/big"] = {"big-Q8_0.gguf": data}
    hub.cut = [25_000_000]
    heard = Heard()
    assert pull(Name("org/big"), watch=heard).read_bytes() == data
    (_, first), (_, second) = hub.asked
    assert first is None and second is not None and 23_000_000 < int(second[len("bytes=") : -1]) <= 25_000_000
    assert hub.sent < 33_000_000 and heard.done == 30_000_000 and "cut" in heard.said[0]


def test_a_pull_that_ended_at_25_mb_is_taken_up_by_the_next(hub: FakeHub, cache: Path) -> None:
    """Across pulls: the first is given up, as by a user or a power cut, and its bytes are not asked for again."""
    data = os.urandom(30_000_000)
    hub.repositories["org/big"] = {"big-Q8_0.gguf": data}

    class GivesUp(Heard):
        def advance(self, bytes: int) -> None:
            super().advance(bytes)
            if self.done >= 25_000_000:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull(Name("org/big"), watch=GivesUp())
    assert [blob.endswith(".incomplete") for blob in blobs(cache)] == [True]
    assert pull(Name("org/big")).read_bytes() == data
    again = hub.asked[-1][1]
    assert again is not None and int(again[len("bytes=") : -1]) >= 25_000_000
    assert not [blob for blob in blobs(cache) if blob.endswith(".incomplete")]


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_pull_that_is_killed_is_taken_up_by_the_next(hub: FakeHub, cache: Path) -> None:
    data, hub.hold = os.urandom(3_000_000), threading.Event()
    hub.repositories["org/big"], hub.cut = {"big-Q8_0.gguf": data}, [2_000_000]
    with subprocess.Popen([sys.executable, "-m", "heron", "pull", "org/big"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as killed:
        until = time.monotonic() + 60
        while sum(each.stat().st_size for each in cache.glob("models--*/blobs/*")) < 1_500_000 and time.monotonic() < until:
            time.sleep(0.02)
        killed.kill()
    hub.hold.set()
    (left,) = disk.models(cache)
    assert left.path is None and left.bytes >= 1_500_000
    assert pull(Name("org/big")).read_bytes() == data
    again = hub.asked[-1][1]
    assert again is not None and int(again[len("bytes=") : -1]) == left.bytes


def test_a_server_that_knows_no_ranges_sends_it_anew(hub: FakeHub, cache: Path) -> None:
    data = os.urandom(5_000_000)
    hub.repositories["org/big"] = {"big-Q8_0.gguf": data}
    hub.cut, hub.ranges = [4_000_000], False
    heard = Heard()
    assert pull(Name("org/big"), watch=heard).read_bytes() == data
    assert heard.done == len(data)


def test_corrupt_bytes_are_refused_and_not_kept(hub: FakeHub, cache: Path, name: Name) -> None:
    hub.bad["tiny-Q4_K_M.gguf"] = b"Q4" * 2000
    with pytest.raises(HubError, match=r"tiny-Q4_K_M.gguf did not arrive as it is on the hub.*pull again"):
        pull(name)
    assert not blobs(cache) and not list(cache.glob("models--*/snapshots/*/*"))
    hub.bad.clear()
    assert pull(name).read_bytes() == ONE["tiny-Q4_K_M.gguf"]


def test_corrupt_small_files_are_refused_too(hub: FakeHub, cache: Path) -> None:
    hub.repositories["org/folder"] = {"config.json": b"{}", "model.safetensors": b"w" * 3000}
    hub.bad["config.json"] = b"[]"
    with pytest.raises(HubError, match=r"config.json did not arrive"):
        pull(Name("org/folder"))


def test_a_file_that_goes_on_too_long_is_refused(hub: FakeHub, cache: Path, name: Name) -> None:
    hub.bad["tiny-Q4_K_M.gguf"] = ONE["tiny-Q4_K_M.gguf"] + b"more"
    with pytest.raises(HubError, match="did not arrive"):
        pull(name)
    assert not blobs(cache)


@pytest.mark.parametrize("listed", [True, False])
def test_gated_says_what_to_do(hub: FakeHub, cache: Path, name: Name, monkeypatch: pytest.MonkeyPatch, listed: bool) -> None:
    hub.token, hub.listed = "hf_right", listed
    with pytest.raises(HubError, match=r"gated \(HTTP 401\): ask for access at http.*/org/tiny-GGUF; then set HF_TOKEN"):
        pull(name)
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(HubError, match="your token has no access"):
        pull(name)
    assert not hub.asked
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setenv("HUGGING_FACE_HUB_TOKEN", "hf_right")
    assert pull(name).exists()


def test_nothing_there(hub: FakeHub, cache: Path, name: Name) -> None:
    with pytest.raises(HubError, match=r"no model org/none on 127.0.0.1:\d+.*404.*check the name"):
        pull(Name("org/none"))
    with pytest.raises(HubError, match="no revision 'v9'"):
        pull(name, revision="v9")


def test_private_or_forbidden(hub: FakeHub, cache: Path, name: Name, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.token, hub.listed, hub.refusal = "hf_right", False, (401, "RepoNotFound")
    with pytest.raises(HubError, match=r"or it is private \(HTTP 401\): check the name; set HF_TOKEN if it is private"):
        pull(name)
    hub.refusal = (403, "")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(HubError, match=r"gated \(HTTP 403\).*your token has no access to it yet"):
        pull(name)


def test_a_revision(hub: FakeHub, cache: Path, name: Name, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pull(name, revision="v2")
    assert (cache / "models--org--tiny-GGUF" / "refs" / "v2").read_text() == COMMIT
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert pull(name, revision="v2") == pull(name, revision=COMMIT) == path
    monkeypatch.delenv("HF_HUB_OFFLINE")
    assert pull(name, revision="refs/pr/1") == path
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert pull(name, revision="refs/pr/1") == path
    with pytest.raises(HubError, match="at revision v3 is not in the cache"):
        pull(name, revision="v3")


def test_a_busy_hub_is_asked_again_when_it_says(hub: FakeHub, cache: Path, name: Name, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(remote, "time", SimpleNamespace(sleep=slept.append))
    hub.busy, hub.retry_after = 2, "7"
    heard = Heard()
    assert pull(name, watch=heard).exists()
    assert slept == [7.0, 7.0] and "busy (HTTP 429); trying again in 7 s" in heard.said[0]


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
def test_a_hub_in_trouble_is_asked_again(hub: FakeHub, cache: Path, name: Name, status: int) -> None:
    hub.busy, hub.trouble = 2, status
    heard = Heard()
    assert pull(name, watch=heard).exists()
    assert [said[-17:] for said in heard.said] == [
        "trying again in 1 s"[-17:],
        "trying again in 2 s"[-17:],
    ] and f"HTTP {status}" in heard.said[0]


def test_another_host_gets_no_token(hub: FakeHub, cache: Path, name: Name, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes of large files come from elsewhere."""
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with serving() as other:
        other.repositories, hub.elsewhere = hub.repositories, other.url.replace("127.0.0.1", "localhost")
        assert pull(name).read_bytes() == ONE["tiny-Q4_K_M.gguf"]
        assert hub.tokens == {"Bearer hf_secret"} and other.tokens == {None} and len(other.asked) == 1


def test_a_token_that_is_none(hub: FakeHub, cache: Path, name: Name, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub refuses it for what anybody may have, too."""
    monkeypatch.setenv("HF_TOKEN", "hf_old")
    hub.token, hub.listed, hub.refusal, hub.message = "hf_new", False, (401, ""), "Invalid credentials in Authorization header"
    with pytest.raises(HubError, match=r"refuses your token \(HTTP 401\): HF_TOKEN, or what `hf auth login` stored"):
        pull(name)


@pytest.mark.parametrize("variables", [{"HF_ENDPOINT": "http://["}, {"HF_ENDPOINT": "http://a", "ALL_PROXY": "socks9://a"}], ids=str)
def test_an_address_or_a_proxy_that_is_none(cache: Path, variables: dict[str, str]) -> None:
    done = subprocess.run([sys.executable, "-m", "heron", "pull", "a/b"], capture_output=True, text=True, env=os.environ | variables)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert " cannot be asked: " in done.stderr and "check HF_ENDPOINT, and the proxy in HTTPS_PROXY or ALL_PROXY" in done.stderr


def test_a_hub_that_stays_busy(hub: FakeHub, cache: Path, name: Name) -> None:
    hub.busy, hub.retry_after = 1000, "0"
    with pytest.raises(HubError, match=r"no more requests for now \(HTTP 429\)"):
        pull(name)
    assert 1000 - hub.busy == remote.TRIES
    hub.retry_after = "86400"
    with pytest.raises(HubError, match="try again in 86400 s"):
        pull(name)
    assert 1000 - hub.busy == remote.TRIES + 1


def test_what_is_no_hub(hub: FakeHub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "listing", b"<html>")
    with pytest.raises(HubError, match=r"does not answer as a hub does; check HF_ENDPOINT"):
        pull(Name("org/tiny-GGUF"))
    monkeypatch.setattr(hub, "listing", b'{"siblings": []}')
    with pytest.raises(HubError, match="names no commit"):
        pull(Name("org/tiny-GGUF"))


def test_no_hub_at_all(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    heard = Heard()
    with pytest.raises(HubError, match=r"127.0.0.1:9 cannot be reached .*check the connection"):
        pull(Name("org/tiny-GGUF"), watch=heard)
    assert [said[-3:] for said in heard.said] == ["1 s", "2 s"]


def test_too_little_room_is_told_before_anything_comes(hub: FakeHub, cache: Path, name: Name, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 3000))
    with pytest.raises(HubError, match=r"0.00 GiB are free at .*free some"):
        pull(name)
    assert not hub.asked


def test_a_disk_that_fills_up(hub: FakeHub, cache: Path, name: Name, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(HubError, match=r"the disk with .* is full; free some of it and pull again"):
        pull(name)
    assert not list(cache.glob("models--*/snapshots/*/*"))
    monkeypatch.undo()


def test_two_pulls_at_once_are_one_download(hub: FakeHub, cache: Path, name: Name) -> None:
    hub.slow = 1.5
    command = [sys.executable, "-m", "heron", "pull", "org/tiny-GGUF"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    printed = [each.communicate(timeout=60) for each in both]
    assert [each.returncode for each in both] == [0, 0], printed
    assert len({out for out, _ in printed}) == 1 and Path(printed[0][0].strip()).read_bytes() == ONE["tiny-Q4_K_M.gguf"]
    assert len(hub.asked) == 1


def test_a_file_that_lost_its_end_comes_again(hub: FakeHub, cache: Path, name: Name) -> None:
    """What other programs fetch is not always written out when the power is cut."""
    path = pull(name)
    with path.open("r+b") as file:
        file.truncate(1000)
    assert pull(name).read_bytes() == ONE["tiny-Q4_K_M.gguf"] and len(hub.asked) == 2


def test_a_cache_that_is_only_read_gives_what_it_has(hub: FakeHub, cache: Path, name: Name, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pull(name)

    def refused(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "write_text", refused)
    monkeypatch.setattr(os, "utime", refused)
    assert pull(name) == locate(str(name)) == path
    with pytest.raises(HubError, match=r"cannot be written: Read-only file system; name another cache with HF_HOME"):
        pull(name, revision="v2")


def test_split_files_come_together(hub: FakeHub, cache: Path) -> None:
    parts = {f"Q4_K_M/big-Q4_K_M-0000{n}-of-00003.gguf": bytes([n]) * 3000 for n in (1, 2, 3)}
    hub.repositories["org/split"] = parts | {"big-Q8_0.gguf": b"8" * 3000}
    path = pull(Name("org/split"))
    assert path.name == "big-Q4_K_M-00001-of-00003.gguf"
    assert {each.name: each.read_bytes() for each in path.parent.iterdir()} == {key.split("/")[1]: data for key, data in parts.items()}
    path.with_name("big-Q4_K_M-00003-of-00003.gguf").unlink()
    assert locate("org/split:Q4_K_M") == path and path.with_name("big-Q4_K_M-00003-of-00003.gguf").exists()


def test_a_name_is_taken_from_the_cache_without_the_hub(hub: FakeHub, cache: Path, name: Name, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pull(name)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert locate("org/tiny-GGUF") == locate("org/tiny-GGUF:q4_k_m") == path
    for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        with monkeypatch.context() as context:
            context.setenv(variable, "1")
            assert pull(name) == path
            with pytest.raises(HubError, match=rf"org/tiny-GGUF:Q8_0 is not in the cache .*{variable}"):
                locate("org/tiny-GGUF:Q8_0")


@pytest.mark.parametrize("path", ["../../evil.gguf", "/etc/evil.gguf", "a\\b.gguf", "c:evil.gguf"])
def test_a_hub_that_names_files_outside(hub: FakeHub, cache: Path, path: str) -> None:
    hub.repositories["org/evil"] = {path: b"x" * 3000}
    with pytest.raises(HubError, match="makes no sense"):
        pull(Name("org/evil"))
    assert not cache.exists()


def test_another_cache(hub: FakeHub, name: Name, tmp_path: Path) -> None:
    given: Any = tmp_path / "mine"
    assert pull(name, cache=given).is_relative_to(given) and locate(str(name), cache=given)


def test_no_home_is_no_place_for_models(hub: FakeHub, name: Name, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container whose user is nobody that the system knows."""
    monkeypatch.delenv("HF_HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    monkeypatch.chdir(tmp_path)
    assert disk.models(disk.folder()) == [] and locate("no-name") is None
    with pytest.raises(HubError, match=r"no home directory here.*HF_HOME"):
        pull(name)
    assert not list(tmp_path.glob("~*"))
