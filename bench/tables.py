"""The tables of docs/BENCHMARKS.md, section Serving, made from the results alone.

Figures are cut off against latentd: its own down where more is better and up where less is, those of others the other
way. Ratios are taken within a round, where both sides had the same minutes, and then the median of the rounds.
"""

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass

BEGIN, END = "<!-- serving: made by make bench -->", "<!-- serving: end -->"
# More of two cores than this in other hands, and a figure is marked.
BUSY_CORES = 0.1
BUSY = "°"

TITLES = {
    "latentd": "latentd",
    "latentd-latency": "latentd, one session over all cores",
    "fastapi": "FastAPI, work in the handler",
    "fastapi-threads": "FastAPI, work on threads",
    "litserve": "LitServe",
    "bentoml": "BentoML",
    "mlserver": "MLServer",
    "limit-tensors": "limit (a): ONNX Runtime on ready tensors",
    "limit-direct": "limit (b): decode, prepare, run, no server",
    "limit-direct-1": "limit (b) with one image a run",
    "limit-queued": "limit (b) through the server's queue",
}
PEERS = ("fastapi", "fastapi-threads", "litserve", "bentoml", "mlserver")

VERSIONED = {
    "onnxruntime": "ONNX Runtime",
    "fastapi": "FastAPI",
    "uvicorn": "uvicorn",
    "litserve": "LitServe",
    "bentoml": "BentoML",
    "mlserver": "MLServer",
    "pillow": "Pillow",
}

Cells = dict[str, list[dict]]

# Keys that results of before have, and what they are called now.
RENAMED = {"pictures_per_second": "images_per_second", "cpu_us_per_picture": "cpu_us_per_image"}


def current(results):
    """Results with today's keys: a scenario that is not measured again keeps its figures under their new names."""
    if isinstance(results, dict):
        return {RENAMED.get(key, key): current(value) for key, value in results.items()}
    return [current(value) for value in results] if isinstance(results, list) else results


