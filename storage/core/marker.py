"""A marker says that a fork depends on a generation of its source. Section 4.2. Knows its codec and no more."""

import msgspec


class DamagedMarker(ValueError):
    """An object under `fork/` that cannot be read."""


class Marker(msgspec.Struct, frozen=True):
    """The fork that depends: its path does not fit into the key."""

    path: str
    generation: int


_decode = msgspec.json.Decoder(Marker).decode
encode_marker = msgspec.json.Encoder().encode


def decode_marker(body: bytes) -> Marker:
    """Read a marker. Raises DamagedMarker."""
    try:
        return _decode(body)
    except msgspec.MsgspecError as error:
        raise DamagedMarker(str(error)) from error
