"""Bring faults about while the suite `smoke` runs; whatever is lost, or wrong without a word, is a failure.

python tests/faults/harness.py                      everything; about an hour on two cores
python tests/faults/harness.py --kills 20 --only kills corruption
python tests/faults/harness.py --list

Needs Linux. Faults that need mounts need root and are left out, with the reason, without it.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from kills import random_kills
from workplace import Count, make_reference

INSIDE = "REPROOD_FAULTS_INSIDE"


def table(counts: list[Count]) -> str:
    """The counts as Markdown."""
    head = "| fault | times | the same command went on | a sentence said what to do | losses |\n|---|---|---|---|---|\n"
    rows = [
        f"| {c.fault}{f' ({c.note})' if c.note else ''} | {c.times} | {c.healed} | {c.said} | {len(c.losses)} |"
        for c in counts
    ]
    total = f"| all | {sum(c.times for c in counts)} | {sum(c.healed for c in counts)} | "
    return head + "\n".join(rows) + f"\n{total}{sum(c.said for c in counts)} | {sum(len(c.losses) for c in counts)} |"


def own_mounts() -> None:
    """Go on in a mount namespace of its own, so that every mount ends with this process."""
    if os.geteuid() == 0 and INSIDE not in os.environ and shutil.which("unshare"):
        os.environ[INSIDE] = "1"
        os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", sys.executable, *sys.argv])


def main() -> int:
    from faults import FAULTS

    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--kills", type=int, default=100)
    reader.add_argument("--seed", type=int, default=0)
    reader.add_argument("--cores", type=int, default=2)
    reader.add_argument("--only", nargs="+", choices=["kills", *FAULTS], help="some of the faults")
    reader.add_argument("--list", action="store_true", help="print the names of the faults")
    reader.add_argument("--folder", type=Path, help="where to work; kept, so that kills go on there")
    chosen = reader.parse_args()
    if chosen.list:
        print("\n".join(["kills", *FAULTS]))
        return 0
    own_mounts()
    folder = (chosen.folder or Path(tempfile.mkdtemp(prefix="reprood-faults-"))).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()

    def say(line: str) -> None:
        print(f"[{time.monotonic() - begun:6.0f} s] {line}", flush=True)

    reference = make_reference(folder / "reference", chosen.cores)
    say(f"the reference has {len(reference.files)} files and {len(reference.pages)} pages")
    counts: list[Count] = []
    for name, bring_about in FAULTS.items():
        if chosen.only is None or name in chosen.only:
            say(name)
            new = bring_about(folder / "place", reference, chosen.seed, chosen.cores)
            for count in new:
                told = f"{count.times} times, {count.healed} went on, {count.said} told what to do"
                say(f"{count.fault}: {told} {count.note}")
                for loss in count.losses:
                    say(f"LOSS: {loss}")
            counts += new
    if chosen.only is None or "kills" in chosen.only:
        counts += random_kills(folder / "place", reference, chosen.kills, chosen.seed, chosen.cores, say)
    print(table(counts))
    losses = [f"{count.fault}: {loss}" for count in counts for loss in count.losses]
    print("\n".join(losses[:50]) or f"No losses; {time.monotonic() - begun:.0f} s.")
    if chosen.folder is None:
        shutil.rmtree(folder)
    return 1 if losses else 0


if __name__ == "__main__":
    sys.exit(main())
