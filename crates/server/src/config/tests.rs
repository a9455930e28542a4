//! Which options are refused, and what a directory keeps between starts.

use std::time::Duration;

use mandate_core::SystemEntropy;

use super::{ConfigError, Remembered, ServeConfig, StoreAddress, StoreKind, Transport, store_kind};

fn config(listen: &str, transport: Transport) -> ServeConfig {
    let loopback = "127.0.0.1:0".parse().unwrap();
    ServeConfig {
        dir: "/nowhere".into(),
        store: StoreAddress::Embedded,
        listen: listen.parse().unwrap(),
        node_listen: loopback,
        admin_listen: loopback,
        transport,
        issuer: None,
        trust_domain: None,
        node_rejoin_grace: Duration::ZERO,
        accept_log_that_went_back: false,
        allowed_hosts: Vec::new(),
        dynamic_registration: false,
        client_metadata_hosts: Vec::new(),
    }
}

#[test]
fn a_node_cannot_come_back_after_more_than_a_week() {
    let with = |hours| ServeConfig {
        node_rejoin_grace: Duration::from_hours(hours),
        accept_log_that_went_back: false,
        ..config("127.0.0.1:1", Transport::LoopbackHttp)
    };
    assert!(with(7 * 24).check(None).is_ok());
    assert!(matches!(with(7 * 24 + 1).check(None), Err(ConfigError::RejoinGrace)));
}

#[test]
fn plain_http_is_for_loopback_only() {
    assert!(config("127.0.0.1:1", Transport::LoopbackHttp).check(None).is_ok());
    assert!(config("[::1]:1", Transport::LoopbackHttp).check(None).is_ok());
    assert!(matches!(
        config("0.0.0.0:1", Transport::LoopbackHttp).check(None),
        Err(ConfigError::PlainHttp(_))
    ));
    assert!(matches!(
        config("192.0.2.1:1", Transport::LoopbackHttp).check(None),
        Err(ConfigError::PlainHttp(_))
    ));
    assert!(matches!(
        config("0.0.0.0:1", Transport::DangerousBehindTlsProxy).check(None),
        Err(ConfigError::IssuerNeeded)
    ));
    let mut admin = config("127.0.0.1:1", Transport::LoopbackHttp);
    admin.admin_listen = "0.0.0.0:1".parse().unwrap();
    assert!(matches!(admin.check(None), Err(ConfigError::PlainHttp(_))));
}

#[test]
fn a_directory_whose_admin_socket_nobody_could_reach_is_refused_with_the_length() {
    let at = |length: usize| ServeConfig {
        dir: format!("/{}", "d".repeat(length - "//admin.sock".len())).into(),
        ..config("127.0.0.1:1", Transport::LoopbackHttp)
    };
    assert!(at(107).check(None).is_ok());
    let error = at(108).check(None).unwrap_err().to_string();
    assert!(
        error.contains("has 108 bytes") && error.contains("at most 107") && error.contains("--dir"),
        "{error}"
    );
}

#[test]
fn what_is_remembered_is_never_written_through_a_link_nor_read_through_one() {
    let dir = tempfile::tempdir().unwrap();
    let victim = dir.path().join("victim");
    std::fs::write(&victim, "precious").unwrap();
    for name in [".serve.json.new", "serve.json"] {
        std::os::unix::fs::symlink(&victim, dir.path().join(name)).unwrap();
    }
    assert!(matches!(Remembered::load(dir.path()), Err(ConfigError::Directory(_))));
    remembered("http://127.0.0.1:8420").save(dir.path(), &SystemEntropy).unwrap();
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
    assert!(Remembered::load(dir.path()).unwrap().is_some());
}

