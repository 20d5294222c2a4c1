"""What the release 0.1.0 built, published and paid for goes on being of use: its ledgers are served, its datasets load,
verify, are pulled and built on, and tables of different age load together.

The fixtures were made by that release, and how is in `tests/fixtures/`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from misbehaving import Misbehaving
from recorded import calls, differing, probes
from sandbox import command

FIXTURES = Path(__file__).parent / "fixtures"
LEDGERS = FIXTURES / "ledgers"


@pytest.mark.parametrize("name", sorted(path.name for path in LEDGERS.iterdir()))
def test_a_ledger_of_the_first_release_serves_the_same_build_without_one_model_call(name: str, tmp_path: Path) -> None:
    work = Path(shutil.copytree(LEDGERS / name, tmp_path / name))
    folder, record = work / "data", json.loads((work / "build.json").read_text(encoding="utf-8"))
    ledger = folder / ".eva" / "ledger.sqlite"
    ledger.parent.mkdir(parents=True)
    shutil.move(work / "ledger.sqlite", ledger)
    before, known = calls(ledger), probes(ledger)
    assert before["generations"] == before["generations made"] > 0
    with Misbehaving() as server:
        settings = (work / "eva.yaml").read_text(encoding="utf-8")
        (work / "eva.yaml").write_text(
            settings.replace("http://server", server.url.removesuffix("/v1")), encoding="utf-8"
        )
        done = build(work, record["arguments"], server)
        assert done.returncode == 0, done.stderr
        assert [seen.prompt for seen in server.seen if seen.prompt not in known] == []
    assert calls(ledger) == before
    assert differing(folder, record["tables"]) == []


def build(work: Path, arguments: list[str], server: Misbehaving) -> subprocess.CompletedProcess[str]:
    """Run `eva-data build` in a folder with an eva.yaml, with this server for a provider."""
    here = "127.0.0.1,localhost"
    return subprocess.run(
        command(work / "data", "build", *arguments, settings=()),
        cwd=work,
        env=os.environ
        | {
            "PYTHONPATH": os.pathsep.join([str(work), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "OPENAI_API_BASE": server.url,
            "OPENAI_API_KEY": "sk-none",
            "no_proxy": here,
            "NO_PROXY": here,
        },
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
