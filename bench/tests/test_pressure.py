import http.server
import json
import threading

import pytest

from bench import pressure


class Collection(http.server.BaseHTTPRequestHandler):
    """A collection that takes so many items in a request, and counts them."""

    most, items, requests = 64, set(), []

    def do_PUT(self):
        self.answer(201, json.loads(self.body()))

    def do_GET(self):
        self.answer(200, {"count": len(self.items)})

    def do_POST(self):
        items = json.loads(self.body())["items"]
        self.requests.append(len(items))
        if len(items) > self.most:
            return self.answer(413, {"code": "too_many"})
        self.items.update(item["id"] for item in items)
        return self.answer(200, {})

    def body(self):
        return self.rfile.read(int(self.headers["Content-Length"]))

    def answer(self, status, content):
        encoded = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)

    def log_message(self, *_):
        pass


@pytest.fixture
def collection(monkeypatch):
    handler = type("Handler", (Collection,), {"items": set(), "requests": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(pressure, "LATENTD", type("Server", (), {"port": server.server_port}))
    yield handler
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("most", "sizes"), [(1000, [200]), (64, [200, 64, 64, 64, 8])])
def test_a_collection_is_filled_in_requests_as_large_as_its_limits_allow(collection, most, sizes):
    collection.most = most
    found = pressure.fill(200)
    assert collection.requests == sizes and len(collection.items) == 200
    assert found["items_per_request"] == min(most, 1000)


def test_readiness_is_asked_for_while_the_block_runs(collection):
    with pressure.Probe().running() as probe:
        while len(probe.taken) < 3:
            threading.Event().wait(0.01)
    assert probe.figures()["count"] >= 3 and probe.not_ready == 0


def test_a_server_that_is_gone_is_not_ready(monkeypatch):
    monkeypatch.setattr(pressure, "LATENTD", type("Server", (), {"port": 1}))
    with pressure.Probe().running() as probe:
        while not probe.taken:
            threading.Event().wait(0.01)
    assert probe.not_ready == len(probe.taken)


def test_percentiles_are_values_that_were_measured():
    found = pressure.spread([number / 1000 for number in range(1, 101)])
    assert (found["p50_ms"], found["p99_ms"], found["max_ms"]) == pytest.approx((50, 99, 100))
    assert pressure.spread([]) == {"count": 0}


def test_queries_and_items_are_the_same_every_time_and_not_each_other():
    assert (pressure.drawn_vectors(5, seed=1) == pressure.drawn_vectors(5, seed=1)).all()
    assert not (pressure.drawn_vectors(5, seed=1) == pressure.drawn_vectors(5, seed=2)).any(axis=1).all()


def test_a_stalled_store_takes_everything_and_answers_nothing():
    with pressure.stalled_store() as address:
        host, port = address.removeprefix("http://").split(":")
        with pressure.socket.create_connection((host, int(port)), timeout=5) as connection:
            connection.sendall(bytes(1 << 22))
            connection.settimeout(0.2)
            with pytest.raises(TimeoutError):
                connection.recv(1)
