"""A small real HTTP server that speaks the parts of the hub's protocol that its own client uses.

Large files are those that the hub would keep in LFS: `.safetensors`. Downloads of them are
redirected to another path of the same server, as the hub redirects to its CDN.
"""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from huggingface_hub import constants

COMMIT = "a1" * 20
HEAD = "b2" * 20
TOKEN = "hf_good"


def git_id(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def is_large(name):
    return name.endswith(".safetensors")


def etag_of(name, content):
    return sha256(content) if is_large(name) else git_id(content)


@dataclass
class Repository:
    files: dict
    commits: tuple = (COMMIT,)
    head: str = COMMIT
    gated: bool = False
    readers: tuple = ()
    private: bool = False
    summaries: list = field(default_factory=list)

    def lists(self, revision):
        return revision in ("main", self.head, *self.commits)


class Hub(ThreadingHTTPServer):
    """Repositories, and the faults to come: connections cut, busy answers, wrong bytes."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories = {}
        self.objects = {}
        self.asked = []
        self.cuts = {}
        self.busy = 0
        self.garbled = set()
        self.refused_uploads = set()
        self.no_ranges = False
        self.may_write = True
        self.lock = threading.Lock()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def cdn_url(self):
        """Another host to the client, which therefore must not be shown the token."""
        return f"http://localhost:{self.server_port}"

    def add(self, name, files, **more):
        self.repositories[name] = Repository(dict(files), **more)
        for file, content in files.items():
            self.objects[etag_of(file, content)] = content

    def served(self, name):
        """Ranges that a file's bytes were asked for, in order; '' for the whole file."""
        return [how for method, path, how in self.asked if method == "GET" and path == name]

    def bytes_paths(self):
        return [path for method, path, _ in self.asked if method == "GET" and "/cdn/" in path]


@contextmanager
def running(monkeypatch, folder):
    """A hub that serves, and its own client told of it, with an empty cache below a folder.

    The client reads its settings once, when it is imported.
    """
    server = Hub()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    for name, value in {
        "ENDPOINT": server.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": server.url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(folder / "cache"),
        "HF_TOKEN_PATH": str(folder / "token"),
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
    }.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    yield server
    server.shutdown()
    server.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.route()

    def do_HEAD(self):
        self.route()

    def do_POST(self):
        self.route()

    def do_PUT(self):
        self.route()

    def route(self):
        address = urlsplit(self.path)
        self.path_only, self.query = unquote(address.path), parse_qs(address.query)
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with self.server.lock:
            ranged = self.headers.get("Range", "")
            self.server.asked.append((self.command, self.path_only, ranged))
            busy = self.server.busy > 0
            self.server.busy -= busy
        if busy:
            return self.say(503, {"error": "busy"})
        for pattern, answer in ROUTES:
            if found := re.fullmatch(pattern, self.path_only):
                return answer(self, *found.groups())
        return self.say(404, {"error": f"no route {self.path_only}"})

    @property
    def token(self):
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def repository(self, name):
        """The repository, or an answer that says why it is not shown, and None."""
        if self.token and not self.token.startswith("hf_"):
            self.say(
                401,
                {"error": "Invalid credentials in Authorization header"},
                **{"X-Error-Message": "Invalid credentials in Authorization header"},
            )
            return None
        found = self.server.repositories.get(name)
        if found is None or (found.private and not self.token):
            status = 404 if self.token else 401
            self.say(status, {"error": "Repository not found"}, **{"X-Error-Code": "RepoNotFound"})
            return None
        return found

    def revision(self, name, revision):
        found = self.repository(name)
        if found is not None and not found.lists(revision):
            code = {"X-Error-Code": "RevisionNotFound"}
            self.say(404, {"error": f"Invalid rev id: {revision}"}, **code)
            return None
        return found

    def model(self, name):
        if (found := self.repository(name)) is not None:
            self.say(200, self.info(name, found, found.head))

    def model_at(self, name, revision):
        if (found := self.revision(name, revision)) is not None:
            sha = found.head if revision == "main" else revision
            self.say(200, self.info(name, found, sha))

    def info(self, name, found, sha):
        siblings = []
        for file, content in found.files.items():
            one = {"rfilename": file, "size": len(content), "blobId": git_id(content)}
            if is_large(file):
                one["lfs"] = {"sha256": sha256(content), "size": len(content), "pointerSize": 134}
            siblings.append(one)
        gated = "auto" if found.gated else False
        return {
            "id": name,
            "sha": sha,
            "gated": gated,
            "private": found.private,
            "siblings": siblings,
        }

    def models(self):
        author = self.query["author"][0]
        names = [n for n in self.server.repositories if n.startswith(f"{author}/")]
        self.say(200, [{"id": name} for name in names])

    def tree(self, name, revision):
        if (found := self.revision(name, revision)) is None:
            return
        listed = []
        for file, content in found.files.items():
            one = {"type": "file", "path": file, "size": len(content), "oid": git_id(content)}
            if is_large(file):
                one["lfs"] = {"oid": sha256(content), "size": len(content), "pointerSize": 134}
            listed.append(one)
        self.say(200, listed)

    def resolve(self, name, revision, file):
        if (found := self.revision(name, revision)) is None:
            return None
        if found.gated and self.token not in found.readers:
            status = 403 if self.token else 401
            said = f"Access to model {name} is restricted."
            code = {"X-Error-Code": "GatedRepo", "X-Error-Message": said}
            return self.say(status, {"error": said}, **code)
        if file not in found.files:
            code = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": revision}
            return self.say(404, {"error": "Entry not found"}, **code)
        content = found.files[file]
        about = {"ETag": f'"{git_id(content)}"', "X-Repo-Commit": revision}
        if not is_large(file):
            return self.send(content, about)
        about |= {"X-Linked-Etag": f'"{sha256(content)}"', "X-Linked-Size": str(len(content))}
        place = f"{self.server.cdn_url}/cdn/{sha256(content)}/{file}"
        return self.say(302, None, Location=place, **about)

    def cdn(self, oid, file):
        if self.token:
            return self.say(400, {"error": "the token was sent to another host"})
        content = self.server.objects[oid]
        if file in self.server.garbled:
            content = bytes(len(content))
        ranged = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(ranged.group(1)) if ranged and not self.server.no_ranges else 0
        about = {"Accept-Ranges": "bytes"}
        status = 200
        if start:
            about["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            status = 206
        return self.send(content[start:], about, status, cuts=self.server.cuts.get(file))

    def create(self):
        asked = json.loads(self.body)
        name = f"{asked['organization']}/{asked['name']}"
        if not self.may():
            return None
        if name in self.server.repositories:
            return self.say(409, {"error": "You already created this model repo", "url": name})
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        self.server.repositories[name] = Repository({}, private=private)
        return self.say(200, {"url": f"{self.server.url}/{name}"})

    def may(self):
        if self.token != TOKEN:
            self.say(
                401,
                {"error": "Invalid credentials in Authorization header"},
                **{"X-Error-Message": "Invalid credentials in Authorization header"},
            )
            return False
        if not self.server.may_write:
            said = "You don't have the rights to create a model under this namespace"
            self.say(403, {"error": said}, **{"X-Error-Message": said})
            return False
        return True

    def preupload(self, name, revision):
        if (found := self.revision(name, revision)) is None:
            return
        files = []
        for file in json.loads(self.body)["files"]:
            there = found.files.get(file["path"])
            oid = etag_of(file["path"], there) if there is not None else None
            mode = "lfs" if is_large(file["path"]) else "regular"
            files.append(
                {"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid}
            )
        self.say(200, {"files": files})

    def batch(self, name):
        objects = []
        for one in json.loads(self.body)["objects"]:
            if one["oid"] not in self.server.objects:
                href = f"{self.server.url}/upload/{one['oid']}"
                one = one | {"actions": {"upload": {"href": href}}}
            objects.append(one)
        self.say(200, {"transfer": "basic", "objects": objects})

    def upload(self, oid):
        if sha256(self.body) != oid or oid in self.server.refused_uploads:
            return self.say(400, {"error": "not stored"})
        self.server.objects[oid] = self.body
        return self.say(200, None)

    def commit(self, name, revision):
        if not self.may() or (found := self.revision(name, revision)) is None:
            return
        for line in self.body.decode().splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "header":
                found.summaries.append(value["summary"])
            elif item["key"] == "file":
                found.files[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                found.files[value["path"]] = self.server.objects[value["oid"]]
        url = f"{self.server.url}/{name}/commit/{found.head}"
        self.say(200, {"commitUrl": url, "commitOid": found.head})

    def validate(self):
        self.say(200, {"errors": [], "warnings": []})

    def say(self, status, body, **headers):
        content = b"" if body is None else json.dumps(body).encode()
        self.send(content, {"Content-Type": "application/json", **headers}, status)

    def send(self, content, headers, status=200, cuts=None):
        """Send an answer; where cuts are to come, end the connection after so many bytes."""
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if cuts:
            content = content[: cuts.pop(0)]
            self.close_connection = True
        self.wfile.write(content)


NAME = r"([\w.-]+/[\w.-]+)"
ROUTES = (
    (r"/api/models", Handler.models),
    (r"/api/repos/create", Handler.create),
    (r"/api/validate-yaml", Handler.validate),
    (rf"/api/models/{NAME}", Handler.model),
    (rf"/api/models/{NAME}/auth-check", Handler.model),
    (rf"/api/models/{NAME}/revision/(.+)", Handler.model_at),
    (rf"/api/models/{NAME}/tree/(.+)", Handler.tree),
    (rf"/api/models/{NAME}/preupload/(.+)", Handler.preupload),
    (rf"/api/models/{NAME}/commit/(.+)", Handler.commit),
    (rf"/{NAME}/resolve/([^/]+)/(.+)", Handler.resolve),
    (r"/cdn/(\w+)/(.+)", Handler.cdn),
    (rf"/{NAME}\.git/info/lfs/objects/batch", Handler.batch),
    (r"/upload/(\w+)", Handler.upload),
)
