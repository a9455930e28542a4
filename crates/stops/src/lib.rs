//! Taking authority away, so that it always works.
//!
//! Everything else in this workspace is durable before it is visible. A stop is the exception: if an agent is
//! suspended while the disk is full, it must not continue because nothing can be written. So a [`Stop`] takes
//! effect first, in memory and on the revocation feed. Then its record goes into the [`reserve`], a file
//! whose space was allocated before and that nothing else may use, and from there into the audit log. A
//! record that cannot be written is tried again until it is.
//!
//! This path is only for changes that take authority away: a [`Stop`] cannot contain anything that gives
//! authority.

mod keeper;
mod looks;
mod queue;
pub mod reserve;
mod stop;
mod stops;

pub use keeper::{By, ReserveState};
pub use looks::Looks;
pub use reserve::ReserveError;
pub use stop::Stop;
pub use stops::{
    FoundReserve, Pending, RETRY, Recorded, StopError, Stops, StopsParts, StopsStanding, StopsStartError,
    StoredSnapshot, Taken, held,
};
