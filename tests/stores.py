"""A real server of S3's protocol, for tests of what is kept in a store."""

import contextlib
import logging

import boto3
from moto.server import ThreadedMotoServer

KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIDTESTS",
    "AWS_SECRET_ACCESS_KEY": "a-secret-of-tests-only",
    "AWS_DEFAULT_REGION": "us-east-1",
}


class Bucket:
    """One bucket, seen by a client that is not ours."""

    def __init__(self, endpoint, name):
        self.url = f"s3://{name}/work"
        self.environment = KEYS | {"AWS_ENDPOINT_URL": endpoint, "CODELADDER_STORE": self.url}
        self._name = name
        self._client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
            region_name=KEYS["AWS_DEFAULT_REGION"],
        )
        self._client.create_bucket(Bucket=name)

    def listed(self):
        listed = self._client.list_objects_v2(Bucket=self._name)
        return [one["Key"].removeprefix("work/") for one in listed.get("Contents", ())]

    def read(self, key):
        return self._client.get_object(Bucket=self._name, Key=f"work/{key}")["Body"].read()

    def write(self, key, content):
        self._client.put_object(Bucket=self._name, Key=f"work/{key}", Body=content)

    def remove(self, key):
        self._client.delete_object(Bucket=self._name, Key=f"work/{key}")


@contextlib.contextmanager
def s3_server(host="127.0.0.1"):
    """Yields the address of a server; it ends with the block."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address=host, port=0, verbose=False)
    server.start()
    try:
        address, port = server.get_host_and_port()
        yield f"http://{address}:{port}"
    finally:
        server.stop()
