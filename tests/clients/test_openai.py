"""The official `openai` client against /v1/embeddings and /v1/models."""

import base64

import numpy as np
import openai
import pytest

from images import data_uri
from reference import EMBEDDING_MODELS, MODELS, unit

MODEL = "tiny-contrastive"


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=f"{server}/v1", api_key="unused", max_retries=0) as client:
        yield client


def native(http, image, model=MODEL):
    answer = http.post("/v1/embeddings", json={"model": model, "images": [data_uri(image)]})
    assert answer.status_code == 200, answer.text
    return answer.json()["data"][0]["embedding"]


def test_one_data_uri_gives_one_vector(client, http, images):
    answer = client.embeddings.create(model=MODEL, input=data_uri(images[0]), encoding_format="float")
    assert (answer.object, answer.model) == ("list", MODEL)
    assert answer.usage.total_tokens == 0
    [entry] = answer.data
    assert (entry.object, entry.index) == ("embedding", 0)
    np.testing.assert_allclose(entry.embedding, native(http, images[0]), rtol=0, atol=1e-6)


def test_a_list_gives_one_vector_for_each_input_in_order(client, http, images):
    answer = client.embeddings.create(model=MODEL, input=[data_uri(p) for p in images], encoding_format="float")
    assert [entry.index for entry in answer.data] == list(range(len(images)))
    for entry, image in zip(answer.data, images, strict=True):
        np.testing.assert_allclose(entry.embedding, native(http, image), rtol=0, atol=1e-5)


def test_the_clients_own_default_encoding_gives_the_same_numbers(client, images):
    uri = data_uri(images[1])
    as_numbers = client.embeddings.create(model=MODEL, input=uri, encoding_format="float").data[0].embedding
    by_default = client.embeddings.create(model=MODEL, input=uri).data[0].embedding
    np.testing.assert_array_equal(np.float32(as_numbers), np.float32(by_default))


def test_base64_is_little_endian_f32(client, images):
    uri = data_uri(images[1])
    raw = client.embeddings.with_raw_response.create(model=MODEL, input=uri, encoding_format="base64")
    text = raw.http_response.json()["data"][0]["embedding"]
    as_numbers = client.embeddings.create(model=MODEL, input=uri, encoding_format="float").data[0].embedding
    np.testing.assert_array_equal(np.frombuffer(base64.b64decode(text), "<f4"), np.float32(as_numbers))


def test_dimensions_cuts_the_vector_and_normalises_it_again(client, images):
    uri = data_uri(images[2])
    whole = np.array(client.embeddings.create(model=MODEL, input=uri).data[0].embedding)
    half = len(whole) // 2
    cut = client.embeddings.create(model=MODEL, input=uri, dimensions=half).data[0].embedding
    assert len(cut) == half
    np.testing.assert_allclose(cut, unit(whole[:half]), rtol=0, atol=1e-5)


def test_more_dimensions_than_the_model_has_is_a_bad_request(client, images):
    with pytest.raises(openai.BadRequestError) as refused:
        client.embeddings.create(model=MODEL, input=data_uri(images[0]), dimensions=100_000)
    assert refused.value.code == "invalid_request"


@pytest.mark.parametrize("model", EMBEDDING_MODELS, ids=str)
def test_every_embedding_model_answers_the_client(client, images, model):
    vector = client.embeddings.create(model=model.name, input=data_uri(images[0])).data[0].embedding
    assert len(vector) == client.models.retrieve(model.name).embedding["dimension"]
    assert np.isfinite(vector).all()


def test_a_bad_item_among_good_ones_is_a_bad_request_that_names_it(client, images):
    broken = "data:image/png;base64," + base64.b64encode(b"not an image").decode()
    with pytest.raises(openai.BadRequestError) as refused:
        client.embeddings.create(model=MODEL, input=[data_uri(images[0]), broken])
    assert refused.value.status_code == 400
    assert refused.value.param == "input[1]"


def test_text_is_a_bad_request(client):
    with pytest.raises(openai.BadRequestError):
        client.embeddings.create(model=MODEL, input="a photo of a cat")


def test_an_unknown_model_is_not_found(client, images):
    with pytest.raises(openai.NotFoundError) as refused:
        client.embeddings.create(model="no-such-model", input=data_uri(images[0]))
    assert refused.value.status_code == 404
    assert refused.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no-such-model")


def test_models_are_listed(client):
    listed = {model.id: model for model in client.models.list()}
    assert {model.name for model in MODELS} <= listed.keys()
    for model in MODELS:
        entry = listed[model.name]
        assert (entry.object, entry.owned_by) == ("model", "latentd")
        assert entry.state == "ready", entry
        assert entry.family == model.manifest["family"]
