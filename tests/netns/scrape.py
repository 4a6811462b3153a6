"""What the daemon tells by HTTP, asked for from within a namespace."""
import http.client
import re

LINE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def get(namespace, at, path):
    """(status, headers, body) of GET path."""
    connection = http.client.HTTPConnection("node")
    connection.sock = namespace.connect(at)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()
    finally:
        connection.close()


class Metrics:
    """The samples of one scrape."""

    def __init__(self, text):
        self.text = text
        self.samples = []
        for line in text.splitlines():
            if not line.startswith("#"):
                name, labels, value = LINE.fullmatch(line).groups()
                self.samples.append((name, dict(LABEL.findall(labels or "")), float(value)))

    def sum(self, name, **labels):
        """Of all samples that have these labels; None if there is none."""
        values = [value for sample, has, value in self.samples
                  if sample == name and labels.items() <= has.items()]
        return sum(values) if values else None

    def families(self):
        return set(re.findall(r"(?m)^# TYPE (\S+) ", self.text))


def metrics(namespace, at="127.0.0.1:10249"):
    status, headers, body = get(namespace, at, "/metrics")
    assert status == 200 and headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return Metrics(body)
