"""What a user set up: models, settings, the environment, the port, and whether a model answers."""

from __future__ import annotations

import os
import shutil
import urllib.error
import urllib.request
from json import dumps
from pathlib import Path
from typing import Any

from heron import pocket
from heron.cli.checks.check import REPORT, Check, Died, apart
from heron.cli.checks.hiding import SHOWN
from heron.cli.info import human_bytes
from heron.compiled import core
from heron.config import SETTINGS, Config
from heron.errors import HeronError, RequestError
from heron.hub import cache

#: Free bytes of the cache's disk below which hardly a model can be pulled.
LITTLE_DISK = 5 << 30

#: Beginnings of the names of variables that bear on Heron, and others that do.
_PREFIXES = ("HERON_", "HF_", "HUGGINGFACE_HUB_", "HUGGING_FACE_HUB_", "CUDA_", "TRITON_", "PYTORCH_")
_OTHERS = {"TRANSFORMERS_OFFLINE", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "OMP_NUM_THREADS"}
_OTHERS |= {"LD_PRELOAD", "LD_LIBRARY_PATH", "PYTHONPATH", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"}

_LOCAL = ("127.0.0.1", "localhost", "::1")


def models(check: Check) -> None:
    """The cache: where, how much is in it, and whether more can be pulled."""
    folder = cache.folder()
    found = cache.models(folder) if os.path.isdir(folder) else []
    whole, cut = [each for each in found if each.path], [each for each in found if not each.path]
    there = next(path for path in (folder, *folder.absolute().parents) if os.path.exists(path))
    writable, free = os.access(there, os.W_OK | os.X_OK) and there.is_dir(), shutil.disk_usage(there).free
    size = sum(each.bytes for each in whole)
    check.facts = {"folder": str(folder), "models": len(whole), "bytes": size, "cut": len(cut), "writable": writable, "disk_free": free}
    check.says = [str(folder), f"{len(whole) or 'no'} model{'s' if len(whole) != 1 else ''}" + (f", {human_bytes(size)}" if whole else "")]
    check.says += [f"{human_bytes(free)} free", *(["not made yet"] if not os.path.exists(folder) else [])]
    if not writable:
        check.warnings.append(f"{there} is not writable: nothing can be pulled; HF_HOME or model.cache_dir names another folder")
    elif free < LITTLE_DISK:
        check.warnings.append(f"{human_bytes(free)} is little disk: heron delete makes room; HF_HOME or model.cache_dir names another one")
    if cut:
        check.warnings.append(f"{len(cut)} pull{'s' if len(cut) > 1 else ''} was cut; heron pull goes on with it, heron delete removes it")


def settings(check: Check, config: Config | str) -> None:
    """Which files were read, and what differs from Heron's own defaults. ``config`` is what was wrong, where it could not be read."""
    if isinstance(config, str):
        check.problems.append(config)
        return
    from heron.server.auth import all_keys

    differing = [setting for setting in SETTINGS if config.entries[setting.name].source != "default"]
    shown = {each.name: "set" if each.secret else config[each.name] for each in differing}
    check.facts = {"files": [str(file) for file in config.files]}
    check.facts["settings"] = {name: {"value": value, "source": config.entries[name].source} for name, value in shown.items()}
    check.says = [str(file) for file in config.files] or ["no file was read"]
    check.says += [f"{name} = {dumps(value)}" for name, value in shown.items()] or ["all defaults"]
    check.warnings += [f"{warning}; correct or unset it" for warning in config.warnings]
    if named := config["server.api_key_file"]:
        try:
            all_keys([], Path(named))
        except HeronError as error:
            check.problems.append(str(error))
    if config["server.host"] not in _LOCAL and not (config["server.api_key"] or config["server.api_key_file"]):
        check.warnings.append(f"server.host is {config['server.host']} and no key is set: whoever reaches it may use it; set HERON_API_KEY")


def variables(check: Check) -> None:
    """Variables that bear on Heron; of those whose value may be a secret, that they are set."""
    found = {name: value for name, value in sorted(os.environ.items()) if value and (name.startswith(_PREFIXES) or name.upper() in _OTHERS)}
    check.facts = {name: value if name in SHOWN else "set" for name, value in found.items()}
    check.says = [f"{name}={value}" if name in SHOWN else f"{name} is set" for name, value in found.items()] or [
        "nothing that bears on Heron"
    ]


def port(check: Check, config: Config | str) -> None:
    """Whether `heron serve` could listen where the settings say."""
    from heron.server.listening import listen

    values: Any = {} if isinstance(config, str) else config
    host, number = values.get("server.host", "127.0.0.1"), values.get("server.port", 11435)
    check.facts = {"host": host, "port": number, "free": True, "heron": None}
    check.says = [f"{number} on {host}"]
    try:
        for bound in listen(host, number):
            bound.close()
        check.says.append("free")
    except RequestError as error:
        check.facts["free"] = False
        check.facts["heron"] = answer = _health(host, number)
        if answer:
            check.says.append(f"Heron is there: {answer}")
        else:
            check.warnings.append(str(error))


def _health(host: str, number: int) -> str:
    """What a Heron that listens there says of itself; "" where it is another program."""
    there = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    there = f"[{there}]" if ":" in there else there
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{there}:{number}/health", timeout=2) as answer:
            return "ready" if answer.read(100).replace(b" ", b"") == b'{"status":"ok"}' and "x-request-id" in answer.headers else ""
    except urllib.error.HTTPError as error:
        return "loading a model, or stopping" if error.code == 503 and "x-request-id" in error.headers else ""
    except (OSError, ValueError):
        return ""


def answers(check: Check) -> None:
    """The pocket model answers, and the kernels compute what the reference backend does."""
    from heron.engine.selftest import Tested

    path = pocket.path()
    if not path.exists():
        check.warnings.append("the pocket model is not part of this installation, so nothing was run; name a model: heron run MODEL")
        return
    backend = "reference" if core is None else "native"
    try:
        tested = Tested(**apart("heron.engine.selftest", "self_test", path.__fspath__(), backend))
    except Died as error:
        check.problems.append(f"the pocket model does not run on the {backend} backend: {error}; {REPORT}")
        return
    check.facts = {"backend": backend, **vars(tested), "agrees": tested.agrees}
    check.says = [
        f"the pocket model answers on the {backend} backend",
        f"{tested.tokens_per_second:.0f} tokens/s",
        f"loaded in {tested.load_seconds:.2f} s",
    ]
    if not tested.agrees:
        isa = "try HERON_ISA=portable, and please report it"
        check.problems.append(f"its tokens are not the reference backend's (one is {tested.behind:.1f} nats behind); {isa}")
    elif backend == "native":
        check.says.append("its tokens are the reference backend's")
