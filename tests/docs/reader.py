"""Somebody who follows a page of the docs: types its commands one after the other, keeps its servers running, talks where one talks."""

from __future__ import annotations

import io
import os
import pty
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from belongings import hub_files
from fake_hub import hub
from pages import ROOT, Block, blocks, commands, words

from heron.cli import main
from heron.models import registry

#: What one command may take, in seconds: on a machine that is busy otherwise, too.
PATIENCE = 300.0

#: What only a shell understands: such lines are given to one, others run in this process, which is quicker.
_FOR_A_SHELL = re.compile(r"[|&;<>$`*(){}]")


class Reader:
    """``folder`` is where the commands are typed; it holds what pages take for granted (belongings.py)."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], around: ExitStack) -> None:
        self._folder, self._monkeypatch, self._capsys = folder, monkeypatch, capsys
        self._ports: dict[str, str] = {}
        self._server: subprocess.Popen[bytes] | None = None
        self._names: dict[str, object] = {"__name__": "__main__"}
        around.callback(self._stop)
        fake = around.enter_context(hub())
        fake.repositories |= hub_files()
        self._at_home(fake.url)
        registry.load_families()
        monkeypatch.setattr(registry, "FAMILIES", dict(registry.FAMILIES))  # a page adds one

    def _at_home(self, hub_url: str) -> None:
        """Commands find Heron, a home of the reader's, and no hub but the tests'."""
        home, programs = self._folder / "home", self._folder / "home/bin"
        programs.mkdir(parents=True)
        for name, line in {
            "heron": f'exec {shlex.quote(sys.executable)} -m heron "$@"',
            "python": f'exec {shlex.quote(sys.executable)} "$@"',
            "curl": f'exec {shutil.which("curl")} -sS --fail-with-body "$@"',
        }.items():
            (programs / name).write_text(f"#!/bin/sh\n{line}\n")
            (programs / name).chmod(0o755)
        for name in [name for name in os.environ if name.startswith(("HERON_", "HF_", "HUGGING"))]:
            self._monkeypatch.delenv(name)
        settings = {"HOME": home, "XDG_CONFIG_HOME": home / ".config", "HF_HOME": home / "hf", "HF_ENDPOINT": hub_url}
        settings |= {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": ROOT,
            "EDITOR": "true",
            "HERON_SERVER_PORT": self._port("11435"),
        }
        for name, value in settings.items():
            self._monkeypatch.setenv(name, str(value))
        self._monkeypatch.chdir(self._folder)

    def follow(self, page: Path, skips: Callable[[str], bool]) -> None:
        """Run all of a page but what ``skips`` names. Fails where a command does, or shows something else than the page."""
        for block in blocks(page):
            if block.language == "python":
                shown = self._python(block)
            elif block.language == "sh":
                typed = [(line, command) for line, command in commands(block) if not skips(command)]
                shown = "".join(self._type(command, f"{page.name}:{line}: {command}") for line, command in typed)
            else:
                continue
            if block.shows is not None and not alike(block.shows, shown):
                pytest.fail(f"{block}: the page shows\n{block.shows}\nand it is\n{shown}")
        self._stop()

    # Commands

    def _type(self, command: str, where: str) -> str:
        command = self._local(command)
        typed = words(command)
        named = [word for word in typed if not re.match(r"[A-Z_]+=", word)]
        if named[:2] == ["heron", "serve"] and "--help" not in named:
            return self._serve(command, where)
        if _talks(typed):
            return self._talk(command, where)
        if typed[0] == "heron" and not _FOR_A_SHELL.search(re.sub(r"'[^']*'|\"[^\"$`]*\"| #.*", "", command)):
            return self._here(typed[1:], where)
        done = subprocess.run(["sh", "-c", command], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, f"{where}: exit status {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def _here(self, arguments: list[str], where: str) -> str:
        """The command in this process."""
        self._monkeypatch.setattr(sys, "argv", ["heron", *arguments])
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        printed = self._capsys.readouterr()
        assert not ended.value.code, f"{where}: exit status {ended.value.code}\n{printed.err}"
        return printed.out

    def _talk(self, command: str, where: str) -> str:
        """A command that talks, in a terminal: says hello, and takes its leave."""
        ours, theirs = pty.openpty()
        talking = subprocess.Popen(["sh", "-c", command], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
        os.close(theirs)
        heard: list[bytes] = []

        def listen() -> None:
            with suppress(OSError):  # the terminal is gone
                while said := os.read(ours, 65536):
                    heard.append(said)

        ears = threading.Thread(target=listen, daemon=True)
        ears.start()
        end = time.monotonic() + PATIENCE
        try:
            while not heard and time.monotonic() < end and talking.poll() is None:
                time.sleep(0.05)
            os.write(ours, b"Hello\r")
            while talking.poll() is None and time.monotonic() < end:
                time.sleep(0.5)
                with suppress(OSError):
                    os.write(ours, b"\x04")
        finally:
            talking.kill()
            talking.wait()
            ears.join(5)
            os.close(ours)
        said = b"".join(heard).decode(errors="replace")
        assert talking.returncode == 0, f"{where}: exit status {talking.returncode}\n{said}"
        return said

    # Servers

    def _serve(self, command: str, where: str) -> str:
        """Start a server, in place of the one before; it runs until the page ends."""
        self._stop()
        asked = re.search(r"--port[ =](\d+)", command) or re.search(r"HERON_SERVER_PORT=(\d+)", command)
        port = asked[1] if asked else self._port("11435")
        command = "exec env " + command.rstrip("& ")
        log = (self._folder / "home/server.log").open("wb")
        with log:
            self._server = subprocess.Popen(["sh", "-c", command], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and self._server.poll() is None:
            with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                if answer.status == 200:
                    return ""
            time.sleep(0.05)
        pytest.fail(f"{where}: the server is not ready\n{(self._folder / 'home/server.log').read_text()}")

    def _stop(self) -> None:
        """Stop the server as a reader does, with Ctrl-C."""
        server, self._server = self._server, None
        if server is None:
            return
        server.send_signal(signal.SIGINT)
        try:
            status = server.wait(PATIENCE)
        finally:
            server.kill()
        assert status == 0, f"the server ended with status {status}\n{(self._folder / 'home/server.log').read_text()}"

    def _local(self, text: str) -> str:
        """A command, or a program, with free ports in place of those that it names."""
        text = re.sub(r"(127\.0\.0\.1|localhost):(\d{4,5})\b", lambda found: f"{found[1]}:{self._port(found[2])}", text)
        return re.sub(r"(--port[ =]|HERON_SERVER_PORT=)(\d+)", lambda found: found[1] + self._port(found[2]), text)

    def _port(self, named: str) -> str:
        if named not in self._ports:
            with socket.create_server(("127.0.0.1", 0)) as free:
                self._ports[named] = str(free.getsockname()[1])
        return self._ports[named]

    # Programs

    def _python(self, block: Block) -> str:
        """The block, in one session with those before it on the page."""
        self._capsys.readouterr()
        exec(compile("\n" * (block.line - 1) + self._local(block.text), str(block), "exec"), self._names)
        return self._capsys.readouterr().out


def _talks(typed: list[str]) -> bool:
    """Whether the command is a conversation: `heron chat`, or `heron run` without a prompt."""
    if typed[:2] == ["heron", "chat"]:
        return "--help" not in typed
    asked = {"-p", "--prompt", "-f", "--file", "--help", "<", "|"}
    return typed[:2] == ["heron", "run"] and not asked & set(typed)


def alike(shown: str, real: str) -> bool:
    """Whether a page's output is the real one: ``...`` stands for anything, and blanks at the ends of lines do not count."""
    pattern = ".*?".join(re.escape(part) for part in _trimmed(shown).split("..."))
    return re.fullmatch(pattern, _trimmed(real), re.DOTALL) is not None


def _trimmed(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip("\n").splitlines())
