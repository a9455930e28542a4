//! Which server a command speaks to.

use std::path::{Path, PathBuf};

use clap::Args;
use mandate_api::{AdminClient, ClientError, Endpoint};
use mandate_core::Issuer;
use mandate_files::text;

use crate::failure::{self, Failure};
use crate::input_file;
use crate::secret_input;

/// The directory of the server.
#[derive(Args, Clone, Debug)]
pub(crate) struct Directory {
    /// The server's directory [default: ~/.mandate]
    #[arg(long, value_name = "DIR", env = "MANDATE_DIR", hide_env_values = true)]
    dir: Option<PathBuf>,
}

impl Directory {
    /// The directory as an absolute path where possible, so that what is printed can be used elsewhere.
    pub(crate) fn path(&self) -> Result<PathBuf, Failure> {
        let given = match (&self.dir, std::env::home_dir()) {
            (Some(dir), _) => dir.clone(),
            (None, Some(home)) => home.join(".mandate"),
            (None, None) => {
                return Err(Failure::usage("there is no home directory; use --dir DIR or set MANDATE_DIR"));
            }
        };
        Ok(std::path::absolute(&given).unwrap_or(given))
    }

    /// The same, for commands that need a server which has run before: a directory that was named and does
    /// not exist is a typing error.
    fn existing(&self) -> Result<PathBuf, Failure> {
        let path = self.path()?;
        let missing =
            std::fs::metadata(&path).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
        if self.dir.is_some() && missing {
            let what = format!("there is no directory {}, so no server has used it", path.display());
            return Err(Failure::usage(what).next(failure::ELSEWHERE));
        }
        Ok(path)
    }
}

/// The largest file of certificates that is read, in bytes.
const MAX_CA: u64 = 1024 * 1024;

/// Where a command reaches the admin API.
#[derive(Args, Clone, Debug)]
pub(crate) struct Reach {
    #[command(flatten)]
    directory: Directory,
    /// Use the admin API at this URL instead of the socket in DIR
    #[arg(
        long,
        value_name = "URL",
        env = "MANDATE_ADMIN_URL",
        hide_env_values = true,
        requires = "admin_token_file"
    )]
    admin_url: Option<Issuer>,
    /// The file with the access token for --admin-url; `-` is standard input
    #[arg(long, value_name = "FILE", env = "MANDATE_ADMIN_TOKEN_FILE", hide_env_values = true)]
    admin_token_file: Option<PathBuf>,
}

/// How a command reaches the admin API.
#[derive(Args, Clone, Debug)]
pub(crate) struct Connection {
    #[command(flatten)]
    reach: Reach,
    /// Trust this certificate authority (PEM) for --admin-url, and no other
    #[arg(long, value_name = "FILE", env = "MANDATE_CA_FILE", hide_env_values = true)]
    ca: Option<PathBuf>,
}

impl Connection {
    /// The admin API, by its URL if one is given, else by the socket in the server's directory.
    pub(crate) fn open(&self) -> Result<Admin, Failure> {
        self.reach.open(self.ca.as_deref())
    }
}

impl Reach {
    /// The file with the access token for the URL.
    pub(crate) fn token_file(&self) -> Option<&Path> {
        self.admin_token_file.as_deref()
    }

    /// The same. `ca` is the file of the certificate authority to trust for a URL.
    pub(crate) fn open(&self, ca: Option<&Path>) -> Result<Admin, Failure> {
        let endpoint = match (&self.admin_url, &self.admin_token_file) {
            (Some(server), Some(file)) => Endpoint::Tcp {
                server: server.clone(),
                token: secret_input::from_file(file, "access token")?,
            },
            _ => Endpoint::Socket(self.directory.existing()?.join("admin.sock")),
        };
        let mut client = AdminClient::new(endpoint);
        if let (Endpoint::Tcp { .. }, Some(file)) = (client.endpoint(), ca) {
            // Who can change it could answer for the server.
            let pem = input_file::read_trusted(file, MAX_CA)?;
            client = client
                .trusting(text::without_mark(&pem))
                .map_err(|error| Failure::usage(format!("{}: {error}", input_file::shown(file))))?;
        }
        Ok(Admin { client })
    }
}

/// A client whose errors are failures of the command.
#[derive(Debug)]
pub(crate) struct Admin {
    client: AdminClient,
}

impl Admin {
    /// Runs one call to its end on its own runtime: a command makes one or two calls.
    pub(crate) fn call<T>(
        &self,
        call: impl AsyncFnOnce(&AdminClient) -> Result<T, ClientError>,
    ) -> Result<T, Failure> {
        self.try_call(call)?.map_err(|error| failure::of_client(&error, self.client.endpoint()))
    }

    /// The same, with the unchanged error of the API.
    pub(crate) fn try_call<T>(
        &self,
        call: impl AsyncFnOnce(&AdminClient) -> Result<T, ClientError>,
    ) -> Result<Result<T, ClientError>, Failure> {
        Ok(runtime()?.block_on(call(&self.client)))
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        self.client.endpoint()
    }
}

/// A runtime without threads, for commands that wait for one answer.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let made = tokio::runtime::Builder::new_current_thread().enable_all().build();
    made.map_err(|error| Failure::caused(failure::Fault::Failed, "cannot start", &error))
}
