"""A browser before a running server that has the shipped models and a collection of drawn shapes.

LATENTD_CHROMIUM names the browser; without it, the Chromium of the machine is looked for, and where there is none the
tests are skipped and say so. What any page writes into its console as an error, and what its policy refuses, fails the
test that opened it.
"""

import json
import os
import shutil

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

import shapes
from processes import ROOT, running

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Software rendering, so that WebGL is there on machines without a graphics card.
FLAGS = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
MODELS = ("ae-cifar10", "crvae-cifar10", "dae-cifar10", "mae-cifar10", "simclr-cifar10")
EACH = 12
WAIT_MS = 30_000


def found():
    """The path of a browser, if there is one."""
    return os.environ.get("LATENTD_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


def copied_models(folder):
    for name in MODELS:
        shutil.copytree(ROOT / "models" / name, folder / "models" / name)


@pytest.fixture(scope="session")
def chromium():
    if not found():
        pytest.skip("no Chromium on this machine (Debian, Ubuntu: apt-get install chromium), nor one in LATENTD_CHROMIUM")
    flags = FLAGS + (["--no-sandbox"] if os.geteuid() == 0 else [])
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found(), args=flags)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def server(chromium, tmp_path_factory):
    folder = tmp_path_factory.mktemp("explorer")
    copied_models(folder)
    # A fixed batch: no graph is measured while a page waits for it.
    with running(folder, {"LATENTD_RUNTIME__MAX_BATCH": "8"}) as url:
        yield url


@pytest.fixture(scope="session")
def http(server):
    with httpx.Client(base_url=server, timeout=60) as client:
        yield client


def fill(http, name, settings, kinds=shapes.KINDS, each=EACH):
    """A collection of shapes, with their kind and number as metadata."""
    http.delete(f"/v1/collections/{name}")
    assert http.put(f"/v1/collections/{name}", json=settings).status_code == 201
    for kind in kinds:
        parts = []
        for number in range(each):
            metadata = json.dumps({"kind": kind, "number": number})
            parts += [("image", ("image", shapes.png(kind, number))), ("id", (None, f"{kind}-{number:02}"))]
            parts += [("metadata", (None, metadata))]
        answer = http.post(f"/v1/collections/{name}/items", files=parts)
        assert answer.status_code == 200 and not answer.json()["errors"], answer.text


@pytest.fixture(scope="session")
def collection(http):
    """The name of the collection that the tests only read."""
    fill(http, "shapes", {"model": "simclr-cifar10", "store": "original"})
    return "shapes"


class Pages:
    """Opens views, and remembers what went wrong in them."""

    def __init__(self, browser, server):
        self.browser, self.server, self.wrong, self.contexts = browser, server, [], []

    def open(self, address="/", width=1280, height=900, **settings):
        permissions = ["clipboard-read", "clipboard-write"]
        context = self.browser.new_context(viewport={"width": width, "height": height}, permissions=permissions, **settings)
        context.set_default_timeout(WAIT_MS)
        self.contexts.append(context)
        page = context.new_page()
        page.on("console", self.hear)
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("request", lambda request: self.check(request.url))
        page.goto(self.server + address)
        return page

    def hear(self, message):
        # while a map is being computed the server says when to ask again, and a browser calls that an error
        if message.type == "error" and "status of 503" not in message.text:
            self.wrong.append(message.text)

    def check(self, url):
        if not url.startswith((self.server, "data:", "blob:")):
            self.wrong.append(f"the page asks elsewhere: {url}")

    def close(self):
        for context in self.contexts:
            context.close()


@pytest.fixture
def pages(chromium, server):
    opened = Pages(chromium, server)
    yield opened
    opened.close()
    assert not opened.wrong, "\n".join(opened.wrong)


@pytest.fixture
def file(tmp_path):
    """A drawn image as a file."""
    path = tmp_path / "hills.png"
    path.write_bytes(shapes.png("hills", 99))
    return path


@pytest.fixture(scope="session")
def axe():
    return Axe()
