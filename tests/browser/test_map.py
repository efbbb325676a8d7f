"""The map by hand: colours, hover, lasso, zoom, what is dropped on it, and how it holds at its largest."""

import random
import re
import struct

import pytest

POINTS = 200_000


def opened(pages, address="/#/map?collection=shapes&key=kind", **settings):
    page = pages.open(address, **settings)
    page.locator(".stage-over").wait_for()
    page.get_by_text("72 points").wait_for()
    return page


def lasso_all(page):
    page.get_by_label("Lasso").check()
    box = page.locator(".stage-over").bounding_box()
    corners = [(0.02, 0.02), (0.98, 0.02), (0.98, 0.98), (0.02, 0.98)]
    at = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in corners]
    page.mouse.move(*at[0])
    page.mouse.down()
    for corner in at[1:]:
        page.mouse.move(*corner, steps=4)
    page.mouse.up()


def over_point(page):
    """Moves the mouse until it is over a point."""
    box = page.locator(".stage-over").bounding_box()
    for row in range(8, 34):
        for column in range(8, 34):
            page.mouse.move(box["x"] + box["width"] * column / 42, box["y"] + box["height"] * row / 42)
            if page.locator(".tip").count():
                return
    pytest.fail("no point was found under the mouse")


def test_points_are_drawn_coloured_and_named_under_the_mouse(pages, collection):
    page = opened(pages)
    legend = page.get_by_label("Colours")
    assert sorted(legend.get_by_role("button").all_inner_texts()) == ["bricks", "disc", "hills", "ring", "star", "stripes"]
    over_point(page)
    tip = page.locator(".tip")
    kind = tip.locator(".hint").inner_text()
    assert tip.locator(".card-name").inner_text().startswith(f"{kind}-")
    page.wait_for_function("() => document.querySelector('.tip img')?.naturalWidth > 0")


def test_a_lasso_selects_and_the_grid_is_linked_both_ways(pages, collection):
    page = opened(pages)
    lasso_all(page)
    aside = page.get_by_label("Selected items")
    aside.get_by_text("72 items").wait_for()
    page.get_by_label("Colours").get_by_role("button", name="star").click()
    aside.get_by_text("12 items").wait_for()
    aside.get_by_title("star-04").hover()
    aside.get_by_title("star-04").click()
    page.get_by_role("dialog").get_by_role("link", name="On the map").click()
    assert "at=star-04" in page.url
    opened(pages, "/#/map?collection=shapes&at=star-04").get_by_text("72 points").wait_for()


def test_the_view_is_in_the_address(pages, collection):
    page = opened(pages)
    page.get_by_role("button", name="Nearer").click()
    page.wait_for_url("**1.6000")
    page.locator(".stage-over").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("+")
    page.wait_for_url("**2.2400")
    page.keyboard.press("0")
    page.wait_for_url(lambda url: "v=" not in url)


def test_neighbours_are_laid_out_too_and_numbers_have_a_scale(pages, collection):
    page = opened(pages)
    page.get_by_label("Neighbours").check()
    page.get_by_text("distances between groups mean little").wait_for()
    page.get_by_label("Colour by").select_option("number")
    page.wait_for_url("**key=number*")


def test_a_dropped_image_lies_among_its_nearest(pages, collection, file):
    page = opened(pages)
    drop = """(bytes) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([new Uint8Array(bytes)], 'new.png', { type: 'image/png' }));
      document.querySelector('.stage').dispatchEvent(new DragEvent('drop', { dataTransfer: transfer, cancelable: true, bubbles: true }));
    }"""
    page.evaluate(drop, list(file.read_bytes()))
    page.get_by_text("Your image lies among its nearest: hills-").wait_for()
    page.get_by_role("button", name="Take it away").click()


def test_thumbnails_appear_when_the_view_is_near(pages, collection):
    page = opened(pages)
    with page.expect_response(lambda answer: "/sprites?" in answer.url and answer.status == 200):
        for _ in range(3):
            page.get_by_role("button", name="Nearer").click()


def file_of(count):
    """A map of so many points, as the server writes it."""
    rng = random.Random(1)
    head = b'{"collection":"shapes","method":"pca","count":%d,"points":%d,"column":"none","explained":[0.5,0.2]}' % (count, count)
    head += b" " * (-len(head) % 4)
    xs = struct.pack(f"<{count}f", *(rng.gauss(0, 1) for _ in range(count)))
    ys = struct.pack(f"<{count}f", *(rng.gauss(0, 1) for _ in range(count)))
    ends = struct.pack(f"<{count}I", *range(6, 6 * count + 1, 6))
    return struct.pack("<I", len(head)) + head + xs + ys + ends + b"".join(b"%06d" % at for at in range(count))


def test_200_000_points_are_drawn_once_a_frame_and_only_when_something_changed(pages, collection):
    page = pages.open("/#/models")
    page.route(re.compile(r"/map\?"), lambda route: route.fulfill(body=file_of(POINTS), content_type="application/octet-stream"))
    page.evaluate("""() => {
      const draw = WebGL2RenderingContext.prototype.drawArrays;
      window.draws = [];
      WebGL2RenderingContext.prototype.drawArrays = function (...about) { window.draws.push(about[2]); draw.apply(this, about); };
    }""")
    page.evaluate("location.hash = '#/map?collection=shapes'")
    page.get_by_text("200,000 points").wait_for(timeout=120_000)
    settled = """() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(() => requestAnimationFrame(resolve))))"""
    page.evaluate(settled)
    first = page.evaluate("window.draws.length")
    assert page.evaluate("window.draws.every((count) => count === 200000)")
    page.evaluate(settled)
    assert page.evaluate("window.draws.length") == first, "nothing changed, nothing is drawn"
    page.get_by_role("button", name="All").click()
    page.evaluate(settled)
    assert page.evaluate("window.draws.length") == first + 1, "one change, one draw"
    lasso_all(page)
    page.get_by_label("Selected items").get_by_text("items").first.wait_for()
    assert page.locator(".selection .card").count() == 60
