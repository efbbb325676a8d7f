"""Collections by clicking: made, filled, searched, filtered, cleared of duplicates, dropped."""

import shapes
from conftest import fill


def names(page):
    page.locator(".grid .card").first.wait_for()
    return page.locator(".grid .card-name").all_inner_texts()


def test_a_collection_is_made_filled_from_a_folder_and_dropped(pages, http, collection, tmp_path):
    http.delete("/v1/collections/made")
    for kind in ("disc", "ring"):
        (tmp_path / "photos" / kind).mkdir(parents=True)
        for number in range(10):
            (tmp_path / "photos" / kind / f"{number}.png").write_bytes(shapes.png(kind, number))
    (tmp_path / "photos" / "ring" / "broken.png").write_bytes(b"no image at all")
    page = pages.open("/#/collections")
    page.get_by_role("button", name="New collection").click()
    page.get_by_label("Name").fill("made")
    page.get_by_label("Model").select_option("ae-cifar10")
    page.get_by_role("button", name="Make it").click()
    page.get_by_text("Nothing in here yet").wait_for()
    page.get_by_role("button", name="Upload", exact=True).click()
    page.get_by_label("Folder of images").set_input_files(tmp_path / "photos")
    page.get_by_role("button", name="Upload 21 images").click()
    page.get_by_text("20 images stored.").wait_for()
    errors = page.locator(".errors")
    assert "photos/ring/broken.png" in errors.inner_text() and "not an image" in errors.inner_text()
    page.get_by_role("button", name="Done").click()
    page.get_by_text("20 items ·").wait_for()
    assert "photos/disc/0.png" in names(page)
    assert http.get("/v1/collections/made/items/photos%2Fring%2F3.png").json()["metadata"]["label"] == "ring"
    page.get_by_role("button", name="Drop…").click()
    page.get_by_role("button", name="Drop it").click()
    page.get_by_role("heading", name="Collections", exact=True).wait_for()
    assert http.get("/v1/collections/made").status_code == 404


def test_an_upload_is_stopped(pages, http, collection, tmp_path):
    fill(http, "stopped", {"model": "ae-cifar10", "store": "none"}, kinds=())
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(200):
        (folder / f"{number}.png").write_bytes(shapes.png("disc", 0))
    page = pages.open("/#/collections/stopped")
    page.get_by_role("button", name="Upload", exact=True).click()
    page.get_by_label("Folder of images").set_input_files(folder)
    held = []
    page.route("**/stopped/items", lambda route: held.append(route) if held else (held.append(None), route.continue_()))
    page.get_by_role("button", name="Upload 200 images").click()
    page.get_by_text("16 of 200 stored").wait_for()
    page.get_by_role("button", name="Stop").click()
    page.get_by_text("16 images stored; stopped before the rest.").wait_for()
    assert http.get("/v1/collections/stopped").json()["count"] == 16


def test_the_grid_pages_and_filters(pages, collection):
    page = pages.open("/#/collections/shapes")
    page.get_by_text("72 items", exact=True).wait_for()
    page.locator(".grid .card").nth(59).wait_for()
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    page.locator(".grid .card").nth(71).wait_for()
    page.get_by_role("button", name="Filter", exact=True).click()
    page.get_by_label("Key").fill("kind")
    page.get_by_label("Value").fill("star")
    page.get_by_role("button", name="Add").click()
    page.get_by_text("12 items pass the filter").wait_for()
    assert all(name.startswith("star-") for name in names(page))
    page.get_by_role("button", name="Filter", exact=True).click()
    page.get_by_label("Key").fill("number")
    page.get_by_label("Comparison").select_option("most")
    page.get_by_label("Value").fill("3")
    page.get_by_role("button", name="Add").click()
    page.get_by_text("4 items pass the filter").wait_for()
    shared = pages.open("/" + page.url.split("/", 3)[3])
    shared.get_by_text("4 items pass the filter").wait_for()
    shared.get_by_label("Without the condition on number").click()
    shared.get_by_text("12 items pass the filter").wait_for()


def test_search_by_image_and_by_examples(pages, collection, file):
    page = pages.open("/#/collections/shapes")
    page.locator("input[type=file]").first.set_input_files(file)
    page.get_by_text("The 60 nearest items").wait_for()
    assert names(page)[0].startswith("hills-")
    page.get_by_role("button", name="Show all items").click()
    page.get_by_text("72 items", exact=True).wait_for()
    page.get_by_title("star-03").click()
    page.get_by_role("button", name="More like this").click()
    page.get_by_text("The 60 nearest items").wait_for()
    assert names(page)[0].startswith("star-") and "star-03" not in names(page)
    furthest = names(page)[-1]
    page.get_by_title(furthest).click()
    page.get_by_role("button", name="Less like this").click()
    examples = page.get_by_label("Examples of the search")
    examples.get_by_text(f"unlike {furthest}").wait_for()
    examples.get_by_text("like star-03", exact=True).wait_for()
    examples.get_by_label(f"Without the example {furthest}").click()
    examples.get_by_text(f"unlike {furthest}").wait_for(state="detached")


def test_duplicates_are_seen_side_by_side_and_deleted(pages, http, collection):
    fill(http, "twice", {"model": "simclr-cifar10", "store": "original"}, kinds=("disc", "bricks"), each=2)
    copies = [("image", ("image", shapes.png("disc", 0)))] * 2 + [("id", (None, "copy-a")), ("id", (None, "copy-b"))]
    http.post("/v1/collections/twice/items", files=copies).raise_for_status()
    page = pages.open("/#/collections/twice?tab=duplicates")
    page.get_by_label("At least this alike").fill("1")
    page.get_by_text("1 group among 6 items").wait_for()
    page.get_by_role("button", name="Delete copy-b").click()
    page.get_by_text("1 group among 5 items").wait_for()
    page.get_by_role("button", name="Keep the first, delete the other").click()
    page.get_by_text("No duplicates").wait_for()
    assert http.get("/v1/collections/twice").json()["count"] == 4


def test_health_is_numbers_with_a_sentence_each(pages, collection):
    page = pages.open("/#/collections/shapes?tab=health")
    page.get_by_text("of 768").first.wait_for()
    for name in ("Effective rank", "Active units", "Nearest neighbour", "Drift of the queries"):
        panel = page.locator(".health .panel", has_text=name)
        assert panel.locator(".big").inner_text() and panel.locator(".hint").inner_text().endswith(".")


def test_an_item_is_deleted_after_a_question(pages, http, collection):
    fill(http, "one", {"model": "ae-cifar10", "store": "thumbnail"}, kinds=("ring",), each=2)
    page = pages.open("/#/collections/one?item=ring-00")
    page.get_by_role("button", name="Delete…").click()
    page.get_by_role("button", name="Delete it").click()
    page.get_by_text("1 item ·").wait_for()
    assert http.get("/v1/collections/one/items/ring-00").status_code == 404


def test_the_copied_command_of_a_search_works(pages, collection):
    import subprocess

    page = pages.open("/#/collections/shapes?like=%5B%22star-03%22%5D")
    page.get_by_text("The 60 nearest items").wait_for()
    page.get_by_role("button", name="Copy as curl").click()
    page.get_by_text("Copied").wait_for()
    command = page.evaluate("navigator.clipboard.readText()")
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=30, check=True)
    assert '"id":"star-' in done.stdout, f"{command}\n{done.stdout}"
