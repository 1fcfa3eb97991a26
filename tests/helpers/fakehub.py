# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""A tiny Hub in memory: enough of its API for creating repositories, commits, listing and downloads.

    with FakeHub() as hub:
        subprocess.run([...], env={**os.environ, **hub.environment(tmp_path)})
        hub.files("user/model")["README.md"]

`HF_ENDPOINT` is read when huggingface_hub is imported, hence the subprocess.
"""

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlparse


LFS_SUFFIXES = (".safetensors", ".bin", ".parquet", ".mp4")


class FakeHub:
    """The repositories, and the server in front of them."""

    def __init__(self):
        self.repositories: dict[tuple[str, str], dict[str, bytes]] = {}  # (kind, name) -> path -> content
        self.commits: dict[tuple[str, str], list[str]] = {}
        self.large_files: dict[str, bytes] = {}  # sha256 -> content
        self.requests: list[tuple[str, str]] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (HubRequest,), {"hub": self}))
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error):
        self.server.shutdown()
        self.server.server_close()

    def environment(self, home):
        """What a process needs to take this for the Hub; `home` is a folder for its caches."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_TOKEN": "not-a-token",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_OFFLINE": "0",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }

    def files(self, name, kind="models"):
        """The files of a repository."""
        return self.repositories[(kind, name)]

    def add_commit(self, key):
        commit = hashlib.sha1(f"{key}{len(self.commits[key])}".encode()).hexdigest()
        self.commits[key].append(commit)
        return commit


