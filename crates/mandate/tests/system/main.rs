//! The program itself as processes: killed in the middle of work, out of disk space, started again, started wrongly.

mod disk;
mod kill;
mod processes;
mod start;
mod tls;
