//! A minimal HTTP/1.1 client that keeps a connection: a request made beforehand, an answer with a length. The
//! less the load generator does, the less time it takes from the cores that it shares with the server.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::error::BenchError;

pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer's status, head and body.
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) head: &'a [u8],
    pub(crate) body: &'a [u8],
}

/// The bytes of a request that posts a form to `path`.
pub(crate) fn post_form(authority: &str, path: &str, body: &str) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {authority}\r\ncontent-type: application/x-www-form-urlencoded\r\naccept: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body.as_bytes()].concat()
}

/// The bytes of a `GET` request.
pub(crate) fn get(authority: &str, path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: {authority}\r\naccept: application/json\r\n\r\n").into_bytes()
}

/// Everything except letters and digits as `%XX`.
pub(crate) fn form_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for digit in [byte >> 4, byte & 15] {
                out.extend(char::from_digit(u32::from(digit), 16).map(|digit| digit.to_ascii_uppercase()));
            }
        }
    }
    out
}

impl Connection {
    pub(crate) async fn open(authority: &str) -> Result<Self, BenchError> {
        let stream =
            TcpStream::connect(authority).await.map_err(BenchError::during("connecting to the server"))?;
        stream.set_nodelay(true).map_err(BenchError::during("connecting to the server"))?;
        Ok(Self { stream, buffer: Vec::with_capacity(8 * 1024) })
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Result<Answer<'_>, BenchError> {
        let broken = "the server's connection";
        self.stream.write_all(request).await.map_err(BenchError::during(broken))?;
        self.buffer.clear();
        let (status, head, length) = loop {
            let read = self.stream.read_buf(&mut self.buffer).await.map_err(BenchError::during(broken))?;
            if read == 0 {
                return Err(BenchError("the server closed a connection".to_owned()));
            }
            if let Some(found) = head(&self.buffer)? {
                break found;
            }
        };
        while self.buffer.len() < head + length {
            if self.stream.read_buf(&mut self.buffer).await.map_err(BenchError::during(broken))? == 0 {
                return Err(BenchError("the server closed a connection".to_owned()));
            }
        }
        let (head, body) = self.buffer.split_at_checked(head).unwrap_or_default();
        Ok(Answer { status, head, body: body.get(..length).unwrap_or_default() })
    }
}

/// Status, length of the head and of the body, once the head is there.
fn head(bytes: &[u8]) -> Result<Option<(u16, usize, usize)>, BenchError> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let strange = || BenchError("the server's answer is no HTTP with a length".to_owned());
    let text = std::str::from_utf8(bytes.get(..end).unwrap_or_default()).map_err(|_| strange())?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).ok_or_else(strange)?;
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok());
    Ok(Some((status, end + 4, length.ok_or_else(strange)?)))
}

#[cfg(test)]
mod tests {
    use super::{form_encode, head};

    #[test]
    fn encodes_what_forms_must() {
        assert_eq!(form_encode("a b:c/d-e.f_g"), "a%20b%3Ac%2Fd-e.f_g");
    }

    #[test]
    fn reads_a_head_once_it_is_whole() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nbody";
        assert_eq!(head(answer).unwrap(), Some((200, answer.len() - 4, 12)));
        assert_eq!(head(&answer[..20]).unwrap(), None);
        assert!(head(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
    }
}
