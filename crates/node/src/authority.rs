//! gRPC clients write a unix socket's path into `:authority`. This code replaces it by a valid authority, in
//! front of HTTP/2.
//!
//! grpc-core, and with it Python, Ruby and C++, sends the path as it is (`/run/mandate/workload.sock`) or
//! percent-encoded (`%2Frun%2F…`); others send an empty value. `h2` refuses the first two and resets the
//! stream before any handler is called. The name that a client of a unix socket gives its server has no
//! meaning, so every `:authority` becomes
//! [`AUTHORITY`].
//!
//! Header blocks are compressed with a state that exists as long as the connection (RFC 7541 §2.2). So each
//! block is decoded with the client's state, and written again as literals without indexing, which leave no
//! state behind (§6.2.2). Everything else passes unchanged. If a client breaks the protocol, this code does
//! not answer it: `h2` gets a frame with the same kind of error, and nothing after it. `h2` then answers with
//! its `GOAWAY`.

use std::borrow::Cow;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use loona_hpack::Decoder;
use loona_hpack::encoder::encode_integer_into;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The server name in every request.
pub(crate) const AUTHORITY: &[u8] = b"localhost";

/// The largest header list that is passed on, measured as in RFC 9113 §6.5.2. A larger one is cut just beyond
/// this limit, so that `h2`, which has the same limit, answers it with 431.
pub(crate) const LARGEST_LIST: u32 = 4 << 10;

/// The most fields of one list. Each field costs work, however small it is.
const MOST_FIELDS: usize = 40;

/// The largest block as it was compressed, over all its frames.
const LARGEST_BLOCK: usize = 16 << 10;

/// The most frames of one block: empty ones cost nothing to send (CVE-2024-27316).
const MOST_FRAMES: usize = 16;

/// The largest frame: `SETTINGS_MAX_FRAME_SIZE` by default (RFC 9113 §6.5.2).
const LARGEST_FRAME: usize = 16 << 10;

/// The largest dynamic table of the client: `SETTINGS_HEADER_TABLE_SIZE` by default (RFC 9113 §6.5.2); the
/// server announces no other value.
const LARGEST_TABLE: usize = 4096;

/// How much is read at a time.
const CHUNK: usize = 4 << 10;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const HEADERS: u8 = 0x1;
const PUSH_PROMISE: u8 = 0x5;
const CONTINUATION: u8 = 0x9;

const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

const FRAME_HEAD: usize = 9;
const PRIORITY_LEN: usize = 5;

/// How the client broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// A frame with this head is larger than the server allows.
    FrameSize([u8; FRAME_HEAD]),
    /// Frames in an order, or with a layout, that HTTP/2 does not know; a header block that cannot be
    /// decoded, or costs too much.
    Protocol,
}

/// The head of a frame (RFC 9113 §4.1).
#[derive(Clone, Copy)]
struct Head {
    length: usize,
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Head {
    fn parse(head: [u8; FRAME_HEAD]) -> Self {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = head;
        let length = u32::from_be_bytes([0, l0, l1, l2]);
        Self {
            length: usize::try_from(length).unwrap_or(usize::MAX),
            kind,
            flags,
            // The highest bit is reserved and ignored.
            stream: u32::from_be_bytes([s0, s1, s2, s3]) & 0x7fff_ffff,
        }
    }

    fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    fn write(self, out: &mut Vec<u8>) {
        let length = u32::try_from(self.length).unwrap_or(u32::MAX);
        let [_, l0, l1, l2] = length.to_be_bytes();
        out.extend_from_slice(&[l0, l1, l2, self.kind, self.flags]);
        out.extend_from_slice(&self.stream.to_be_bytes());
    }
}

/// A header block that is being collected.
struct Block {
    stream: u32,
    /// The flags of the `HEADERS` frame that are passed on.
    flags: u8,
    priority: Vec<u8>,
    compressed: Vec<u8>,
    frames: usize,
}

enum State {
    /// How many bytes of the client's preface have been read (RFC 9113 §3.4).
    Preface(usize),
    /// Not HTTP/2. It is passed on unchanged: `h2` itself reports the error.
    Foreign,
    /// The start of a frame's head.
    Head(Vec<u8>),
    /// How many bytes of a frame's payload are still passed on unchanged.
    Passing(usize),
    /// The payload of a frame with a part of a header block.
    Collecting(Head, Vec<u8>),
    /// The client broke the protocol; nothing more is passed on.
    Over,
}

/// What a client sends, with a valid `:authority` in every request. No I/O, and bounded memory.
pub struct Rewriter {
    state: State,
    block: Option<Block>,
    decoder: Decoder<'static>,
}

impl std::fmt::Debug for Rewriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Header fields may hold secrets of the client's.
        f.debug_struct("Rewriter").field("is_over", &self.is_over()).finish_non_exhaustive()
    }
}

