//! Whom a sink believes to be its collector: TLS, with the certificates that the operator trusts.

use std::fs::File;
use std::io::{self, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{
    ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore, SignatureScheme,
    WantsVerifier,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

/// What a collector must show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// Certificates that the collector's must descend from, PEM.
    pub ca_file: PathBuf,
    /// Name that its certificate must be for.
    pub server_name: String,
}

/// How to speak TLS to it.
pub(super) struct Client {
    pub config: Arc<ClientConfig>,
    pub name: ServerName<'static>,
}

impl Trust {
    /// For one collector.
    ///
    /// # Errors
    /// The file has no certificates, or the name is none.
    pub(super) fn client(&self) -> io::Result<Client> {
        let config = builder()?.with_webpki_verifier(self.verifier()?);
        Ok(Client {
            config: Arc::new(config.with_no_client_auth()),
            name: self.name()?,
        })
    }

    /// For a cluster that is asked at `address`.
    ///
    /// # Errors
    /// As above.
    pub(super) fn of_cluster(&self, address: SocketAddr) -> io::Result<Client> {
        let brokers = Brokers {
            address: address.ip(),
            name: self.name()?,
            any: self.verifier()?,
        };
        let config = builder()?.dangerous();
        let config = config.with_custom_certificate_verifier(Arc::new(brokers));
        Ok(Client {
            config: Arc::new(config.with_no_client_auth()),
            name: self.name()?,
        })
    }

    fn name(&self) -> io::Result<ServerName<'static>> {
        ServerName::try_from(self.server_name.clone()).map_err(io::Error::other)
    }

    fn verifier(&self) -> io::Result<Arc<WebPkiServerVerifier>> {
        let path = self.ca_file.display();
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{path}: {error}"));
        let mut roots = RootCertStore::empty();
        let file = BufReader::new(File::open(&self.ca_file).map_err(named)?);
        for certificate in CertificateDer::pem_reader_iter(file) {
            let certificate = certificate.map_err(|error| named(io::Error::other(error)))?;
            roots.add(certificate).map_err(io::Error::other)?;
        }
        if roots.is_empty() {
            return Err(named(io::Error::other("there is no certificate in it")));
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider());
        verifier.build().map_err(io::Error::other)
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn builder() -> io::Result<ConfigBuilder<ClientConfig, WantsVerifier>> {
    let builder = ClientConfig::builder_with_provider(provider());
    let builder = builder.with_safe_default_protocol_versions();
    builder.map_err(io::Error::other)
}

/// The brokers of a cluster. The client knows the first by its address only, the others by the names
/// that the cluster gives them. Each must have a certificate for its own name.
#[derive(Debug)]
struct Brokers {
    address: IpAddr,
    /// Of the broker at that address.
    name: ServerName<'static>,
    any: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for Brokers {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let name = match name {
            ServerName::IpAddress(address) if IpAddr::from(*address) == self.address => &self.name,
            named => named,
        };
        self.any
            .verify_server_cert(certificate, intermediates, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.any
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.any
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.any.supported_verify_schemes()
    }
}
