"""`make bench`: starts latentd and, in turn, what a user would write or pick instead, and measures them.

    make bench                                            everything, less than half an hour on two cores
    make bench ARGS='--quick'                             without the large model, in a few minutes, to see that it works
    make bench ARGS='--only tiny --seconds 5 --repeats 3'

Results go to bench/results/serving.json, a scenario at a time: one that is measured again replaces its old self. The
tables of docs/BENCHMARKS.md are made from that file. A quick run leaves both alone and prints its tables.
"""

import argparse
import json
import os
import pathlib
import platform
import subprocess
import time

from bench import images, models, tables
from bench.scenarios import SCENARIOS, Bench, say
from bench.servers import ROOT, Place

RESULTS = ROOT / "bench" / "results" / "serving.json"
DOCUMENT = ROOT / "docs" / "BENCHMARKS.md"
FLAGS = ("avx2", "fma", "avx512f", "avx512_vnni", "amx_tile")


def machine(place: Place) -> dict:
    """The machine, the tools and the versions that the figures depend on."""
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    about = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    memory = pathlib.Path("/proc/meminfo").read_text().split()[1]
    versions = {"latentd": output([str(place.latentd), "--version"]).removeprefix("latentd "), "python": platform.python_version()}
    for file in sorted((ROOT / "bench" / "requirements").glob("*.txt")):
        # the first block names what is used, the second what that brings
        named = file.read_text().split("\n\n")[0]
        versions |= dict(line.split("==") for line in named.splitlines() if "==" in line)
    return {
        "cpu": about.get("model name", platform.processor()),
        "cores": place.cores,
        "flags": [flag for flag in FLAGS if flag in about.get("flags", "").split()],
        "memory_gib": int(memory) >> 20,
        "kernel": platform.release(),
        "rustc": output(["rustc", "--version"]).split(" ")[1],
        "commit": output(["git", "-C", str(ROOT), "describe", "--always", "--dirty"]),
        "versions": versions,
    }


def output(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latentd", type=pathlib.Path, required=True, help="the server's program")
    parser.add_argument("--serving", type=pathlib.Path, required=True, help="the program of benches/serving")
    parser.add_argument("--folder", type=pathlib.Path, default=ROOT / "target" / "bench-serving", help="for models, images, logs")
    parser.add_argument("--only", action="append", choices=SCENARIOS, help="a scenario; may be given again")
    parser.add_argument("--seconds", type=float, help="of each measurement, in place of the scenario's own")
    parser.add_argument("--repeats", type=int, default=3, help="rounds in which every server has its turn")
    parser.add_argument("--overload-seconds", type=float, default=60)
    parser.add_argument("--cores", type=int, default=2, help="everything is pinned to so many cores, the load included")
    parser.add_argument("--quick", action="store_true", help="one short round without the large model; the results are not kept")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    cores = sorted(os.sched_getaffinity(0))[: options.cores]
    # whatever is started from here inherits it
    os.sched_setaffinity(0, cores)
    library = ROOT / ".ort" / "lib" / "libonnxruntime.so"
    place = Place(options.folder.resolve(), options.latentd.resolve(), options.serving.resolve(), library.resolve(), len(cores))
    say("models and images")
    for encoder in models.ENCODERS:
        models.write(encoder, place.folder / "models")
    images.write(place.folder / "images")
    bench = Bench(place, options.repeats, options.seconds, options.overload_seconds)
    file = RESULTS
    if options.quick:
        bench = Bench(place, 1, options.seconds or 2, min(options.overload_seconds, 8))
        file = place.folder / "quick.json"
    results = tables.current(json.loads(file.read_text())) if file.exists() else {"scenarios": {}}
    bench.found = results["scenarios"]
    quick = [name for name in SCENARIOS if "large" not in name]
    for name in options.only or (quick if options.quick else SCENARIOS):
        say(f"== {name}")
        begun = time.time()
        try:
            found = SCENARIOS[name](bench)
        except RuntimeError as error:
            say(f"{name} failed: {error}")
            continue
        about = {"day": time.strftime("%Y-%m-%d"), "seconds": round(time.time() - begun), "repeats": bench.repeats}
        results["scenarios"][name] = {**about, "machine": machine(place), **found}
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    text = tables.markdown(results["scenarios"])
    if options.quick:
        print(text)
    else:
        DOCUMENT.write_text(tables.placed(DOCUMENT.read_text(), text))
        say(f"{file.relative_to(ROOT)} and {DOCUMENT.relative_to(ROOT)} are written")


if __name__ == "__main__":
    main()
