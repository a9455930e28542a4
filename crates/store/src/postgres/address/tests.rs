use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tempfile::TempDir;
use tokio_postgres::config::{Host, SslMode};

use super::{AddressError, AddressFiles, PostgresAddress};

const SECRET: &str = "hunter2";

fn read(url: &str) -> Result<PostgresAddress, AddressError> {
    url.parse()
}

/// What is wrong with it. Never what could be a password.
fn refused(url: &str) -> String {
    let error = read(url).expect_err(url);
    let said = format!("{error} {error:?}");
    assert!(!said.contains(SECRET), "{url}: {said}");
    error.to_string()
}

#[test]
fn an_address_names_host_port_user_and_database() {
    for (url, host, port, user, database) in [
        ("postgres://mandate@db.example:6432/log", "db.example", 6432, "mandate", "log"),
        ("postgresql://mandate@db.example/log", "db.example", 5432, "mandate", "log"),
        ("postgres://mandate@DB.Example/log", "db.example", 5432, "mandate", "log"),
        ("postgres://mandate@192.0.2.7/log", "192.0.2.7", 5432, "mandate", "log"),
        ("postgres://mandate@[2001:db8::7]:6432/log", "2001:db8::7", 6432, "mandate", "log"),
        ("postgres://m%40corp@db.example/my%20log%2F1", "db.example", 5432, "m@corp", "my log/1"),
        ("postgres://mandate@db.example/log?", "db.example", 5432, "mandate", "log"),
        (
            "postgres://mandate@db.example/log?sslmode=verify-full&sslrootcert=ca.pem",
            "db.example",
            5432,
            "mandate",
            "log",
        ),
    ] {
        let config = read(url).unwrap().config();
        assert_eq!(config.get_hosts(), [Host::Tcp(host.to_owned())], "{url}");
        assert_eq!(
            (config.get_ports(), config.get_user(), config.get_dbname()),
            (&[port][..], Some(user), Some(database)),
            "{url}"
        );
        assert_eq!(config.get_ssl_mode(), SslMode::Require, "over a network there is always TLS: {url}");
        assert_eq!(config.get_password(), None);
    }
}

#[test]
fn programs_of_postgresql_are_given_the_same_protection() {
    for (url, expected) in [
        (
            "postgres://mandate@db.example/log",
            "postgres://mandate@db.example:5432/log?sslmode=verify-full&sslrootcert=/etc/ssl/certs/ca-certificates.crt",
        ),
        (
            "postgres://mandate@localhost/log?sslrootcert=system",
            "postgres://mandate@localhost:5432/log?sslmode=verify-full&sslrootcert=/etc/ssl/certs/ca-certificates.crt",
        ),
        (
            "postgres://m@db.example/log?sslrootcert=%2Fetc%2Four%20ca%27s.pem&sslcert=/a.pem&sslkey=/b.pem",
            "postgres://m@db.example:5432/log?sslmode=verify-full&sslrootcert=/etc/our%20ca%27s.pem&sslcert=/a.pem&sslkey=/b.pem",
        ),
        ("postgres://m@%2Frun%2Fpg/log", "postgres://m@%2Frun%2Fpg:5432/log"),
        ("postgres://m@127.0.0.1/log?sslmode=disable", "postgres://m@127.0.0.1:5432/log"),
    ] {
        let shown = read(url).unwrap().for_libpq();
        assert_eq!(shown, expected);
        assert!(
            read(&shown).is_ok_and(|again| again.for_libpq() == shown) || !shown.contains("sslmode"),
            "{shown}"
        );
    }
}

#[test]
fn a_folder_as_host_is_that_of_a_unix_socket_and_has_no_tls() {
    for url in [
        "postgres://mandate@%2Fvar%2Frun%2Fpostgresql/log",
        "postgres://mandate@%2fvar%2frun%2fpostgresql:5432/log?sslmode=disable",
    ] {
        let config = read(url).unwrap().config();
        assert_eq!(config.get_hosts(), [Host::Unix("/var/run/postgresql".into())]);
        assert_eq!(config.get_ssl_mode(), SslMode::Disable);
    }
    for parameter in ["sslmode=verify-full", "sslrootcert=ca.pem", "sslcert=c.pem&sslkey=k.pem"] {
        let said = refused(&format!("postgres://mandate@%2Frun/log?{parameter}"));
        assert!(said.contains("on a Unix socket: leave it out"), "{parameter}: {said}");
    }
    let long = "x".repeat(107);
    assert!(refused(&format!("postgres://mandate@%2F{long}/log")).contains("at most"));
}

