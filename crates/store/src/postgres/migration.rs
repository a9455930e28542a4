//! Brings the schema of a database up to date. A table of its own says which version it has.

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Row};

use crate::error::StoreError;
use crate::migrations::POSTGRES;
use crate::postgres::connections::{Connections, LONG_DEADLINE};
use crate::postgres::statements::has_code;

/// The first version of `PostgreSQL` that this is tested with.
const OLDEST: i32 = 150_000;

/// Marks a database as ours, with the number of its newest migration.
const SCHEMA: &str =
    "CREATE TABLE mandate_schema (one BIGINT NOT NULL PRIMARY KEY CHECK (one = 1), version BIGINT NOT NULL);
     INSERT INTO mandate_schema (one, version) VALUES (1, 0);";

/// What a database has in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// There is no table.
    Nothing,
    /// Our tables, of this version.
    Schema(u32),
}

/// What a database has in it once it is up to date.
pub(crate) fn newest() -> Content {
    Content::Schema(u32::try_from(POSTGRES.len()).unwrap_or(u32::MAX))
}

/// What is in the database. Refuses one that a newer program or another program wrote, and a server that does
/// not fit.
pub(crate) fn content(connections: &Connections, client: &Client) -> Result<Content, StoreError> {
    let row = one(
        connections,
        client,
        "SELECT current_setting('server_version_num')::int4, current_setting('server_encoding')",
    )?;
    let (version, encoding): (i32, String) = (row.try_get(0)?, row.try_get(1)?);
    if version < OLDEST {
        let why = format!(
            "the server is PostgreSQL {}; version {} or newer is needed",
            version / 10_000,
            OLDEST / 10_000
        );
        return Err(unusable(connections, &why));
    }
    if encoding != "UTF8" {
        let why = format!("the database has the encoding {encoding}; make one with ENCODING 'UTF8'");
        return Err(unusable(connections, &why));
    }
    let row = one(
        connections,
        client,
        "SELECT count(*) FILTER (WHERE relname = 'mandate_schema'), count(*) FROM pg_class
         WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())
         AND relkind IN ('r', 'p')",
    )?;
    match (row.try_get::<_, i64>(0)?, row.try_get::<_, i64>(1)?) {
        (0, 0) => {
            refuse_anothers_schema(connections, client)?;
            Ok(Content::Nothing)
        }
        (0, _) => Err(StoreError::Foreign),
        _ => {
            let found: i64 = one(connections, client, "SELECT version FROM mandate_schema")?.try_get(0)?;
            let known = u32::try_from(POSTGRES.len()).unwrap_or(u32::MAX);
            match u32::try_from(found).unwrap_or(u32::MAX) {
                found if found > known => Err(StoreError::Newer { found, known }),
                found => Ok(Content::Schema(found)),
            }
        }
    }
}

/// Refuses to make tables in a schema of another role: it could put tables, functions and triggers of its own
/// in the place of ours. The owner of the database and superusers can do so in any schema.
fn refuse_anothers_schema(connections: &Connections, client: &Client) -> Result<(), StoreError> {
    let sql = "SELECT n.nspname, r.rolname, pg_has_role(r.oid, 'USAGE') OR r.rolsuper OR r.rolname = 'pg_database_owner'
        OR r.oid = (SELECT datdba FROM pg_database WHERE datname = current_database())
        FROM pg_namespace n JOIN pg_roles r ON r.oid = n.nspowner WHERE n.nspname = current_schema()";
    let Some(row) = connections.wait(LONG_DEADLINE, client.query_opt(sql, &[]))? else {
        let why = "its search path names no schema in which tables can be made: CREATE SCHEMA one, and name it with ALTER ROLE … SET search_path";
        return Err(unusable(connections, why));
    };
    let (schema, owner, fits): (String, String, bool) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    if fits {
        return Ok(());
    }
    let why = format!(
        "its tables would be made in the schema `{schema}`, which belongs to the role `{owner}`: make this user the owner (ALTER SCHEMA … OWNER TO …), or name another schema first (ALTER ROLE … SET search_path)"
    );
    Err(unusable(connections, &why))
}

/// Brings a database up to date: each migration in a transaction. Nobody else may do it at the same time.
pub(crate) fn run(
    connections: &Connections,
    client: &mut Client,
    content: Content,
) -> Result<(), StoreError> {
    let found = match content {
        Content::Nothing => 0,
        Content::Schema(found) => found,
    };
    for (number, sql) in (1i64..).zip(POSTGRES).skip(found as usize) {
        let done = connections.wait(LONG_DEADLINE * 60, async {
            let tx = client.transaction().await?;
            if number == 1 && content == Content::Nothing {
                tx.batch_execute(SCHEMA).await?;
            }
            tx.batch_execute(sql).await?;
            tx.execute("UPDATE mandate_schema SET version = $1", &[&number]).await?;
            tx.commit().await
        });
        done.map_err(|error| match error {
            StoreError::Sql(cause) if has_code(cause.as_ref(), &SqlState::INSUFFICIENT_PRIVILEGE) => unusable(
                connections,
                "its user may not create tables: make the user the owner of the database (ALTER DATABASE … OWNER TO …)",
            ),
            other => other,
        })?;
    }
    Ok(())
}

fn one(connections: &Connections, client: &Client, sql: &str) -> Result<Row, StoreError> {
    connections.wait(LONG_DEADLINE, client.query_one(sql, &[]))
}

fn unusable(connections: &Connections, why: &str) -> StoreError {
    StoreError::Directory { path: connections.address().into(), why: why.to_owned() }
}
