//! What errors of a server mean.

use mandate_sequencer::Backend as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::runtime::Builder;
use tokio_postgres::{Config, NoTls};

use crate::audit_backend::AuditBackend;
use crate::error::StoreError;

/// Reads one message, of which the first has no type (PostgreSQL 15, §55.7).
async fn read(from: &mut DuplexStream, typed: bool) {
    if typed {
        from.read_u8().await.unwrap();
    }
    let mut rest = vec![0; from.read_u32().await.unwrap() as usize - 4];
    from.read_exact(&mut rest).await.unwrap();
}

/// What a client makes of a server that answers a statement with this error.
fn answered(severity: &str, code: &str) -> StoreError {
    let (near, mut far) = tokio::io::duplex(4096);
    let server = async move {
        read(&mut far, false).await;
        // AuthenticationOk, ReadyForQuery.
        far.write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I").await.unwrap();
        read(&mut far, true).await;
        let fields = format!("S{severity}\0V{severity}\0C{code}\0Mthe disk is full\0\0");
        far.write_u8(b'E').await.unwrap();
        far.write_u32(u32::try_from(fields.len()).unwrap() + 4).await.unwrap();
        far.write_all(fields.as_bytes()).await.unwrap();
    };
    let client = async {
        let (client, connection) = Config::new().user("m").connect_raw(near, NoTls).await.unwrap();
        let connection = tokio::spawn(connection);
        let error = client.batch_execute("COMMIT").await.unwrap_err();
        connection.abort();
        error
    };
    let runtime = Builder::new_current_thread().build().unwrap();
    let (error, ()) = runtime.block_on(async { tokio::join!(client, server) });
    error.into()
}

#[test]
fn an_error_that_ends_the_session_leaves_open_what_became_of_a_commit() {
    for code in ["53100", "58030", "XX001", "40001", "25006", "55P03", "42601"] {
        for severity in ["FATAL", "PANIC"] {
            let error = answered(severity, code);
            assert!(matches!(error, StoreError::Unreachable(_)), "{severity} {code}: {error:?}");
            assert!(!AuditBackend::leaves_nothing(&error));
        }
    }
    let full = answered("ERROR", "53100");
    assert!(matches!(full, StoreError::Full(_)) && AuditBackend::leaves_nothing(&full), "{full:?}");
    assert!(matches!(answered("ERROR", "25006"), StoreError::ReadOnly(_)));
}
