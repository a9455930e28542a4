//! Taking authority away, so that it always works.
//!
//! Everything else in this workspace is durable before it shows. A stop is the exception: an agent that is suspended
//! while the disk is full must not go on because nothing can be written. So a [`Stop`] takes effect first, in memory and
//! on the revocation feed. Then its record goes into the [`reserve`], a file whose space was allocated before and that
//! nothing else may use, and from there into the audit log. What cannot be recorded is tried again until it is.
//!
//! Only what takes authority away can come this way: a [`Stop`] has no place for anything that gives.

mod keeper;
pub mod reserve;
mod stop;
mod stops;

pub use keeper::{By, ReserveState};
pub use reserve::ReserveError;
pub use stop::Stop;
pub use stops::{Found, Parts, Pending, RETRY, Recorded, Standing, StartError, StopError, Stops, Taken, held};
