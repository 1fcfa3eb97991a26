# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Shared fixtures: a stand-in for S3."""

import urllib.request

import pytest


@pytest.fixture(scope="session")
def s3():
    """A bucket that any process on this machine reaches, and how."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    urllib.request.urlopen(urllib.request.Request(f"{address}/bucket", method="PUT"))
    yield {
        "aws_endpoint": address,
        "allow_http": "true",
        "aws_region": "us-east-1",
        "aws_access_key_id": "anyone",
        "aws_secret_access_key": "anything",
    }
    server.stop()