#[test]
fn tls_is_left_out_only_where_nothing_leaves_the_machine() {
    for host in ["127.0.0.1", "127.8.9.10", "[::1]", "localhost", "LocalHost"] {
        let config = read(&format!("postgres://mandate@{host}/log?sslmode=disable")).unwrap().config();
        assert_eq!(config.get_ssl_mode(), SslMode::Disable, "{host}");
        let by_default = read(&format!("postgres://mandate@{host}/log")).unwrap().config();
        assert_eq!(by_default.get_ssl_mode(), SslMode::Require, "{host}");
    }
    for host in
        ["db.example", "192.0.2.7", "[2001:db8::7]", "localhost.example", "0.0.0.0", "127.0.0.1.example"]
    {
        let said = refused(&format!("postgres://mandate@{host}/log?sslmode=disable"));
        assert!(
            said.contains("loopback address alone") && said.contains(host.trim_matches(['[', ']'])),
            "{host}: {said}"
        );
    }
    let said = refused("postgres://mandate@127.0.0.1/log?sslmode=disable&sslrootcert=ca.pem");
    assert!(said.contains("sslrootcert has no effect with sslmode=disable"), "{said}");
}

#[test]
fn in_clear_localhost_is_this_machine_whatever_a_name_server_says() {
    let config = read("postgres://mandate@localhost/log?sslmode=disable").unwrap().config();
    assert_eq!(config.get_hostaddrs(), ["127.0.0.1".parse::<std::net::IpAddr>().unwrap()]);
    assert!(
        read("postgres://mandate@localhost/log").unwrap().config().get_hostaddrs().is_empty(),
        "its certificate is checked"
    );
}

#[test]
fn a_mode_that_somebody_in_between_can_undo_is_refused_with_the_reason() {
    for (mode, why) in [
        ("allow", "without TLS"),
        ("prefer", "without TLS"),
        ("require", "accepts every certificate"),
        ("verify-ca", "does not check the name"),
        ("VERIFY-FULL", "does not have this value"),
        ("", "does not have this value"),
    ] {
        for host in ["db.example", "127.0.0.1", "%2Frun"] {
            let said = refused(&format!("postgres://mandate@{host}/log?sslmode={mode}"));
            assert!(said.contains(why) && said.contains("write sslmode=verify-full"), "{mode}: {said}");
        }
    }
}

#[test]
fn a_password_in_the_url_is_refused_and_not_repeated() {
    for url in [
        "postgres://mandate:hunter2@db.example/log",
        "postgres://mandate:hun@ter2@db.example/log",
        "postgres://mandate:hunter2/x@db.example/log",
        "postgres://mandate:hunter2?x=y@db.example/log",
        "postgres://mandate:hunter2#@db.example/log",
        "postgres://:hunter2@db.example/log",
        "postgres://mandate:@db.example/log",
        "postgres://mandate@db.example/log?password=hunter2",
        "postgres://mandate@db.example/log?sslmode=verify-full&password=hunter2",
    ] {
        let said = refused(url);
        assert!(
            said.contains("--store-password-file") && said.contains("list of processes"),
            "{url}: {said}"
        );
    }
    // What is misplaced may be a password too.
    for url in [
        "postgres://mandate:hunter2",
        "postgres://db.example:hunter2/log",
        "postgres://mandate@db.example:hunter2@x/log",
        "postgres://mandate@db.example/log?sslmode=hunter2",
        "postgres://mandate@db.example/log?hunter2",
        "postgres://mandate@db.example/log?hunter2=x",
        "postgres://mandate@db.example/log#hunter2",
        "postgres://mandate@db.example/log?x@hunter2",
        "hunter2",
        "mysql://mandate:hunter2@db.example/log",
    ] {
        refused(url);
    }
}

