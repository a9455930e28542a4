//! The schema's migrations, for each database. One that was released never changes; a later one corrects it.
//!
//! The migrations of one number are a pair: they make the same tables and columns in every database.

/// A migration's statements for one database.
macro_rules! migrations {
    ($database:literal) => {
        &[
            include_str!(concat!("../migrations/", $database, "/0001_initial.sql")),
            include_str!(concat!("../migrations/", $database, "/0002_stops.sql")),
            include_str!(concat!("../migrations/", $database, "/0003_registry_version.sql")),
            include_str!(concat!("../migrations/", $database, "/0004_log_origins.sql")),
            include_str!(concat!("../migrations/", $database, "/0005_self_registered.sql")),
            include_str!(concat!("../migrations/", $database, "/0006_refresh_tokens.sql")),
            include_str!(concat!("../migrations/", $database, "/0007_login_sessions.sql")),
            include_str!(concat!("../migrations/", $database, "/0008_device_requests.sql")),
            include_str!(concat!("../migrations/", $database, "/0009_upstream_logins.sql")),
        ]
    };
}

/// `SQLite`'s, in order; the first is number 1.
pub(crate) const SQLITE: &[&str] = migrations!("sqlite");

/// `PostgreSQL`'s, in order; the first is number 1.
pub(crate) const POSTGRES: &[&str] = migrations!("postgres");

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use mandate_core::digest::sha256;

    use super::{POSTGRES, SQLITE};
    use crate::postgres::search::TABLES;
    use crate::sqlite::search;

    /// SHA-256 of every released migration, for each database. A line here never changes; a new migration
    /// adds one.
    const RELEASED: [(&str, &[&str], &[&str]); 2] = [
        (
            "sqlite",
            SQLITE,
            &[
                "bb25bdcf91dec802fd283c59b1de3933189d5e4fb71cee34d87fc108e02bbd7a",
                "2b2f129bd2a7d54d97450b61d7bc62519aaa2a92d7a80d8e012257b110c04517",
                "811cd7b9dabe55d9ae1b4ba865f2fbab83d2f1b09018825327d16e96fdf55a48",
                "3d0a3c9e1d501da0068992045f6ba07434ba70f67e7f7026c018ef1ba5bd2269",
                "d5fa9a009da725b2eab2b7f3632b3e3436e16e9754a07335f2d9798b65ad1c95",
                "088cd497bd1db9958026faa10560b4b6f918fc0e54f041ec17a3e78f58da9f47",
                "f35eabe84524acdcb3694774a6dd4437cc8f50332d1322eab5e6a5b49ffe94f2",
                "f8c2e6d8af59a3af5fdb44a5eb52485a50f2be522bcd2eb2ae3e4ce8c6f5d31a",
                "e15c521f0e40aab1fd30db6afafbe2c9efb89c042d65c0ab6f501d60fcadb8e5",
            ],
        ),
        (
            "postgres",
            POSTGRES,
            &[
                "2c8db8c02d9b2d6ac235388b800145e695bb846b0711e36b033c65322179beda",
                "0e397ed49a3e6c65487a29a63febdc514aabee8be93fd8f2dffbf5a65dbbf8dd",
                "5dd6d8a5a14d51528a2a163f2f458bf6c619ddcaa2d1d9f564a0cdcd8b987004",
                "4a83c8ffafd4cfd43c6039ef566c80948f3b7576fe5e454c0ca2a7976bd58f76",
                "9b74f24fb749ed6b9ef19691587bc24d7f3b83892bb1bcbe4bda7dc90230a04d",
                "c8dc6e7b7818665f6bedf680e411406fc305dff406a854a9f376d16c6fd6c5b3",
                "08d3cf5fb9572bfb64cc4b2b1dac6803116edca14fd4c2af694c80df50dc0ee6",
                "c3e56107ae7af2678ad65f98d9dca90a985a943f077c22b25a4ff9cfcd1470e9",
                "5f2814ccd02039890a485e7f60a4d2f5073ca6515489e2fc0306f2ca5b1904bb",
            ],
        ),
    ];

    #[test]
    fn released_migrations_do_not_change() {
        for (database, migrations, released) in RELEASED {
            let found: Vec<String> = migrations
                .iter()
                .map(|sql| base16ct::lower::encode_string(&sha256(sql.as_bytes())))
                .collect();
            assert_eq!(
                found, released,
                "a released migration for {database} was edited: undo that and add a new one"
            );
        }
    }

    /// The lines of a migration without comments and without what the databases write in different ways.
    fn tables(sql: &str) -> BTreeMap<String, Vec<String>> {
        let mut tables: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut table = String::new();
        for line in sql.lines().filter(|line| !line.starts_with("--")) {
            if let Some(name) = line.strip_prefix("CREATE TABLE ") {
                table = name.trim_end_matches(" (").to_owned();
            }
            let mut line = line.to_owned();
            for (own, shared) in [
                (" COLLATE \"C\"", ""),
                ("BIGINT", "INTEGER"),
                ("BYTEA", "BLOB"),
                (") STRICT, WITHOUT ROWID;", ");"),
                (") STRICT;", ");"),
                (" PRIMARY KEY AUTOINCREMENT", " NUMBERED"),
                (" GENERATED ALWAYS AS IDENTITY PRIMARY KEY", " NUMBERED"),
                ("CAST(substr(note, 1, instr(note, x'0a') - 1) AS TEXT)", "FIRST LINE"),
                ("split_part(convert_from(note, 'UTF8'), chr(10), 1)", "FIRST LINE"),
            ] {
                line = line.replace(own, shared);
            }
            tables
                .entry(table.clone())
                .or_default()
                .push(line.split_whitespace().collect::<Vec<_>>().join(" "));
        }
        tables
    }

    #[test]
    fn migrations_of_one_number_make_the_same_tables_in_every_database() {
        assert_eq!(SQLITE.len(), POSTGRES.len());
        for (number, (sqlite, postgres)) in (1..).zip(SQLITE.iter().zip(POSTGRES)) {
            assert_eq!(tables(sqlite), tables(postgres), "migration {number}");
        }
        let (sqlite, postgres) = (tables(search::SCHEMA), tables(TABLES));
        assert_eq!(sqlite, postgres, "the search index");
        assert!(sqlite.contains_key("search.chunks") && sqlite.contains_key("search.names"));
        let made: usize = SQLITE.iter().map(|sql| tables(sql).len()).sum();
        assert!(made > 10, "tables were compared: {made}");
    }

    #[test]
    fn every_text_compares_bytewise() {
        for sql in SQLITE {
            assert_eq!(sql.matches("CREATE TABLE").count(), sql.matches(") STRICT").count());
            assert!(!sql.to_uppercase().contains("COLLATE"));
        }
        for sql in POSTGRES {
            let columns = sql
                .lines()
                .filter(|line| line.split_whitespace().nth(1) == Some("TEXT") && !line.starts_with("--"));
            for column in columns {
                assert!(column.contains("TEXT COLLATE \"C\""), "{column}");
            }
        }
    }
}