class HubRequest(BaseHTTPRequestHandler):
    """One request; `hub` is set by the [`FakeHub`] it belongs to."""

    protocol_version = "HTTP/1.1"
    hub: FakeHub

    def log_message(self, *args):
        pass

    def handle_any(self):
        url = urlparse(self.path)
        path, query = unquote(url.path), parse_qs(url.query)
        self.hub.requests.append((self.command, path))
        for pattern, answer in ROUTES:
            match = re.fullmatch(pattern, path)
            if match:
                return answer(self, *match.groups(), **({"query": query} if answer is HubRequest.tree else {}))
        return self.error(404, "NotFound")

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815

    # Answers ----------------------------------------------------------------------------------------------------------

    def reply(self, code, body=b"", headers=None, content_type="application/json"):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        for name, value in {"Content-Type": content_type, "Content-Length": len(body), **(headers or {})}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def error(self, code, name):
        self.reply(code, {"error": name}, {"X-Error-Code": name, "X-Error-Message": name})

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def repository(self, kind, name):
        key = (kind.strip("/") or "models", name)
        if key in self.hub.repositories:
            return key
        self.body()
        self.error(404, "RepoNotFound")
        return None

    def entry(self, key, path):
        content = self.hub.repositories[key][path]
        return {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}

    # Endpoints --------------------------------------------------------------------------------------------------------

    def whoami(self):
        token = {"type": "access_token", "accessToken": {"role": "write"}}
        self.reply(200, {"name": "user", "type": "user", "orgs": [], "auth": token})

    def validate_yaml(self):
        self.body()
        self.reply(200, {"errors": [], "warnings": []})

    def create_repository(self):
        request = json.loads(self.body())
        name = f"{request.get('organization') or 'user'}/{request['name']}"
        key = (f"{request.get('type', 'model')}s", name)
        if key in self.hub.repositories:
            return self.reply(409, {"error": "exists", "url": f"{self.hub.url}/{name}"})
        self.hub.repositories[key], self.hub.commits[key] = {}, []
        self.hub.add_commit(key)
        return self.reply(200, {"url": f"{self.hub.url}/{name}", "name": name, "id": name})

    def large_file_batch(self):
        objects = []
        for item in json.loads(self.body())["objects"]:
            known = item["oid"] in self.hub.large_files
            upload = {"upload": {"href": f"{self.hub.url}/lfs/{item['oid']}"}}
            objects.append({"oid": item["oid"], "size": item["size"], **({} if known else {"actions": upload})})
        body = {"transfer": "basic", "objects": objects}
        self.reply(200, body, content_type="application/vnd.git-lfs+json")

    def put_large_file(self, digest):
        self.hub.large_files[digest] = self.body()
        self.reply(200)

    def info(self, kind, name):
        key = self.repository(kind, name)
        if key:
            siblings = [{"rfilename": path} for path in self.hub.repositories[key]]
            states = dict.fromkeys(("private", "gated", "disabled"), False)
            counts = {"downloads": 0, "likes": 0}
            fixed = {"_id": "0", "tags": [], "cardData": {}, **states, **counts}
            self.reply(200, {"id": name, "sha": self.hub.commits[key][-1], "siblings": siblings, **fixed})

    def preupload(self, kind, name):
        if self.repository(kind, name):
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(LFS_SUFFIXES) else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(self.body())["files"]
            ]
            self.reply(200, {"files": files})

    def commit(self, kind, name):
        key = self.repository(kind, name)
        if not key:
            return
        files = self.hub.repositories[key]
        for line in self.body().splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                files[value["path"]] = self.hub.large_files[value["oid"]]
            elif item["key"] == "deletedFile":
                files.pop(value["path"], None)
        commit = self.hub.add_commit(key)
        url = f"{self.hub.url}/{name}/commit/{commit}"
        self.reply(200, {"commitUrl": url, "commitOid": commit, "pullRequestUrl": None})

    def tree(self, kind, name, folder, query):
        key = self.repository(kind, name)
        if not key:
            return
        prefix = f"{folder}/" if folder else ""
        inside = [path for path in self.hub.repositories[key] if path.startswith(prefix)]
        if folder and not inside:
            self.error(404, "EntryNotFound")
        elif query.get("recursive", ["false"])[0].lower() == "true":
            self.reply(200, [self.entry(key, path) for path in inside])
        else:
            entries = {}
            for path in inside:
                head, _, tail = path[len(prefix) :].partition("/")
                subfolder = {"type": "directory", "path": prefix + head, "size": 0, "oid": "0"}
                entries[head] = subfolder if tail else self.entry(key, path)
            self.reply(200, list(entries.values()))

    def paths_info(self, kind, name):
        key = self.repository(kind, name)
        if key:
            body = self.body().decode()
            paths = json.loads(body)["paths"] if body.startswith("{") else parse_qs(body).get("paths", [])
            self.reply(200, [self.entry(key, path) for path in paths if path in self.hub.repositories[key]])

    def resolve(self, kind, name, path):
        key = self.repository(kind or "", name)
        if not key:
            return
        headers = {"X-Repo-Commit": self.hub.commits[key][-1]}
        if path not in self.hub.repositories[key]:
            headers |= {"X-Error-Code": "EntryNotFound", "X-Error-Message": "no such file"}
            self.reply(404, b"{}", headers)
            return
        content = self.hub.repositories[key][path]
        headers |= {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "Accept-Ranges": "bytes"}
        code, wanted = 200, re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if wanted:
            start, end = int(wanted[1]), int(wanted[2] or len(content) - 1)
            headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
            code, content = 206, content[start : end + 1]
        self.reply(code, content, headers, "application/octet-stream")


REPOSITORY = r"/api/(models|datasets|spaces)/([^/]+/[^/]+)"
ROUTES = [
    (r"/api/whoami-v2", HubRequest.whoami),
    (r"/api/validate-yaml", HubRequest.validate_yaml),
    (r"/api/repos/create", HubRequest.create_repository),
    (r"/.+/info/lfs/objects/batch", HubRequest.large_file_batch),
    (r"/lfs/(\w+)", HubRequest.put_large_file),
    (REPOSITORY + r"/preupload/[^/]+", HubRequest.preupload),
    (REPOSITORY + r"/commit/[^/]+", HubRequest.commit),
    (REPOSITORY + r"/tree/[^/]+/?(.*)", HubRequest.tree),
    (REPOSITORY + r"/paths-info/[^/]+", HubRequest.paths_info),
    (REPOSITORY + r"(?:/revision/[^/]+)?", HubRequest.info),
    (r"/(datasets/|spaces/)?([^/]+/[^/]+)/resolve/[^/]+/(.+)", HubRequest.resolve),
]
