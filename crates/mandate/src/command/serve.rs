//! `mandate serve`

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mandate_core::{SystemClock, SystemEntropy};
use mandate_files::FileError;
use mandate_server::{
    ConfigError, ServeConfig, ServerError, ServerReady, StoreAddress, TlsError, Transport,
    accepting_log_that_went_back,
};
use serde::Serialize;
use tokio::runtime::Runtime;

use crate::arguments::{Serve, Unread};
use crate::failure::{Failure, Fault};
use crate::screen::Screen;
use crate::shutdown::Hangup;
use crate::{core_dumps, logging, shutdown};

/// The first line of `--json`, once requests are accepted.
#[derive(Serialize)]
struct Started<'a> {
    ready: bool,
    issuer: &'a str,
    trust_domain: &'a str,
    admin_socket: String,
    admin_url: &'a str,
    node_server: String,
}

/// How long work that blocks may take after everything else has ended.
const LAST_WORK: Duration = Duration::from_secs(5);

pub(crate) fn run(arguments: Serve, screen: &Screen) -> Result<(), Failure> {
    logging::start(screen.wants_json());
    core_dumps::off();
    let listeners = [
        ("--listen", arguments.listen),
        ("--node-listen", arguments.node_listen),
        ("--admin-listen", arguments.admin_listen),
    ];
    let config = config(arguments)?;
    let dir = config.dir.clone();
    let elsewhere = matches!(config.store, StoreAddress::Postgres(_));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::caused(Fault::Failed, "cannot start", &error))?;
    let ready = |ready: &ServerReady| announce(ready, &dir, screen);
    let serve = async {
        mandate_server::run(
            config,
            Arc::new(SystemClock),
            Arc::new(SystemEntropy),
            ready,
            shutdown::requested(Hangup::IsHandled),
        )
        .await
    };
    to_the_end(runtime, serve, LAST_WORK).map_err(|error| failure(&error, &dir, &listeners, elsewhere))
}

/// Runs `work`, and then ends the runtime. What does not answer, as a disk that hangs, does not keep the
/// process from its end for longer than `last_work`.
fn to_the_end<T>(runtime: Runtime, work: impl Future<Output = T>, last_work: Duration) -> T {
    let done = runtime.block_on(work);
    runtime.shutdown_timeout(last_work);
    done
}

/// What the options say.
pub(crate) fn config(arguments: Serve) -> Result<ServeConfig, Failure> {
    let transport = match (arguments.tls_cert, arguments.tls_key, arguments.behind_tls_proxy) {
        (Some(cert), Some(key), _) => Transport::Tls { cert, key },
        (_, _, true) => Transport::DangerousBehindTlsProxy,
        _ => Transport::LoopbackHttp,
    };
    let store = match &arguments.store {
        Some(Unread(url)) => store(url, arguments.store_password_file.as_deref())?,
        None => StoreAddress::Embedded,
    };
    Ok(ServeConfig {
        dir: arguments.directory.path()?,
        store,
        listen: arguments.listen,
        node_listen: arguments.node_listen,
        admin_listen: arguments.admin_listen,
        transport,
        issuer: arguments.issuer,
        trust_domain: arguments.trust_domain,
        node_rejoin_grace: arguments.node_rejoin_grace.map(|grace| grace.0).unwrap_or_default(),
        accept_log_that_went_back: arguments.accept_log_that_went_back,
        allowed_hosts: arguments.allow_host,
        dynamic_registration: arguments.dynamic_registration,
        client_metadata_hosts: arguments.client_metadata_host,
    })
}

/// The database that a URL names.
pub(crate) fn store(url: &str, password_file: Option<&Path>) -> Result<StoreAddress, Failure> {
    // Where libpq looks for it.
    let named = std::env::var_os("PGSERVICEFILE").filter(|path| !path.is_empty()).map(PathBuf::from);
    let services = named.or_else(|| Some(std::env::home_dir()?.join(".pg_service.conf")));
    StoreAddress::postgres(url, password_file, services.as_deref())
        .map_err(|error| Failure::caused(Fault::Usage, "the server cannot run", &error))
}

