"""A subscriber who talks to a server without pause over one UDP socket.

talk.py server ADDRESS PORT           answers each datagram with the address that it came from
talk.py client ADDRESS PORT FILE      sends 100 a second until killed; writes each new answer, and
                                      each answer that did not come within 2 seconds, to FILE
"""

import socket
import sys
import time

role, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
talk = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
if role == "server":
    talk.bind((address, port))
    while True:
        data, peer = talk.recvfrom(2048)
        talk.sendto(f"{peer[0]}:{peer[1]}".encode(), peer)
talk.settimeout(2)
last = None
while True:
    talk.sendto(b"hello", (address, port))
    try:
        seen = talk.recv(2048).decode()
    except TimeoutError:
        seen = "lost"
    if seen != last:
        with open(sys.argv[4], "a") as file:
            print(seen, file=file)
        last = seen
    time.sleep(0.01)
