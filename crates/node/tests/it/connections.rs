//! How clients reach the socket: with any name for it, and with any number of clients.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use loona_hpack::{Decoder, Encoder};
use mandate_api::proto::workload::{JwtsvidRequest, JwtsvidResponse};
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::server::agent;
use crate::world::{World, my_uid};

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The head of `FetchJWTSVID`, as a client sends it that writes `authority` into `:authority`.
fn head(encoder: &mut Encoder<'_>, stream: u32, authority: &str) -> Vec<u8> {
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/SpiffeWorkloadAPI/FetchJWTSVID"),
        (":authority", authority),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("workload.spiffe.io", "true"),
    ];
    let block = encoder.encode(fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())));
    frame(1, 4, stream, &block)
}

/// A request for this audience.
fn message(audience: &str) -> Vec<u8> {
    let request =
        JwtsvidRequest { audience: vec![audience.to_owned()], spiffe_id: String::new() }.encode_to_vec();
    [&[0][..], &u32::try_from(request.len()).unwrap().to_be_bytes(), &request].concat()
}

/// The whole call.
fn call(encoder: &mut Encoder<'_>, stream: u32, authority: &str) -> Vec<u8> {
    [head(encoder, stream, authority), frame(0, 1, stream, &message("x"))].concat()
}

/// The next frame: kind, stream and payload.
async fn next(io: &mut UnixStream) -> (u8, u32, Vec<u8>) {
    let mut head = [0; 9];
    io.read_exact(&mut head).await.unwrap();
    let mut payload = vec![0; usize::try_from(u32::from_be_bytes([0, head[0], head[1], head[2]])).unwrap()];
    io.read_exact(&mut payload).await.unwrap();
    (head[3], u32::from_be_bytes(head[5..].try_into().unwrap()), payload)
}

async fn connect(socket: &Path) -> UnixStream {
    let mut io = UnixStream::connect(socket).await.unwrap();
    io.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    io.write_all(&frame(4, 0, 0, &[])).await.unwrap();
    io
}

#[tokio::test]
async fn every_client_is_served_whatever_it_calls_the_socket() {
    let world = World::new(&[("support", &[&my_uid()])]).await;
    let socket = world.place.socket();
    let raw = socket.to_str().unwrap().to_owned();
    let percent = raw.replace('/', "%2F");
    let mut io = connect(&socket).await;
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
    for (stream, authority) in (1..).step_by(2).zip([raw.as_str(), &percent, "", "localhost", &raw]) {
        io.write_all(&call(&mut encoder, stream, authority)).await.unwrap();
        loop {
            let (kind, of, payload) = next(&mut io).await;
            assert!(kind != 3 && kind != 7, "{authority:?}: reset or gone: {payload:?}");
            if kind == 1 {
                decoder.decode(&payload).unwrap();
            }
            if (kind, of) == (0, stream) && !payload.is_empty() {
                let answer = JwtsvidResponse::decode(&payload[5..]).unwrap();
                // Who asked was still told from the socket, not from anything the client sent.
                assert_eq!(answer.svids[0].spiffe_id, agent("support"), "{authority:?}");
                assert_eq!(answer.svids[0].hint, "support");
                break;
            }
        }
    }
    world.node.stop().await;
}

#[tokio::test]
async fn a_client_that_breaks_http2_ends_its_own_connection_only() {
    let world = World::new(&[("support", &[&my_uid()])]).await;
    let socket = world.place.socket();
    for nonsense in
        [frame(1, 4, 1, &[0x80]), frame(9, 4, 1, &[]), frame(1, 4, 1, &vec![0; 20_000]), b"\xff".repeat(64)]
    {
        let mut io = connect(&socket).await;
        // The node may have hung up before all of it is written.
        let _ = io.write_all(&nonsense).await;
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(20), io.read_to_end(&mut rest))
            .await
            .expect("it is not kept open");
    }
    assert!(world.client().await.fetch_jwt_svid(["x"], None).await.is_ok());
    world.node.stop().await;
}

#[tokio::test]
async fn a_connection_in_which_nothing_is_ever_said_is_ended() {
    let world = World::new(&[("support", &[&my_uid()])]).await;
    let mut silent = UnixStream::connect(world.place.socket()).await.unwrap();
    let mut rest = Vec::new();
    tokio::time::timeout(Duration::from_secs(30), silent.read_to_end(&mut rest))
        .await
        .expect("it is ended")
        .unwrap();
    world.node.stop().await;
}

/// The window of a new stream in the settings of the node (RFC 9113 §6.5.2).
fn initial_window(settings: &[u8]) -> Option<usize> {
    settings.chunks_exact(6).find_map(|setting| match setting {
        [0, 4, value @ ..] => usize::try_from(u32::from_be_bytes(value.try_into().ok()?)).ok(),
        _ => None,
    })
}

#[tokio::test]
async fn requests_that_wait_to_be_read_leave_room_for_the_one_that_is_being_read() {
    let world = World::new(&[("support", &[&my_uid()])]).await;
    let mut io = connect(&world.place.socket()).await;
    let (kind, _, settings) = next(&mut io).await;
    assert_eq!(kind, 4);
    io.write_all(&frame(4, 1, 0, &[])).await.unwrap();
    let body = message(&"x".repeat(20_000));
    // A client that gives whatever room it has to its later calls first.
    let streams: Vec<u32> = (0..9).rev().map(|n| 2 * n + 1).collect();
    let mut left: HashMap<u32, (usize, &[u8])> =
        streams.iter().map(|stream| (*stream, (initial_window(&settings).unwrap(), &body[..]))).collect();
    let (mut encoder, mut room, mut answered) = (Encoder::new(), 65_535, Vec::new());
    for stream in streams.iter().rev() {
        io.write_all(&head(&mut encoder, *stream, "localhost")).await.unwrap();
    }
    // The first call begins, so it is the one that is read.
    io.write_all(&frame(0, 0, 1, &body[..512])).await.unwrap();
    let (window, rest) = left[&1];
    left.insert(1, (window - 512, &rest[512..]));
    room -= 512;
    while answered.len() < streams.len() {
        for stream in &streams {
            let (window, rest) = left.get_mut(stream).unwrap();
            let length = rest.len().min(*window).min(room).min(16_384);
            if length > 0 {
                let last = u8::from(length == rest.len());
                io.write_all(&frame(0, last, *stream, &rest[..length])).await.unwrap();
                (*window, room, *rest) = (*window - length, room - length, &rest[length..]);
            }
        }
        let (kind, stream, payload) =
            tokio::time::timeout(Duration::from_secs(20), next(&mut io)).await.expect("no call goes on");
        match kind {
            8 => {
                let more = usize::try_from(u32::from_be_bytes(payload[..].try_into().unwrap())).unwrap();
                *left.get_mut(&stream).map_or(&mut room, |(window, _)| window) += more;
            }
            1 => answered.push(stream),
            3 | 7 => panic!("reset or gone: {payload:?}"),
            _ => {}
        }
    }
    world.node.stop().await;
}
