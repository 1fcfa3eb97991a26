# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""One file over HTTP: resumed, retried, taken from mirrors in order, and verified before it gets its name.

What has arrived lies in `name.part`; `name.part.json` says of which file it is the beginning. Both stay when a
download fails, so that the next attempt, in this process or a later one, asks for the rest only.
"""

import json
import logging
import os
import random
import re
import shutil
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
from filelock import FileLock, Timeout
from huggingface_hub import is_offline_mode
from tqdm import tqdm

from clipbert.datasets_scripts.fetching import FREE_BYTES, MAX_RATIO
from clipbert.support.files import hash_file
from clipbert.support.terminal import printable


logger = logging.getLogger(__name__)

REFUSED_DOWNGRADE = "it redirects from https to http, where anybody on the way can change the file"
MOST_REDIRECTS = 20
# a download may take this long, and longer only where so many bytes a second come
PATIENCE_S, SLOWEST = 600.0, 4096
PASSING_STATUS = frozenset((408, 425, 429, 500, 502, 503, 504))  # worth another attempt at the same address
LONGEST_WAIT_S = 60.0
CONNECT_ATTEMPTS, CONNECT_TIMEOUT_S = 2, 10.0  # to a host that has not answered yet: being offline is noticed soon


class FetchError(OSError):
    """A file could not be fetched: the message names its addresses, what was expected, what came and what to do.

    Args:
        unreachable (`set[str]`): Hosts that could not be connected to at all.
    """

    def __init__(self, message: str, unreachable: Iterable[str] = ()):
        super().__init__(message)
        self.unreachable = set(unreachable)


class AddressError(Exception):
    """This address cannot give the file; another one may. `unreachable`: not even a connection came about."""

    def __init__(self, message: str, unreachable: bool = False):
        super().__init__(message)
        self.unreachable = unreachable


class AttemptError(Exception):
    """This attempt failed; the next one goes on where it stopped, after the seconds that the server asks for."""

    def __init__(self, message: str, wait_s: float | None = None, unreachable: bool = False):
        super().__init__(message)
        self.wait_s, self.unreachable = wait_s, unreachable


@dataclass(frozen=True)
class Expected:
    """What is known about a file beforehand."""

    sha256: str | None = None
    size: int | None = None

    def __post_init__(self):
        if self.sha256 is not None and not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise ValueError(f"Expected `sha256` as 64 lower-case hexadecimal digits, got {self.sha256!r}")

    def __str__(self) -> str:
        size = f"{self.size:,} bytes" if self.size is not None else "a file"
        return f"{size} with sha256 {self.sha256}" if self.sha256 else size

    def mismatch(self, path: Path) -> str | None:
        """What is wrong with a file; `None` if it is the expected one, as far as that is known."""
        size = path.stat().st_size
        if self.size is not None and size != self.size:
            return f"expected {self.size:,} bytes, got {size:,}"
        if self.sha256 is not None:
            found = hash_file(path)
            if found != self.sha256:
                return f"expected sha256 {self.sha256}, got {found}"
        return None


@dataclass(frozen=True)
class Partial:
    """The bytes of a file that have arrived, and of which file they are the beginning."""

    path: Path

    @cached_property
    def notes_path(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def notes(self) -> dict:
        """`url`, `etag`, `modified` and `total`, as the server sent them; empty when nothing usable is there."""
        try:
            notes = json.loads(self.notes_path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return notes if isinstance(notes, dict) else {}

    def begin(self, notes: dict) -> None:
        """Start again from zero. Bytes without notes are never continued, so the old ones go first."""
        self.discard()
        self.notes_path.write_text(json.dumps(notes), encoding="utf-8")
        self.path.touch()

    def discard(self) -> None:
        self.notes_path.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)

    def resumable_from(self, url: str, expected: Expected) -> int:
        """How many bytes can be kept. Without a checksum the server has to say whether its file is still the same."""
        notes = self.notes
        same = notes.get("url") == url and (notes.get("etag") or notes.get("modified"))
        return self.size if notes and (expected.sha256 or same) else 0


def download_file(
    urls: str | Iterable[str],
    target,
    sha256: str | None = None,
    size: int | None = None,
    attempts: int = 5,
    backoff_s: float = 1.0,
    timeout_s: float = 30.0,
    client: httpx2.Client | None = None,
    progress: bool = True,
    patience_s: float = PATIENCE_S,
) -> Path:
    """Fetch a file, from the first of its addresses that gives it whole.

    An interrupted download is resumed where it stopped, by the same call. A file that is already there is verified and
    not fetched again; one that differs from what is expected is never overwritten.

    Args:
        urls (`str` or iterable of `str`): The addresses, best first.
        target (`str` or `Path`): The file; it appears when it is whole and verified.
        sha256 (`str`, *optional*): Its checksum. Without it only the length can be verified.
        size (`int`, *optional*): Its length in bytes.
        attempts (`int`, defaults to 5): Attempts at one address without a byte of progress before the next is tried;
            no more than two where not even a connection comes about.
        backoff_s (`float`, defaults to 1.0): Seconds before the second attempt; doubled each time, a minute at most.
        timeout_s (`float`, defaults to 30.0): Seconds without an answer or a byte after which an attempt has failed.
        client (`httpx2.Client`, *optional*): For proxies, certificates or headers of your own.
        progress (`bool`, defaults to `True`): Show a progress bar.
        patience_s (`float`, defaults to 600): Seconds after which a download is given up that has brought less than
            4 KiB for each further one.

    Returns:
        `Path`: The file.

    Raises:
        FetchError: If no address gives the file, or a different file is in its place.
    """
    urls = [urls] if isinstance(urls, str) else list(urls)
    target, expected = Path(target).expanduser(), Expected(sha256, size)
    if not urls:
        raise ValueError(f"Expected at least one address for {target.name}")
    if is_there(target, expected):
        return target
    if is_offline_mode():
        raise FetchError(
            f"{target} is not there and cannot be fetched in offline mode (HF_HUB_OFFLINE). "
            f"Unset it, or place the file by hand; its address is {urls[0]}"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    partial, failures, unreachable = Partial(target.with_name(f"{target.name}.part")), [], set()
    with locked(target.parent / ".fetch.lock"), open_client(client, timeout_s) as session:
        if is_there(target, expected):  # another process was faster
            return target
        for url in urls:
            try:
                download_from(url, session, partial, expected, attempts, backoff_s, progress, patience_s)
                os.replace(partial.path, target)
                partial.discard()
                return target
            except AddressError as error:
                failures.append(f"\n  {url}: {error}")
                unreachable |= {host_of(url)} if error.unreachable else set()
    again = f"to go on from the {partial.size:,} bytes in {partial.path.name}" if partial.size else "later"
    raise FetchError(
        f"Could not fetch {target} ({expected}):{''.join(failures)}\n"
        f"  Run it again {again}, or place the file by hand under this name.",
        unreachable,
    )


def is_there(target: Path, expected: Expected) -> bool:
    if not target.exists():
        return False
    if mismatch := expected.mismatch(target):
        raise FetchError(f"{target} is there but is another file: {mismatch}. Move it away to fetch it again.")
    return True


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time; the others wait."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.info("waiting for another process that works in %s", path.parent)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def open_client(client: httpx2.Client | None, timeout_s: float = 30.0) -> Iterator[httpx2.Client]:
    """The given client, left open, or one for the time being."""
    if client is not None:
        yield client
        return
    timeout = httpx2.Timeout(timeout_s, connect=min(timeout_s, CONNECT_TIMEOUT_S))
    with httpx2.Client(timeout=timeout, headers={"User-Agent": "clipbert"}) as client:
        yield client


@dataclass
class Patience:
    """How long a download may take: some time, and more as long as bytes come."""

    seconds: float
    start_s: float = field(default_factory=time.monotonic)
    num_bytes: int = 0

    def count(self, num_bytes: int) -> None:
        self.num_bytes += num_bytes
        elapsed_s = time.monotonic() - self.start_s
        if elapsed_s > self.seconds + self.num_bytes / SLOWEST:
            raise AddressError(f"too slow: {self.num_bytes:,} bytes in {elapsed_s:,.0f} s")


def download_from(
    url,
    client,
    partial: Partial,
    expected: Expected,
    attempts: int,
    backoff_s: float,
    progress: bool,
    patience_s: float,
) -> None:
    """Fill `partial` with the whole, verified file, or raise `AddressError`."""
    most, failures, answered, patience = partial.size, 0, False, Patience(patience_s)
    while True:
        try:
            patience.count(0)
            resumed = receive(url, client, partial, expected, progress, patience)
            if not (mismatch := expected.mismatch(partial.path)):
                return
            partial.discard()
            if not resumed:
                raise AddressError(f"{mismatch}; what came was thrown away")
            raise AttemptError(f"{mismatch}; what came was thrown away, as its parts may be of different files")
        except AttemptError as error:
            if partial.size > most:
                most, failures = partial.size, 0
            failures += 1
            answered = answered or not error.unreachable
            if failures >= (attempts if answered else min(attempts, CONNECT_ATTEMPTS)):
                times = f"{failures} {'attempts' if failures > 1 else 'attempt'}"
                raise AddressError(f"{error} ({times})", error.unreachable) from None
            wait_s = min(backoff_s * 2 ** (failures - 1) * random.uniform(0.75, 1.25), LONGEST_WAIT_S)
            wait_s = wait_s if error.wait_s is None else error.wait_s
            logger.info("%s: %s; trying again in %.0f s", url, error, wait_s)
            time.sleep(wait_s)


def receive(
    url: str, client: httpx2.Client, partial: Partial, expected: Expected, progress: bool, patience: Patience
) -> bool:
    """Ask once for what is missing and append what comes; whether it was a continuation."""
    offset, notes = partial.resumable_from(url, expected), partial.notes
    headers = {"Accept-Encoding": "identity"}  # lengths and ranges shall count the bytes of the file itself
    if offset:
        headers["Range"] = f"bytes={offset}-"
        if notes.get("url") == url and (validator := notes.get("etag") or notes.get("modified")):
            headers["If-Range"] = validator
    try:
        with follow(client, url, headers) as response:
            total = agree_on_total(response, url, offset, partial, expected)
            if response.status_code != 416:
                append(response, partial, total, expected, progress, patience)
            return response.status_code != 200
    except httpx2.UnsupportedProtocol as error:
        raise AddressError(str(error)) from None
    except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
        raise AttemptError(describe(error), unreachable=True) from None
    except httpx2.TransportError as error:
        raise AttemptError(f"{describe(error)} after {partial.size:,} bytes") from None
    except (httpx2.HTTPError, httpx2.InvalidURL, zlib.error, ValueError) as error:
        raise AddressError(describe(error)) from None
    except OSError as error:
        raise FetchError(f"Could not write {partial.path}: {error}") from error


@contextmanager
def follow(client: httpx2.Client, url: str, headers: dict[str, str]) -> Iterator[httpx2.Response]:
    """The answer to a GET after all redirections, none of which gives up encryption."""
    request = client.build_request("GET", url, headers=headers)
    for _ in range(MOST_REDIRECTS):
        response = client.send(request, stream=True, follow_redirects=False)
        with closing(response):
            if response.next_request is None:
                yield response
                return
        if request.url.scheme == "https" and response.next_request.url.scheme != "https":
            raise AddressError(f"{REFUSED_DOWNGRADE}: {response.next_request.url}")
        request = response.next_request
    raise AddressError(f"more than {MOST_REDIRECTS} redirections, the last one to {request.url}")


def agree_on_total(response, url: str, offset: int, partial: Partial, expected: Expected) -> int | None:
    """Check that the answer is the file, or its rest, and make `partial` ready for it; the length of the whole."""
    status = response.status_code
    if status in PASSING_STATUS:
        raise AttemptError(reason_of(response), retry_after(response.headers.get("retry-after")))
    if status == 200:
        return begin_anew(response, url, partial, expected)
    if not offset or status not in (206, 416):  # 416: nothing is left after the bytes we have
        raise AddressError(reason_of(response))
    start, total = content_range(response.headers.get("content-range", ""))
    notes, headers = partial.notes, response.headers
    facts = [{total, expected.size, notes.get("total")}]
    if notes.get("url") == url:  # mirrors have etags and dates of their own
        facts += [{headers.get("etag"), notes.get("etag")}, {headers.get("last-modified"), notes.get("modified")}]
    same_file = all(len(known - {None}) <= 1 for known in facts)
    if same_file and (start if status == 206 else total) == offset:
        return total
    partial.discard()
    raise AttemptError("the file there is not the one begun; starting from zero")


def begin_anew(response, url: str, partial: Partial, expected: Expected) -> int | None:
    """Take the answer as the whole file: what had arrived before gives way to it."""
    headers = response.headers
    length = headers.get("content-length", "")
    if length and not re.fullmatch(r"[0-9]{1,18}", length):
        raise AddressError(f"the server says a length that is none: {length!r:.40}")
    total = int(length) if length and not is_encoded(response) else None
    if total is not None and expected.size is not None and total != expected.size:
        raise AddressError(f"expected {expected.size:,} bytes, the server announces {total:,}")
    end_is_known = total is not None or is_encoded(response) or "chunked" in headers.get("transfer-encoding", "")
    if not (end_is_known or expected.size is not None or expected.sha256):
        raise AddressError("the server does not say the length: a cut would go unnoticed. Give `size` or `sha256`")
    is_page = headers.get("content-type", "").startswith("text/html")
    if is_page and not expected.sha256 and not partial.path.name.endswith((".html.part", ".htm.part")):
        raise AddressError("got a web page in place of the file")
    room = shutil.disk_usage(partial.path.parent).free + partial.size
    if (total or 0) > room:
        raise AddressError(f"it needs {total:,} bytes, the disk has {room:,} left")
    etag = headers.get("etag", "")
    etag = None if etag.startswith("W/") else etag or None  # weak ones do not promise the same bytes
    notes = {"url": url, "etag": etag, "modified": headers.get("last-modified"), "total": total}
    partial.begin({} if is_encoded(response) else notes)
    return total


def is_encoded(response) -> bool:
    """Whether the server compresses on the way although it was asked not to: its lengths are of other bytes then."""
    return response.headers.get("content-encoding", "identity") != "identity"


def decoded(response) -> Iterator[bytes]:
    """What an answer that is compressed unpacks to, in small pieces and not without end."""
    if response.headers["content-encoding"].lower() not in ("gzip", "x-gzip", "deflate"):
        raise AddressError(f"the server compresses as {response.headers['content-encoding']!r:.40}, unasked")
    decoder, received, given = zlib.decompressobj(wbits=47), 0, 0  # 47: gzip or zlib, as the data says
    for packed in response.iter_raw():
        received += len(packed)
        while packed and not decoder.eof:
            chunk = decoder.decompress(packed, 1 << 20)
            packed, given = decoder.unconsumed_tail, given + len(chunk)
            if given > max(FREE_BYTES, MAX_RATIO * received):
                raise AddressError(f"what came unpacks to more than {MAX_RATIO} times its size")
            yield chunk
    if not decoder.eof:
        raise AttemptError(f"the connection ended within the compressed file, after {received:,} bytes of it")


def append(
    response, partial: Partial, total: int | None, expected: Expected, progress: bool, patience: Patience
) -> None:
    total = expected.size if total is None else total
    received = partial.size
    bar = tqdm(
        desc=partial.path.name.removesuffix(".part"), total=total, initial=received, unit="B", unit_scale=True,
        leave=False, disable=None if progress else True,
    )  # fmt: skip
    with bar, partial.path.open("ab") as file:
        # without a chunk size: what a broken connection has delivered is written, not lost in a buffer
        for chunk in decoded(response) if is_encoded(response) else response.iter_raw():
            patience.count(len(chunk))
            received += len(chunk)
            if total is not None and received > total:
                break
            file.write(chunk)
            bar.update(len(chunk))
        file.flush()
        os.fsync(file.fileno())
    if total is not None and received > total:
        partial.discard()
        raise AddressError(f"expected {total:,} bytes, more than {received - 1:,} came; they were thrown away")
    if total is not None and received < total:
        raise AttemptError(f"expected {total:,} bytes, the connection ended after {received:,}")


def content_range(header: str) -> tuple[int | None, int | None]:
    """First byte and total length from `bytes 100-199/200` (or `bytes */200`); `None` for what is not stated."""
    match = re.fullmatch(r"\s*bytes\s+(?:(\d+)-\d+|\*)/(\d+|\*)\s*", header)
    start, total = match.groups() if match else (None, None)
    return int(start) if start else None, int(total) if total and total != "*" else None


def retry_after(header: str | None) -> float | None:
    """Seconds of a `Retry-After`, which gives seconds or a date."""
    if header is None:
        return None
    try:
        seconds = (
            float(header) if header.strip().isdigit() else parsedate_to_datetime(header).timestamp() - time.time()
        )
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(seconds, 0.0), LONGEST_WAIT_S)


def host_of(url: str) -> str:
    return urlsplit(url).netloc


def describe(error: Exception) -> str:
    return printable(f"{type(error).__name__}: {error}".rstrip(": "))


def reason_of(response) -> str:
    """`404 Not Found`, also where the server sends the number alone."""
    status = response.status_code
    phrase = response.reason_phrase or httpx2.codes.get_reason_phrase(status) or "for a reason that it does not say"
    return printable(f"{status} {phrase}")
