"""Stored images in a bucket: the real binary against moto's S3 server."""

import time

import httpx

from bucket import BUCKET, keys, settings
from processes import running
from images import draw, encoded

PNG = {"content-type": "image/png"}


def add(http, name, body):
    return http.post("/v1/collections/shelf/items", params={"id": name}, content=body, headers=PNG)


def comes_down_to(moto, count):
    """The images of deleted items leave by a queue, so a moment after the answer."""
    deadline = time.monotonic() + 30
    while len(keys(moto)) != count and time.monotonic() < deadline:
        time.sleep(0.05)
    return len(keys(moto)) == count


def test_images_are_kept_in_the_bucket_and_leave_with_their_items(tmp_path, moto):
    with running(tmp_path, settings(moto.url)) as url, httpx.Client(base_url=url, timeout=30) as http:
        made = http.put("/v1/collections/shelf", json={"model": "tiny-contrastive", "store": "original"})
        assert made.status_code == 201, made.text
        bodies = [encoded(draw(40, 40, seed)) for seed in range(3)]
        for number, body in enumerate(bodies):
            added = add(http, str(number), body)
            assert added.status_code == 200, added.text
        assert len(keys(moto)) == 3
        assert all(key.startswith("shop/images/") for key in keys(moto))
        for number, body in enumerate(bodies):
            assert http.get(f"/v1/collections/shelf/items/{number}/image").content == body
        assert http.delete("/v1/collections/shelf/items/0").status_code == 204
        assert comes_down_to(moto, 2)
        assert add(http, "1", bodies[0]).json()["data"][0]["created"] is False
        assert http.get("/v1/collections/shelf/items/1/image").content == bodies[0]
        assert comes_down_to(moto, 2)
        assert http.delete("/v1/collections/shelf").status_code == 204
        assert comes_down_to(moto, 0)
        assert not (tmp_path / "data" / "images").exists()


def test_a_store_that_goes_is_told_and_searching_goes_on(tmp_path, moto):
    with running(tmp_path, settings(moto.url)) as url, httpx.Client(base_url=url, timeout=60) as http:
        http.put("/v1/collections/shelf", json={"model": "tiny-contrastive", "store": "thumbnail"})
        body = encoded(draw(40, 40, 1))
        assert add(http, "a", body).status_code == 200
        assert http.get("/readyz").status_code == 200
        moto.stop()
        refused = add(http, "b", encoded(draw(40, 40, 2)))
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
        assert f"s3://{BUCKET}/shop" in refused.json()["detail"]
        assert "secret" not in refused.text
        assert http.get("/v1/collections/shelf/items/a/image").json()["code"] == "unavailable"
        assert http.get("/v1/collections/shelf/items/b").status_code == 404
        found = http.post("/v1/collections/shelf/search", content=body, headers=PNG).json()
        assert [hit["id"] for hit in found["data"]] == ["a"]
        # a store that answered is taken to be there for five seconds
        deadline = time.monotonic() + 15
        while (ready := http.get("/readyz")).status_code == 200 and time.monotonic() < deadline:
            time.sleep(0.2)
        assert ready.status_code == 503
        assert any("image store" in reason for reason in ready.json()["reasons"]), ready.text


def test_a_bucket_that_is_not_there_keeps_the_server_from_being_ready(tmp_path, moto):
    with running(tmp_path, settings(moto.url, "s3://elsewhere"), ready=False) as url:
        ready = httpx.get(f"{url}/readyz", timeout=30)
        assert ready.status_code == 503
        assert any("there is no such bucket" in reason for reason in ready.json()["reasons"]), ready.text
