use std::time::Duration;

use super::{
    AUTHORITY, CONTINUATION, END_HEADERS, END_STREAM, HEADERS, Head, LARGEST_LIST, MOST_FIELDS, MOST_FRAMES,
    PADDED, PREFACE, PRIORITY, PUSH_PROMISE, Rewriter, Rewritten,
};
use loona_hpack::{Decoder, Encoder};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

const DATA: u8 = 0x0;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const PING: u8 = 0x6;
const GOAWAY: u8 = 0x7;

/// What unix sockets are called: grpc-core's two forms, nothing, and what is right.
const NAMES: [&str; 6] = [
    "/run/mandate/workload.sock",
    "%2Frun%2Fmandate%2Fworkload.sock",
    "",
    "localhost",
    "/run/with space/\u{fc}.sock",
    "a b@c:d:e",
];

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Head { length: payload.len(), kind, flags, stream }.write(&mut out);
    out.extend_from_slice(payload);
    out
}

fn fields(authority: &str) -> Fields {
    let field = |name: &str, value: &str| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
    vec![
        field(":method", "POST"),
        field(":scheme", "http"),
        field(":path", "/SpiffeWorkloadAPI/FetchJWTSVID"),
        field(":authority", authority),
        field("te", "trailers"),
        field("content-type", "application/grpc"),
        field("workload.spiffe.io", "true"),
    ]
}

fn encode(encoder: &mut Encoder<'_>, fields: &Fields) -> Vec<u8> {
    encoder.encode(fields.iter().map(|(name, value)| (name.as_slice(), value.as_slice())))
}

/// A connection's beginning, and requests that name these authorities, compressed with one state.
fn requests(authorities: &[&str]) -> Vec<u8> {
    let (mut encoder, mut sent) = (Encoder::new(), [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat());
    for (stream, authority) in (1..).step_by(2).zip(authorities) {
        sent.extend(frame(
            HEADERS,
            END_HEADERS | END_STREAM,
            stream,
            &encode(&mut encoder, &fields(authority)),
        ));
    }
    sent
}

/// What is passed on if the bytes arrive in such pieces.
fn rewritten(sent: &[u8], pieces: impl Iterator<Item = usize>) -> (Vec<u8>, bool) {
    let (mut rewriter, mut out, mut rest) = (Rewriter::default(), Vec::new(), sent);
    for size in pieces.chain(std::iter::repeat(usize::MAX)) {
        if rest.is_empty() {
            break;
        }
        let (mut piece, after) = rest.split_at(size.clamp(1, rest.len()));
        while !piece.is_empty() {
            rewriter.advance(&mut piece, &mut out);
        }
        rest = after;
    }
    (out, rewriter.is_over())
}

fn whole(sent: &[u8]) -> (Vec<u8>, bool) {
    rewritten(sent, std::iter::empty())
}

/// Frames behind the preface.
fn frames(bytes: &[u8]) -> Vec<(Head, Vec<u8>)> {
    let mut rest = bytes.strip_prefix(PREFACE).unwrap_or(bytes);
    let mut found = Vec::new();
    while !rest.is_empty() {
        let head = Head::parse(rest[..9].try_into().unwrap());
        found.push((head, rest[9..9 + head.length].to_vec()));
        rest = &rest[9 + head.length..];
    }
    found
}

/// The header lists that a reader with a state of its own finds, with their streams.
fn lists(bytes: &[u8]) -> Vec<(u32, Fields)> {
    let (mut decoder, mut block, mut found) = (Decoder::new(), Vec::new(), Vec::new());
    for (head, payload) in frames(bytes) {
        if !matches!(head.kind, HEADERS | CONTINUATION) {
            continue;
        }
        let payload = if head.kind == HEADERS && head.has(PRIORITY) { &payload[5..] } else { &payload };
        block.extend_from_slice(payload);
        if head.has(END_HEADERS) {
            found.push((head.stream, decoder.decode(&std::mem::take(&mut block)).unwrap()));
        }
    }
    found
}

fn expected(fields: &Fields) -> Fields {
    let valid = |(name, value): &(Vec<u8>, Vec<u8>)| {
        (name.clone(), if name == b":authority" { AUTHORITY.to_vec() } else { value.clone() })
    };
    fields.iter().map(valid).collect()
}

#[test]
fn every_authority_becomes_a_valid_one_and_nothing_else_changes() {
    let (out, over) = whole(&requests(&NAMES));
    assert!(!over);
    let found = lists(&out);
    assert_eq!(found.len(), NAMES.len());
    for ((stream, found), (expected_stream, name)) in found.into_iter().zip((1..).step_by(2).zip(NAMES)) {
        assert_eq!((stream, found), (expected_stream, expected(&fields(name))));
    }
    let (head, _) = frames(&out)[1];
    assert_eq!(head.flags, END_HEADERS | END_STREAM);
}

#[test]
fn a_list_without_authority_or_with_two_stays_so() {
    let without: Fields = fields("x").into_iter().filter(|(name, _)| name != b":authority").collect();
    let twice = [fields("/x"), fields("/y")].concat();
    for list in [without, twice, Vec::new()] {
        let sent =
            [PREFACE.to_vec(), frame(HEADERS, END_HEADERS, 1, &encode(&mut Encoder::new(), &list))].concat();
        assert_eq!(lists(&whole(&sent).0), [(1, expected(&list))]);
    }
}

#[test]
fn what_is_no_header_block_passes_as_it_came() {
    let other = [
        frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]),
        frame(DATA, END_STREAM, 1, b"\0\0\0\0\x05hello"),
        frame(PING, 0, 0, &[7; 8]),
        frame(0x2, 0, 1, &[0, 0, 0, 0, 9]),
        frame(0x3, 0, 1, &[0, 0, 0, 8]),
        frame(0x8, 0, 0, &[0, 0, 1, 0]),
        frame(0xaa, 0xff, 3, b"unknown"),
        frame(DATA, 0, 1, &vec![b'x'; 70_000]),
    ];
    let sent = [PREFACE.to_vec(), other.concat()].concat();
    assert_eq!(whole(&sent), (sent.clone(), false));
    // Not HTTP/2: the code that reads it next finds that out.
    for foreign in [&b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"[..], b"PRI * HTTP/2.0\r\n\r\nXX", b"\x16\x03\x01"] {
        assert_eq!(whole(foreign), (foreign.to_vec(), false));
    }
}

