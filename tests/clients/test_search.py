"""A collection filled and searched over HTTP, against a brute-force search in numpy."""

import json

import numpy as np
import pytest

from images import data_uri, draw, encoded
from reference import unit

COUNT = 60


@pytest.fixture(scope="module")
def shelf(http):
    """A filled collection: its path, its images and their vectors."""
    path = "/v1/collections/shelf"
    made = http.put(path, json={"model": "tiny-contrastive", "metric": "cosine", "store": "original"})
    assert made.status_code == 201, made.text
    images = [draw(40, 40, 500 + number) for number in range(COUNT)]
    for start in range(0, COUNT, 20):
        files, texts = [], {"id": [], "metadata": []}
        for number in range(start, start + 20):
            files.append(("image", (f"{number}.png", encoded(images[number]), "image/png")))
            texts["id"].append(f"item {number}")
            texts["metadata"].append(json.dumps({"number": number, "even": number % 2 == 0}))
        added = http.post(f"{path}/items", data=texts, files=files)
        assert added.status_code in (200, 201), added.text
        assert [entry["created"] for entry in added.json()["data"]] == [True] * 20
    answer = http.post("/v1/embeddings", json={"model": "tiny-contrastive", "images": [data_uri(p) for p in images]})
    vectors = np.array([entry["embedding"] for entry in answer.json()["data"]])
    yield path, images, vectors
    assert http.delete(path).status_code == 204


def nearest(vectors, query, keep=lambda number: True, limit=10):
    scores = vectors @ unit(query)
    return [(f"item {n}", scores[n]) for n in np.argsort(-scores) if keep(n)][:limit]


def compare(answer, expected):
    assert answer.status_code == 200, answer.text
    hits = answer.json()["data"]
    np.testing.assert_allclose([hit["score"] for hit in hits], [score for _, score in expected], rtol=0, atol=1e-4)
    assert {hit["id"] for hit in hits} == {name for name, _ in expected}


def test_the_collection_counts_its_items(http, shelf):
    path, _, vectors = shelf
    described = http.get(path).json()
    assert (described["count"], described["dimension"]) == (COUNT, vectors.shape[1])
    assert http.post(f"{path}/count", json={"filter": {"must": [{"key": "even", "match": True}]}}).json()["count"] == COUNT // 2


def test_a_stored_image_finds_itself_first(http, shelf):
    path, images, vectors = shelf
    answer = http.post(f"{path}/search", params={"limit": 10}, content=encoded(images[7]), headers={"content-type": "image/png"})
    compare(answer, nearest(vectors, vectors[7]))
    assert answer.json()["data"][0]["id"] == "item 7"
    assert answer.json()["data"][0]["score"] == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("exact", [False, True])
def test_a_vector_finds_what_brute_force_finds(http, shelf, exact):
    path, _, vectors = shelf
    for seed in range(10):
        query = np.random.default_rng(seed).standard_normal(vectors.shape[1])
        compare(http.post(f"{path}/search", json={"vector": query.tolist(), "limit": 10, "exact": exact}), nearest(vectors, query))


def test_a_filter_keeps_only_what_it_names(http, shelf):
    path, _, vectors = shelf
    query = {"must": [{"key": "even", "match": True}, {"key": "number", "range": {"gte": 10, "lt": 40}}]}
    answer = http.post(f"{path}/search", json={"id": "item 3", "limit": 5, "filter": query})
    compare(answer, nearest(vectors, vectors[3], lambda n: n % 2 == 0 and 10 <= n < 40, limit=5))


def test_a_stored_image_comes_back(http, shelf):
    path, images, _ = shelf
    assert http.get(f"{path}/items/item%204/image").content == encoded(images[4])