impl Default for Rewriter {
    fn default() -> Self {
        let mut decoder = Decoder::new();
        decoder.set_max_allowed_table_size(LARGEST_TABLE);
        Self { state: State::Preface(0), block: None, decoder }
    }
}

impl Rewriter {
    /// Takes bytes from the front of `input` and appends to `out` what HTTP/2 must read. Ends when `input` is
    /// empty, or after a header block, which may be much longer than the block that the client sent.
    pub fn advance(&mut self, input: &mut &[u8], out: &mut Vec<u8>) {
        while !input.is_empty() {
            match self.step(input, out) {
                Ok(false) => {}
                Ok(true) => return,
                Err(fault) => {
                    tracing::debug!(?fault, "a caller of the Workload API broke HTTP/2");
                    fault.write(out);
                    (self.state, self.block) = (State::Over, None);
                }
            }
        }
    }

    /// Whether the client broke the protocol, so that nothing more is passed on.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// One step; input is not empty. `true`: a header block has been written.
    fn step(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Result<bool, Fault> {
        match &mut self.state {
            State::Over => *input = &[],
            State::Foreign => out.extend_from_slice(take(input, usize::MAX)),
            State::Preface(seen) => {
                let expected = PREFACE.get(*seen..).unwrap_or_default();
                let arrived = take(input, expected.len());
                out.extend_from_slice(arrived);
                *seen += arrived.len();
                if !expected.starts_with(arrived) {
                    self.state = State::Foreign;
                } else if *seen == PREFACE.len() {
                    self.state = State::Head(Vec::new());
                }
            }
            State::Head(head) => {
                head.extend_from_slice(take(input, FRAME_HEAD - head.len()));
                if let Ok(head) = <[u8; FRAME_HEAD]>::try_from(head.as_slice()) {
                    self.state = self.enter(head, out)?;
                    // A frame without payload is complete.
                    return self.complete(out);
                }
            }
            State::Passing(left) => {
                let passed = take(input, *left);
                out.extend_from_slice(passed);
                *left -= passed.len();
                return self.complete(out);
            }
            State::Collecting(head, payload) => {
                payload.extend_from_slice(take(input, head.length - payload.len()));
                return self.complete(out);
            }
        }
        Ok(false)
    }

    /// What follows the head of a frame.
    fn enter(&self, bytes: [u8; FRAME_HEAD], out: &mut Vec<u8>) -> Result<State, Fault> {
        let head = Head::parse(bytes);
        let allowed = match (&self.block, head.kind) {
            // Nothing may come between the frames of a block (RFC 9113 §4.3, §6.2).
            (Some(block), CONTINUATION) => head.stream == block.stream,
            (None, HEADERS) => head.stream != 0,
            // A client does not push (§8.4).
            (Some(_), _) | (None, CONTINUATION | PUSH_PROMISE) => false,
            (None, _) => {
                out.extend_from_slice(&bytes);
                return Ok(State::Passing(head.length));
            }
        };
        if !allowed {
            return Err(Fault::Protocol);
        }
        if head.length > LARGEST_FRAME {
            return Err(Fault::FrameSize(bytes));
        }
        Ok(State::Collecting(head, Vec::new()))
    }

    /// Ends the frame if it is complete. `true`: a header block has been written.
    fn complete(&mut self, out: &mut Vec<u8>) -> Result<bool, Fault> {
        let (head, payload) = match &mut self.state {
            State::Collecting(head, payload) if payload.len() == head.length => {
                (*head, std::mem::take(payload))
            }
            State::Passing(0) => {
                self.state = State::Head(Vec::new());
                return Ok(false);
            }
            _ => return Ok(false),
        };
        self.state = State::Head(Vec::new());
        let mut block = match self.block.take() {
            Some(block) => block,
            None => Block {
                stream: head.stream,
                flags: head.flags & (END_STREAM | PRIORITY),
                priority: Vec::new(),
                compressed: Vec::new(),
                frames: 0,
            },
        };
        let mut fragment = payload.as_slice();
        if head.kind == HEADERS {
            fragment = unpadded(head, fragment)?;
            if head.has(PRIORITY) {
                block.priority = fragment.get(..PRIORITY_LEN).ok_or(Fault::Protocol)?.to_vec();
                fragment = fragment.get(PRIORITY_LEN..).ok_or(Fault::Protocol)?;
            }
        }
        block.compressed.extend_from_slice(fragment);
        block.frames += 1;
        if block.compressed.len() > LARGEST_BLOCK || block.frames > MOST_FRAMES {
            return Err(Fault::Protocol);
        }
        if head.has(END_HEADERS) {
            self.rewrite(&block, out)?;
            return Ok(true);
        }
        self.block = Some(block);
        Ok(false)
    }

    fn rewrite(&mut self, block: &Block, out: &mut Vec<u8>) -> Result<(), Fault> {
        let mut written = block.priority.clone();
        let (mut fields, mut size) = (0, 0);
        let decoded = self.decoder.decode_with_cb(&block.compressed, |name, value| {
            fields += 1;
            let value = if name.as_ref() == b":authority" { Cow::Borrowed(AUTHORITY) } else { value };
            if size <= LARGEST_LIST {
                // RFC 9113 §6.5.2.
                size = size.saturating_add(u32::try_from(name.len() + value.len() + 32).unwrap_or(u32::MAX));
                literal(&name, &value, &mut written);
            }
        });
        if decoded.is_err() || fields > MOST_FIELDS {
            return Err(Fault::Protocol);
        }
        let mut chunks = written.chunks(LARGEST_FRAME).peekable();
        let (mut kind, mut flags) = (HEADERS, block.flags);
        loop {
            // A block without fields is one empty frame.
            let chunk = chunks.next().unwrap_or_default();
            if chunks.peek().is_none() {
                flags |= END_HEADERS;
            }
            Head { length: chunk.len(), kind, flags, stream: block.stream }.write(out);
            out.extend_from_slice(chunk);
            if flags & END_HEADERS != 0 {
                return Ok(());
            }
            (kind, flags) = (CONTINUATION, 0);
        }
    }
}

impl Fault {
    /// Writes a frame with this fault.
    fn write(self, out: &mut Vec<u8>) {
        match self {
            Self::FrameSize(head) => out.extend_from_slice(&head),
            // It continues nothing (RFC 9113 §6.10).
            Self::Protocol => {
                Head { length: 0, kind: CONTINUATION, flags: END_HEADERS, stream: 1 }.write(out);
            }
        }
    }
}

/// Takes up to `most` bytes from the front.
fn take<'a>(input: &mut &'a [u8], most: usize) -> &'a [u8] {
    let (taken, rest) = input.split_at(most.min(input.len()));
    *input = rest;
    taken
}

