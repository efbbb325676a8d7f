"""What strangers write stays text, and a key stays in its tab."""

import json

from conftest import fill

MARKUP = '<img src=x onerror="document.title=`owned`"><script>document.title="owned"</script>'
ID = "<b onclick=alert(1)>&'\"%2F"


def test_markup_in_ids_and_metadata_stays_text(pages, http, collection, file):
    fill(http, "marked", {"model": "simclr-cifar10", "store": "original"}, kinds=())
    parts = [("image", ("image", file.read_bytes())), ("id", (None, ID)), ("metadata", (None, json.dumps({MARKUP: MARKUP})))]
    http.post("/v1/collections/marked/items", files=parts).raise_for_status()
    page = pages.open("/#/collections/marked")
    page.get_by_title(ID).click()
    dialog = page.get_by_role("dialog")
    assert dialog.get_by_role("heading").inner_text() == ID
    assert dialog.locator("td").inner_text() == MARKUP
    page.wait_for_function("() => document.querySelector('.item-image img')?.naturalWidth > 0")
    dialog.get_by_role("button", name="More like this").click()
    page.get_by_label("Examples of the search").get_by_text(f"like {ID}").wait_for()
    page.goto(page.url.split("#")[0] + "#/map?collection=marked")
    page.get_by_text("1 point").wait_for()
    page.get_by_label("Colour by").select_option(MARKUP)
    page.goto(page.url.split("#")[0] + "#/collections/" + MARKUP.replace("%", "%25").replace("/", "%2F"))
    page.get_by_role("alert").wait_for()
    assert page.title() != "owned" and page.locator("#content b, #content script").count() == 0
    pages.wrong = [text for text in pages.wrong if "404" not in text and "400" not in text]


def test_a_string_cannot_become_markup(pages):
    page = pages.open("/")
    page.get_by_role("navigation").first.wait_for()
    refused = page.evaluate("""() => {
      try { document.body.insertAdjacentHTML('beforeend', '<i></i>'); return ''; } catch (error) { return error.name; }
    }""")
    assert refused == "TypeError"
    pages.wrong = [text for text in pages.wrong if "TrustedHTML" not in text]


def test_a_key_is_asked_for_where_the_server_wants_one_and_kept_for_the_tab(pages, collection):
    page = pages.open("/#/models")
    page.get_by_role("heading", name="Models").wait_for()
    asked = []

    def guard(route):
        asked.append(route.request.headers.get("authorization"))
        if asked[-1] == "Bearer secret":
            return route.continue_()
        problem = {"title": "no valid key", "status": 401, "detail": "send a key", "code": "unauthorized"}
        return route.fulfill(status=401, content_type="application/problem+json", body=json.dumps(problem))

    page.route("**/v1/**", guard)
    page.goto(page.url.split("#")[0] + "#/collections")
    page.get_by_label("Key", exact=True).fill("secret")
    page.get_by_role("button", name="Use this key").click()
    page.get_by_role("link", name="shapes").click()
    page.wait_for_function("() => document.querySelector('.thumb img')?.naturalWidth > 0")
    assert page.evaluate("localStorage.length") == 0
    other = page.context.new_page()
    other.goto(page.url.split("#")[0])
    assert other.evaluate("sessionStorage.length") == 0
    pages.wrong = [text for text in pages.wrong if "401" not in text]


def test_the_views_are_reached_by_keyboard(pages, collection):
    page = pages.open("/#/models")
    page.get_by_role("heading", name="ae-cifar10", exact=True).wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.innerText") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('#content') !== null")


def test_a_server_that_has_gone_is_told_in_words(pages, collection):
    page = pages.open("/#/models")
    page.get_by_role("heading", name="ae-cifar10", exact=True).wait_for()
    page.route("**/v1/collections", lambda route: route.abort())
    page.get_by_role("link", name="Collections").click()
    page.get_by_text("The server does not answer. Is it still running?").wait_for()
    page.unroute("**/v1/collections")
    page.get_by_role("button", name="Try again").click()
    page.get_by_role("link", name="shapes").wait_for()
    pages.wrong = [text for text in pages.wrong if "ERR_FAILED" not in text]


def test_models_show_what_they_are_and_how_they_do(pages, collection):
    page = pages.open("/#/models")
    card = page.locator(".panel", has=page.get_by_role("heading", name="crvae-cifar10"))
    card.get_by_text("64 of 64 units active").wait_for()
    card.get_by_text("In the queue").wait_for()
    for word in ("variational", "generates", "ready", "32 × 32 rgb"):
        card.get_by_text(word, exact=True).first.wait_for()
    card.get_by_role("link", name="Try it").click()
    page.wait_for_url("**/playground?model=crvae-cifar10")