fn announce(ready: &ServerReady, dir: &Path, screen: &Screen) {
    let started = Started {
        ready: true,
        issuer: ready.issuer.as_str(),
        trust_domain: ready.trust_domain.as_str(),
        admin_socket: ready.admin_socket.display().to_string(),
        admin_url: &ready.admin_url,
        node_server: ready.node_server.to_string(),
    };
    let text = || {
        format!(
            "Mandate is ready.\n  issuer        {}\n  trust domain  {}\n  nodes         {}\n  admin API     {}\n  admin socket  {}\n\nnext: mandate apply -f registry.toml --dir {}",
            started.issuer,
            started.trust_domain,
            started.node_server,
            started.admin_url,
            started.admin_socket,
            dir.display()
        )
    };
    if let Err(failure) = screen.show(&started, text) {
        // The server is running. Only the process that started it has closed its output.
        tracing::warn!(reason = %failure.text().trim(), "the addresses could not be printed");
    }
}

/// `elsewhere`: the database is not in the directory.
fn failure(
    error: &ServerError,
    dir: &Path,
    listeners: &[(&'static str, SocketAddr); 3],
    elsewhere: bool,
) -> Failure {
    let fault = match error {
        ServerError::Config(ConfigError::Directory(error)) | ServerError::Tls(TlsError::File(error))
            if may_pass(error) =>
        {
            Fault::Failed
        }
        ServerError::Config(_) | ServerError::Tls(_) => Fault::Usage,
        _ => Fault::Failed,
    };
    let failure = Failure::caused(fault, "the server cannot run", error);
    let dir = dir.display();
    let doctor = if elsewhere {
        format!(
            "mandate doctor --dir {dir} --store URL   (with the options of the start: looks at everything, and changes nothing)"
        )
    } else {
        format!("mandate doctor --dir {dir}   (looks at everything in it, and changes nothing)")
    };
    match error {
        ServerError::Config(ConfigError::Directory(error)) | ServerError::Tls(TlsError::File(error))
            if may_pass(error) =>
        {
            failure.next(doctor)
        }
        ServerError::Config(ConfigError::Directory(error)) if error.io().is_some() => {
            failure.next("mandate serve --dir DIR   (a directory that you may write)")
        }
        ServerError::Config(ConfigError::StoreNotNamed(_)) => failure.next(format!(
            "mandate serve --dir {dir} --store URL   (the database that it was started with before)"
        )),
        ServerError::Config(ConfigError::StoreIsEmbedded(_)) => {
            failure.next(format!("mandate serve --dir {dir}   (without --store and MANDATE_STORE)"))
        }
        ServerError::WentBack(error) if error.is_of_the_log() => {
            failure.next(accepting_log_that_went_back(&dir.to_string(), elsewhere))
        }
        ServerError::Tls(_) => {
            failure.next("mandate serve --tls-cert FILE --tls-key FILE   (PEM files that belong together)")
        }
        // The lock of the database, which a server on any machine may have.
        ServerError::Store(_) if failure.message().contains("another server uses") => failure.next(doctor),
        ServerError::Store(_) if failure.message().contains("another process") => {
            failure.next(format!("mandate status --dir {dir}   (is it running there already?)"))
        }
        ServerError::Listen { address, source } => listening(failure, address, source, listeners),
        ServerError::Store(_)
        | ServerError::Reserve(_)
        | ServerError::Stops(_)
        | ServerError::Audit(_)
        | ServerError::Authority(_)
        | ServerError::Config(
            ConfigError::Damaged(_) | ConfigError::DatabaseLost(..) | ConfigError::OtherDatabase { .. },
        ) => failure.next(doctor),
        _ => failure,
    }
}

/// Whether the system may do later what it refuses now, as on a full disk: a supervisor should start the
/// server again. What is missing, or closed to this user, stays so until somebody acts.
fn may_pass(error: &FileError) -> bool {
    use std::io::ErrorKind as K;
    let lasting = [K::NotFound, K::PermissionDenied, K::NotADirectory, K::ReadOnlyFilesystem];
    error.io().is_some_and(|error| !lasting.contains(&error.kind()))
}

/// What to do about an address, by the option that names it.
fn listening(
    failure: Failure,
    address: &str,
    source: &std::io::Error,
    listeners: &[(&'static str, SocketAddr); 3],
) -> Failure {
    let Ok(address) = address.parse::<SocketAddr>() else { return failure };
    let named = listeners.iter().find(|(_, given)| *given == address).map(|(option, _)| *option);
    let choose = match named {
        Some(option) => format!("{option} ADDR chooses another"),
        None => "the directory remembers it; --listen, --node-listen or --admin-listen ADDR chooses another"
            .to_owned(),
    };
    match source.kind() {
        std::io::ErrorKind::AddrInUse => {
            failure.next(format!("ss -ltnp 'sport = :{}'   (who has it? or {choose})", address.port()))
        }
        _ => failure.next(format!("mandate serve --listen 127.0.0.1:8420   ({choose})")),
    }
}

#[cfg(test)]
mod tests {
    use super::{failure, to_the_end};
    use crate::failure::Fault;
    use mandate_files::FileError;
    use mandate_server::{ConfigError, ServerError, TlsError};
    use std::io;
    use std::path::Path;
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;
    use tokio::sync::oneshot;

    const LOOPBACK: [(&str, &str); 3] = [
        ("--listen", "127.0.0.1:8420"),
        ("--node-listen", "127.0.0.1:8421"),
        ("--admin-listen", "127.0.0.1:0"),
    ];

    #[test]
    fn what_may_pass_is_no_mistake_of_the_command_so_a_supervisor_tries_again() {
        let listeners = LOOPBACK.map(|(option, address)| (option, address.parse().unwrap()));
        let fault = |kind: io::ErrorKind, of_the_key: bool| {
            let error =
                FileError::Io { doing: "write", path: "/srv/m/serve.json".into(), source: kind.into() };
            let error =
                if of_the_key { TlsError::File(error).into() } else { ConfigError::Directory(error).into() };
            failure(&error, Path::new("/srv/m"), &listeners, false).fault()
        };
        for of_the_key in [false, true] {
            for kind in [io::ErrorKind::StorageFull, io::ErrorKind::Other, io::ErrorKind::OutOfMemory] {
                assert_eq!(fault(kind, of_the_key), Fault::Failed, "{kind}");
            }
            for kind in [io::ErrorKind::NotFound, io::ErrorKind::PermissionDenied] {
                assert_eq!(fault(kind, of_the_key), Fault::Usage, "{kind}");
            }
        }
        let unsafe_place = ConfigError::Directory(FileError::Link { path: "/srv/m".into() }).into();
        assert_eq!(failure(&unsafe_place, Path::new("/srv/m"), &listeners, false).fault(), Fault::Usage);
    }

    #[test]
    fn a_port_in_use_is_told_with_the_option_that_named_it() {
        let listeners = LOOPBACK.map(|(option, address)| (option, address.parse().unwrap()));
        for (address, option) in
            [("127.0.0.1:8421", "or --node-listen ADDR"), ("127.0.0.1:40000", "the directory remembers it")]
        {
            let error = ServerError::Listen {
                address: address.to_owned(),
                source: std::io::ErrorKind::AddrInUse.into(),
            };
            let failure = failure(&error, Path::new("/srv/m"), &listeners, false);
            assert_eq!(failure.fault(), Fault::Failed);
            assert!(
                failure.text().contains(option) && failure.text().contains(" next: ss -ltnp "),
                "{}",
                failure.text()
            );
        }
    }

    #[test]
    fn a_disk_that_does_not_answer_keeps_no_process_from_its_end() {
        let (answer, disk) = mpsc::channel::<()>();
        let (is_over, over) = mpsc::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let work = async move {
                let (has_begun, begun) = oneshot::channel();
                drop(tokio::task::spawn_blocking(move || {
                    has_begun.send(()).unwrap();
                    let _ = disk.recv();
                }));
                begun.await.unwrap();
                7
            };
            is_over.send(to_the_end(runtime, work, Duration::from_millis(50))).unwrap();
        });
        assert_eq!(over.recv_timeout(Duration::from_secs(30)), Ok(7));
        drop(answer);
    }
}