#[test]
fn what_is_incomplete_or_malformed_is_refused_with_what_to_write() {
    let long = "x".repeat(64);
    let too_long = format!("postgres://mandate@db.example/{long}");
    for (url, says) in [
        ("", "write postgres://USER@HOST:PORT/DATABASE"),
        ("./data", "write postgres://USER@HOST:PORT/DATABASE"),
        ("sqlite:data", "write postgres://USER@HOST:PORT/DATABASE"),
        ("POSTGRES://mandate@db.example/log", "write postgres://USER@HOST:PORT/DATABASE"),
        ("postgres://db.example/log", "the user is missing"),
        ("postgres://@db.example/log", "the user is missing"),
        ("postgres://mandate@/log", "the host is missing"),
        ("postgres:///log", "the host is missing"),
        ("postgres://mandate@db.example", "the database is missing"),
        ("postgres://mandate@db.example/", "the database is missing"),
        ("postgres://mandate@db.example?sslmode=verify-full", "the database is missing"),
        ("postgres://mandate@db.example/log/more", "%2F"),
        ("postgres://mandate@a.example,b.example/log", "several hosts"),
        ("postgres://mandate@a.example:1,b.example:2/log", "several hosts"),
        ("postgres://mandate@a.example%2Cb.example/log", "several hosts"),
        ("postgres://mandate@db.example:0/log", "from 1 to 65535"),
        ("postgres://mandate@db.example:65536/log", "from 1 to 65535"),
        ("postgres://mandate@db.example:+5432/log", "from 1 to 65535"),
        ("postgres://mandate@db.example:/log", "from 1 to 65535"),
        ("postgres://mandate@2001:db8::7/log", "in brackets"),
        ("postgres://mandate@[::1/log", "] is missing"),
        ("postgres://mandate@[::1]5432/log", "write :PORT"),
        ("postgres://mandate@d%62.exa mple/log", "a space"),
        ("postgres://mandate@db..example/log", "write a host name"),
        ("postgres://mandate@run%2Fpostgresql/log", "write a host name"),
        ("postgres://mandate@db.example/lo%g", "%25"),
        ("postgres://mandate@db.example/lo%", "%25"),
        ("postgres://mandate@db.example/lo%4", "%25"),
        ("postgres://mandate@db.example/lo%ff", "not UTF-8"),
        ("postgres://mandate@db.example/lo%00g", "control character"),
        ("postgres://mandate@db.example/lo\ng", "control character"),
        ("postgres://man@date@db.example/log", "%40"),
        ("postgres://mandate@db.example/l@g", "%40"),
        ("postgres://db.example/log?sslrootcert=a@b", "%40"),
        ("postgres://mandate@db.example/log#x", "%23"),
        (&too_long, "at most 63 bytes"),
        (
            "postgres://mandate@db.example/log?sslmode=verify-full&sslmode=verify-full",
            "sslmode is given twice",
        ),
        ("postgres://mandate@db.example/log?sslrootcert=", "it is empty"),
        ("postgres://mandate@db.example/log?sslcert=c.pem", "sslkey is missing"),
        ("postgres://mandate@db.example/log?sslkey=k.pem", "sslcert is missing"),
        ("postgres://mandate@db.example/log?passfile=p", "--store-password-file"),
        ("postgres://mandate@db.example/log?service=", "a section of the service file"),
        ("postgres://mandate@db.example/log?=x", "?NAME=VALUE"),
        ("postgres://mandate@db.example/log?dangerously_accept_lost_records=no", "write yes"),
        (
            "postgres://mandate@db.example/log?dangerously_accept_lost_records=yes&dangerously_accept_lost_records=yes",
            "is given twice",
        ),
    ] {
        let said = refused(url);
        assert!(said.contains(says), "{url}: {said}");
    }
    for name in [
        "host",
        "user",
        "dbname",
        "port",
        "options",
        "channel_binding",
        "connect_timeout",
        "target_session_attrs",
    ] {
        let said = refused(&format!("postgres://mandate@db.example/log?{name}=x"));
        assert!(said.contains(&format!("no parameter {name}:")), "{said}");
    }
    assert!(
        read("postgres://mandate@db.example/log?service=x")
            .unwrap_err()
            .to_string()
            .contains("PGSERVICEFILE")
    );
}

/// A folder with files for one test.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, mode: u32, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }
}

fn with_password(path: &Path) -> Result<PostgresAddress, AddressError> {
    PostgresAddress::read(
        "postgres://mandate@db.example/log",
        AddressFiles { password: Some(path), services: None },
    )
}

