# ruff: noqa: INP001 -- a script, and no module of a package.
"""Exit status 0 while the service says that it is ready; what a container's HEALTHCHECK runs, inside of the container.

It asks on loopback, where the certificate's name cannot match: that nobody else answers there is the container's word.
"""

import http.client
import ssl
import sys

PORT = int(sys.argv[1]) if len(sys.argv) > 1 else 4599
ANSWER_S_MAX = 4


def is_ready(connection: http.client.HTTPConnection) -> bool:
    """Whether the service there says yes."""
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    unverified = ssl._create_unverified_context()  # noqa: S323, SLF001 -- see above.
    tls = http.client.HTTPSConnection("127.0.0.1", PORT, timeout=ANSWER_S_MAX, context=unverified)
    plain = http.client.HTTPConnection("127.0.0.1", PORT, timeout=ANSWER_S_MAX)
    sys.exit(0 if is_ready(tls) or is_ready(plain) else 1)
