"""A signer outside of a cluster: what cfssl does with `POST /sign`, with openssl's command.

Arguments: directory with `root.pem` and `root.key`, address, port. Clients must show a certificate of one of the roots
in `clients.pem` of the directory. Whom it signs for is written to `signed`, one line each.
"""

import http.server
import json
import pathlib
import ssl
import subprocess
import sys
import tempfile


def openssl(*words: str, text: str = "") -> str:
    done = subprocess.run(["openssl", *words], input=text, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(done.stderr.strip())
    return done.stdout


def certificate(directory: pathlib.Path, public: str, subject: str, names: str, days: str) -> str:
    """A certificate for a public key."""
    with tempfile.TemporaryDirectory() as scratch:
        key, extensions = pathlib.Path(scratch, "public.pem"), pathlib.Path(scratch, "extensions")
        key.write_text(public)
        extensions.write_text(
            f"subjectAltName={names}\nbasicConstraints=critical,CA:FALSE\n"
            "keyUsage=critical,digitalSignature,keyEncipherment\n"
            "extendedKeyUsage=serverAuth,clientAuth\nauthorityKeyIdentifier=keyid\n"
        )
        root, root_key = directory / "root.pem", directory / "root.key"
        return openssl(
            "x509", "-new", "-force_pubkey", str(key), "-subj", subject, "-days", days,
            "-CA", str(root), "-CAkey", str(root_key), "-extfile", str(extensions),
        )


def sign(directory: pathlib.Path, asked: dict) -> str:
    """Of the request only the key counts; who it is for is said beside it."""
    public = openssl("req", "-verify", "-noout", "-pubkey", text=asked["certificate_request"])
    subject = asked["subject"]
    name = subject["names"][0]
    text = f"/O={name['O']}/OU={name['OU']}/CN={subject['CN']}"
    names = ",".join(f"DNS:{host}" for host in asked["hosts"])
    signed = certificate(directory, public, text, names, "30")
    with open(directory / "signed", "a", encoding="ascii") as log:
        log.write(f"{name['OU']} {subject['CN']}\n")
    return signed


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answer = {"success": True, "result": None, "errors": [], "messages": []}
        try:
            answer["result"] = {"certificate": sign(self.server.directory, json.loads(body))}
        except (ValueError, KeyError) as error:
            answer.update(success=False, errors=[{"code": 9002, "message": str(error)}])
        text = json.dumps(answer).encode()
        self.send_response(200 if answer["success"] else 400)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


class Server(http.server.ThreadingHTTPServer):
    """The handshake is made where it cannot hold up others: in the thread of the connection."""

    def finish_request(self, request, client_address) -> None:
        with self.context.wrap_socket(request, server_side=True) as secure:
            super().finish_request(secure, client_address)

    def handle_error(self, request, client_address) -> None:
        print(client_address, sys.exc_info()[1], flush=True)


def main() -> None:
    directory, address, port = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    key = directory / "server.key"
    key.write_text(openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"))
    public = openssl("pkey", "-in", str(key), "-pubout")
    chain = directory / "server.pem"
    chain.write_text(certificate(directory, public, "/CN=signer", f"IP:{address}", "1"))
    server = Server((address, port), Handler, bind_and_activate=False)
    server.directory = directory
    server.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=directory / "clients.pem")
    server.context.verify_mode = ssl.CERT_REQUIRED
    server.context.load_cert_chain(chain, key)
    server.server_bind()
    server.server_activate()
    server.serve_forever()


main()
