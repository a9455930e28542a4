use rusqlite::Connection;

use super::run;
use crate::migrations;

#[test]
fn running_twice_is_running_once() {
    let mut conn = Connection::open_in_memory().unwrap();
    run(&mut conn).unwrap();
    let schema = |conn: &Connection| -> Vec<String> {
        let mut statement =
            conn.prepare("SELECT coalesce(sql, name) FROM sqlite_schema ORDER BY name").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    let once = schema(&conn);
    run(&mut conn).unwrap();
    assert_eq!(schema(&conn), once);
    let version: u32 = conn.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    assert_eq!(version as usize, migrations::SQLITE.len());
}
