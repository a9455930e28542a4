use mandate_core::digest::sha256;
use rusqlite::Connection;

use super::{MIGRATIONS, run};

/// SHA-256 of every released migration. A line here never changes; a new migration adds one.
const RELEASED: &[&str] = &[
    "bb25bdcf91dec802fd283c59b1de3933189d5e4fb71cee34d87fc108e02bbd7a",
    "2b2f129bd2a7d54d97450b61d7bc62519aaa2a92d7a80d8e012257b110c04517",
];

#[test]
fn released_migrations_do_not_change() {
    let found: Vec<String> = MIGRATIONS.iter().map(|sql| base16ct::lower::encode_string(&sha256(sql.as_bytes()))).collect();
    assert_eq!(found, RELEASED, "a released migration was edited: undo that and add a new one");
}

#[test]
fn running_twice_is_running_once() {
    let mut conn = Connection::open_in_memory().unwrap();
    run(&mut conn).unwrap();
    let schema = |conn: &Connection| -> Vec<String> {
        let mut statement = conn.prepare("SELECT coalesce(sql, name) FROM sqlite_schema ORDER BY name").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    let once = schema(&conn);
    run(&mut conn).unwrap();
    assert_eq!(schema(&conn), once);
    let version: u32 = conn.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    assert_eq!(version as usize, MIGRATIONS.len());
}

#[test]
fn every_table_is_strict_and_no_column_folds_case() {
    for sql in MIGRATIONS {
        assert_eq!(sql.matches("CREATE TABLE").count(), sql.matches(") STRICT").count());
        assert!(!sql.to_uppercase().contains("COLLATE"));
    }
}
