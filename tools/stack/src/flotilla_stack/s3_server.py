"""moto's S3 server with objects that outlive it: `python -m flotilla_stack.s3_server PORT DIRECTORY`.

moto keeps everything in memory. Here each change of an object is written to DIRECTORY before its answer is given, and
read again at the next start: one file per object, a line of JSON (bucket, key, metadata) and then its bytes. Versions,
tags and bucket settings are not kept; nothing here uses them.
"""

import hashlib
import json
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from moto.s3.models import S3Backend, s3_backends
from werkzeug.serving import run_simple

REGION = "us-east-1"
READING = frozenset({"GET", "HEAD", "OPTIONS"})
USAGE = "usage: python -m flotilla_stack.s3_server PORT DIRECTORY"

Environment = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environment, StartResponse], Iterable[bytes]]


class ObjectsOnDisk:
    """The files behind moto's objects."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock = threading.Lock()

    @property
    def backend(self) -> S3Backend:
        """What moto holds in memory."""
        backend: S3Backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
        return backend

    def load(self) -> None:
        """Give moto the buckets and objects that were kept."""
        for bucket in sorted(path for path in self.directory.glob("*") if path.is_dir()):
            self.backend.create_bucket(bucket.name, REGION)
            for path in bucket.glob("*.object"):
                header, _, content = path.read_bytes().partition(b"\n")
                kept = json.loads(header)
                self.backend.put_object(bucket.name, kept["key"], content).set_metadata(kept["metadata"])

    def mirror(self, bucket: str, key: str) -> None:
        """Write what became of one object, or of a whole bucket where the key is empty."""
        with self._lock:
            if bucket not in self.backend.buckets:
                return
            (self.directory / bucket).mkdir(parents=True, exist_ok=True)
            if key:
                self._mirror_object(bucket, key)
                return
            held = {self._path(bucket, name) for name in self.backend.buckets[bucket].keys}
            for path in set((self.directory / bucket).glob("*.object")) - held:
                path.unlink()

    def _mirror_object(self, bucket: str, key: str) -> None:
        path = self._path(bucket, key)
        held = self.backend.get_object(bucket, key)
        if held is None:
            path.unlink(missing_ok=True)
            return
        header = json.dumps({"bucket": bucket, "key": key, "metadata": dict(held.metadata)})
        draft = path.with_suffix(".new")
        draft.write_bytes(header.encode() + b"\n" + held.value)
        draft.replace(path)

    def _path(self, bucket: str, key: str) -> Path:
        # Keys may be longer than a file's name, and may look like paths.
        return self.directory / bucket / f"{hashlib.sha256(key.encode()).hexdigest()}.object"


def kept(application: Application, disk: ObjectsOnDisk) -> Application:
    """Wrap moto so that a change is on the disk when its answer goes out."""

    def serve(environment: Environment, start_response: StartResponse) -> Iterable[bytes]:
        answer = application(environment, start_response)
        if environment["REQUEST_METHOD"] not in READING:
            bucket, _, key = unquote(environment.get("RAW_URI", "").partition("?")[0]).lstrip("/").partition("/")
            disk.mirror(bucket, key)
        return answer

    return serve


def main(arguments: list[str]) -> None:
    """Serve until SIGTERM."""
    if len(arguments) != 2 or not arguments[0].isdigit():
        sys.exit(USAGE)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    disk = ObjectsOnDisk(Path(arguments[1]))
    disk.load()
    moto = DomainDispatcherApplication(create_backend_app)
    run_simple("127.0.0.1", int(arguments[0]), kept(moto, disk), threaded=True, request_handler=MotoRequestHandler)


if __name__ == "__main__":
    main(sys.argv[1:])