#[test]
fn the_password_is_the_first_line_of_a_file_that_nobody_else_may_read() {
    let files = Files::new();
    for text in ["hunter2", "hunter2\n", "hunter2\r\n", "\u{feff}hunter2\nmore"] {
        let address = with_password(&files.write("password", 0o600, text)).unwrap();
        assert_eq!(address.config().get_password(), Some(SECRET.as_bytes()), "{text:?}");
        assert!(!format!("{address} {address:?}").contains(SECRET));
    }
    for mode in [0o644, 0o604, 0o660] {
        let said = with_password(&files.write("password", mode, SECRET)).unwrap_err().to_string();
        assert!(said.contains("chmod 600") && !said.contains(SECRET), "{mode:o}: {said}");
    }
    for text in ["", "\nhunter2"] {
        assert!(
            with_password(&files.write("password", 0o600, text))
                .unwrap_err()
                .to_string()
                .contains("it is empty")
        );
    }
    assert!(
        matches!(with_password(&files.0.path().join("missing")), Err(AddressError::File(error)) if error.is_not_found())
    );
}

const SERVICES: &str = "\
# Several servers.
[other]
host=other.example
unknown=1

[log]
host=db.example
port=6432
dbname=log
user=mandate
sslmode=verify-full
sslrootcert=/etc/ca.pem

[open]
host=localhost
dbname=log
user=mandate
sslmode=disable
";

fn service(url: &str, path: &Path) -> Result<PostgresAddress, AddressError> {
    PostgresAddress::read(url, AddressFiles { password: None, services: Some(path) })
}

#[test]
fn a_service_says_what_the_url_does_not() {
    let files = Files::new();
    let services = files.write("services", 0o644, SERVICES);
    let shown = |url: &str| service(url, &services).unwrap().to_string();
    assert_eq!(shown("postgres:///?service=log"), "postgres://mandate@db.example:6432/log");
    assert_eq!(shown("postgres://?service=log"), "postgres://mandate@db.example:6432/log");
    assert_eq!(shown("postgres://me@/other?service=log"), "postgres://me@db.example:6432/other");
    assert_eq!(
        service("postgres://?service=open", &services).unwrap().config().get_ssl_mode(),
        SslMode::Disable
    );
    // The rules are those of a URL.
    let said = service("postgres://me@db.example/log?service=open", &services).unwrap_err().to_string();
    assert!(said.contains("loopback address alone"), "{said}");
    let said = service("postgres://?service=none", &services).unwrap_err().to_string();
    assert!(said.contains("has no section [none]"), "{said}");
    let said = service("postgres://me@/log?service=other", &services).unwrap_err().to_string();
    assert!(said.contains("line 4: there is no key unknown"), "{said}");
}

#[test]
fn a_password_is_not_given_to_a_port_that_any_user_may_listen_on() {
    let files = Files::new();
    let password = files.write("password", 0o600, "a-secret");
    let read =
        |url: &str| PostgresAddress::read(url, AddressFiles { password: Some(&password), services: None });
    for host in ["localhost", "127.0.0.1", "[::1]"] {
        let said = read(&format!("postgres://mandate@{host}/log?sslmode=disable")).unwrap_err().to_string();
        assert!(said.contains("any user of this machine") && !said.contains("a-secret"), "{said}");
        assert!(read(&format!("postgres://mandate@{host}/log")).is_ok(), "with TLS");
    }
    assert!(read("postgres://mandate@%2Frun%2Fpostgresql/log").is_ok());
}

#[test]
fn a_service_file_with_the_password_is_for_this_user_alone() {
    let files = Files::new();
    let text = format!("{SERVICES}[mine]\nhost=db.example\ndbname=log\nuser=mandate\npassword={SECRET}\n");
    let private = files.write("services", 0o600, &text);
    let address = service("postgres://?service=mine", &private).unwrap();
    assert_eq!(address.config().get_password(), Some(SECRET.as_bytes()));
    assert!(!format!("{address} {address:?}").contains(SECRET));
    let password = files.write("password", 0o600, "other");
    let both = AddressFiles { password: Some(&password), services: Some(&private) };
    let address = PostgresAddress::read("postgres://?service=mine", both).unwrap();
    assert_eq!(address.config().get_password(), Some(&b"other"[..]), "the option comes first");
    // The way to the file has to be open for others, or nobody can read it.
    fs::set_permissions(files.0.path(), Permissions::from_mode(0o755)).unwrap();
    let exposed = files.write("services", 0o644, &text);
    let said = service("postgres://?service=mine", &exposed).unwrap_err().to_string();
    assert!(said.contains("chmod 600") && !said.contains(SECRET), "{said}");
    assert!(service("postgres://?service=log", &exposed).is_ok(), "that section has none");
    let changeable = files.write("services", 0o666, SERVICES);
    assert!(matches!(service("postgres://?service=log", &changeable), Err(AddressError::File(_))));
}

