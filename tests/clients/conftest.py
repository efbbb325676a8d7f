"""Starts the real binary and hands the tests its address; `processes` says how."""

import httpx
import pytest

from bucket import bucket
from images import drawn
from processes import running


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """The address of a running server, such as http://127.0.0.1:43210."""
    with running(tmp_path_factory.mktemp("latentd")) as url:
        yield url


@pytest.fixture(scope="session")
def http(server):
    """An HTTP client bound to the server."""
    with httpx.Client(base_url=server, timeout=30) as client:
        yield client


@pytest.fixture(scope="session")
def images():
    """Drawn images of several sizes, shapes and colour modes."""
    return drawn()


@pytest.fixture
def moto():
    """A fresh S3 server with one empty bucket."""
    with bucket() as server:
        yield server
