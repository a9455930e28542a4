//! `mandate demo`

use std::fs;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mandate_core::{Entropy as _, SystemEntropy};
use mandate_files::{Dir, Making};

use crate::arguments::{Demo, DemoPart, Unread};
use crate::command::serve;
use crate::connection::runtime;
use crate::core_dumps;
use crate::demo::{self, DemoError};
use crate::failure::{Failure, Fault};
use crate::screen::Screen;
use crate::shutdown::{self, Hangup};

/// The largest orders that the agent reads: two URLs and a token.
const MAX_ORDERS: u64 = 256 * 1024;

fn failed(error: &DemoError) -> Failure {
    Failure::caused(Fault::Failed, "the demo cannot go on", error)
}

/// How the name of a demo's temporary directory begins.
const TEMPORARY: &str = "mandate-demo-";

/// A directory that is removed when the demo ends, however it ends, unless the caller named one.
struct Root {
    path: PathBuf,
    temporary: bool,
    /// Removes the files if this process is killed. It is not in our process group, so Ctrl-C does not end
    /// it.
    sweeper: Option<Child>,
}

impl Root {
    fn make(given: Option<&Path>) -> Result<Self, Failure> {
        let (path, temporary) = if let Some(path) = given {
            (std::path::absolute(path).unwrap_or_else(|_| path.to_owned()), false)
        } else {
            let mut random = [0u8; 8];
            SystemEntropy.fill(&mut random);
            (std::env::temp_dir().join(format!("{TEMPORARY}{:016x}", u64::from_be_bytes(random))), true)
        };
        if path.to_str().is_none() {
            // The orders to the demo's processes name it as text.
            return Err(Failure::usage(format!(
                "{} is not UTF-8; the demo needs a directory whose name is",
                path.display()
            )));
        }
        let made = Dir::open_or_make(&path, Making::PRIVATE);
        made.map_err(|error| Failure::caused(Fault::Failed, "the demo's directory cannot be used", &error))?;
        if fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(Failure::usage(format!(
                "{} is not empty; the demo needs an empty directory",
                path.display()
            )));
        }
        // Without it a killed demo leaves its directory behind, which is for the owner alone: no reason not
        // to play.
        let sweeper = if temporary { sweeper(&path).ok() } else { None };
        Ok(Self { path, temporary, sweeper })
    }
}

fn sweeper(dir: &Path) -> std::io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["demo", "sweep"]).arg(dir).process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
}

/// Waits for the end of the demo, and removes what it has left.
fn sweep(dir: &Path) -> Result<(), Failure> {
    let named =
        dir.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(TEMPORARY));
    if !named || dir.parent() != Some(std::env::temp_dir().as_path()) {
        return Err(Failure::usage(format!("{} is not the temporary directory of a demo", dir.display())));
    }
    // An input that cannot be read has ended.
    let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
    // The server and the node are ending at this moment and may write a last time.
    for _ in 0..50 {
        if !dir.exists() {
            break;
        }
        let _ = fs::remove_dir_all(dir);
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

impl Drop for Root {
    fn drop(&mut self) {
        if self.temporary {
            // What cannot be removed is in the temporary directory, for the owner alone.
            let _ = fs::remove_dir_all(&self.path);
        }
        if let Some(mut sweeper) = self.sweeper.take() {
            drop(sweeper.stdin.take());
            // It ends by itself, also if nobody waits.
            let _ = sweeper.wait();
        }
    }
}

pub(crate) fn run(arguments: &Demo, screen: &Screen) -> Result<(), Failure> {
    // The demo's node runs as this user, and its agents are this program. What they hold opens the demo's own
    // server only.
    core_dumps::show_program_to_nodes();
    match &arguments.part {
        Some(DemoPart::Agent) => agent(screen),
        Some(DemoPart::Sweep { dir }) => sweep(dir),
        None => play(arguments, screen),
    }
}

fn agent(screen: &Screen) -> Result<(), Failure> {
    let mut orders = Vec::new();
    let read = std::io::stdin().lock().take(MAX_ORDERS).read_to_end(&mut orders);
    read.map_err(|error| Failure::caused(Fault::Usage, "cannot read the orders", &error))?;
    let deeds = runtime()?.block_on(demo::run_agent(&orders)).map_err(|error| failed(&error))?;
    screen.line(&deeds)
}

/// The options of `mandate serve` that name its database.
fn store(arguments: &Demo) -> Result<Vec<String>, Failure> {
    let Some(Unread(url)) = &arguments.store else { return Ok(Vec::new()) };
    // What is wrong with it is said before anything is started, and a password in it is given to no other
    // process.
    let file = arguments.store_password_file.as_deref();
    serve::store(url, file)?;
    let mut options = vec!["--store".to_owned(), url.clone()];
    if let Some(file) = file {
        let name = file.to_str().ok_or_else(|| {
            Failure::usage(format!("{} is not UTF-8; the demo needs a file whose name is", file.display()))
        })?;
        options.extend(["--store-password-file".to_owned(), name.to_owned()]);
    }
    Ok(options)
}

fn play(arguments: &Demo, screen: &Screen) -> Result<(), Failure> {
    let store = store(arguments)?;
    let root = Root::make(arguments.dir.as_deref())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::caused(Fault::Failed, "cannot start", &error))?;
    runtime.block_on(async {
        let say = |text: &str| screen.remark(text);
        let mut stop = pin!(shutdown::requested(Hangup::Ends));
        let told = tokio::select! {
            told = demo::play(&root.path, &store, &SystemEntropy, say) => told.map_err(|error| failed(&error))?,
            () = &mut stop => return Err(Failure::failed("stopped before the story had ended")),
        };
        let mut shown = if screen.wants_json() { Ok(()) } else { screen.line(&told.text(screen)) };
        let (kept, broken) = told.verdict();
        if arguments.check || screen.wants_json() {
            let report =
                serde_json::to_string(told.report()).map_err(|error| Failure::caused(Fault::Failed, "cannot write JSON", &error))?;
            shown = shown.and(screen.line(&report));
        }
        // How it went counts, also if nobody reads the story.
        if !kept {
            return Err(Failure::failed(format!("the story did not go as promised: {}", broken.join("; "))));
        }
        shown?;
        if !arguments.check {
            let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("mandate"));
            screen.remark(&told.addresses(&program));
            stop.await;
        }
        Ok(())
    })
}