#[test]
fn a_malformed_service_is_refused_with_its_line() {
    let files = Files::new();
    for (lines, says) in [
        ("host=a.example\nhost=b.example", "line 3: host is given twice"),
        ("host=a.example,b.example", "line 2: it names several hosts"),
        ("port=0", "line 2: its port"),
        ("sslmode=require", "line 2: sslmode=require accepts every certificate"),
        ("hostaddr=192.0.2.7", "line 2: there is no key hostaddr"),
        ("user = mandate", "line 2: it is neither"),
        ("hunter2", "line 2: it is neither"),
        ("hunter2=x", "line 2: it is neither"),
        ("[x", "line 2: it is neither"),
        ("password=", "line 2: the password is empty"),
        ("service=other", "line 2: there is no key service"),
        ("passfile=x", "line 2: passfile is not read"),
        ("[s]\nhost=a.example", "line 2: the section is given twice"),
        ("host=db.example\ndbname=log", "the user is missing"),
    ] {
        let path = files.write("services", 0o600, &format!("[s]\n{lines}\n"));
        let error = service("postgres://?service=s", &path).expect_err(lines);
        let said = error.to_string();
        assert!(said.contains(says) && !format!("{said}{error:?}").contains(SECRET), "{lines}: {said}");
    }
    let path = files.write("services", 0o600, "");
    fs::write(&path, b"[s]\nhost=\xff").unwrap();
    assert!(service("postgres://?service=s", &path).unwrap_err().to_string().contains("not UTF-8"));
}

#[test]
fn an_address_is_shown_as_the_url_that_leads_to_it() {
    for url in [
        "postgres://mandate@db.example:5432/log",
        "postgres://m%40corp@%2Fvar%2Frun%2Fpostgresql:6432/my%20log",
        "postgres://mandate@[2001:db8::7]:5432/log",
    ] {
        let address = read(url).unwrap();
        assert_eq!(address.to_string(), url);
        assert_eq!(read(&address.to_string()).unwrap(), address);
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in any::<String>(), url in "(postgres://)?[a-c:@/?#\\[\\]%,&=.0-9]{0,40}") {
        let _ = (read(&text), read(&format!("postgres://{text}")), read(&url));
    }

    #[test]
    fn no_bytes_in_a_service_file_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let files = Files::new();
        let path = files.write("services", 0o600, "");
        fs::write(&path, [b"[s]\n", &bytes[..]].concat()).unwrap();
        let _ = service("postgres://u@h/d?service=s", &path);
    }

    /// Whatever is in front of the password, and whatever the password is.
    #[test]
    fn no_password_is_ever_shown(user in "[a-z]{0,3}", noise in "[:/?#@%=&,]{0,3}", end in "[:/?#@%=&,a-z0-9]{0,8}") {
        let password = format!("{noise}Xyzzy42{end}");
        let files = Files::new();
        let in_file = files.write("password", 0o600, &password);
        let address = with_password(&in_file).unwrap();
        let shown = format!("{address} {address:?} {:?}", address.config());
        prop_assert!(!shown.contains("Xyzzy42"), "{}", shown);
        let url = format!("postgres://{user}:{password}@db.example/log");
        let error = read(&url).unwrap_err();
        prop_assert!(matches!(error, AddressError::Password), "{}", error);
        for url in [format!("postgres://{user}:{password}"), format!("postgres://u@h/d?password={password}")] {
            let error = read(&url).unwrap_err();
            prop_assert!(!format!("{error} {error:?}").contains("Xyzzy42"), "{}", error);
        }
    }

    #[test]
    fn what_is_shown_leads_to_the_same_database(user in "\\PC{1,12}", database in "\\PC{1,12}", port in 1u16..) {
        let encoded = |text: &str| percent_encoding::utf8_percent_encode(text, super::ENCODED).to_string();
        let url = format!("postgres://{}@db.example:{port}/{}", encoded(&user), encoded(&database));
        let address = read(&url).unwrap();
        prop_assert_eq!(address.to_string(), url);
        let config = address.config();
        prop_assert_eq!((config.get_user(), config.get_dbname()), (Some(&*user), Some(&*database)));
    }
}
