"""A SIP registrar and stateless proxy (RFC 3261 sections 10.3, 16.11) for UDP: `registrar.py ADDRESS`.

It binds each name to the address and port that its REGISTER came from (RFC 3581, RFC 5626 section 3.3), not to the
Contact, which is private behind a NAT; so it needs no help of the NAT. Prints `bound NAME ADDRESS:PORT`.
"""

import re
import socket
import sys
import zlib

HOST, PORT = sys.argv[1], 5060
BINDINGS = {}


def header(lines, name):
    return [line.split(":", 1)[1].strip() for line in lines if line.lower().startswith(name + ":")]


def user(uri):
    return re.search(r"sip:([^@;>]+)@", uri).group(1)


def received(lines, peer):
    """The topmost Via, with where the request really came from (RFC 3581 section 4)."""
    at = next(i for i, line in enumerate(lines) if line.lower().startswith("via:"))
    via = re.sub(r";rport(?=;|$)", f";rport={peer[1]};received={peer[0]}", lines[at])
    return lines[:at] + [via] + lines[at + 1:]


def register(lines, peer):
    name = user(header(lines, "to")[0])
    # Requests within a dialog go to the Contact's user.
    for one in [name, *map(user, header(lines, "contact"))]:
        BINDINGS[one] = peer
    print(f"bound {name} {peer[0]}:{peer[1]}", flush=True)
    kept = [line for line in lines[1:] if re.match(r"(?i)(via|from|to|call-id|cseq|contact):", line)]
    kept = [line + ";tag=r" if line.lower().startswith("to:") else line for line in kept]
    return ["SIP/2.0 200 OK", *kept, "Expires: 3600", "Content-Length: 0"], peer


def request(lines, peer):
    method, uri, _ = lines[0].split(" ")
    if method == "REGISTER":
        return register(received(lines, peer), peer)
    target = BINDINGS[user(uri)]
    lines = received(lines, peer)
    lines = [line for line in lines if not line.lower().startswith("route:")]
    branch = zlib.crc32("".join(header(lines, "via")[0]).encode())
    ours = [f"Via: SIP/2.0/UDP {HOST}:{PORT};branch=z9hG4bK{branch:08x}"]
    if method == "INVITE":
        ours.append(f"Record-Route: <sip:{HOST}:{PORT};lr>")
    return [lines[0], *ours, *lines[1:]], target


def response(lines):
    at = next(i for i, line in enumerate(lines) if line.lower().startswith("via:"))
    lines = lines[:at] + lines[at + 1:]
    via = header(lines, "via")[0]
    address = re.search(r"received=([\d.]+)", via).group(1), int(re.search(r"rport=(\d+)", via).group(1))
    return lines, address


def main():
    at = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    at.bind((HOST, PORT))
    print("listening", flush=True)
    while True:
        data, peer = at.recvfrom(65535)
        head, separator, body = data.decode().partition("\r\n\r\n")
        # Keep-alives have no head (RFC 5626 section 3.5.1).
        if not separator or not head.strip():
            continue
        lines = head.split("\r\n")
        lines, target = response(lines) if lines[0].startswith("SIP/2.0") else request(lines, peer)
        at.sendto(("\r\n".join(lines) + separator + body).encode(), target)


main()
