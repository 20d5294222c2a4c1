# /// script
# requires-python = ">=3.11"
# dependencies = ["eva-data[train]", "huggingface_hub"]
# ///
"""Build iteration T: hf_job.py T. eva.yaml and the segments are in the dataset KEPT."""

import subprocess
import sys
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError

KEPT = "me/game-state"
here, api = Path("game"), HfApi()
snapshot_download(KEPT, repo_type="dataset", local_dir=here)
segments = here / "segments"
segments.mkdir(exist_ok=True)


def eva_data(*arguments: str) -> None:
    subprocess.run(["eva-data", *arguments], cwd=here, check=True)


def keep() -> None:
    eva_data("ledger", "export", "segments")
    # The tables and the trained solvers too, but no SQLite file, which may be in use, and no keys of servers.
    left_out = ["*.sqlite*", "*/jobs/*", "*/servers/*"]
    api.upload_folder(repo_id=KEPT, repo_type="dataset", folder_path=here, ignore_patterns=left_out)


if any(segments.iterdir()):
    eva_data("ledger", "import", "segments")
build = subprocess.Popen(["eva-data", "build", "--iter", sys.argv[1]], cwd=here)
while True:
    try:
        status = build.wait(600)
        break
    except subprocess.TimeoutExpired:
        # What was finished in these ten minutes outlives the job.
        try:
            keep()
        except HfHubHTTPError as error:
            print(f"the Hub did not take it, so it is tried again in ten minutes: {error}", file=sys.stderr)
keep()
if status == 0:
    eva_data("publish")
sys.exit(status)
