//! What the machine must provide: certificate, ports, disk, open files.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};

use super::{DoctorFinding, Examination, error_text, port_of};
use crate::config::{Remembered, Transport};
use crate::database_place::Place;
use crate::descriptors::{self, Budget};
use crate::health::{Disk, low_space};
use crate::tls::{self, CertificateStanding};

impl Examination<'_> {
    pub(super) fn certificate(&mut self) {
        const CHECK: &str = "TLS certificate";
        let Transport::Tls { cert, key } = &self.config.transport else {
            return self.add(DoctorFinding::ok(CHECK, "none is given with --tls-cert"));
        };
        let renew = format!("openssl x509 -noout -dates -in {}   (renew it)", cert.display());
        self.add(match tls::check(cert, key) {
            Err(tls::TlsError::File(error)) => {
                let next = self.remedy(&error);
                DoctorFinding::problem(CHECK, error_text(&error), next)
            }
            Err(error) => DoctorFinding::problem(
                CHECK,
                error.to_string(),
                format!("openssl x509 -noout -text -in {}", cert.display()),
            ),
            Ok(validity) => match validity.standing(self.now) {
                CertificateStanding::Good => DoctorFinding::ok(
                    CHECK,
                    format!("{} is valid until {}", cert.display(), validity.not_after),
                ),
                CertificateStanding::EndsSoon => DoctorFinding::ok(
                    CHECK,
                    format!("{} ends soon, at {}: renew it", cert.display(), validity.not_after),
                ),
                CertificateStanding::Expired => DoctorFinding::problem(
                    CHECK,
                    format!("{} has expired at {}: clients refuse it", cert.display(), validity.not_after),
                    renew,
                ),
                CertificateStanding::NotYet => DoctorFinding::problem(
                    CHECK,
                    format!(
                        "{} is valid only from {}: clients refuse it",
                        cert.display(),
                        validity.not_before
                    ),
                    renew,
                ),
            },
        });
    }

    pub(super) fn ports(&mut self, known: Option<&Remembered>) {
        let (public, node, admin) =
            known.map_or((0, 0, 0), |known| (known.port, known.node_port, known.admin_port));
        for (check, option, given, remembered) in [
            ("address for clients", "--listen", self.config.listen, public),
            ("address for nodes", "--node-listen", self.config.node_listen, node),
            ("address for operators", "--admin-listen", self.config.admin_listen, admin),
        ] {
            let address = SocketAddr::new(given.ip(), port_of(given, remembered));
            let finding = if address.port() == 0 {
                DoctorFinding::ok(check, "any free port")
            } else {
                self.port(check, option, address)
            };
            self.add(finding);
        }
    }

    fn port(&self, check: &'static str, option: &str, address: SocketAddr) -> DoctorFinding {
        // Bound for a moment and given back: nobody can connect without a call to accept.
        match TcpListener::bind(address) {
            Ok(_) => DoctorFinding::ok(check, format!("{address} is free")),
            Err(error) if error.kind() == ErrorKind::AddrInUse && self.runs => DoctorFinding::ok(
                check,
                format!("{address} is in use, most likely by the server that runs here"),
            ),
            Err(error) if error.kind() == ErrorKind::AddrInUse => DoctorFinding::problem(
                check,
                format!("{address} is in use by another program"),
                format!(
                    "ss -ltnp 'sport = :{}'   (who has it? or {option} ADDR chooses another)",
                    address.port()
                ),
            ),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => DoctorFinding::problem(
                check,
                format!("this user may not listen on {address}"),
                "AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit file, or a port above 1023".to_owned(),
            ),
            Err(error) => DoctorFinding::problem(
                check,
                format!("cannot listen on {address}: {error}"),
                format!("ip address   (or {option} ADDR chooses another)"),
            ),
        }
    }

    pub(super) fn disk(&mut self) {
        const CHECK: &str = "disk";
        const MIB: u64 = 1024 * 1024;
        self.add(match Disk::of(self.config.dir.clone()).space() {
            None => DoctorFinding::could_not_look(CHECK, "needs the directory"),
            Some(space) => match low_space(space, &Place::of(&self.config.store)) {
                Some(problem) => {
                    DoctorFinding::problem(CHECK, problem.detail, format!("df -h {}", self.shown))
                }
                None => DoctorFinding::ok(
                    CHECK,
                    format!("{} MiB of {} MiB are free", space.free / MIB, space.total / MIB),
                ),
            },
        });
    }

    pub(super) fn open_files(&mut self) {
        const CHECK: &str = "open files";
        let limit = descriptors::raise();
        self.add(match Budget::of(limit) {
            Ok(_) => DoctorFinding::ok(
                CHECK,
                format!("up to {limit} for this user's processes started as this one"),
            ),
            Err(error) => DoctorFinding::problem(
                CHECK,
                error.to_string(),
                "ulimit -Hn   (the limit that holds; LimitNOFILE= in the unit file raises it)",
            ),
        });
    }
}
