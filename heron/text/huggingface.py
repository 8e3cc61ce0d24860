from pathlib import Path

from heron.text.parts import Parts


def folder_parts(folder: Path, name: str | None = None) -> Parts:
    raise NotImplementedError
