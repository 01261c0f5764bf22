"""The backend of the benchmark: an nginx with constant answers.

`/few` and `/browser` are small, with five and with twelve fields; `/large` is 1 MiB
and `/huge` 16 MiB, from files; `/upload` reads all that comes, then answers.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.core import CONTENT, SETTINGS, Setting
from bench.peers import find
from bench.programs import Command, quoted

__all__ = ["LARGE", "backend"]

LARGE: Final = 1 << 20
"""Bytes."""
TOP: Final = """\
worker_processes 1; daemon off; pid nginx.pid; error_log stderr error;
events {{ worker_connections {room}; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600s;
  client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3;
  uwsgi_temp_path t4; scgi_temp_path t5; default_type text/plain;
  client_max_body_size 0; sendfile on; root {root};
  server {{
    {listen}
    location = /few {{ {few} }}
    location = /browser {{ {browser} }}
    location = /upload {{
      client_body_buffer_size 2m; proxy_pass_request_body off;
      proxy_set_header Content-Length ""; proxy_pass http://{first}/few;
    }}
  }}
}}
"""


def answer(setting: Setting) -> str:
    """Write what answers with the fields of a setting."""
    fields = " ".join(
        f"add_header {name} {quoted(text)};" for name, text in setting.response
    )
    return f'{fields} return 200 "{CONTENT.decode()}";'


def backend(
    room: int, places: Sequence[Path], addresses: Sequence[str] = ("127.0.0.1",)
) -> Command:
    """Make the backend, for so many connections, on these addresses."""
    few, browser = SETTINGS

    def command(folder: Path, port: int, _: int) -> list[str]:
        for name, size in (("large", LARGE), ("huge", 16 * LARGE)):
            (folder / name).write_bytes(b"x" * size)
        listen = " ".join(f"listen {one}:{port} backlog=4096;" for one in addresses)
        text = TOP.format(
            room=room,
            root=folder,
            listen=listen,
            few=answer(few),
            browser=answer(browser),
            first=f"{addresses[0]}:{port}",
        )
        user = "user root;\n" if os.geteuid() == 0 else ""
        conf = folder / "nginx.conf"
        conf.write_text(user + text, "utf-8")
        nginx = find("nginx", places)
        return [nginx, "-p", str(folder), "-c", str(conf), "-e", "stderr"]

    return command