#[test]
fn padding_goes_and_priority_stays() {
    let block = encode(&mut Encoder::new(), &fields("/a"));
    let priority = [0x80, 0, 0, 3, 200];
    let padded = [&[4][..], &priority, &block, &[0; 4]].concat();
    let sent = [PREFACE.to_vec(), frame(HEADERS, END_HEADERS | PADDED | PRIORITY, 5, &padded)].concat();
    let out = whole(&sent).0;
    let (head, payload) = &frames(&out)[0];
    assert_eq!((head.flags, head.stream, &payload[..5]), (END_HEADERS | PRIORITY, 5, &priority[..]));
    assert_eq!(lists(&out), [(5, expected(&fields("/a")))]);
}

#[test]
fn the_clients_table_may_shrink_and_grow_up_to_what_the_server_allows() {
    let block = |update: &[u8]| [update, &encode(&mut Encoder::new(), &fields("/a"))].concat();
    // RFC 7541 §6.3: sizes 0, 4096 and 4097.
    for (update, allowed) in [(&[0x20][..], true), (&[0x3f, 0xe1, 0x1f], true), (&[0x3f, 0xe2, 0x1f], false)]
    {
        let sent = [PREFACE.to_vec(), frame(HEADERS, END_HEADERS, 1, &block(update))].concat();
        let (out, over) = whole(&sent);
        assert_eq!(over, !allowed, "{update:x?}");
        assert!(over || lists(&out) == [(1, expected(&fields("/a")))]);
    }
}

#[test]
fn a_list_that_is_too_large_is_cut_just_beyond_the_limit() {
    let mut encoder = Encoder::new();
    let large = (b"x".to_vec(), vec![b'v'; 3000]);
    let mut sent =
        [PREFACE.to_vec(), frame(HEADERS, END_HEADERS, 1, &encode(&mut encoder, &vec![large.clone()]))]
            .concat();
    // References of a byte each to what is in the table.
    sent.extend(frame(HEADERS, END_HEADERS, 3, &encode(&mut encoder, &vec![large; MOST_FIELDS])));
    let (out, over) = whole(&sent);
    assert!(!over, "HTTP/2 answers a list that is too large");
    let found = lists(&out);
    let size: usize = found[1].1.iter().map(|(name, value)| name.len() + value.len() + 32).sum();
    let limit = usize::try_from(LARGEST_LIST).unwrap();
    assert!(size > limit && size <= limit + 3033, "{size}");
    assert!(frames(&out).iter().all(|(head, _)| head.length <= 16 << 10), "in frames of the allowed size");
}

