//! Parameters arrive where a statement says, and an answer of another form is named.

use rusqlite::Connection;

use crate::StoreError;
use crate::tx::{Row, Tx};
use crate::value::{Value, values};

fn answer(sql: &str, values: &[Value<'_>]) -> Result<Option<(i64, String)>, StoreError> {
    let conn = Connection::open_in_memory().unwrap();
    Tx::without_key(&conn).first(sql, values, |row| Ok((row.get(0)?, row.get(1)?)))
}

#[test]
fn a_parameter_is_bound_by_its_number_wherever_and_however_often_it_occurs() {
    for sql in ["SELECT $1, $2", "SELECT $1, $2 WHERE $2 = $2", "SELECT a, b FROM (SELECT $2 AS b, $1 AS a)"]
    {
        assert_eq!(answer(sql, values![7i64, "seven"]).unwrap(), Some((7, "seven".to_owned())), "{sql}");
    }
    let many = "SELECT $11, $10 || $9 || $8 || $7 || $6 || $5 || $4 || $3 || $2 || $1";
    let eleven = values!["1", "2", "3", "4", "5", "6", "7", "8", "9", "a", 11i64];
    assert_eq!(answer(many, eleven).unwrap(), Some((11, "a987654321".to_owned())));
}

#[test]
fn a_statement_whose_parameters_are_not_those_that_were_given_is_not_run() {
    let cases: [(&str, &[Value<'_>]); 6] = [
        ("SELECT $1, 'x'", values![]),
        ("SELECT $1, 'x'", values![1i64, 2i64]),
        ("SELECT $2, 'x'", values![1i64]),
        ("SELECT $0, 'x'", values![1i64]),
        ("SELECT ?, 'x'", values![1i64]),
        ("SELECT :one, 'x'", values![1i64]),
    ];
    for (sql, given) in cases {
        assert!(matches!(answer(sql, given), Err(StoreError::Sql(_))), "{sql}");
    }
}

#[test]
fn values_of_all_types_come_back_as_they_were_given() {
    let conn = Connection::open_in_memory().unwrap();
    let tx = Tx::without_key(&conn);
    let bytes = b"\0\xff".to_vec();
    let given = values![Option::<i64>::None, i64::MIN, "r\u{ee}ley", &bytes, u64::MAX];
    let read = |row: &Row<'_>| {
        let null: Option<u64> = row.get(0)?;
        Ok((
            null,
            row.get::<i64>(1)?,
            row.get::<String>(2)?,
            row.get::<Vec<u8>>(3)?,
            row.get::<Option<u64>>(4)?,
        ))
    };
    let found = tx.first("SELECT $1, $2, $3, $4, $5", given, read).unwrap().unwrap();
    assert_eq!(found, (None, i64::MIN, "r\u{ee}ley".to_owned(), bytes, Some(i64::MAX.unsigned_abs())));
}

#[test]
fn a_column_of_another_type_is_named_with_its_statement() {
    let sql = "SELECT 'text' AS age";
    let conn = Connection::open_in_memory().unwrap();
    let refused = Tx::without_key(&conn).first(sql, &[], |row| row.get::<u64>(0)).unwrap_err();
    let text = refused.to_string();
    assert!(matches!(refused, StoreError::Corrupt(_)));
    assert!(text.contains("column `age` of `SELECT 'text' AS age` must be a count, and is text"), "{text}");
    for sql in
        ["SELECT -1 AS age", "SELECT 1.5 AS age", "SELECT NULL AS age", "SELECT CAST(x'ff' AS TEXT) AS age"]
    {
        let refused = Tx::without_key(&conn).first(sql, &[], |row| row.get::<u64>(0));
        assert!(matches!(refused, Err(StoreError::Corrupt(why)) if why.contains("`age`")), "{sql}");
    }
    assert!(
        Tx::without_key(&conn).first(sql, &[], |row| row.get::<String>(1)).is_err(),
        "there is no such column"
    );
}

#[test]
fn rows_are_given_until_the_reader_has_enough_and_its_error_is_the_answer() {
    let conn = Connection::open_in_memory().unwrap();
    let tx = Tx::without_key(&conn);
    let sql = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 5) SELECT n FROM n";
    assert_eq!(tx.all(sql, &[], |row| row.get::<i64>(0)).unwrap(), [1, 2, 3, 4, 5]);
    let mut seen = Vec::new();
    let until_three = |row: &Row<'_>| {
        seen.push(row.get::<i64>(0)?);
        Ok::<_, StoreError>(seen.len() < 3)
    };
    tx.each(sql, &[], until_three).unwrap();
    assert_eq!(seen, [1, 2, 3]);
    assert!(matches!(tx.each(sql, &[], |_| Err::<bool, _>(StoreError::Foreign)), Err(StoreError::Foreign)));
}
