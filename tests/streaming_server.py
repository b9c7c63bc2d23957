"""A small real HTTP server that answers as the model server does."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WORDS = ["    return", " n", " +", " 1\n"]
MODELS = {"ba5e": "falcon as it came", "70ned": "falcon, lora"}


class Server(ThreadingHTTPServer):
    """Streams `WORDS`.

    `first` holds the first word back and `last` the last one, `comment` is said meanwhile, `busy`
    refuses so many questions and `error` all of them; `asked` and `voted` are the bodies that came.
    `words` may be others than `WORDS`.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.first, self.last, self.gone = (threading.Event() for _ in range(3))
        self.first.set()
        self.last.set()
        self.busy = 0
        self.comment = "waiting"
        self.error = None
        self.words = WORDS
        self.asked = []
        self.voted = []


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        listed = [{"id": name, "label": label} for name, label in MODELS.items()]
        self.answer({"data": [{**listed[0], "base": None}, {**listed[1], "base": "ba5e"}]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/v1/prompts":
            prompt = f"### Task: {body['instruction']}\n{body['signature']}\n"
            self.answer({"prompt": prompt, "stop": ["\n\n"]})
        elif self.path == "/judge":
            verdict = {"outcome": "passed", "cpu_seconds": 0.02, "wall_seconds": 0.03}
            self.answer(verdict | {"detail": ""})
        elif self.server.error:
            self.answer({"error": {"message": self.server.error}}, 400)
        elif self.path == "/votes":
            self.server.voted.append(body)
            self.answer({"id": body["id"], "choice": body["choice"]})
        elif self.server.busy:
            self.server.busy -= 1
            refused = {"error": {"message": "8 questions wait already; try again soon"}}
            self.answer(refused, 429, **{"Retry-After": "1"})
        else:
            self.server.asked.append(body)
            self.stream(body, chat=self.path.endswith("/chat/completions"))

    def stream(self, body, chat):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        if not self.waited(self.server.first):
            return
        for word in self.server.words:
            if word == self.server.words[-1] and not self.waited(self.server.last):
                return
            choice = {"delta": {"content": word}} if chat else {"text": word}
            self.say(f"data: {json.dumps({'choices': [choice]})}")
        if body.get("stream_options", {}).get("include_usage"):
            self.say(f"data: {json.dumps({'choices': [], 'usage': {'completion_tokens': 5}})}")
        self.say("data: [DONE]")

    def waited(self, event):
        """Whether the event came while somebody was still there."""
        while not event.wait(0.05):
            self.say(f": {self.server.comment}")
            if self.server.gone.is_set():
                return False
        return True

    def say(self, line):
        try:
            self.wfile.write(f"{line}\n\n".encode())
            self.wfile.flush()
        except OSError:
            self.server.gone.set()

    def answer(self, body, status_code=200, **headers):
        self.send_response(status_code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())
