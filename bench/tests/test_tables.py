import pytest

from bench import tables


def cell(number, rate, p99=10.0, cpu=100.0, **others):
    statuses = {"200": {"count": 50, "p50_ms": p99 / 2, "p90_ms": p99 * 0.9, "p99_ms": p99, "max_ms": p99}}
    figures = {"images_per_second": rate, "cpu_us_per_image": cpu, "pss_mib": 50.0, "other_cores": 0.0}
    return {"round": number, "statuses": statuses, **figures, **others}


def limit(number, rate, cpu):
    return {"round": number, "images_per_second": rate, "cpu_us_per_image": cpu, "latency": {"count": 0}, "other_cores": 0.0}


MACHINE = {"cpu": "a cpu", "cores": 2, "flags": ["avx2"], "rustc": "1.95.0", "commit": "abc"}


def scenario(**cells):
    about = {"day": "2026-01-01", "seconds": 1, "repeats": 2, "machine": MACHINE, "connections": 64}
    return {**about, "cells": {name.replace("_", "-"): rows for name, rows in cells.items()}}


TINY = scenario(
    latentd=[cell(0, 1000.0, cpu=150.0), cell(1, 2000.0, cpu=150.0)],
    fastapi=[cell(0, 200.0), cell(1, 500.0)],
    mlserver=[{"round": 0, "failed": "other vectors"}],
    limit_direct=[limit(0, 3000.0, 100.0), limit(1, 3000.0, 100.0)],
)


@pytest.mark.parametrize(
    ("value", "up", "text"),
    [(1.2399, False, "1.23"), (1.2301, True, "1.24"), (0.96, False, "0.960"), (0.001239, False, "0.00123"),
     (12345.0, False, "12,300"), (12301.0, True, "12,400"), (9.999, False, "9.99"), (0.0, True, "0"), (1.6, True, "1.60")],
)  # fmt: skip
def test_figures_are_cut_to_three_digits_and_never_rounded_in_our_favour(value, up, text):
    assert tables.cut(value, up) == text


def test_ratios_pair_the_rounds_and_leave_out_what_failed():
    own = [cell(1, 300.0), cell(0, 100.0), {"round": 2, "failed": "x"}]
    assert sorted(tables.ratios(own, [cell(0, 200.0), cell(1, 100.0), cell(2, 1.0)], tables.RATE)) == [0.5, 3.0]


def test_aims_are_judged_by_the_median_of_ratios_within_a_round():
    cost, speed = tables.VERDICTS["tiny"](TINY)
    assert (cost.holds, cost.reached) == (False, "1.50 × (1.50 × … 1.50 ×)")
    assert speed.holds and speed.reached == "4.50 (4.00 … 5.00)"


def test_the_better_of_two_limits_counts():
    cells = scenario(latentd=[cell(0, 97.0)], limit_direct=[limit(0, 90.0, 1.0)], limit_direct_1=[limit(0, 100.0, 1.0)])
    assert tables.VERDICTS["middle"](cells)[0].reached == "0.970"


def test_figures_beside_busy_neighbours_are_marked():
    text = tables.markdown({"tiny": TINY})
    assert tables.BUSY not in text and "MLServer | not measured: other vectors" in text
    busy = {**TINY, "cells": {**TINY["cells"], "fastapi": [cell(0, 200.0, other_cores=0.7)]}}
    text = tables.markdown({"tiny": busy})
    assert "up to 0.700 of them) during tiny" in text and f"FastAPI, work in the handler {tables.BUSY}" in text


def test_idle_and_overload_are_judged():
    own, alone = cell(0, 1.0, p99=0.5), {"round": 0, "latency": {"p50_ms": 0.125}}
    (idle,) = tables.VERDICTS["idle"]({"cells": {"latentd": [own], "limit-single": [alone]}})
    assert idle.holds and idle.reached == "0.125 ms"
    over = cell(0, 94.0, p99=1900.0, pss_mib_at_begin=50.0)
    over["statuses"]["429"] = {"count": 9, "p99_ms": 11.0}
    found = tables.VERDICTS["overload"]({"deadline_ms": 2000, "peak": cell(0, 100.0), "over": over})
    assert [verdict.holds for verdict in found] == [False, True, False, True]


SEARCHES = {
    "deadline_ms": 500,
    "rate": 400.0,
    "filled": {"items": 60_000, "dimension": 256},
    "peak": cell(0, 100.0),
    "over": cell(0, 96.0, p99=480.0),
    "readyz": {"count": 9, "p50_ms": 1.0, "p99_ms": 21.0},
}


def test_searches_beyond_their_peak_are_judged():
    refusing = {**SEARCHES["over"], "statuses": {**SEARCHES["over"]["statuses"], "429": {"count": 149, "p99_ms": 4.0}, "504": {"count": 1}}}
    found = tables.VERDICTS["search-overload"]({**SEARCHES, "over": refusing})
    assert [verdict.holds for verdict in found] == [True, True, True, False]
    text = tables.search_overload_table({**SEARCHES, "over": refusing})
    assert text.splitlines()[-1] == "| 400 | 96.0 of 100 | 240 ms | 480 ms | 74.5 % | 4.00 ms | 0.5 % | 1.00 ms | 21.0 ms |"


def test_a_server_that_refuses_nothing_has_not_refused_quickly():
    refused = tables.VERDICTS["search-overload"](SEARCHES)[2]
    assert (refused.holds, refused.reached) == (False, "nothing was refused")


def test_the_memory_of_dropped_bodies_is_judged_above_that_of_an_idle_server():
    (within,) = tables.VERDICTS["bodies"]({"idle_mib": 60.0, "most_mib": 316.0, "budget_mib": 256.0})
    (above,) = tables.VERDICTS["bodies"]({"idle_mib": 60.0, "most_mib": 316.1, "budget_mib": 256.0})
    assert within.holds and not above.holds


def test_results_of_before_are_read_under_the_names_of_today():
    before = {"cells": {"latentd": [{"round": 0, "pictures_per_second": 5.0, "cpu_us_per_picture": 2.0}]}}
    assert tables.current(before) == {"cells": {"latentd": [{"round": 0, "images_per_second": 5.0, "cpu_us_per_image": 2.0}]}}


def test_only_what_stands_between_the_markers_is_replaced():
    document = f"before\n{tables.BEGIN}\nold\n{tables.END}\nafter\n"
    assert tables.placed(document, "new") == f"before\n{tables.BEGIN}\n\nnew\n\n{tables.END}\nafter\n"
    with pytest.raises(ValueError, match="markers"):
        tables.placed("without", "new")
