"""Ask nginx which server its consistent hash picks, and write that down.

    cd tests/unit/selection/data && python make_ketama.py >ketama.json

Made with nginx 1.22.1 of Debian 12. No server is there: each connection is refused
at once, nginx answers 502, and a header says whom it tried.
"""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SERVERS = {
    "equal": [(f"127.0.0.{at}:9", 1) for at in range(1, 4)],
    "weighted": [("127.0.0.1:1", 5), ("127.0.0.1:2", 1), ("127.0.0.1:3", 2)],
    "many": [(f"127.1.{at}.{at % 7}:{1 + at % 9}", 1 + at % 3) for at in range(40)],
    "heavy": [(f"127.2.0.{at}:7", 100) for at in range(1, 10)],
    "sockets": [(f"unix:/nowhere/{name}.sock", 1) for name in "abc"],
}
KEYS = [*(f"key-{at}" for at in range(150)), *(f"198.51.100.{at}" for at in range(50))]


def configuration(port: int, folder: str) -> str:
    upstreams, places = "", ""
    for name, servers in SERVERS.items():
        lines = "".join(
            f"server {address} weight={weight} max_fails=0;\n"
            for address, weight in servers
        )
        upstreams += f"upstream {name} {{ hash $arg_k consistent;\n{lines} }}\n"
        places += f"location /{name} {{ proxy_pass http://{name}; }}\n"
    paths = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""
daemon off; master_process off; pid {folder}/pid; error_log /dev/null;
events {{}}
http {{ access_log off; keepalive_requests 1000000; {paths} {upstreams}
server {{ listen 127.0.0.1:{port}; proxy_next_upstream off;
add_header X-Tried $upstream_addr always; {places} }} }}
"""


def ask(port: int) -> dict[str, object]:
    client = http.client.HTTPConnection("127.0.0.1", port)
    vectors: dict[str, object] = {}
    for name, servers in SERVERS.items():
        addresses = [address for address, _ in servers]
        picks = []
        for key in KEYS:
            client.request("GET", f"/{name}?k={key}")
            response = client.getresponse()
            response.read()
            tried = response.getheader("X-Tried")
            assert tried is not None
            picks.append(addresses.index(tried))
        vectors[name] = {"servers": servers, "picks": picks}
    return vectors


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
        file = Path(folder, "nginx.conf")
        file.write_text(configuration(port, folder))
        command = ["nginx", "-p", folder, "-c", str(file)]
        server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            time.sleep(1)
            version = subprocess.run(
                ["nginx", "-v"], capture_output=True, text=True, check=True
            ).stderr.strip()
            picks = ask(port)
        finally:
            server.terminate()
            server.wait()
    made = {"made_with": version, "keys": KEYS, "upstreams": picks}
    sys.stdout.write(json.dumps(made).replace(', "', ',\n"') + "\n")


if __name__ == "__main__":
    main()
