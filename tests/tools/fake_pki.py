"""Certificates for tests, made by the openssl command: an authority, a server's, clients'."""
import os
import subprocess


def _openssl(*args, stdin=None):
    subprocess.run(["openssl", *args], check=True, capture_output=True, input=stdin)


class Pki:
    """An authority in a directory: ca.crt, and NAME.crt with NAME.key for each certificate asked for."""

    def __init__(self, directory, name="ca"):
        self.directory = directory
        self.name = name
        self.ca = os.path.join(directory, name + ".crt")
        self.ca_key = os.path.join(directory, name + ".key")
        os.makedirs(directory, exist_ok=True)
        _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                 "-keyout", self.ca_key, "-out", self.ca, "-days", "2", "-subj", "/CN=fake-" + name,
                 "-addext", "basicConstraints=critical,CA:TRUE",
                 "-addext", "keyUsage=critical,keyCertSign,digitalSignature")

    def _issue(self, name, subject, extensions):
        base = os.path.join(self.directory, name)
        with open(base + ".ext", "w", encoding="ascii") as file:
            file.write("\n".join(["basicConstraints=CA:FALSE", *extensions]) + "\n")
        _openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                 "-keyout", base + ".key", "-out", base + ".csr", "-subj", subject)
        _openssl("x509", "-req", "-in", base + ".csr", "-CA", self.ca, "-CAkey", self.ca_key,
                 "-CAcreateserial", "-days", "2", "-extfile", base + ".ext", "-out", base + ".crt")
        return base + ".crt", base + ".key"

    def server(self, name="server", hosts=("localhost", "127.0.0.1", "::1")):
        """A server's certificate for these names and addresses: (certificate, key)."""
        kinds = [("IP:" if h.replace(".", "").isdigit() or ":" in h else "DNS:") + h for h in hosts]
        return self._issue(name, "/CN=fake-apiserver",
                           ["extendedKeyUsage=serverAuth", "subjectAltName=" + ",".join(kinds)])

    def client(self, name="client", user="system:kube-proxy", groups=("system:nodes",)):
        """A client's certificate: (certificate, key)."""
        subject = "".join(f"/O={group}" for group in groups) + f"/CN={user}"
        return self._issue(name, subject, ["extendedKeyUsage=clientAuth"])
