"""The whole of docker/compose.cluster.yaml as processes on the loopback address: two replicas of latentd behind
HAProxy, with the configuration of docker/, over three nodes of Qdrant and an S3 store; and `latentd ingest` through it
while a replica and a node are killed.

LATENTD_TEST_QDRANT_BIN names the binary of Qdrant, and `haproxy` has to be on the PATH.
"""

import os
import shutil
import subprocess
import time
from collections import Counter
from contextlib import ExitStack, contextmanager

import bucket
import httpx
import pytest

from processes import ROOT, binary, free_port, started
from images import draw, encoded

QDRANT = os.environ.get("LATENTD_TEST_QDRANT_BIN")
HAPROXY = shutil.which("haproxy")
IMAGES = 1200
LABELS = ("cat", "dog", "owl")

pytestmark = [
    pytest.mark.skipif(not QDRANT, reason="LATENTD_TEST_QDRANT_BIN is not set: replicas over a cluster are NOT tested"),
    pytest.mark.skipif(not HAPROXY, reason="haproxy is not on the PATH: replicas behind it are NOT tested"),
]


def wait_for(url, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if httpx.get(url, timeout=1).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    pytest.fail(f"{url} did not answer 200 within {seconds} s")


@contextmanager
def child(command, folder, environment=None):
    """A process that writes its log into the folder; killed at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **(environment or {})}, stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def cluster(folder, count):
    """Nodes of Qdrant in one cluster: their processes and their gRPC addresses."""
    with ExitStack() as stack:
        nodes, first = [], None
        for number in range(count):
            http, grpc, peers = free_port(), free_port(), free_port()
            first = first or peers
            home = folder / f"qdrant-{number}"
            command = [QDRANT, "--uri", f"http://127.0.0.1:{peers}"]
            if first != peers:
                command += ["--bootstrap", f"http://127.0.0.1:{first}"]
            environment = {
                "QDRANT__TELEMETRY_DISABLED": "true",
                "QDRANT__CLUSTER__ENABLED": "true",
                "QDRANT__CLUSTER__P2P__PORT": str(peers),
                "QDRANT__SERVICE__HOST": "127.0.0.1",
                "QDRANT__SERVICE__HTTP_PORT": str(http),
                "QDRANT__SERVICE__GRPC_PORT": str(grpc),
                "QDRANT__STORAGE__STORAGE_PATH": str(home / "storage"),
                "QDRANT__STORAGE__SNAPSHOTS_PATH": str(home / "snapshots"),
                "QDRANT__STORAGE__WAL__WAL_CAPACITY_MB": "4",
            }
            process = stack.enter_context(child(command, home, environment))
            wait_for(f"http://127.0.0.1:{http}/readyz")
            nodes.append((process, f"http://127.0.0.1:{grpc}"))
        yield nodes


@contextmanager
def balancer(folder, replicas):
    """HAProxy as docker/haproxy.cfg has it, over these addresses instead of those that Docker's name server knows."""
    port = free_port()
    lines = (ROOT / "docker" / "haproxy.cfg").read_text().splitlines()
    resolvers = lines.index("resolvers docker")
    del lines[resolvers : lines.index("", resolvers) + 1]
    text = "\n".join(lines)
    servers = "\n".join(f"    server replica-{at} {url.removeprefix('http://')}" for at, url in enumerate(replicas))
    for old, new in [
        ("    bind :8080", f"    bind 127.0.0.1:{port}"),
        (" init-addr none resolvers docker", ""),
        ("    server-template replica 8 latentd:8080", servers),
    ]:
        assert old in text, old
        text = text.replace(old, new)
    (folder / "haproxy.cfg").write_text(text + "\n")
    with child([HAPROXY, "-W", "-db", "-f", str(folder / "haproxy.cfg")], folder / "haproxy"):
        url = f"http://127.0.0.1:{port}"
        wait_for(f"{url}/readyz")
        yield url


def draw_folders(home):
    """Images in a folder for each label; their bytes with their labels."""
    drawn = {}
    for number in range(IMAGES):
        label = LABELS[number % len(LABELS)]
        body = encoded(draw(24, 24, number))
        (home / label).mkdir(parents=True, exist_ok=True)
        (home / label / f"{number}.png").write_bytes(body)
        drawn[body] = label
    assert len(drawn) == IMAGES
    return drawn


def count(url):
    answer = httpx.get(f"{url}/v1/collections/shelf", timeout=30)
    return answer.json()["count"] if answer.status_code == 200 else 0


def wait_for_count(url, wanted, process):
    while (there := count(url)) < wanted:
        assert process.poll() is None, f"the ingestion ended at {there} items"
        time.sleep(0.05)
    return there


def stored(url):
    """The bytes of every image of the collection with its label, read page by page."""
    with httpx.Client(base_url=url, timeout=30) as http:
        cursor, found = None, {}
        while True:
            params = {"limit": 500} | ({"cursor": cursor} if cursor else {})
            page = http.get("/v1/collections/shelf/items", params=params).raise_for_status().json()
            for item in page["data"]:
                body = http.get(f"/v1/collections/shelf/items/{item['id']}/image").raise_for_status().content
                found[body] = item["metadata"]["label"]
            cursor = page["cursor"]
            if cursor is None:
                return found


def nearest(url, body):
    headers = {"content-type": "image/png"}
    answer = httpx.post(f"{url}/v1/collections/shelf/search", params={"limit": 5}, content=body, headers=headers)
    answer.raise_for_status()
    return [(hit["id"], round(hit["score"], 5)) for hit in answer.json()["data"]]


def test_an_ingestion_through_the_balancer_outlives_a_replica_and_a_node_and_loses_nothing(tmp_path, moto):
    drawn = draw_folders(tmp_path / "images")
    with ExitStack() as stack:
        nodes = stack.enter_context(cluster(tmp_path, 3))
        shared = {
            "LATENTD_INDEX__ENGINE": "qdrant",
            "LATENTD_QDRANT__URL": ",".join(url for _, url in nodes),
            "LATENTD_QDRANT__SHARD_NUMBER": "6",
            "LATENTD_QDRANT__REPLICATION_FACTOR": "2",
            **bucket.settings(moto.url),
        }

        def replica(name):
            (tmp_path / name).mkdir()
            return stack.enter_context(started(tmp_path / name, shared))

        (victim, first), (_, second) = replica("a"), replica("b")
        front = stack.enter_context(balancer(tmp_path, [first, second]))

        command = [binary(), "ingest", "--collection", "shelf", "--url", front, "--model", "tiny-contrastive"]
        command += ["--store", "original", "--labels-from-folders", str(tmp_path / "images")]
        (tmp_path / "ingest").mkdir()
        ingest = stack.enter_context(child(command, tmp_path / "ingest"))
        at_kill = wait_for_count(second, IMAGES // 6, ingest)
        victim.kill()
        at_second_kill = wait_for_count(second, IMAGES // 2, ingest)
        nodes[1][0].kill()
        code = ingest.wait(timeout=240)
        said = (tmp_path / "ingest" / "log").read_text()
        print(f"replica killed at {at_kill} items, node at {at_second_kill}, of {IMAGES}\n{said}")
        assert code == 0, said

        assert count(second) == IMAGES
        found = stored(second)
        lost = [label for body, label in drawn.items() if found.get(body) != label]
        assert not lost, Counter(lost)
        # a replica that dies between an image and its item leaves the image behind
        images = len(bucket.keys(moto))
        print(f"{images} images in the store")
        assert images >= IMAGES

        # one that comes later knows all of it, and answers as the other does
        _, third = replica("c")
        assert count(third) == IMAGES
        for body in list(drawn)[::100]:
            assert nearest(third, body) == nearest(second, body)
        assert not (tmp_path / "c" / "data" / "index").exists()
        assert not (tmp_path / "c" / "data" / "images").exists()
