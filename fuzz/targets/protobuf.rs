//! The protobuf messages of both gRPC services: the first byte chooses the message. A message that can be
//! decoded is the same after encoding and decoding; printing it never fails.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mandate_api::proto::{node, workload};
use prost::Message;

fn check<M: Message + Default + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    let Ok(message) = M::decode(bytes) else { return };
    let encoded = message.encode_to_vec();
    assert_eq!(encoded.len(), message.encoded_len());
    assert_eq!(M::decode(encoded.as_slice()).as_ref(), Ok(&message));
    assert!(!format!("{message:?}").is_empty());
}

fuzz_target!(|data: &[u8]| {
    let Some((which, bytes)) = data.split_first() else { return };
    match which {
        b'a' => check::<node::JoinRequest>(bytes),
        b'b' => check::<node::JoinResponse>(bytes),
        b'c' => check::<node::RenewRequest>(bytes),
        b'd' => check::<node::RenewResponse>(bytes),
        b'e' => check::<node::WatchRequest>(bytes),
        b'f' => check::<node::ServedState>(bytes),
        b'g' => check::<node::IssueJwtSvidRequest>(bytes),
        b'h' => check::<node::IssueJwtSvidResponse>(bytes),
        b'i' => check::<workload::JwtsvidRequest>(bytes),
        b'j' => check::<workload::JwtsvidResponse>(bytes),
        b'k' => check::<workload::JwtBundlesRequest>(bytes),
        b'l' => check::<workload::JwtBundlesResponse>(bytes),
        b'm' => check::<workload::ValidateJwtsvidRequest>(bytes),
        b'n' => check::<workload::ValidateJwtsvidResponse>(bytes),
        b'o' => check::<workload::X509svidResponse>(bytes),
        _ => check::<workload::X509BundlesResponse>(bytes),
    }
});
