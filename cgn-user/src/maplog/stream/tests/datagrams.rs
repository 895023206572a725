//! Collectors by UDP.

use super::*;

#[test]
fn datagrams_explain_themselves_and_a_refusal_is_noticed() {
    let mut place = Place::new();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let address = socket.local_addr().unwrap();
    let mut sink = place.sink(Format::Ipfix, Transport::Udp, address);
    for number in 0..30 {
        place.write(number, true);
    }
    deliver(&mut sink);
    let mut buffer = [0; 1500];
    let mut seen = Vec::new();
    for _ in 0..4 {
        let length = socket.recv(&mut buffer).unwrap();
        assert!(length <= 484);
        // Number of the set, and of the data records so far.
        seen.push((u16::from_be_bytes([buffer[16], buffer[17]]), buffer[11]));
    }
    // Two copies of the templates, then as many records as fit.
    assert_eq!(seen, [(2, 0), (2, 0), (256, 0), (256, 22)]);
    drop(socket);
    place.write(40, true);
    let until = Instant::now() + PATIENCE;
    while sink.stats().failures == 0 {
        let _ = sink.turn(Instant::now(), 0);
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(sink.stats().pending, 1, "the refused one has not arrived");
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    deliver(&mut sink);
    let mut sets = Vec::new();
    for _ in 0..3 {
        socket.recv(&mut buffer).unwrap();
        sets.push(buffer[16]);
    }
    assert_eq!(
        sets,
        [0, 0, 1],
        "templates first for a collector that is new"
    );
}

/// The next datagram, and the number of its first set.
fn receive(socket: &UdpSocket) -> (u16, Vec<u8>) {
    let mut buffer = [0; 1500];
    let length = socket.recv(&mut buffer).unwrap();
    let set = u16::from_be_bytes([buffer[16], buffer[17]]);
    (set, buffer[..length].to_vec())
}

#[test]
fn datagrams_explain_their_templates_again_when_it_is_time() {
    let mut place = Place::new();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut sink = place.sink_with(|options| {
        (options.format, options.transport) = (Format::Ipfix, Transport::Udp);
        options.address = socket.local_addr().unwrap();
        options.template_every = Duration::from_secs(60);
    });
    let begun = Instant::now();
    let mut sets = Vec::new();
    for (number, after_secs) in [(1, 0), (2, 59), (3, 61), (4, 62)] {
        place.write(number, true);
        let at = begun + Duration::from_secs(after_secs);
        sink.turn(at, 0).unwrap();
        while sets.iter().filter(|set| **set == 256).count() < usize::from(number) {
            sets.push(receive(&socket).0);
        }
    }
    assert_eq!(sets, [2, 2, 256, 256, 2, 256, 256]);
}

#[test]
fn two_collectors_get_the_same_records_each_in_its_domain() {
    let mut place = Place::new();
    let sockets = [1, 2].map(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
    let mut sinks: Vec<Sink> = sockets
        .iter()
        .zip([1, 2])
        .map(|(socket, domain)| {
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            place.sink_with(|options| {
                (options.format, options.transport) = (Format::Ipfix, Transport::Udp);
                options.address = socket.local_addr().unwrap();
                (options.name, options.domain) = (format!("collector-{domain}"), domain);
            })
        })
        .collect();
    for number in 0..20 {
        place.write(number, true);
    }
    sinks.iter_mut().for_each(deliver);
    let records = sockets.each_ref().map(|socket| {
        let datagrams: Vec<_> = (0..3).map(|_| receive(socket)).collect();
        datagrams[2].1.clone()
    });
    assert_eq!(records[0][16..], records[1][16..], "set header and records");
    assert_eq!(records[0].len(), 16 + 4 + 20 * 21);
    assert_eq!(
        records.map(|record| record[12..16].to_vec()),
        [vec![0, 0, 0, 1], vec![0, 0, 0, 2]]
    );
}
