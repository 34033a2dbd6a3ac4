"""All benchmarks, one after the other, and the pages that show them.

    python benchmarks/all.py DATA_FOLDER READS_FOLDER BULK_FOLDER SPATIAL_FOLDER

Results go to `docs/_static/benchmarks`. This takes many hours on two cores; each script can be
run alone, on a part of the data.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
OUT = HERE.parent / "docs" / "_static" / "benchmarks"
ON_CELLS = (
    "accuracy",
    "downsampling",
    "masking",
    "clustering",
    "false_signals",
    "ablation",
    "transfer",
)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", help="folder of .h5ad files with counts in X")
    parser.add_argument("reads_folder", help="folder of .h5ad files with reads in X")
    parser.add_argument("bulk_folder", help="folder of .h5ad files of bulk tables")
    parser.add_argument("spatial_folder", help="folder of .h5ad files of targeted panels")
    arguments = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    commands = [[name, arguments.folder, "--out", f"{OUT}/{name}.csv"] for name in ON_CELLS]
    reads = ["reads", arguments.folder, arguments.reads_folder]
    agreement = ["agreement", arguments.folder, arguments.bulk_folder]
    unmeasured = ["unmeasured", arguments.folder, "--spatial", arguments.spatial_folder]
    commands += [
        [*reads, "--out", f"{OUT}/reads.csv"],
        [*agreement, "--out", f"{OUT}/agreement.csv"],
        [*unmeasured, "--out", f"{OUT}/unmeasured.csv"],
        ["trust", arguments.folder, "--out", f"{OUT}/trust"],
        ["step", "--out", f"{OUT}/step.csv"],
        ["scale", "--out", f"{OUT}/scale.csv"],
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
