"""A path that others can have and this store cannot is the caller's mistake, whichever request finds it out."""

import pytest

from storage.core.root import Config
from storage.creation import Creation
from storage.errors import RefusedPathError
from storage.log import Append, Log
from storage.opening import StoreOptions, open_objects
from tests.bucket.servers import S3Server

PREFIX = "p" * 140  # below which keys have so much less of S3's 1,024 bytes


async def test_a_key_too_long_below_a_prefix_is_said_to_be_so(moto: S3Server, moto_bucket: str) -> None:
    objects = await open_objects(f"{moto_bucket}/{PREFIX}", StoreOptions(endpoint_url=moto.endpoint_url))
    log = Log(objects)
    with pytest.raises(RefusedPathError):
        await log.create("s" * 895, Creation(Config("text/plain")))
    await log.create("s" * 860, Creation(Config("text/plain")))  # a root's key is shorter than a chunk's
    with pytest.raises(RefusedPathError):
        await log.append("s" * 860, Append(b"x", media_type="text/plain"))
    await log.aclose()
    await objects.aclose()
