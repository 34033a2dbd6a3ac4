"""All benchmarks, one after the other, and the pages that show them.

    python benchmarks/all.py DATA_FOLDER READS_FOLDER BULK_FOLDER SPATIAL_FOLDER

The folders hold one `.h5ad` file per data set: `README.md` beside this file lists them, with their
accession numbers, where each matrix was taken from, and what was done to it. Results go to
`docs/_static/benchmarks`. This takes many hours on two cores; each script can be run alone, on a
part of the data.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
DATA = HERE / "README.md"
OUT = HERE.parent / "docs" / "_static" / "benchmarks"
ON_CELLS = (
    "accuracy",
    "downsampling",
    "masking",
    "clustering",
    "neighbours",
    "false_signals",
    "ablation",
    "transfer",
)
FOLDERS = {
    "data_folder": "with counts in X",
    "reads_folder": "with reads in X",
    "bulk_folder": "of bulk tables",
    "spatial_folder": "of targeted panels",
}


def missing(folders: dict[str, Path]) -> list[Path]:
    """Files that README.md lists and that are not there."""
    _, *parts = re.split(r"^`(\w+_FOLDER)`", DATA.read_text(encoding="utf-8"), flags=re.MULTILINE)
    listed = [
        folders[name] / f"{file}.h5ad"
        for name, text in zip(parts[::2], parts[1::2], strict=True)
        for file in re.findall(r"^\| `(\w+)` \|", text, flags=re.MULTILINE)
    ]
    return [path for path in listed if not path.is_file()]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, what in FOLDERS.items():
        parser.add_argument(name, type=Path, help=f"folder of .h5ad files {what}")
    arguments = parser.parse_args()
    lacking = missing({name.upper(): folder for name, folder in vars(arguments).items()})
    if lacking:
        parser.error(f"there is no {', '.join(map(str, lacking))}: see {DATA}")
    OUT.mkdir(parents=True, exist_ok=True)
    commands = [[name, arguments.data_folder, "--out", f"{OUT}/{name}.csv"] for name in ON_CELLS]
    reads = ["reads", arguments.data_folder, arguments.reads_folder]
    mouse = ["transfer", arguments.data_folder, "--datasets", "mouse_spleen_mca"]
    mouse += ["--bulk", "mouse", "human", "--lines", "no bulk", "start, MMD", "zero-shot"]
    agreement = ["agreement", arguments.data_folder, arguments.bulk_folder]
    unmeasured = ["unmeasured", arguments.data_folder, "--spatial", arguments.spatial_folder]
    commands += [
        [*mouse, "--out", f"{OUT}/mouse.csv"],
        [*reads, "--out", f"{OUT}/reads.csv"],
        [*agreement, "--out", f"{OUT}/agreement.csv"],
        [*unmeasured, "--out", f"{OUT}/unmeasured.csv"],
        ["trust", arguments.data_folder, "--out", f"{OUT}/trust"],
        ["step", "--out", f"{OUT}/step.csv"],
        ["scale", "--out", f"{OUT}/scale.csv"],
        ["../docs/figures/readme"],  # the first figure
        ["tables"],
    ]
    failed = []
    for name, *options in commands:
        print(name, file=sys.stderr)
        if subprocess.run([sys.executable, HERE / f"{name}.py", *options], check=False).returncode:
            failed.append(name)
    if failed:
        print(f"failed in part: {', '.join(failed)}", file=sys.stderr)
    return len(failed) > 0


if __name__ == "__main__":
    sys.exit(main())
