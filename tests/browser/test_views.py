"""Every view, at three widths, light and dark: there, readable by all, and no wider than the screen."""

import pytest

ADDRESSES = {
    "playground": "/#/playground?model=ae-cifar10&collection=shapes&item=hills-03",
    "two models": "/#/playground?model=crvae-cifar10&with=mae-cifar10&collection=shapes&item=hills-03",
    "collections": "/#/collections",
    "collection": "/#/collections/shapes?filter=%5B%5B%22kind%22%2C%22is%22%2C%22star%22%5D%5D",
    "item": "/#/collections/shapes?item=star-03",
    "duplicates": "/#/collections/shapes?tab=duplicates",
    "health": "/#/collections/shapes?tab=health",
    "map": "/#/map?collection=shapes&key=kind",
    "models": "/#/models",
    "no such view": "/#/made-up",
    "no such collection": "/#/collections/made-up",
}
# What the server answers is an error there, which a browser writes into its console.
EXPECTED = {"no such collection": "404"}


def settled(page):
    page.wait_for_load_state("networkidle")
    page.locator(".state-busy").first.wait_for(state="detached")


@pytest.mark.parametrize("name", ADDRESSES)
def test_a_view_is_accessible_in_light_and_in_dark(pages, collection, axe, name):
    for scheme in ("light", "dark"):
        page = pages.open(ADDRESSES[name], color_scheme=scheme)
        settled(page)
        found = axe.run(page)
        assert found.violations_count == 0, found.generate_report()
    expect(pages, name)


@pytest.mark.parametrize("name", ADDRESSES)
@pytest.mark.parametrize("width", [1440, 1024, 390])
def test_a_view_is_no_wider_than_the_screen(pages, collection, name, width):
    page = pages.open(ADDRESSES[name], width=width)
    settled(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("document.title").endswith("latentd")
    expect(pages, name)


def expect(pages, name):
    if name in EXPECTED:
        pages.wrong = [text for text in pages.wrong if EXPECTED[name] not in text]


def test_the_first_paint_is_fast_and_the_files_are_taken_once(pages, collection):
    page = pages.open("/#/models")
    page.get_by_role("heading", name="Models").wait_for()
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0]?.startTime")
    print(f"first contentful paint after {paint:.0f} ms")
    kept = page.evaluate("fetch('/ui/app.js', {cache: 'no-cache'}).then((answer) => answer.status)")
    assert kept == 200
    size = page.evaluate(
        "performance.getEntriesByType('resource').filter((one) => one.name.includes('/ui/'))"
        ".reduce((sum, one) => sum + one.decodedBodySize, 0)"
    )
    assert size < 200_000


def test_the_documentation_lives_under_its_policy_too(pages):
    page = pages.open("/docs/")
    page.get_by_text("latentd").first.wait_for()
    page.get_by_text("/v1/embeddings").first.wait_for()
