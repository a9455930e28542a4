//! `mandate`: every role of Mandate and the operator's command line, in one program.

mod arguments;
mod command;
mod connection;
mod core_dumps;
mod demo;
mod failure;
mod input_file;
mod interruption;
mod issuer_client;
mod issuer_documents;
mod logging;
mod loopback_redirect;
mod name_completion;
mod output;
mod printable;
mod progress;
mod repeats;
mod screen;
mod secret_input;
mod shutdown;
mod table;

use std::io::Write as _;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mandate_allocator::WipingAllocator = mandate_allocator::WIPING;

fn main() -> ExitCode {
    mandate_allocator::return_memory_soon();
    // Most commands hold a key, a password or a token.
    core_dumps::off();
    if name_completion::was_asked() {
        return ExitCode::SUCCESS;
    }
    let arguments = match arguments::Arguments::of_the_process() {
        Ok(arguments) => arguments,
        Err(error) => {
            if error.use_stderr() && std::env::args_os().any(|argument| argument == "--json") {
                let text = error.render().to_string();
                let message = text.trim_end().strip_prefix("error: ").unwrap_or(text.trim_end());
                return failure::Failure::usage(message).report(&screen::Screen::of_the_process(true));
            }
            let plain = error.render().to_string();
            if error.use_stderr() && printable::printable(&plain) != plain {
                // An argument with hidden characters, which clap shows as they are.
                let _ = write!(std::io::stderr(), "{}", printable::printable(&plain));
                return failure::Fault::Usage.exit_code();
            }
            // Help and version are no errors: clap sends them to stdout. If nobody reads them, there is
            // nobody to tell.
            let _ = error.print();
            return if error.use_stderr() { failure::Fault::Usage.exit_code() } else { ExitCode::SUCCESS };
        }
    };
    let screen = screen::Screen::of_the_process(arguments.json);
    match command::run(arguments.command, &screen) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(&screen),
    }
}
