//! The message about a stop that is in force and not in the audit log.

use mandate_api::admin::Recorded;

use crate::failure::{Failure, Fault};
use crate::screen::Screen;

/// Says where the record is, if it is not in the log. An error if it is recorded nowhere: the stop may end
/// with the server. `shown` is whether the answer could be printed; that comes second, because the stop is in
/// force all the same.
pub(crate) fn report(recorded: Recorded, screen: &Screen, shown: Result<(), Failure>) -> Result<(), Failure> {
    match recorded {
        Recorded::Log => shown,
        Recorded::Reserve => {
            screen.remark("note: it is in force. The audit log cannot be written now: the record is in the reserve on the server's disk, and goes into the log as soon as it can be written.\n next: mandate status   (what is wrong)");
            shown
        }
        Recorded::NotYet => Err(Failure::new(
            Fault::Unrecorded,
            "it is in force, and not yet recorded: neither the audit log nor the reserve on the server's disk can be written. It ends if the server's process ends before that; the server tries to record it every second",
        )
        .next("mandate status   (what is wrong, and whether it is recorded meanwhile)")),
    }
}