#[test]
fn a_directory_keeps_its_issuer_and_trust_domain() {
    let config = config("127.0.0.1:8420", Transport::LoopbackHttp);
    let before = Remembered {
        issuer: config.issuer_at("127.0.0.1:8420".parse().unwrap()).unwrap(),
        trust_domain: "acme.example".parse().unwrap(),
        store: StoreKind::Embedded,
        port: 8420,
        node_port: 8421,
        admin_port: 8422,
    };
    assert_eq!(before.issuer.as_str(), "http://127.0.0.1:8420");
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    assert_eq!(Remembered::load(&dir.join("missing")).unwrap(), None);
    assert_eq!(Remembered::load(dir).unwrap(), None);
    before.save(dir, &SystemEntropy).unwrap();
    assert_eq!(Remembered::load(dir).unwrap(), Some(before.clone()));
    let file = dir.join("serve.json");
    let edited = format!("\u{feff}{}", std::fs::read_to_string(&file).unwrap());
    std::fs::write(&file, edited).unwrap();
    assert_eq!(
        Remembered::load(dir).unwrap(),
        Some(before.clone()),
        "an editor may put a byte order mark in front"
    );
    std::fs::write(&file, "{").unwrap();
    assert!(matches!(Remembered::load(dir), Err(ConfigError::Damaged(_))));
    assert!(config.reconcile(Some(&before), &before).is_ok());
    let moved = Remembered { issuer: "http://127.0.0.1:9999".parse().unwrap(), ..before.clone() };
    assert!(matches!(
        config.reconcile(Some(&before), &moved),
        Err(ConfigError::Changed { what: "issuer", .. })
    ));
    let renamed = Remembered { trust_domain: "other.example".parse().unwrap(), ..before.clone() };
    assert!(matches!(
        config.reconcile(Some(&before), &renamed),
        Err(ConfigError::Changed { what: "trust domain", .. })
    ));
}

#[test]
fn the_database_says_whose_it_is_and_must_agree_with_the_file_beside_it() {
    let (file, embedded) =
        (remembered("http://127.0.0.1:8420"), config("127.0.0.1:0", Transport::LoopbackHttp));
    let known = |file: Option<&Remembered>, database: Option<&Remembered>| {
        Remembered::known(file.cloned(), database.map(Remembered::installation), &embedded)
    };
    assert_eq!(known(None, None).unwrap(), None);
    assert_eq!(known(Some(&file), None).unwrap(), Some(file.clone()), "a database of an older version");
    assert_eq!(known(None, Some(&file)).unwrap(), Some(file.clone()), "a restored database alone");
    let moved = Remembered { port: 1, ..file.clone() };
    assert_eq!(known(Some(&moved), Some(&file)).unwrap(), Some(moved), "ports are the file's");
    let other = remembered("http://127.0.0.1:9999");
    let error = known(Some(&other), Some(&file)).unwrap_err().to_string();
    assert!(error.contains("http://127.0.0.1:9999, and mandate.db is of http://127.0.0.1:8420"), "{error}");
    let renamed = Remembered { trust_domain: "other.example".parse().unwrap(), ..file.clone() };
    assert!(matches!(
        known(Some(&renamed), Some(&file)),
        Err(ConfigError::OtherDatabase { what: "trust domain", .. })
    ));
}

fn postgres() -> StoreAddress {
    StoreAddress::Postgres(Box::new("postgres://mandate@db.example/log".parse().unwrap()))
}

