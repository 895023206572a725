//! What `[identity]` must fulfil.

use std::collections::HashMap;

use super::fault::{Fault, Findings};
use super::place::KeyPath;
use super::schema::Config;

pub(super) fn validate(config: &Config, findings: &mut Findings) {
    let identity = &config.identity;
    let path = |key: &str| KeyPath::from("identity").key(key);
    let (listen, clients, attributes) = (path("listen"), path("client"), path("attributes"));
    let has_clients = !identity.client.is_empty();
    if identity.listen.is_some() && !has_clients && findings.sound(&clients) {
        findings.add(listen, Fault::NoClients);
    } else if identity.listen.is_none() && has_clients && findings.sound(&listen) {
        findings.add(clients.clone(), Fault::NoListen);
    }
    if identity.attributes.is_empty() && findings.sound(&attributes) {
        let example = "\"User-Name\"";
        findings.add(attributes.clone(), Fault::EmptyList { example });
    }
    for (index, attribute) in identity.attributes.iter().enumerate() {
        let path = attributes.index(index);
        if identity.attributes[..index].contains(attribute) && findings.sound(&path) {
            findings.add(path, Fault::AttributeTwice);
        }
    }
    let mut seen = HashMap::new();
    for (index, client) in identity.client.iter().enumerate() {
        let section = clients.index(index);
        let (address, secret) = (section.key("address"), section.key("secret_file"));
        let other = *seen.entry(client.address.to_canonical()).or_insert(index);
        if other < index && findings.sound(&address) {
            let other = clients.index(other);
            findings.add(address, Fault::DuplicateClient { other });
        }
        if !client.secret_file.is_absolute() && findings.sound(&secret) {
            let path = client.secret_file.clone();
            findings.add(secret, Fault::NotAbsolute { path });
        }
    }
}
