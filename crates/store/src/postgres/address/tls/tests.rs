use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use aws_lc_rs::digest;
use mandate_testkit::clock::SeededEntropy;
use mandate_testkit::postgres::{ACCEPT_LOST_RECORDS, Cluster};
use mandate_testkit::skipped;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PKCS_ECDSA_P384_SHA384,
    PKCS_ED25519,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_postgres::config::ChannelBinding;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_rustls::TlsAcceptor;

use super::super::{AddressError, PostgresAddress};
use super::{PROTOCOL, PostgresTls, end_point};
use crate::Store;

type Authority = CertifiedIssuer<'static, KeyPair>;

/// An authority of that name: one of another name is unknown, one of the same name has another key.
fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for `name` and its key, in PEM.
fn pair(authority: &Authority, name: &str) -> (rcgen::Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    (CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, authority).unwrap(), key)
}

/// A folder with the PEM files of one test.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

fn tls(parameters: &str) -> Result<PostgresTls, AddressError> {
    format!("postgres://mandate@db.example/log?{parameters}").parse::<PostgresAddress>()?.tls()
}

/// A server with the certificate, which wants one of `clients` if that is given.
fn acceptor(certificate: &rcgen::Certificate, key: &KeyPair, clients: Option<&Authority>) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.der().clone()).unwrap();
            builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build().unwrap(),
            )
        }
    };
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let mut config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

/// Shakes hands as `host`, and sends a byte to and fro: only then a client knows whether its certificate was
/// taken.
async fn shake(mut tls: PostgresTls, host: &str, acceptor: &TlsAcceptor) -> std::io::Result<Vec<u8>> {
    let (near, far) = tokio::io::duplex(16 * 1024);
    let server = acceptor.accept(far);
    let client = MakeTlsConnect::<DuplexStream>::make_tls_connect(&mut tls, host)?.connect(near);
    let (server, client) = tokio::join!(server, client);
    let mut client = client?;
    let mut server = server?;
    client.write_all(b"?").await?;
    client.flush().await?;
    assert_eq!(server.read_u8().await?, b'?');
    server.write_all(b"!").await?;
    server.flush().await?;
    assert_eq!(client.read_u8().await?, b'!');
    let peer = client.0.get_ref().1;
    assert_eq!(peer.alpn_protocol(), Some(PROTOCOL));
    Ok(end_point(&peer.peer_certificates().unwrap()[0]).unwrap_or_default())
}