#[test]
fn a_directory_keeps_its_kind_of_store() {
    let dir = tempfile::tempdir().unwrap();
    let at = |store| ServeConfig {
        dir: dir.path().to_owned(),
        store,
        ..config("127.0.0.1:0", Transport::LoopbackHttp)
    };
    let started = |store| at(store).same_store(Remembered::load(dir.path()).unwrap().as_ref());
    assert_eq!(store_kind(dir.path()).unwrap(), None);
    assert_eq!(store_kind(&dir.path().join("missing")).unwrap(), None);
    for store in [StoreAddress::Embedded, postgres()] {
        assert!(started(store).is_ok(), "a new directory takes either");
    }

    Remembered { store: StoreKind::Postgres, ..remembered("http://127.0.0.1:8420") }
        .save(dir.path(), &SystemEntropy)
        .unwrap();
    assert_eq!(store_kind(dir.path()).unwrap(), Some(StoreKind::Postgres));
    assert!(started(postgres()).is_ok());
    let refused = started(StoreAddress::Embedded).unwrap_err().to_string();
    assert!(refused.contains("--store") && refused.contains("MANDATE_STORE"), "{refused}");

    remembered("http://127.0.0.1:8420").save(dir.path(), &SystemEntropy).unwrap();
    let text = std::fs::read_to_string(dir.path().join("serve.json")).unwrap();
    assert!(!text.contains("store"), "as a version without PostgreSQL writes and reads it: {text}");
    assert!(started(StoreAddress::Embedded).is_ok());
    assert!(matches!(started(postgres()), Err(ConfigError::StoreIsEmbedded(_))));

    std::fs::remove_file(dir.path().join("serve.json")).unwrap();
    assert!(started(postgres()).is_ok());
    drop(mandate_store::Store::open_blocking(dir.path(), std::sync::Arc::new(SystemEntropy)).unwrap());
    assert!(matches!(started(postgres()), Err(ConfigError::StoreIsEmbedded(_))), "mandate.db says so too");
}

#[test]
fn a_database_of_another_server_is_named_without_its_password() {
    let other = ServeConfig { store: postgres(), ..config("127.0.0.1:0", Transport::LoopbackHttp) };
    let (file, database) =
        (remembered("http://127.0.0.1:1"), remembered("http://127.0.0.1:2").installation());
    let error = Remembered::known(Some(file), Some(database.clone()), &other).unwrap_err().to_string();
    assert!(error.contains("postgres://mandate@db.example:5432/log is of http://127.0.0.1:2"), "{error}");
    let known = Remembered::known(None, Some(database), &other).unwrap().unwrap();
    assert_eq!(known.store, StoreKind::Postgres, "serve.json is written again with the kind");
}

fn tls(listen: &str) -> ServeConfig {
    config(listen, Transport::Tls { cert: "c".into(), key: "k".into() })
}

fn remembered(issuer: &str) -> Remembered {
    Remembered {
        issuer: issuer.parse().unwrap(),
        trust_domain: "acme.example".parse().unwrap(),
        store: StoreKind::Embedded,
        port: 8420,
        node_port: 8421,
        admin_port: 8422,
    }
}

#[test]
fn an_address_that_no_client_could_find_needs_an_issuer() {
    for listen in ["0.0.0.0:0", "0.0.0.0:443", "[::]:443"] {
        assert!(matches!(tls(listen).check(None), Err(ConfigError::NoIssuer(_))), "{listen}");
        assert!(
            matches!(tls(listen).issuer_at(listen.parse().unwrap()), Err(ConfigError::NoIssuer(_))),
            "{listen}"
        );
        let before = remembered("https://mandate.acme.example");
        assert!(tls(listen).check(Some(&before)).is_ok(), "the directory remembers it");
        let told = ServeConfig { issuer: Some(before.issuer), ..tls(listen) };
        assert!(told.check(None).is_ok());
    }
    assert!(tls("192.0.2.1:443").check(None).is_ok());
}

#[test]
fn what_is_served_is_what_the_issuer_says() {
    let (clear, secure) = (remembered("http://127.0.0.1:8420"), remembered("https://127.0.0.1:8420"));
    let plain = config("127.0.0.1:0", Transport::LoopbackHttp);
    assert!(plain.reconcile(Some(&clear), &clear).is_ok());
    assert!(matches!(plain.reconcile(Some(&secure), &secure), Err(ConfigError::NoCertificate(_))));
    assert!(tls("127.0.0.1:0").reconcile(Some(&secure), &secure).is_ok());
    assert!(matches!(
        tls("127.0.0.1:0").reconcile(Some(&clear), &clear),
        Err(ConfigError::CertificateUnused(_))
    ));
    let proxied = config("127.0.0.1:0", Transport::DangerousBehindTlsProxy);
    assert!(proxied.reconcile(Some(&secure), &secure).is_ok());
}