/// What a client must not send, and the error with which HTTP/2 answers (RFC 9113 §7).
fn faults() -> Vec<(&'static str, Vec<u8>, u32)> {
    const PROTOCOL_ERROR: u32 = 1;
    const FRAME_SIZE_ERROR: u32 = 6;
    let block = encode(&mut Encoder::new(), &fields("/a"));
    let begun = frame(HEADERS, 0, 1, &block[..5]);
    let too_many: Fields = (0..=MOST_FIELDS).map(|n| (format!("x{n}").into_bytes(), Vec::new())).collect();
    let zeros = |count: usize| frame(CONTINUATION, 0, 1, &[]).repeat(count);
    vec![
        ("a block on stream 0", frame(HEADERS, END_HEADERS, 0, &block), PROTOCOL_ERROR),
        ("a continuation of nothing", frame(CONTINUATION, END_HEADERS, 1, &block), PROTOCOL_ERROR),
        (
            "a continuation of another stream",
            [begun.clone(), frame(CONTINUATION, END_HEADERS, 3, &block[5..])].concat(),
            PROTOCOL_ERROR,
        ),
        (
            "another frame within a block",
            [begun.clone(), frame(PING, 0, 0, &[0; 8])].concat(),
            PROTOCOL_ERROR,
        ),
        (
            "another block within a block",
            [begun.clone(), frame(HEADERS, END_HEADERS, 3, &block)].concat(),
            PROTOCOL_ERROR,
        ),
        (
            "a push",
            frame(PUSH_PROMISE, END_HEADERS, 1, &[&[0, 0, 0, 2][..], &block].concat()),
            PROTOCOL_ERROR,
        ),
        ("more padding than payload", frame(HEADERS, END_HEADERS | PADDED, 1, &[200, 1, 2]), PROTOCOL_ERROR),
        ("padding without its length", frame(HEADERS, END_HEADERS | PADDED, 1, &[]), PROTOCOL_ERROR),
        ("half a priority", frame(HEADERS, END_HEADERS | PRIORITY, 1, &[0; 4]), PROTOCOL_ERROR),
        (
            "a frame that is too large",
            frame(HEADERS, END_HEADERS, 1, &vec![0; (16 << 10) + 1]),
            FRAME_SIZE_ERROR,
        ),
        ("half a block", frame(HEADERS, END_HEADERS, 1, &block[..block.len() - 1]), PROTOCOL_ERROR),
        ("an index that is none", frame(HEADERS, END_HEADERS, 1, &[0xff, 0xff, 0x7f]), PROTOCOL_ERROR),
        ("an endless integer", frame(HEADERS, END_HEADERS, 1, &[0xff; 64]), PROTOCOL_ERROR),
        (
            "too many fields",
            frame(HEADERS, END_HEADERS, 1, &encode(&mut Encoder::new(), &too_many)),
            PROTOCOL_ERROR,
        ),
        ("a flood of empty continuations", [begun.clone(), zeros(MOST_FRAMES)].concat(), PROTOCOL_ERROR),
        (
            "a block that is too large",
            [begun, frame(CONTINUATION, 0, 1, &vec![0; 16 << 10]), frame(CONTINUATION, 0, 1, &[0; 9])]
                .concat(),
            PROTOCOL_ERROR,
        ),
    ]
}

#[test]
fn nothing_is_handed_on_after_a_fault() {
    for (what, fault, _) in faults() {
        let (out, over) = whole(&[PREFACE, &fault].concat());
        let (more, still_over) = whole(&[PREFACE, &fault, &frame(PING, 0, 0, &[0; 8])].concat());
        assert!(over && still_over, "{what}");
        assert_eq!(out, more, "{what}");
        assert!(out.len() < PREFACE.len() + 32, "{what}: {} bytes", out.len());
    }
}

/// An `h2` server behind the rewriter, and the client's end.
fn server() -> (tokio::task::JoinHandle<Vec<String>>, DuplexStream) {
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    let task = tokio::spawn(async move {
        let mut requests = Vec::new();
        let Ok(mut connection) = h2::server::handshake(Rewritten::new(theirs)).await else { return requests };
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            requests.push(request.uri().to_string());
            respond.send_response(http::Response::new(()), true).unwrap();
        }
        requests
    });
    (task, ours)
}

