"""A BitTorrent peer of libtorrent that finds others by DHT alone, over uTP alone.

`torrent.py make FOLDER`: writes pseudo-random content and its torrent file there.
`torrent.py node ADDRESS`: a DHT node at ADDRESS:6881, for the others to begin with.
`torrent.py peer ADDRESS NODE TORRENT FOLDER`: seeds what FOLDER has of it, and fetches the rest.

Prints what it learns, a line each: `announced E` (what a peer is reached at, by its own announcement), `peer E` (an
endpoint that it is connected to), `done`.
"""

import sys
import time

import libtorrent as lt

FILE, LENGTH = "content", 3_000_017
PORT = 6881


def say(*words):
    print(*words, flush=True)


def make(folder):
    state, content = 1, bytearray()
    while len(content) < LENGTH:
        state = (state * 6364136223846793005 + 1442695040888963407) & (1 << 64) - 1
        content += (state >> 32).to_bytes(4, "big")
    with open(f"{folder}/{FILE}", "wb") as file:
        file.write(content[:LENGTH])
    files = lt.file_storage()
    lt.add_files(files, f"{folder}/{FILE}")
    made = lt.create_torrent(files)
    lt.set_piece_hashes(made, folder)
    with open(f"{folder}/{FILE}.torrent", "wb") as file:
        file.write(lt.bencode(made.generate()))


def session(address, node):
    kinds = lt.alert.category_t
    return lt.session({
        "listen_interfaces": f"{address}:{PORT}",
        "dht_bootstrap_nodes": node,
        "enable_dht": True,
        "enable_lsd": False,
        "enable_upnp": False,
        "enable_natpmp": False,
        "enable_incoming_tcp": False,
        "enable_outgoing_tcp": False,
        # Here all nodes are in two or three networks, and peers share an address.
        "dht_restrict_routing_ips": False,
        "dht_restrict_search_ips": False,
        "allow_multiple_connections_per_ip": True,
        "alert_mask": kinds.dht_notification | kinds.status_notification | kinds.error_notification,
    })


def tell(alert):
    if isinstance(alert, lt.dht_announce_alert):
        say("announced", f"{alert.ip}:{alert.port}")
    elif isinstance(alert, (lt.listen_failed_alert, lt.torrent_error_alert)):
        say("error", alert.message())


def peer(address, node, torrent, folder):
    at = session(address, node)
    one = at.add_torrent({"ti": lt.torrent_info(torrent), "save_path": folder})
    peers, done = set(), False
    while True:
        for alert in at.pop_alerts():
            tell(alert)
        for info in one.get_peer_info():
            if not info.flags & (lt.peer_info.connecting | lt.peer_info.handshake) and info.ip not in peers:
                peers.add(info.ip)
                say("peer", "%s:%d" % info.ip)
        if one.status().is_seeding and not done:
            done = True
            say("done")
        time.sleep(0.02)


def node(address):
    at = session(address, "")
    say("node")
    while True:
        for alert in at.pop_alerts():
            tell(alert)
        time.sleep(0.05)


{"make": make, "node": node, "peer": peer}[sys.argv[1]](*sys.argv[2:])
