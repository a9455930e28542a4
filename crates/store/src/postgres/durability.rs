//! Whether what the database server has committed is there after its machine stopped.

use deadpool_postgres::HookError;
use tokio_postgres::{Client, SimpleQueryMessage};

/// Without the first, a commit does not wait for the disk. Without the second, a page that was written in
/// part cannot be repaired (`PostgreSQL` 15, §20.5.1). A session sets `synchronous_commit` itself, and cannot
/// set these.
const QUESTION: &str =
    "SELECT current_setting('fsync') AS fsync, current_setting('full_page_writes') AS full_page_writes";

/// Refuses a new connection to a server that may lose what it commits. Each connection is asked: after a
/// failover, another server answers at the same address.
pub(crate) async fn check(client: &Client) -> Result<(), HookError> {
    let answer = client.simple_query(QUESTION).await.map_err(HookError::Backend)?;
    for message in &answer {
        let SimpleQueryMessage::Row(row) = message else { continue };
        for (place, column) in row.columns().iter().enumerate() {
            let value = row.try_get(place).map_err(HookError::Backend)?.unwrap_or_default();
            if value != "on" {
                return Err(HookError::message(refusal(column.name(), value)));
            }
        }
    }
    Ok(())
}

fn refusal(setting: &str, value: &str) -> String {
    format!(
        "the database server runs with {setting} = {value}: when its machine stops, audit records and revocations can be lost. \
         Set {setting} = on there and reload its configuration. For a test alone, the URL may say dangerously_accept_lost_records=yes"
    )
}
