"""Writes docs/images/explorer-*.png anew: `make test-browser` once, then `.venv-browser/bin/python tests/browser/screenshots.py`.

What is seen on them is drawn by `shapes`, or by the shipped models.
"""

import sys
import tempfile
from pathlib import Path

import httpx
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "clients"))

from conftest import FLAGS, copied_models, fill, found  # noqa: E402
from processes import ROOT, running  # noqa: E402

SIZE = {"width": 1280, "height": 980}
EACH = 40


def main():
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        copied_models(Path(folder))
        with running(Path(folder), {"LATENTD_RUNTIME__MAX_BATCH": "8"}) as url:
            with httpx.Client(base_url=url, timeout=60) as http:
                fill(http, "shapes", {"model": "simclr-cifar10", "store": "original"}, each=EACH)
            browser = playwright.chromium.launch(executable_path=found(), args=[*FLAGS, "--no-sandbox"])
            page = browser.new_page(viewport=SIZE)
            playground(page, url)
            collection_map(page, url)
            browser.close()


def playground(page, url):
    page.goto(f"{url}/#/playground?model=simclr-cifar10&with=dae-cifar10&collection=shapes&item=hills-07")
    page.locator(".compare").nth(1).wait_for()
    page.locator(".row-of-thumbs img").nth(7).wait_for()
    page.wait_for_load_state("networkidle")
    page.screenshot(path=ROOT / "docs/images/explorer-playground.png")


def collection_map(page, url):
    page.goto(f"{url}/#/map?collection=shapes&key=kind&method=tsne")
    page.get_by_text("240 points").wait_for()
    page.get_by_label("Colours").get_by_role("button", name="hills").click()
    page.get_by_label("Selected items").get_by_text("40 items").wait_for()
    page.wait_for_load_state("networkidle")
    page.mouse.move(0, 0)
    page.screenshot(path=ROOT / "docs/images/explorer-map.png")


if __name__ == "__main__":
    main()
