//! The arguments of `mandate demo`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::serve::Unread;

#[derive(Args, Debug)]
pub(crate) struct Demo {
    /// Play the story, check the result, print one JSON object as the last line, and end: exit code 0 only if
    /// every promise was kept
    #[arg(long)]
    pub(crate) check: bool,
    /// Keep everything in this directory instead of a temporary one
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Keep the server's data in this empty PostgreSQL database, as postgres://USER@HOST:PORT/DATABASE; the
    /// demo leaves it there
    // Not from the environment: that names the database of a server in use.
    #[arg(long, value_name = "URL")]
    pub(crate) store: Option<Unread>,
    /// The file with the password of the database's user, which nobody else may read
    #[arg(long, value_name = "FILE", requires = "store")]
    pub(crate) store_password_file: Option<PathBuf>,
    /// The parts that the demo starts as separate processes
    #[command(subcommand)]
    pub(crate) part: Option<DemoPart>,
}

#[derive(Subcommand, Debug)]
pub(crate) enum DemoPart {
    /// The scripted agent: instructions on standard input, actions on standard output
    #[command(hide = true)]
    Agent,
    /// Removes the files of a demo that was killed, at the end of standard input
    #[command(hide = true)]
    Sweep {
        /// The demo's temporary directory
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
}
