"""An OpenAI-like server whose model is written down."""

import collections
import http.server
import json
import threading


class Endpoint:
    """An OpenAI-like endpoint whose model says what is written for a conversation.

    Args:
      lines: From the first message to the replies, in order.
    """

    def __init__(self, lines):
        self.lines, self.asked = lines, collections.Counter()
        endpoint = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):  # noqa: N802
                size = int(self.headers["Content-Length"])
                answer = endpoint.answer(json.loads(self.rfile.read(size)))
                body = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                return

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def answer(self, request):
        messages = request["messages"]
        first = messages[0]["content"]
        self.asked[first] += 1
        self.last = messages
        said = sum(message["role"] == "assistant" for message in messages)
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        message = {"role": "assistant", "content": self.lines[first][said]}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return {
            "id": "x",
            "object": "chat.completion",
            "created": 1,
            "model": request["model"],
            "choices": [choice],
            "usage": usage,
        }

    def __enter__(self):
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