/// A payload without its padding (RFC 9113 §6.2).
fn unpadded(head: Head, payload: &[u8]) -> Result<&[u8], Fault> {
    if !head.has(PADDED) {
        return Ok(payload);
    }
    let (padding, rest) = payload.split_first().ok_or(Fault::Protocol)?;
    let end = rest.len().checked_sub(usize::from(*padding)).ok_or(Fault::Protocol)?;
    rest.get(..end).ok_or(Fault::Protocol)
}

/// A literal field without indexing, with a new name (RFC 7541 §6.2.2), neither string compressed (§5.2).
fn literal(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.push(0);
    for string in [name, value] {
        // Writing to a `Vec` cannot fail.
        let _ = encode_integer_into(string.len(), 7, 0, out);
        out.extend_from_slice(string);
    }
}

/// A connection whose reading side goes through a [`Rewriter`].
pub(crate) struct Rewritten<I> {
    io: I,
    rewriter: Rewriter,
    /// Bytes that have arrived and are not processed yet: the rest after a header block.
    arrived: Vec<u8>,
    /// The bytes that can be read, and how many of them have been read.
    ready: (Vec<u8>, usize),
}

impl<I> Rewritten<I> {
    /// Wraps a connection of which nothing has been read.
    pub(crate) fn new(io: I) -> Self {
        Self { io, rewriter: Rewriter::default(), arrived: Vec::new(), ready: (Vec::new(), 0) }
    }

    /// Whether the client has sent all of its preface, or can no longer do so.
    pub(crate) fn has_begun(&self) -> bool {
        !matches!(self.rewriter.state, State::Preface(_) | State::Foreign)
    }

    /// Gives out the bytes that are ready. `false`: there are none.
    fn hand_out(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let (bytes, from) = &mut self.ready;
        let left = bytes.get(*from..).unwrap_or_default();
        if left.is_empty() {
            return false;
        }
        let handed = left.get(..left.len().min(buf.remaining())).unwrap_or_default();
        buf.put_slice(handed);
        *from += handed.len();
        if *from == bytes.len() {
            // Memory is given back: most connections rest most of the time.
            self.ready = (Vec::new(), 0);
        }
        true
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Rewritten<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if buf.remaining() == 0 || this.hand_out(buf) {
                return Poll::Ready(Ok(()));
            }
            if this.rewriter.is_over() {
                return Poll::Ready(Ok(()));
            }
            if this.arrived.is_empty() {
                let mut chunk = [0; CHUNK];
                let mut read = ReadBuf::new(&mut chunk);
                ready!(Pin::new(&mut this.io).poll_read(cx, &mut read))?;
                if read.filled().is_empty() {
                    return Poll::Ready(Ok(()));
                }
                this.arrived = read.filled().to_vec();
            }
            let mut input = this.arrived.as_slice();
            this.rewriter.advance(&mut input, &mut this.ready.0);
            this.arrived = input.to_vec();
        }
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Rewritten<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests;
