"""A store that speaks S3's language: moto's server, with one bucket for images."""

from contextlib import contextmanager

import boto3
import httpx
from moto.server import ThreadedMotoServer

BUCKET = "images"


@contextmanager
def bucket():
    """A fresh server with the bucket, empty; `url` is its address, `client` a client of it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    server.url = f"http://{host}:{port}"
    server.client = boto3.client(
        "s3", endpoint_url=server.url, region_name="us-east-1", aws_access_key_id="key", aws_secret_access_key="secret"
    )
    # what servers of this process hold is one
    httpx.post(f"{server.url}/moto-api/reset").raise_for_status()
    server.client.create_bucket(Bucket=BUCKET)
    try:
        yield server
    finally:
        server.stop()


def settings(url, address=f"s3://{BUCKET}/shop"):
    """The settings with which latentd uses the store at an address."""
    return {
        "LATENTD_STORE__URL": address,
        "LATENTD_STORE__ENDPOINT": url,
        "LATENTD_STORE__ALLOW_HTTP": "true",
        "LATENTD_STORE__ACCESS_KEY_ID": "key",
        "LATENTD_STORE__SECRET_ACCESS_KEY": "secret",
    }


def keys(server):
    """The names of all objects."""
    pages = server.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    return [entry["Key"] for page in pages for entry in page.get("Contents", [])]
