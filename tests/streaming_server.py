"""A small real HTTP server that answers as the model server does."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WORDS = ["    return", " n", " +", " 1\n"]
MODELS = {"ba5e": "falcon as it came", "70ned": "falcon, lora"}


class Server(ThreadingHTTPServer):
    """Streams `WORDS`; `first` holds the first one back, `busy` refuses so many questions."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.first = threading.Event()
        self.first.set()
        self.busy = 0
        self.error = None
        self.asked = []
        self.gone = threading.Event()


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        self.answer({"data": [{"id": name, "label": label} for name, label in MODELS.items()]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/v1/prompts":
            prompt = f"### Task: {body['instruction']}\n{body['signature']}\n"
            self.answer({"prompt": prompt, "stop": ["\n\n"]})
        elif self.server.busy:
            self.server.busy -= 1
            self.answer({"error": {"message": "busy"}}, 429, **{"Retry-After": "0"})
        elif self.server.error:
            self.answer({"error": {"message": self.server.error}}, 400)
        else:
            self.server.asked.append(body)
            self.stream()

    def stream(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        while not self.server.first.wait(0.05):
            self.say(": waiting")
            if self.server.gone.is_set():
                return
        for word in WORDS:
            self.say(f"data: {json.dumps({'choices': [{'text': word}]})}")
        self.say(f"data: {json.dumps({'choices': [], 'usage': {'completion_tokens': 5}})}")
        self.say("data: [DONE]")

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
