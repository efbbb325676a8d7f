"""Review: anomalies worst first, judged by keys, where the server has calibrations."""

import pytest

from conftest import fill


@pytest.fixture
def calibrated(http):
    paths = http.get("/openapi.json").json()["paths"]
    if "/v1/models/{model}/calibrations/{name}/export" not in paths:
        pytest.skip("this server has no calibrations")
    http.delete("/v1/models/ae-cifar10/calibrations/normal")
    fill(http, "normal", {"model": "ae-cifar10", "store": "original"}, kinds=("disc", "ring"), each=20)
    fill(http, "judged", {"model": "ae-cifar10", "store": "original"}, kinds=("disc", "bricks"), each=4)


def test_a_calibration_is_made_and_its_rate_is_dragged(pages, http, calibrated):
    page = pages.open("/#/review?model=ae-cifar10&collection=normal")
    page.get_by_role("button", name="Calibrate on normal, if all of it is normal").click()
    page.get_by_label("Threshold").wait_for()
    page.get_by_label("Collection").select_option("judged")
    page.locator(".review-list .card").first.wait_for()
    said = page.get_by_text("false alarms")
    before = said.inner_text()
    page.get_by_label("Threshold").focus()
    for _ in range(40):
        page.keyboard.press("ArrowLeft")
    page.wait_for_function("(before) => ![...document.querySelectorAll('p')].some((one) => one.innerText === before)", arg=before)
    assert http.get("/v1/models/ae-cifar10/calibrations/normal").json()["count"] == 40


def test_anomalies_are_judged_by_keys_and_feed_the_calibration(pages, http, calibrated):
    http.put("/v1/models/ae-cifar10/calibrations/normal", json={"collection": "normal"}).raise_for_status()
    page = pages.open("/#/review?model=ae-cifar10&calibration=normal&collection=judged")
    cards = page.locator(".review-list .card")
    cards.nth(7).wait_for()
    scores = [float(text.split("·")[1]) for text in page.locator(".review-list .verdict").all_inner_texts()]
    assert scores == sorted(scores), "the lowest p-value comes first"
    names = page.locator(".review-list .card-name").all_inner_texts()
    page.keyboard.press("j")
    page.locator(".review-item").get_by_text(names[1], exact=True).wait_for()
    page.keyboard.press("k")
    page.locator(".review-item").get_by_text(names[0], exact=True).wait_for()
    page.keyboard.press("f")
    page.locator(".review-list").get_by_text("fine ·").wait_for()
    page.keyboard.press("d")
    page.locator(".review-list").get_by_text("defect ·").wait_for()
    calibration = http.get("/v1/models/ae-cifar10/calibrations/normal").json()
    assert (calibration["count"], calibration["version"] >= 3) == (41, True)


def test_the_playground_judges_by_a_calibration(pages, http, calibrated, file):
    http.put("/v1/models/ae-cifar10/calibrations/normal", json={"collection": "normal"}).raise_for_status()
    page = pages.open("/#/playground?model=ae-cifar10")
    page.locator("input[type=file]").first.set_input_files(file)
    panel = page.locator(".panel", has=page.get_by_role("heading", name="Anomaly", exact=True))
    panel.get_by_label("Calibration").select_option("normal")
    panel.get_by_text("p-value").wait_for()
    panel.locator(".verdict").wait_for()
    panel.get_by_label("Scores of the normal images of the calibration").wait_for()
