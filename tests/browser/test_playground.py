"""The Playground: an image, and what the models make of it."""

import re
import subprocess

import pytest

import shapes


def panel(page, title, column=0):
    return page.locator(".column").nth(column).locator(".panel", has=page.get_by_role("heading", name=title, exact=True))


def figure(of, name):
    """The value beside a name, once it is there."""
    named = of.page.locator("dt", has_text=re.compile(f"^{re.escape(name)}$"))
    return of.locator("dl > div", has=named).locator("dd").inner_text()


def chosen(pages, file, model):
    page = pages.open(f"/#/playground?model={model}")
    page.locator("input[type=file]").first.set_input_files(file)
    return page


def test_a_picked_image_is_embedded_reconstructed_and_scored(pages, collection, file):
    page = chosen(pages, file, "ae-cifar10")
    assert figure(panel(page, "Embedding"), "Dimension") == "256"
    assert figure(panel(page, "Embedding"), "Norm") == "1.0000"
    assert "dB" in figure(panel(page, "Reconstruction"), "PSNR")
    panel(page, "Reconstruction").get_by_label("Error map").check()
    panel(page, "Reconstruction").get_by_text("Where it differs").wait_for()
    divider = panel(page, "Reconstruction").get_by_role("slider")
    divider.focus()
    page.keyboard.press("Home")
    assert divider.input_value() == "0"
    before = figure(panel(page, "Anomaly"), "Score")
    panel(page, "Anomaly").get_by_label("Score").select_option("ssim")
    page.wait_for_function("(before) => ![...document.querySelectorAll('dd')].some((one) => one.innerText === before)", arg=before)
    assert "ms" in panel(page, "Anomaly").locator(".timing").inner_text()


def test_nearest_neighbours_come_from_a_collection_in_the_same_space(pages, collection, file):
    page = chosen(pages, file, "simclr-cifar10")
    first = panel(page, "Nearest neighbours").locator(".card").first
    assert first.locator(".card-name").inner_text().startswith("hills-")
    first.click()
    page.get_by_role("dialog").get_by_text("kind").wait_for()
    assert "/collections/shapes?item=hills-" in page.url


def test_an_image_is_dropped_and_pasted(pages, collection, file):
    page = pages.open("/#/playground?model=ae-cifar10")
    give = """([kind, bytes]) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([new Uint8Array(bytes)], `${kind}.png`, { type: 'image/png' }));
      const target = kind === 'paste' ? window : document.querySelector('.drop');
      const event = kind === 'paste' ? new ClipboardEvent('paste', { clipboardData: transfer, cancelable: true })
        : new DragEvent('drop', { dataTransfer: transfer, cancelable: true, bubbles: true });
      target.dispatchEvent(event);
    }"""
    page.locator(".drop").wait_for()
    for kind in ("drop", "paste"):
        page.evaluate(give, [kind, list(file.read_bytes())])
        page.get_by_alt_text(f"The image: {kind}.png").wait_for()


def test_an_image_is_taken_from_a_collection_and_the_address_says_so(pages, collection):
    page = pages.open("/#/playground?model=ae-cifar10")
    page.get_by_role("button", name="From a collection").click()
    page.get_by_role("dialog").get_by_label("Collection").select_option("shapes")
    page.get_by_role("dialog").get_by_title("ring-02").click()
    page.get_by_alt_text("The image: ring-02").wait_for()
    assert "item=ring-02" in page.url
    other = pages.open("/" + page.url.split("/", 3)[3])
    other.get_by_alt_text("The image: ring-02").wait_for()


def test_an_image_is_drawn_for_those_who_have_none(pages, collection):
    page = pages.open("/#/playground?model=ae-cifar10")
    page.get_by_role("button", name="Draw one for me").click()
    assert figure(panel(page, "Embedding"), "Dimension") == "256"


def test_two_models_stand_side_by_side(pages, collection, file):
    page = chosen(pages, file, "ae-cifar10")
    page.get_by_label("Beside it").select_option("crvae-cifar10")
    assert figure(panel(page, "Embedding", 1), "Dimension") == "64"
    assert figure(panel(page, "Embedding", 0), "Dimension") == "256"


def test_noise_is_added_and_taken_away(pages, collection, file):
    page = chosen(pages, file, "dae-cifar10")
    denoising = panel(page, "Denoising")
    before = float(figure(denoising, "PSNR before").removesuffix(" dB"))
    assert float(figure(denoising, "PSNR after").removesuffix(" dB")) > before
    denoising.get_by_label("Noise", exact=True).fill("0")
    denoising.get_by_text("none added").wait_for()
    denoising.get_by_text("Original", exact=True).wait_for()


def test_what_is_painted_is_filled_in(pages, collection, file):
    page = chosen(pages, file, "mae-cifar10")
    completion = panel(page, "Completion")
    assert figure(completion, "Hidden patches") == "48"
    completion.get_by_label("Painted").check()
    completion.get_by_text("Paint over what to hide").wait_for()
    canvas = completion.get_by_role("application")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.3)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + box["height"] * 0.6, steps=8)
    page.mouse.up()
    by_mouse = int(figure(completion, "Hidden patches"))
    assert 1 <= by_mouse < 40
    completion.get_by_role("button", name="Clear").click()
    canvas.focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Space")
    assert 1 <= int(figure(completion, "Hidden patches")) < by_mouse


def test_a_variational_model_draws_and_walks_between_images(pages, collection, file, tmp_path):
    page = chosen(pages, file, "crvae-cifar10")
    samples = panel(page, "Samples")
    first = samples.get_by_role("img").first
    before = first.get_attribute("src")
    assert samples.get_by_role("img").count() == 12
    samples.get_by_role("button", name="Draw again").click()
    page.wait_for_function("(before) => document.querySelector('.samples img').src !== before", arg=before)
    other = tmp_path / "disc.png"
    other.write_bytes(shapes.png("disc", 1))
    walk = panel(page, "Interpolation")
    walk.locator("input[type=file]").set_input_files(other)
    walk.get_by_label("Way").fill("8")
    walk.get_by_alt_text("Decoded at 1.00 of the way").wait_for()


@pytest.mark.parametrize("source", ["file", "collection"])
def test_the_copied_command_works_as_pasted(pages, collection, file, source):
    if source == "file":
        page = chosen(pages, file, "ae-cifar10")
    else:
        page = pages.open("/#/playground?model=ae-cifar10&collection=shapes&item=hills-03")
    for title, expected in {"Embedding": '"embedding":[', "Reconstruction": '"psnr":', "Anomaly": '"score":'}.items():
        of = panel(page, title)
        of.get_by_role("button", name="Copy as curl").click()
        of.get_by_text("Copied").wait_for()
        command = page.evaluate("navigator.clipboard.readText()")
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=30, check=True)
        assert expected in done.stdout, f"{command}\n{done.stdout}"


def test_an_image_that_is_none_is_answered_in_words(pages, collection, tmp_path):
    path = tmp_path / "broken.png"
    path.write_bytes(b"not an image")
    page = chosen(pages, path, "ae-cifar10")
    panel(page, "Embedding").get_by_role("alert").get_by_text("not an image").wait_for()
    pages.wrong = [text for text in pages.wrong if "422" not in text]