def placed(document: str, text: str) -> str:
    """The document with what stands between the markers replaced."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the document lacks its markers {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{text.strip()}\n\n{END}{after}"


def cut(value: float, up: bool = False, digits: int = 3) -> str:
    """A figure cut off to so many digits that count, or rounded up where less is better."""
    if not math.isfinite(value) or value == 0:
        return "–" if not math.isfinite(value) else "0"
    places = digits - 1 - math.floor(math.log10(abs(value)))
    # a figure that is exact but for the last bit of a float stays as it is
    scaled = round(value * 10**places, 6)
    value = (math.ceil if up else math.floor)(scaled) / 10**places
    return f"{value:,.{max(0, places)}f}"


def percent(value: float, up: bool = False) -> str:
    return f"{(math.ceil if up else math.floor)(round(value * 1000, 6)) / 10:.1f} %"


def good(cells: list[dict]) -> list[dict]:
    return [cell for cell in cells if "failed" not in cell]


def values(cells: list[dict], read: Callable[[dict], float | None]) -> list[float]:
    found = (read(cell) for cell in good(cells))
    return [value for value in found if value is not None]


def spread(found: list[float], show: Callable[[float], str]) -> str:
    """The median, and the least and the most where there were several rounds."""
    if not found:
        return "–"
    middle = show(statistics.median(found))
    return middle if len(found) == 1 else f"{middle} ({show(min(found))} … {show(max(found))})"


def ratios(cells: list[dict], others: list[dict], read: Callable[[dict], float | None]) -> list[float]:
    """This one's figure in parts of the other's, round by round."""
    by_round = {cell["round"]: read(cell) for cell in good(others)}
    pairs = ((read(cell), by_round.get(cell["round"])) for cell in good(cells))
    return [one / other for one, other in pairs if one is not None and other]


def latency(percentile: str) -> Callable[[dict], float | None]:
    def read(cell: dict) -> float | None:
        answered = cell.get("statuses", {}).get("200") or cell.get("latency", {})
        return answered.get(f"{percentile}_ms")

    return read


def field(name: str) -> Callable[[dict], float | None]:
    return lambda cell: cell.get(name)


RATE, CPU, MEMORY = field("images_per_second"), field("cpu_us_per_image"), field("pss_mib")


def mark(cells: list[dict]) -> str:
    return f" {BUSY}" if any(cell.get("other_cores", 0) > BUSY_CORES for cell in cells) else ""


def throughput_table(scenario: dict) -> str:
    cells: Cells = scenario["cells"]
    own = cells.get("latentd", [])
    lines = ["| | images/s | p50 | p99 | processor time an image | memory |", "| --- | --- | --- | --- | --- | --- |"]
    columns = [(RATE, False), (latency("p50"), True), (latency("p99"), True), (CPU, True), (MEMORY, True)]
    units = ["", " ms", " ms", " µs", " MiB"]
    if good(own):
        figures = [
            spread(values(own, read), lambda value, up=up, unit=unit: cut(value, up) + unit)
            for (read, up), unit in zip(columns, units, strict=True)
        ]
        lines.append(f"| **latentd**{mark(own)} | {' | '.join(figures)} |")
    for name, title in TITLES.items():
        if name not in cells or name == "latentd":
            continue
        rows = cells[name]
        if not good(rows):
            lines.append(f"| {title} | not measured: {rows[0]['failed'].splitlines()[0]} | | | | |")
            continue
        shown = [
            spread(ratios(rows, own, read), lambda value, up=up: cut(value, not up) + " ×") if not is_empty(read, name) else ""
            for read, up in columns
        ]
        lines.append(f"| {title}{mark(rows)} | {' | '.join(shown)} |")
    return "\n".join(lines)


def is_empty(read: Callable, name: str) -> bool:
    """A limit answers nobody: its batches have no latency to compare, and nobody asks for its memory."""
    return name.startswith("limit") and read not in (RATE, CPU)


def latency_table(scenario: dict) -> str:
    lines = ["| | p50 | p90 | p99 | answered |", "| --- | --- | --- | --- | --- |"]
    for name, cells in scenario["cells"].items():
        if not good(cells):
            lines.append(f"| {TITLES[name]} | not measured: {cells[0]['failed'].splitlines()[0]} | | | |")
            continue
        ours = name.startswith("latentd")
        columns = [spread(values(cells, latency(p)), lambda value: cut(value, ours) + " ms") for p in ("p50", "p90", "p99")]
        answered = min(share_answered(cell) for cell in good(cells))
        lines.append(f"| {TITLES[name]}{mark(cells)} | {' | '.join(columns)} | {percent(answered)} |")
    return "\n".join(lines)


def share_answered(cell: dict) -> float:
    counts = {status: spread["count"] for status, spread in cell["statuses"].items()}
    whole = sum(counts.values()) + cell.get("unanswered", 0)
    return counts.get("200", 0) / whole if whole else 0.0


@dataclass(frozen=True)
class Verdict:
    aim: str
    reached: str
    holds: bool


def at_least(aim: str, found: list[float], bound: float) -> list[Verdict]:
    if not found:
        return []
    value = statistics.median(found)
    return [Verdict(aim, spread(found, cut), value >= bound)]


def at_most(aim: str, found: list[float], bound: float, unit: str = "") -> list[Verdict]:
    if not found:
        return []
    value = statistics.median(found)
    return [Verdict(aim, spread(found, lambda value: cut(value, up=True) + unit), value <= bound)]


def best(cells: Cells, names: tuple[str, ...]) -> str | None:
    """The name of the one with the highest rate."""
    measured = {name: values(cells.get(name, []), RATE) for name in names}
    rates = {name: statistics.median(found) for name, found in measured.items() if found}
    return max(rates, key=rates.get) if rates else None


def throughput_verdicts(name: str, scenario: dict) -> list[Verdict]:
    cells: Cells = scenario["cells"]
    own, direct = cells.get("latentd", []), best(cells, ("limit-direct", "limit-direct-1"))
    limit, peer = cells.get(direct, []), best(cells, PEERS)
    beside = ratios(own, cells.get(peer, []), RATE)
    title = TITLES.get(peer, "the best peer")
    if name == "tiny":
        return at_most(
            "tiny model: processor time an image at most 1.4 × limit (b)'s", ratios(own, limit, CPU), 1.4, " ×"
        ) + at_least(f"tiny model: at least 3.3 × the best peer's images/s ({title})", beside, 3.3)
    found = at_least(f"{name} model: at least 0.96 of limit (b)", ratios(own, limit, RATE), 0.96)
    found += at_least(f"{name} model: ahead of every peer (the best is {title})", beside, 1.0)
    found += at_least(
        f"{name} model: JSON of 768 numbers at least 0.97 of binary",
        # a model of 768 numbers gives them in any case
        ratios(cells.get("json-768", []), cells.get("octets-768", own), RATE),
        0.97,
    )
    if "12mp" in cells:
        found += at_least(f"{name} model: 12 megapixels at least 0.90 of 640 × 480", ratios(cells["12mp"], own, RATE), 0.90)
    return found


def latency_verdicts(scenario: dict) -> list[Verdict]:
    cells: Cells = scenario["cells"]
    found = ratios(cells.get("latentd-latency", []), cells.get(scenario["peer"], []), latency("p99"))
    aim = f"{scenario['model']} model: p99 at 80 % of the best peer's peak no worse than that peer's"
    return at_most(aim, found, 1.0, " ×")


def idle_verdicts(scenario: dict) -> list[Verdict]:
    cells: Cells = scenario["cells"]
    alone = {cell["round"]: latency("p50")(cell) for cell in good(cells.get("limit-single", []))}
    own = [(cell["round"], latency("p50")(cell)) for cell in good(cells.get("latentd", []))]
    added = [value - alone[number] for number, value in own if number in alone]
    return at_most("idle, one image: at most 0.15 ms above limit (b)", added, 0.15, " ms")


def overload_verdicts(scenario: dict) -> list[Verdict]:
    peak, over, deadline = scenario["peak"], scenario["over"], scenario["deadline_ms"]
    answered, refused = over["statuses"].get("200", {}), over["statuses"].get("429", {})
    found = at_least("overload: goodput at least 0.95 of the peak", ratios([{"round": 0, **over}], [{"round": 0, **peak}], RATE), 0.95)
    if "p99_ms" in answered:
        found += at_most(f"overload: p99 of what was accepted within the deadline of {deadline} ms", [answered["p99_ms"]], deadline, " ms")
    if "p99_ms" in refused:
        found += at_most("overload: refused in less than 10 ms (p99)", [refused["p99_ms"]], 10, " ms")
    growth = over["pss_mib"] / over["pss_mib_at_begin"]
    return found + at_most("overload: memory at the end, of that at the beginning", [growth], 1.1, " ×")


def share_of(cell: dict, status: str) -> float:
    """The share of one status among all that was due."""
    total = sum(found["count"] for found in cell["statuses"].values()) + cell.get("unanswered", 0)
    return cell["statuses"].get(status, {}).get("count", 0) / total if total else 0.0


def search_overload_verdicts(scenario: dict) -> list[Verdict]:
    peak, over, deadline = scenario["peak"], scenario["over"], scenario["deadline_ms"]
    answered, refused = over["statuses"].get("200", {}), over["statuses"].get("429", {})
    goodput = ratios([{"round": 0, **over}], [{"round": 0, **peak}], RATE)
    found = at_least("searches at 4 × their peak: goodput at least 0.95 of the peak", goodput, 0.95)
    if "p99_ms" in answered:
        aim = f"searches at 4 × their peak: p99 of what was accepted within the deadline of {deadline} ms"
        found += at_most(aim, [answered["p99_ms"]], deadline, " ms")
    # where nothing is refused the aim is missed, and the row says so
    aim = "searches at 4 × their peak: refused in less than 10 ms (p99)"
    found += at_most(aim, [refused["p99_ms"]], 10, " ms") if "p99_ms" in refused else [Verdict(aim, "nothing was refused", False)]
    return found + at_most("searches at 4 × their peak: p99 of /readyz less than 20 ms", [scenario["readyz"]["p99_ms"]], 20, " ms")


def search_overload_table(scenario: dict) -> str:
    peak, over, ready = (scenario[name] for name in ("peak", "over", "readyz"))
    columns = ["asked a second", "answered a second", "p50", "p99", "refused", "p99 of refusals", "late (504)", "/readyz p50", "/readyz p99"]
    milliseconds = lambda cell, key: cut(cell[key], up=True) + " ms" if key in cell else "–"  # noqa: E731
    answered, refused = over["statuses"].get("200", {}), over["statuses"].get("429", {})
    figures = [f"{cut(scenario['rate'])}{mark([over])}", f"{cut(over['images_per_second'])} of {cut(peak['images_per_second'], up=True)}"]
    figures += [milliseconds(answered, "p50_ms"), milliseconds(answered, "p99_ms"), percent(share_of(over, "429"))]
    figures += [milliseconds(refused, "p99_ms"), percent(share_of(over, "504"), up=True)]
    figures += [milliseconds(ready, "p50_ms"), milliseconds(ready, "p99_ms")]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (columns, ["---"] * len(columns), figures))


def bodies_verdicts(scenario: dict) -> list[Verdict]:
    idle, budget = scenario["idle_mib"], scenario["budget_mib"]
    aim = f"bodies of 32 MiB dropped against a stalled store: at most the budget of {cut(budget)} MiB above what an idle server takes"
    return at_most(aim, [scenario["most_mib"] - idle], budget, " MiB")


def start_verdicts(scenario: dict) -> list[Verdict]:
    cells = scenario["cells"]["latentd"]
    ready = at_most("start with the shipped models: ready in less than 1 s", values(cells, field("all_ready_seconds")), 1.0, " s")
    return ready + at_most("start with the shipped models: less than 250 MB resident", values(cells, megabytes), 250, " MB")


def megabytes(cell: dict) -> float:
    return cell["pss_mib"] * 1.048576


def decode_verdicts(scenario: dict) -> list[Verdict]:
    """Filled by another bench; the harness only shows it."""
    return [Verdict(**verdict) for verdict in scenario.get("verdicts", [])]


VERDICTS: dict[str, Callable[[dict], list[Verdict]]] = {
    "tiny": lambda scenario: throughput_verdicts("tiny", scenario),
    "middle": lambda scenario: throughput_verdicts("middle", scenario),
    "large": lambda scenario: throughput_verdicts("large", scenario),
    "latency-middle": latency_verdicts,
    "latency-large": latency_verdicts,
    "idle": idle_verdicts,
    "overload": overload_verdicts,
    "search-overload": search_overload_verdicts,
    "bodies": bodies_verdicts,
    "start": start_verdicts,
    "decode": decode_verdicts,
}

HEADINGS = {
    "tiny": "Tiny model, 32 × 32, {connections} connections",
    "middle": "Middle model, 640 × 480, {connections} connections",
    "large": "Large model, 640 × 480, {connections} connections",
}


def markdown(scenarios: dict[str, dict]) -> str:
    """The text that stands between the markers."""
    if not scenarios:
        return "Not measured yet."
    parts = [conditions(scenarios)]
    for name, heading in HEADINGS.items():
        if name in scenarios:
            parts += [f"### {heading.format(**scenarios[name])}", throughput_table(scenarios[name])]
    for name in ("latency-middle", "latency-large"):
        if name in scenarios:
            scenario = scenarios[name]
            rate = f"{cut(scenario['rate'])} images/s, 80 % of the peak of {TITLES[scenario['peer']]}"
            parts += [f"### Latency of the {scenario['model']} model at {rate}", latency_table(scenario)]
    if "search-overload" in scenarios:
        scenario = scenarios["search-overload"]
        heading = "### Exact searches among {items:,} × {dimension} vectors at four times their peak".format(**scenario["filled"])
        parts += [heading, search_overload_table(scenario)]
    verdicts = [verdict for name, read in VERDICTS.items() if name in scenarios for verdict in read(scenarios[name])]
    rows = [f"| {verdict.aim} | {verdict.reached} | {'yes' if verdict.holds else '**no**'} |" for verdict in verdicts]
    parts += ["### What was aimed at", "\n".join(["| aim | reached | holds |", "| --- | --- | --- |", *rows])]
    return "\n\n".join(parts)


def conditions(scenarios: dict[str, dict]) -> str:
    last = max(scenarios.values(), key=lambda scenario: scenario.get("day", ""))
    machine = last["machine"]
    days = sorted({scenario["day"] for scenario in scenarios.values()})
    repeats = sorted({scenario["repeats"] for scenario in scenarios.values()})
    flags = ", ".join(machine["flags"]) + (", no AVX-512" if "avx512f" not in machine["flags"] else "")
    text = f"{' to '.join(dict.fromkeys([days[0], days[-1]]))}; {machine['cpu']}, {machine['cores']} cores, {flags}; "
    text += f"rustc {machine['rustc']}; commit {machine['commit']}; {' or '.join(map(str, repeats))} rounds."
    versions = machine.get("versions", {})
    named = [f"{title} {versions[name]}" for name, title in VERSIONED.items() if name in versions]
    text += f" {', '.join(named)}." if named else ""
    busy = sorted(name for name, scenario in scenarios.items() if worst(scenario) > BUSY_CORES)
    if busy:
        most = max(worst(scenarios[name]) for name in busy)
        text += f" **Other processes used the cores** (up to {cut(most, up=True)} of them) during {', '.join(busy)}: the marked figures ({BUSY}) are no measurements."
    else:
        text += " No other process used more than a tenth of a core."
    return text


def worst(scenario: dict) -> float:
    cells = [cell for cells in scenario.get("cells", {}).values() for cell in cells]
    cells += [scenario[name] for name in ("peak", "over") if name in scenario]
    return max((cell.get("other_cores", 0) for cell in cells), default=0)
