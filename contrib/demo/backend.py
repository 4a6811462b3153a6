#!/usr/bin/env python3
"""A backend that answers every request with its name: backend.py NAME ADDRESS PORT"""
import http.server
import sys


class Backend(http.server.ThreadingHTTPServer):
    def __init__(self, name, address, port):
        self.answer = (name + "\n").encode()
        super().__init__((address, port), Handler)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(self.server.answer)))
        self.end_headers()
        self.wfile.write(self.server.answer)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    Backend(sys.argv[1], sys.argv[2], int(sys.argv[3])).serve_forever()