#[tokio::test]
async fn a_server_is_trusted_by_the_named_authority_and_for_the_named_host() {
    let (ours, other, same_name, files) =
        (authority("ours"), authority("other"), authority("ours"), Files::new());
    let roots = files.write("ca.pem", &ours.pem());
    let trusting = || tls(&format!("sslrootcert={roots}")).unwrap();
    let (certificate, key) = pair(&ours, "db.example");
    let digest = shake(trusting(), "db.example", &acceptor(&certificate, &key, None)).await.unwrap();
    assert_eq!(digest, digest::digest(&digest::SHA256, certificate.der()).as_ref(), "RFC 5929 §4.1");
    let (by_address, its_key) = pair(&ours, "192.0.2.7");
    shake(trusting(), "192.0.2.7", &acceptor(&by_address, &its_key, None)).await.unwrap();

    let error =
        shake(trusting(), "db2.example", &acceptor(&certificate, &key, None)).await.unwrap_err().to_string();
    assert!(error.contains("not valid for name"), "{error}");
    let error =
        shake(trusting(), "192.0.2.8", &acceptor(&by_address, &its_key, None)).await.unwrap_err().to_string();
    assert!(error.contains("not valid for name"), "{error}");
    for (authority, why) in [(&other, "UnknownIssuer"), (&same_name, "BadSignature")] {
        let (certificate, key) = pair(authority, "db.example");
        let error = shake(trusting(), "db.example", &acceptor(&certificate, &key, None))
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[tokio::test]
async fn without_a_file_the_authorities_of_the_machine_are_trusted_and_no_other() {
    let ours = authority("ours");
    let (certificate, key) = pair(&ours, "db.example");
    for parameters in ["", "sslmode=verify-full", "sslrootcert=system"] {
        let error = shake(tls(parameters).unwrap(), "db.example", &acceptor(&certificate, &key, None))
            .await
            .unwrap_err();
        assert!(error.to_string().contains("UnknownIssuer"), "{parameters}: {error}");
    }
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_a_server_that_wants_one() {
    let (ours, clients, files) = (authority("ours"), authority("clients"), Files::new());
    let (certificate, key) = pair(&ours, "db.example");
    let wanting = acceptor(&certificate, &key, Some(&clients));
    let (own, own_key) = pair(&clients, "mandate");
    let roots = files.write("ca.pem", &ours.pem());
    let (own, own_key) =
        (files.write("own.pem", &own.pem()), files.write("own.key", &own_key.serialize_pem()));
    let with = tls(&format!("sslrootcert={roots}&sslcert={own}&sslkey={own_key}")).unwrap();
    shake(with, "db.example", &wanting).await.unwrap();
    assert!(shake(tls(&format!("sslrootcert={roots}")).unwrap(), "db.example", &wanting).await.is_err());
}

#[tokio::test]
async fn an_address_without_tls_never_shakes_hands() {
    let address: PostgresAddress = "postgres://mandate@127.0.0.1/log?sslmode=disable".parse().unwrap();
    let (near, _far) = tokio::io::duplex(1024);
    let connect =
        MakeTlsConnect::<DuplexStream>::make_tls_connect(&mut address.tls().unwrap(), "127.0.0.1").unwrap();
    assert!(connect.connect(near).await.is_err());
}

#[test]
fn a_file_that_cannot_be_used_is_refused_by_its_name() {
    let (ours, files) = (authority("ours"), Files::new());
    let (certificate, key) = pair(&ours, "mandate");
    let (own, own_key) =
        (files.write("own.pem", &certificate.pem()), files.write("own.key", &key.serialize_pem()));
    let other_key = files.write("other.key", &KeyPair::generate().unwrap().serialize_pem());
    let (empty, text) = (
        files.write("empty.pem", ""),
        files.write("text.pem", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"),
    );
    let missing = files.0.path().join("missing.pem").to_str().unwrap().to_owned();
    for (parameters, says) in [
        (format!("sslrootcert={missing}"), "missing.pem"),
        (format!("sslrootcert={empty}"), "empty.pem has no PEM certificate"),
        (format!("sslrootcert={text}"), "text.pem has no PEM certificate"),
        (format!("sslcert={own_key}&sslkey={own_key}"), "own.key has no PEM certificate"),
        (format!("sslcert={own}&sslkey={own}"), "own.pem has no PEM private key"),
        (format!("sslcert={own}&sslkey={other_key}"), "do not belong together"),
    ] {
        let error = tls(&parameters).unwrap_err().to_string();
        assert!(error.contains(says), "{parameters}: {error}");
    }
    fs::set_permissions(&own_key, Permissions::from_mode(0o644)).unwrap();
    let error = tls(&format!("sslcert={own}&sslkey={own_key}")).unwrap_err().to_string();
    assert!(error.contains("own.key") && error.contains("chmod 600"), "{error}");
    let roots = files.write("ca.pem", &ours.pem());
    fs::set_permissions(&roots, Permissions::from_mode(0o666)).unwrap();
    let error = tls(&format!("sslrootcert={roots}")).unwrap_err().to_string();
    assert!(error.contains("ca.pem") && error.contains("may write to it"), "{error}");
}

#[test]
fn the_binding_of_a_login_has_the_hash_of_the_certificates_signature() {
    let signed_with = |algorithm| {
        let key = KeyPair::generate_for(algorithm).unwrap();
        CertificateParams::new(vec!["db.example".to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap()
            .der()
            .to_vec()
    };
    let certificate = signed_with(&PKCS_ECDSA_P384_SHA384);
    assert_eq!(end_point(&certificate).unwrap(), digest::digest(&digest::SHA384, &certificate).as_ref());
    assert_eq!(end_point(&signed_with(&PKCS_ED25519)), None, "its signature has no hash of its own");
    assert_eq!(end_point(b"no certificate"), None);
}

/// Writes a file into the folder of a server's data.
fn write_for_server(cluster: &Cluster, name: &str, text: &str) {
    let data = cluster.data_dir();
    let path: PathBuf = data.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    // The server's user owns its files.
    let _ = std::process::Command::new("chown").arg("--reference").arg(&data).arg(&path).status();
}

/// Gives a server a certificate of the authority for `address`.
fn certify(cluster: &Cluster, authority: &Authority, address: &str) {
    let (certificate, key) = pair(authority, address);
    write_for_server(cluster, "server.pem", &certificate.pem());
    write_for_server(cluster, "server.key", &key.serialize_pem());
}

/// A server with TLS for `address` and `login` (a method of `pg_hba.conf`) over TCP.
fn with_tls(cluster: &mut Cluster, authority: &Authority, address: &str, login: &str) -> TempDir {
    certify(cluster, authority, address);
    let hba = format!("local all all trust\nhostssl all all 127.0.0.0/8 {login}\n");
    write_for_server(cluster, "pg_hba.conf", &hba);
    for setting in [
        &format!("listen_addresses={address}"),
        "ssl_cert_file=server.pem",
        "ssl_key_file=server.key",
        "ssl=on",
    ] {
        cluster.restart_with(setting);
    }
    let files = tempfile::tempdir().unwrap();
    fs::write(files.path().join("ca.pem"), authority.pem()).unwrap();
    files
}

/// A loopback address that no other test listens on, for PostgreSQL's own port.
const ADDRESS: &str = "127.83.19.4";

#[tokio::test]
async fn a_real_server_is_reached_over_tls_with_a_login_that_is_bound_to_its_certificate() {
    let Some(mut cluster) = Cluster::start(&[]) else { return skipped("PostgreSQL is not installed") };
    let ours = authority("ours");
    let files = with_tls(&mut cluster, &ours, ADDRESS, "scram-sha-256");
    let database = cluster.create_database();
    cluster.sql(&database, "ALTER ROLE mandate PASSWORD 'pass word'");
    let password = files.path().join("password");
    fs::write(&password, "pass word\n").unwrap();
    fs::set_permissions(&password, Permissions::from_mode(0o600)).unwrap();
    let roots = files.path().join("ca.pem");
    let url = format!("postgres://mandate@{ADDRESS}/{database}?sslrootcert={}", roots.display());
    let read = |url: &str| {
        PostgresAddress::read(url, super::super::AddressFiles { password: Some(&password), services: None })
            .unwrap()
    };

    let address = read(&url);
    let mut config = address.config();
    // So that a login without the binding fails.
    config.channel_binding(ChannelBinding::Require);
    let (client, connection) = config.connect(address.tls().unwrap()).await.unwrap();
    let connection = tokio::spawn(connection);
    let sql = "SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let row = client.query_one(sql, &[]).await.unwrap();
    assert_eq!((row.get::<_, bool>(0), row.get::<_, &str>(1)), (true, "TLSv1.3"));
    drop(client);
    connection.await.unwrap().unwrap();

    let other = files.path().join("other.pem");
    fs::write(&other, authority("other").pem()).unwrap();
    let stranger = read(&format!("postgres://mandate@{ADDRESS}/{database}?sslrootcert={}", other.display()));
    let error = stranger.config().connect(stranger.tls().unwrap()).await.map(drop).unwrap_err();
    assert!(format!("{error:?}").contains("UnknownIssuer"), "{error:?}");
    let clear: PostgresAddress =
        format!("postgres://mandate@{ADDRESS}/{database}?sslmode=disable").parse().unwrap();
    let error = clear.config().connect(clear.tls().unwrap()).await.map(drop).unwrap_err();
    assert!(format!("{error:?}").contains("no encryption"), "{error:?}");

    cluster.restart_with("ssl=off");
    let error = address.config().connect(address.tls().unwrap()).await.map(drop).unwrap_err();
    assert!(
        format!("{error:?}").contains("does not support TLS"),
        "no password goes out in clear: {error:?}"
    );
    let socket: PostgresAddress = cluster.url(&database).parse().unwrap();
    let (client, connection) = socket.config().connect(socket.tls().unwrap()).await.unwrap();
    let connection = tokio::spawn(connection);
    assert_eq!(client.query_one("SELECT 1", &[]).await.unwrap().get::<_, i32>(0), 1);
    drop(client);
    connection.await.unwrap().unwrap();
}

/// As [`ADDRESS`], for a second server.
const OTHER_ADDRESS: &str = "127.83.19.5";

#[test]
fn renewed_files_and_authorities_are_used_by_the_next_connection() {
    let Some(mut cluster) = Cluster::start(&[]) else { return skipped("PostgreSQL is not installed") };
    let (first, clients) = (authority("first"), authority("clients"));
    write_for_server(&cluster, "clients.pem", &clients.pem());
    cluster.restart_with("ssl_ca_file=clients.pem");
    let folder = with_tls(&mut cluster, &first, OTHER_ADDRESS, "cert");
    let database = cluster.create_database();
    let files = Files(folder);
    let show = |clients: &Authority| {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "mandate");
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, clients).unwrap();
        (files.write("own.pem", &certificate.pem()), files.write("own.key", &key.serialize_pem()))
    };
    let (certificate, key) = show(&clients);
    let roots = files.0.path().join("ca.pem").to_str().unwrap().to_owned();
    let url = format!(
        "postgres://mandate@{OTHER_ADDRESS}/{database}?sslrootcert={roots}&sslcert={certificate}&sslkey={key}&{ACCEPT_LOST_RECORDS}"
    );
    let dir = tempfile::tempdir().unwrap();
    let store =
        Store::connect_blocking(dir.path(), &url.parse().unwrap(), Arc::new(SeededEntropy::new(1))).unwrap();
    let read = || store.read_blocking("read", |tx| crate::meta::get(tx, "x"));
    read().unwrap();

    // Both sides' authorities are replaced, and the server starts with a certificate of the new one.
    let (second, new_clients) = (authority("second"), authority("new clients"));
    certify(&cluster, &second, OTHER_ADDRESS);
    write_for_server(&cluster, "clients.pem", &new_clients.pem());
    cluster.restart();
    let told = |error: &dyn std::error::Error| {
        std::iter::successors(Some(error), |&error| error.source())
            .any(|error| error.to_string().contains("UnknownIssuer"))
    };
    assert!(told(&read().unwrap_err()), "the new authority is not trusted yet");
    files.write("ca.pem", &second.pem());
    assert!(read().is_err(), "the old certificate of this client is not taken");
    show(&new_clients);
    read().unwrap();
    // A writer rests for a second after it could not take the lock.
    let begun = std::time::Instant::now();
    while let Err(error) = store.transact_blocking("write", |tx| crate::meta::put(tx, "x", "y")) {
        assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{error:?}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }

    // A file that cannot be used is no reason to trust what it had before.
    cluster.restart();
    fs::remove_file(files.0.path().join("ca.pem")).unwrap();
    let error = read().unwrap_err();
    let all: Vec<_> = std::iter::successors(Some(&error as &dyn std::error::Error), |&error| error.source())
        .map(ToString::to_string)
        .collect();
    assert!(all.iter().any(|text| text.contains("ca.pem")), "{all:?}");
}