#[tokio::test]
async fn h2_accepts_every_request_whatever_the_client_calls_the_socket() {
    let (server, mut client) = server();
    client.write_all(&requests(&NAMES)).await.unwrap();
    let answers = async {
        let mut answered = 0;
        while answered < NAMES.len() {
            let mut head = [0; 9];
            client.read_exact(&mut head).await.unwrap();
            let head = Head::parse(head);
            client.read_exact(&mut vec![0; head.length]).await.unwrap();
            assert!(![RST_STREAM, GOAWAY].contains(&head.kind), "a request was refused: frame {}", head.kind);
            answered += usize::from(head.kind == HEADERS);
        }
    };
    tokio::time::timeout(Duration::from_secs(20), answers).await.expect("not every request was answered");
    drop(client);
    let expected = "http://localhost/SpiffeWorkloadAPI/FetchJWTSVID";
    assert_eq!(server.await.unwrap(), vec![expected; NAMES.len()]);
}

#[tokio::test]
async fn h2_answers_a_client_that_breaks_the_protocol_with_its_error() {
    for (what, fault, code) in faults() {
        let (server, mut client) = server();
        client.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[]), &fault].concat()).await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        let ended = frames(&answer).into_iter().find(|(head, _)| head.kind == GOAWAY);
        let (_, payload) = ended.unwrap_or_else(|| panic!("{what}: no GOAWAY"));
        assert_eq!(u32::from_be_bytes(payload[4..8].try_into().unwrap()), code, "{what}");
        assert!(server.await.unwrap().is_empty(), "{what}");
    }
}

#[tokio::test]
async fn h2_announces_no_other_table_or_frame_size_than_is_assumed_here() {
    let (_server, mut client) = server();
    client.write_all(&requests(&[])).await.unwrap();
    let mut head = [0; 9];
    client.read_exact(&mut head).await.unwrap();
    let head = Head::parse(head);
    let mut settings = vec![0; head.length];
    client.read_exact(&mut settings).await.unwrap();
    assert_eq!(head.kind, SETTINGS);
    // SETTINGS_HEADER_TABLE_SIZE and SETTINGS_MAX_FRAME_SIZE (RFC 9113 §6.5.2).
    for setting in settings.chunks(6) {
        assert!(![1, 5].contains(&setting[1]), "{setting:?}");
    }
}

fn any_fields() -> impl Strategy<Value = Fields> {
    let name = prop_oneof![Just(b":authority".to_vec()), "[a-z][a-z0-9-]{0,12}".prop_map(String::into_bytes)];
    proptest::collection::vec((name, proptest::collection::vec(any::<u8>(), 0..40)), 0..12)
}

proptest! {
    #[test]
    fn lists_survive_any_split_into_frames_and_pieces(
        all in proptest::collection::vec((any_fields(), 1_usize..40, any::<bool>()), 1..6),
        pieces in proptest::collection::vec(1_usize..50, 0..60),
    ) {
        let (mut encoder, mut sent, mut wanted) = (Encoder::new(), PREFACE.to_vec(), Vec::new());
        for (stream, (list, size, padded)) in (1..).step_by(2).zip(&all) {
            let block = encode(&mut encoder, list);
            let size = (*size).max(block.len().div_ceil(MOST_FRAMES - 1));
            let mut parts = block.chunks(size.max(1)).peekable();
            let first = parts.next().unwrap_or_default();
            let last = |more: bool| if more { 0 } else { END_HEADERS };
            let (flag, payload) = if *padded { (PADDED, [&[3][..], first, &[0; 3]].concat()) } else { (0, first.to_vec()) };
            sent.extend(frame(HEADERS, flag | last(parts.peek().is_some()), stream, &payload));
            while let Some(part) = parts.next() {
                sent.extend(frame(CONTINUATION, last(parts.peek().is_some()), stream, part));
            }
            sent.extend(frame(DATA, END_STREAM, stream, b"data"));
            wanted.push((stream, expected(list)));
        }
        let (out, over) = rewritten(&sent, pieces.into_iter());
        prop_assert!(!over);
        prop_assert_eq!(lists(&out), wanted);
        prop_assert_eq!(frames(&out).iter().filter(|(head, payload)| head.kind == DATA && payload == b"data").count(), all.len());
    }

    #[test]
    fn any_bytes_are_taken_without_a_panic_and_in_pieces_as_in_one(
        noise in proptest::collection::vec(any::<u8>(), 0..400),
        at in 0_usize..200,
        pieces in proptest::collection::vec(1_usize..50, 0..60),
    ) {
        let mut sent = requests(&NAMES);
        let at = PREFACE.len() + at.min(sent.len() - PREFACE.len());
        sent.splice(at..(at + noise.len()).min(sent.len()), noise);
        prop_assert_eq!(rewritten(&sent, pieces.into_iter()), whole(&sent));
    }
}
