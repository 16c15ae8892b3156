"""Cloud Storage in memory, as far as a Beam submission uses it: buckets, objects, uploads.

Not here: HTTP (`fake_dataflow`). Not covered: versions, access control, notifications.
"""

from __future__ import annotations

import base64
import email.parser
import email.policy
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ullage.testing.fake_jobs import Refusal

Json = Any
_AT = "2026-01-01T00:00:00.000Z"


@dataclass(slots=True)
class _Upload:
    """A resumable upload that is under way."""

    bucket: str
    name: str
    content: bytearray


class FakeStorage:
    """Buckets with objects. `objects` maps (bucket, name) to the content."""

    def __init__(self, buckets: tuple[str, ...] = ("bucket",)) -> None:
        self.buckets = set(buckets)
        self.objects: dict[tuple[str, str], bytes] = {}
        self._generations: dict[tuple[str, str], int] = {}
        self._uploads: dict[str, _Upload] = {}
        self.handlers = {
            "buckets.get": self._get_bucket,
            "buckets.list": self._list_buckets,
            "objects.get": self._get,
            "objects.list": self._list,
            "objects.delete": self._delete,
            "objects.rewrite": self._rewrite,
            "objects.copy": self._copy,
        }

    def read(self, uri: str) -> bytes:
        """Return the content of a gs:// object. KeyError where there is none."""
        bucket, _, name = uri.removeprefix("gs://").partition("/")
        return self.objects[bucket, name]

    def content(self, path: Mapping[str, str]) -> bytes:
        """Return an object's content for a download."""
        self._bucket(path["bucket"])
        found = self.objects.get((path["bucket"], path["object"]))
        if found is None:
            raise Refusal(404, "notFound", f"No such object: {path['bucket']}/{path['object']}")
        return found

    # -- uploads ---------------------------------------------------------------------------

    def upload(
        self, bucket: str, query: Mapping[str, str], kind: str, content: bytes
    ) -> tuple[Json, str]:
        """Take an upload in one request: (the object's resource, ""), or begin a resumable one:
        ({}, its id). `kind` is the content type of the request.
        """
        self._bucket(bucket)
        match query.get("uploadType"):
            case "media":
                return self._put(bucket, query["name"], content), ""
            case "multipart":
                about, body = _two_parts(kind, content)
                return self._put(bucket, about.get("name") or query["name"], body), ""
            case "resumable":
                about = json.loads(content or b"{}")
                upload_id = f"u{len(self._uploads)}"
                name = about.get("name") or query["name"]
                self._uploads[upload_id] = _Upload(bucket, name, bytearray())
                return {}, upload_id
        raise Refusal(400, "invalid", f"uploadType {query.get('uploadType')!r}")

    def proceed(self, upload_id: str, content: bytes, span: str) -> tuple[Json | None, int]:
        """Take a chunk of a resumable upload; return (resource when done, bytes held).

        span: the header Content-Range, "bytes 0-9/10" or "bytes 0-9/*" or "bytes */10".
        """
        upload = self._uploads.get(upload_id)
        if upload is None:
            raise Refusal(404, "notFound", f"no upload {upload_id}")
        range_, _, total = span.removeprefix("bytes ").partition("/")
        if range_ != "*":
            start = int(range_.partition("-")[0])
            del upload.content[start:]
            upload.content += content
        if total not in ("*", "") and len(upload.content) >= int(total):
            done = self._put(upload.bucket, upload.name, bytes(upload.content))
            return done, len(upload.content)
        return None, len(upload.content)

    # -- the rest --------------------------------------------------------------------------

    def _bucket(self, bucket: str) -> None:
        if bucket not in self.buckets:
            raise Refusal(404, "notFound", "The specified bucket does not exist.")

    def _put(self, bucket: str, name: str, content: bytes) -> Json:
        key = bucket, name
        self._generations[key] = self._generations.get(key, 0) + 1
        self.objects[key] = content
        return self._resource(bucket, name)

    def _resource(self, bucket: str, name: str) -> Json:
        content = self.objects[bucket, name]
        return {
            "kind": "storage#object",
            "id": f"{bucket}/{name}/{self._generations[bucket, name]}",
            "bucket": bucket,
            "name": name,
            "generation": str(self._generations[bucket, name]),
            "metageneration": "1",
            "size": str(len(content)),
            "md5Hash": base64.b64encode(
                hashlib.md5(content, usedforsecurity=False).digest()
            ).decode(),
            "crc32c": base64.b64encode(crc32c(content).to_bytes(4, "big")).decode(),
            "contentType": "application/octet-stream",
            "timeCreated": _AT,
            "updated": _AT,
        }

    def _get_bucket(self, path: Mapping[str, str], query: Mapping[str, str], body: Json) -> Json:
        self._bucket(path["bucket"])
        return _bucket_resource(path["bucket"])

    def _list_buckets(self, path: Mapping[str, str], query: Mapping[str, str], body: Json) -> Json:
        return {"kind": "storage#buckets", "items": [_bucket_resource(b) for b in self.buckets]}

    def _get(self, path: Mapping[str, str], query: Mapping[str, str], body: Json) -> Json:
        self.content(path)
        return self._resource(path["bucket"], path["object"])

    def _list(self, path: Mapping[str, str], query: Mapping[str, str], body: Json) -> Json:
        self._bucket(path["bucket"])
        prefix = query.get("prefix", "")
        names = sorted(n for b, n in self.objects if b == path["bucket"] and n.startswith(prefix))
        items = [self._resource(path["bucket"], name) for name in names]
        return {"kind": "storage#objects", "items": items}

    def _delete(self, path: Mapping[str, str], query: Mapping[str, str], body: Json) -> Json:
        self.content(path)
        del self.objects[path["bucket"], path["object"]]
        return None

    def _copy(self, path: Mapping[str, str], query: Mapping[str, str], body: Json) -> Json:
        source = {"bucket": path["sourceBucket"], "object": path["sourceObject"]}
        self._bucket(path["destinationBucket"])
        content = self.content(source)
        return self._put(path["destinationBucket"], path["destinationObject"], content)

    def _rewrite(self, path: Mapping[str, str], query: Mapping[str, str], body: Json) -> Json:
        resource = self._copy(path, query, body)
        return {
            "kind": "storage#rewriteResponse",
            "totalBytesRewritten": resource["size"],
            "objectSize": resource["size"],
            "done": True,
            "resource": resource,
        }


def crc32c(content: bytes) -> int:
    """Return the CRC-32C (Castagnoli), by which clients check what they have uploaded.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    crc = 0xFFFFFFFF
    for byte in content:
        crc = _CRC_TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _crc_row(number: int) -> int:
    for _ in range(8):
        number = (number >> 1) ^ (0x82F63B78 if number & 1 else 0)
    return number


_CRC_TABLE = tuple(map(_crc_row, range(256)))


def _bucket_resource(bucket: str) -> Json:
    return {
        "kind": "storage#bucket",
        "id": bucket,
        "name": bucket,
        "location": "US",
        "storageClass": "STANDARD",
        "timeCreated": _AT,
        "updated": _AT,
        "metageneration": "1",
    }


def _two_parts(kind: str, content: bytes) -> tuple[Json, bytes]:
    """Return (JSON about the object, its content) of a multipart/related body."""
    parser = email.parser.BytesParser(policy=email.policy.HTTP)
    message = parser.parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + content)
    about, body = list(message.iter_parts())
    payload = body.get_payload(decode=True)
    return json.loads(about.get_content()), payload if isinstance(payload, bytes) else b""
