"""The programs of docs/clients.md: fenced blocks whose info string is a language and a file name."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "clients.md"

# The folder of the work folder each language's files belong in.
FOLDERS = {"python": "python", "js": "npm", "go": "go", "rust": "rust", "java": "spring"}

BLOCK = re.compile(r"^```(\w+) (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def read_all():
    """`{file name: (folder, lines)}` of every named block."""
    blocks = {}
    for language, name, lines in BLOCK.findall(PAGE.read_text()):
        if name in blocks:
            raise SystemExit(f"docs/clients.md has two blocks named {name}")
        blocks[name] = (FOLDERS[language], lines)
    return blocks


def write_all(work):
    """Writes each block to its file below `work`; leaves an unchanged file alone, so that nothing is built twice."""
    blocks = read_all()
    for name, (folder, lines) in blocks.items():
        path = work / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text() != lines:
            path.write_text(lines)
    return set(blocks)
